# SPDX-License-Identifier: Apache-2.0
"""Mutations of file content and of holes. Times are natural: writing sets the mtime."""

import os

from anypath import show
from objects import KEEP_SIZE, KIB, MIB, PUNCH_HOLE, fallocate, some_data, write_sparse
from world import mutation

BLOCK = 64 * KIB


def rewrite(world, rel, change, side=None):
    """Replaces the content by change(old) without a new inode."""
    with world.at(rel, side) as path:
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "r+b") as file:
            new = change(data)
            file.write(new)
            file.truncate(len(new))


def patch(world, rel, offset, data, side=None):
    with world.at(rel, side) as path, open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def different(rng, old):
    """Bytes of the same length, none of them equal."""
    return bytes(b ^ rng.randrange(1, 256) for b in old)


@mutation("edit-same-size")
def edit_same_size(world):
    found = world.data_file()
    if not found:
        return None
    rel, st = found
    offset = world.rng.randrange(st.st_size)
    length = min(world.rng.choice([1, 100, 4096, 70000]), st.st_size - offset)

    def change(data):
        middle = different(world.rng, data[offset : offset + length])
        return data[:offset] + middle + data[offset + length :]

    rewrite(world, rel, change)
    return f"{length} bytes at {offset} of {show(rel)}"


@mutation("edit-scattered")
def edit_scattered(world):
    found = world.data_file(minimum=BLOCK)
    if not found:
        return None
    rel, st = found
    for _ in range(10):
        patch(world, rel, world.rng.randrange(st.st_size - 4), world.rng.randbytes(4))
    return f"10 places of {show(rel)}"


@mutation("edit-first-byte")
def edit_first(world):
    return edit_edge(world, lambda size: 0)


@mutation("edit-last-byte")
def edit_last(world):
    return edit_edge(world, lambda size: size - 1)


def edit_edge(world, place):
    found = world.data_file()
    if not found:
        return None
    offset = place(found[1].st_size)
    rewrite(world, found[0], lambda d: (d[:offset] + bytes([d[offset] ^ 1]) + d[offset + 1 :]))
    return f"byte {offset} of {show(found[0])}"


@mutation("grow")
def grow(world):
    found = world.data_file(minimum=0, test=lambda rel, st: st.st_size < 3 * MIB)
    if not found:
        return None
    data = some_data(world.rng, world.rng.choice([1, 4096, 100000]))
    with world.at(found[0]) as path, open(path, "ab") as file:
        file.write(data)
    return f"{len(data)} bytes appended to {show(found[0])}"


@mutation("grow-by-hole")
def grow_by_hole(world):
    found = world.data_file(minimum=0, test=lambda rel, st: st.st_size < 3 * MIB)
    if not found:
        return None
    size = found[1].st_size + world.rng.choice([1, 70000, 300000])
    with world.at(found[0]) as path:
        os.truncate(path, size)
    return f"{show(found[0])} extended to {size}"


@mutation("truncate")
def truncate(world):
    found = world.data_file(minimum=2)
    if not found:
        return None
    size = world.rng.randrange(1, found[1].st_size)
    with world.at(found[0]) as path:
        os.truncate(path, size)
    return f"{show(found[0])} cut from {found[1].st_size} to {size}"


@mutation("truncate-to-zero")
def truncate_to_zero(world):
    found = world.data_file()
    if not found:
        return None
    with world.at(found[0]) as path:
        os.truncate(path, 0)
    return f"{show(found[0])} emptied"


@mutation("insert-at-head")
def insert_head(world):
    return insert(world, lambda size: 0)


@mutation("insert-in-middle")
def insert_middle(world):
    return insert(world, lambda size: world.rng.randrange(1, size))


def insert(world, place):
    found = world.data_file(minimum=5000, test=lambda rel, st: st.st_size < 3 * MIB)
    if not found:
        return None
    offset = place(found[1].st_size)
    data = world.rng.randbytes(world.rng.choice([1, 10, 1000]))
    rewrite(world, found[0], lambda d: d[:offset] + data + d[offset:])
    return f"{len(data)} bytes inserted at {offset} of {show(found[0])}"


@mutation("delete-from-middle")
def delete_middle(world):
    found = world.data_file(minimum=5000)
    if not found:
        return None
    offset = world.rng.randrange(found[1].st_size - 1000)
    rewrite(world, found[0], lambda d: d[:offset] + d[offset + 999 :])
    return f"999 bytes out of {show(found[0])} at {offset}"


