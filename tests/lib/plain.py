# SPDX-License-Identifier: Apache-2.0
"""Plain trees of many small files, made fast and without much memory; and big files."""

import os

MIB = 1 << 20
OLD = 1_000_000_000 * 10**9  # 2001: far from anything a clock says during the test


def many_files(root, count, per_dir=500, size=0, single=0):
    """`count` files in directories of `per_dir`, `single` more in one directory; old mtimes.

    Returns the number of entries, directories included and the root not.
    """
    os.makedirs(root, exist_ok=True)
    made, directories = 0, []
    body = b"0123456789abcdef" * (size // 16 + 1)
    while made < count:
        directory = os.path.join(root, f"d{len(directories):05}")
        os.mkdir(directory)
        directories.append(directory)
        made += _fill(directory, min(per_dir, count - made), body, size, made)
    if single:
        directory = os.path.join(root, "single")
        os.mkdir(directory)
        directories.append(directory)
        made += _fill(directory, single, b"", 0, made)
    for number, directory in enumerate([*directories, root]):
        stamp = OLD + number * 1_000_000_007
        os.utime(directory, ns=(stamp, stamp))
    return made + len(directories)


def _fill(directory, count, body, size, base):
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in range(count):
            file = os.open(f"f{number:06}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=fd)
            if size:
                os.write(
                    file, b"%012d" % (base + number) + body[: size - 12 if size > 12 else size]
                )
            stamp = OLD + (base + number) * 1_000_003
            os.utime(file, ns=(stamp, stamp))
            os.close(file)
    finally:
        os.close(fd)
    return count


def random_file(path, rng, size):
    with open(path, "wb") as out:
        left = size
        while left:
            step = min(left, MIB)
            out.write(rng.randbytes(step))
            left -= step


def append_part(out, path, start, length):
    """Copies a part of a file to an open one."""
    with open(path, "rb") as source:
        source.seek(start)
        while length:
            data = source.read(min(length, MIB))
            if not data:
                break
            out.write(data)
            length -= len(data)
