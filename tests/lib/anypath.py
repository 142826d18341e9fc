# SPDX-License-Identifier: Apache-2.0
"""Paths of any bytes and any length, walked and used without a symlink being followed.

A relative path is bytes with "/" between components, b"" is the root. `at()` turns one into a path
that every os function accepts, also where the whole is longer than PATH_MAX.
"""

import contextlib
import os
import stat

_CHUNK = 3000
_OPEN_DIR = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def at(root, rel):
    """Yields a path for `rel` below `root`, valid inside the with block only."""
    root = os.fsencode(root)
    if len(root) + len(rel) <= _CHUNK:
        yield root + b"/" + rel if rel else root
        return
    parts = rel.split(b"/")
    name = parts.pop()
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while parts:
            step = [parts.pop(0)]
            while parts and sum(map(len, step)) + len(step) + len(parts[0]) < _CHUNK:
                step.append(parts.pop(0))
            following = os.open(b"/".join(step), _OPEN_DIR, dir_fd=fd)
            os.close(fd)
            fd = following
        yield b"/proc/self/fd/%d/%s" % (fd, name)
    finally:
        os.close(fd)


def join(directory, name):
    return directory + b"/" + name if directory else name


def parent(rel):
    return rel.rpartition(b"/")[0]


def lstat(root, rel):
    with at(root, rel) as path:
        return os.lstat(path)


def exists(root, rel):
    try:
        lstat(root, rel)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def walk(root, lost_found=False):
    """Yields (rel, lstat) of everything below root in a fixed order, directories before children.

    The root itself comes first as b"". lost+found in the root is left out unless asked for.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield b"", os.fstat(fd)
        yield from _walk_dir(fd, b"", lost_found)
    finally:
        os.close(fd)


def _walk_dir(fd, rel, lost_found):
    for name in sorted(os.fsencode(n) for n in os.listdir(fd)):
        if not rel and name == b"lost+found" and not lost_found:
            continue
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        yield join(rel, name), st
        if not stat.S_ISDIR(st.st_mode):
            continue
        sub = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            yield from _walk_dir(sub, join(rel, name), lost_found)
        finally:
            os.close(sub)


STAMP = ("inode", "mode", "uid", "gid", "links", "size", "mtime", "ctime")


def stamps(root):
    """What must not move when nothing is written: {rel: values named by STAMP}."""
    return {
        rel: (
            st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_size, st.st_mtime_ns,
            st.st_ctime_ns,
        )
        for rel, st in walk(root, lost_found=True)
    }


def names(root):
    """Set of relative names below root, without the root and lost+found."""
    return {rel for rel, _ in walk(root) if rel}


def show(rel):
    """A path as one printable line."""
    text = rel.decode("utf-8", "surrogateescape") or "the root"
    text = text.encode("unicode_escape", "surrogatepass").decode("ascii")
    return text if len(text) <= 160 else text[:60] + "..." + text[-60:] + f" ({len(rel)} bytes)"