@mutation("rotate")
def rotate(world):
    found = world.data_file(minimum=5000)
    if not found:
        return None
    offset = world.rng.randrange(1, found[1].st_size)
    rewrite(world, found[0], lambda d: d[offset:] + d[:offset])
    return f"end of {show(found[0])} from {offset} moved to its start"


@mutation("rewrite-by-rename")
def rewrite_by_rename(world):
    """What editors do: a new inode under the old name."""
    found = world.data_file(structural=True)
    if not found:
        return None
    with world.at(found[0]) as path:
        new = os.path.dirname(path) + b"/" + world.name()
        with open(new, "wb") as file:
            file.write(some_data(world.rng, found[1].st_size))
        os.rename(new, path)
    return f"{show(found[0])} replaced by a file of the same size"


@mutation("touch")
def touch(world):
    found = world.pick("file")
    if not found:
        return None
    with world.at(found[0]) as path:
        os.utime(path)
    return f"{show(found[0])} touched, content as it was"


def first_hole(path):
    """Offset and length of the first hole that ends inside the file or at its end; None if none."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = os.lseek(file.fileno(), 0, os.SEEK_HOLE) if size else size
        if start >= size:
            return None
        try:
            end = os.lseek(file.fileno(), start, os.SEEK_DATA)
        except OSError:
            end = size
    return start, end - start


def hole_of(world, rel):
    with world.at(rel) as path:
        return first_hole(path)


@mutation("hole-to-data")
def hole_to_data(world):
    found = world.data_file(
        minimum=BLOCK, test=lambda rel, st: (hole_of(world, rel) or (0, 0))[1] >= BLOCK
    )
    if not found:
        sparse_file(world)
        return None
    start, length = hole_of(world, found[0])
    offset = start + world.rng.randrange(max(1, length - 5000))
    patch(world, found[0], offset, world.rng.randbytes(min(5000, length)))
    return f"data at {offset} in a hole of {show(found[0])}"


def sparse_file(world):
    rel = world.create("file")
    with world.at(rel) as path:
        write_sparse(
            path,
            10 * BLOCK,
            [(0, world.rng.randbytes(BLOCK)), (5 * BLOCK, world.rng.randbytes(5 * BLOCK))],
        )
    return rel


def full_block(world, rel, st):
    """An aligned 64 KiB block of data in the file, or None."""
    hole = hole_of(world, rel)
    end = hole[0] if hole else st.st_size
    blocks = end // BLOCK
    return world.rng.randrange(blocks) * BLOCK if blocks else None


def punch(world, keep_size):
    """Makes a hole by fallocate, or by rewriting a sparse copy as cp --sparse would."""
    found = world.data_file(
        minimum=2 * BLOCK, test=lambda rel, st: (full_block(world, rel, st) is not None)
    )
    if not found:
        sparse_file(world)
        return None
    offset = full_block(world, *found)
    with world.at(found[0]) as path, open(path, "r+b") as file:
        if keep_size:
            fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, offset, BLOCK)
        else:
            data = file.read()
            file.truncate(0)
            file.write(data[:offset])
            file.seek(offset + BLOCK)
            file.write(data[offset + BLOCK :])
            file.truncate(len(data))
        os.utime(file.fileno())
    return f"hole of {BLOCK} at {offset} of {show(found[0])}"


@mutation("data-to-hole")
def data_to_hole(world):
    return punch(world, True)


@mutation("data-to-hole-by-rewrite")
def data_to_hole_rewritten(world):
    return punch(world, False)


@mutation("data-to-zeros")
def data_to_zeros(world):
    found = world.data_file(
        minimum=2 * BLOCK, test=lambda rel, st: (full_block(world, rel, st) is not None)
    )
    if not found:
        sparse_file(world)
        return None
    offset = full_block(world, *found)
    patch(world, found[0], offset, bytes(BLOCK))
    return f"written zeros at {offset} of {show(found[0])}"


@mutation("hole-moves-and-truncate")
def hole_moves(world):
    """Hole, data and size change in one update."""
    found = world.data_file(minimum=BLOCK, structural=True)
    if not found:
        return None
    size = world.rng.randrange(BLOCK, 8 * BLOCK)
    with world.at(found[0]) as path, open(path, "r+b") as file:
        file.truncate(0)
        file.truncate(size)
        file.seek(world.rng.randrange(size - 100))
        file.write(world.rng.randbytes(100))
    return f"{show(found[0])} is {size} bytes of hole with 100 of data"
