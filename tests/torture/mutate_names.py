# SPDX-License-Identifier: Apache-2.0
"""Mutations of names and types: create, delete, rename, move, swap, every change of type."""

import os
import stat

import anypath
import objects
from anypath import join, parent, show
from mutate_links import rename
from world import alike, mutation

TYPES = ("file", "dir-empty", "dir-full", "symlink", "fifo", "socket", "chardev")


@mutation("create-file")
def create_file(world):
    return f"created {show(world.create('file'))}"


@mutation("create-dir")
def create_dir(world):
    return f"created {show(world.create('dir-empty'))}"


@mutation("create-special")
def create_special(world):
    kind = world.rng.choice(["symlink", "fifo", "socket", "chardev", "blockdev"])
    return f"created {kind} {show(world.create(kind))}"


@mutation("create-tree")
def create_tree(world):
    base = world.create("dir-full")
    for _ in range(3):
        inner = world.create("dir-full", where=base)
        for kind in ("file", "fifo", "symlink"):
            world.create(kind, where=inner)
    return f"created a tree at {show(base)}"


@mutation("delete-file")
def delete_file(world):
    found = world.pick("file")
    if not found or not anypath.parent(found[0]):
        return None
    objects.remove(world.source, found[0])
    return f"deleted {show(found[0])}"


@mutation("delete-special")
def delete_special(world):
    found = world.pick("symlink", "fifo", "socket", "chardev", "blockdev")
    if not found:
        return None
    objects.remove(world.source, found[0])
    return f"deleted {show(found[0])}"


def delete_dir(world, empty):
    found = world.small_tree(empty=empty)
    if not found:
        world.create("dir-empty" if empty else "dir-full")
        return None
    objects.remove(world.source, found[0])
    return f"deleted the directory {show(found[0])}"


@mutation("delete-empty-dir")
def delete_empty_dir(world):
    return delete_dir(world, True)


@mutation("delete-tree")
def delete_tree(world):
    return delete_dir(world, False)


@mutation("delete-and-create")
def delete_and_create(world):
    """The same name a moment later is another file."""
    found = world.pick("file", structural=True)
    if not found:
        return None
    objects.remove(world.source, found[0])
    with world.at(found[0]) as path:
        objects.make(path, "file", world.rng)
    return f"{show(found[0])} deleted and created again"


def move(world, found, where):
    new = join(where, world.name())
    rename(world, found[0], new)
    return f"{show(found[0])} moved to {show(new)}"


@mutation("rename-file")
def rename_file(world):
    found = world.pick("file", structural=True)
    return move(world, found, parent(found[0])) if found else None


@mutation("move-file")
def move_file(world):
    found = world.pick("file", structural=True)
    return move(world, found, world.directory()) if found else None


@mutation("rename-special")
def rename_special(world):
    found = world.pick("symlink", "fifo", "socket", "chardev", "blockdev", structural=True)
    return move(world, found, parent(found[0])) if found else None


@mutation("rename-dir")
def rename_dir(world):
    found = world.pick("dir", structural=True, test=lambda rel, st: rel != b"twins")
    return move(world, found, parent(found[0])) if found else None


@mutation("move-tree")
def move_tree(world):
    found = world.small_tree(empty=False)
    if not found:
        return None
    where = world.directory()
    if (where + b"/").startswith(found[0] + b"/"):
        where = b""
    return move(world, found, where)


@mutation("move-tree-and-edit")
def move_tree_and_edit(world):
    """A directory is renamed and a child of it changes at the same time."""
    found = world.small_tree(empty=False)
    if not found:
        return None
    name = world.name()
    rename(world, found[0], join(parent(found[0]), name))
    world.create("file", where=join(parent(found[0]), name))
    return f"{show(found[0])} renamed to {show(name)}, a new file in it"


@mutation("rename-case-only")
def rename_case(world):
    found = world.pick(
        "file",
        structural=True,
        test=lambda rel, st: (not anypath.exists(world.source, swapped(rel))),
    )
    if not found:
        return None
    rename(world, found[0], swapped(found[0]))
    return f"{show(found[0])} renamed to {show(swapped(found[0]))}"


def swapped(rel):
    directory, _, name = rel.rpartition(b"/")
    return join(directory, name.swapcase())


@mutation("rename-over")
def rename_over(world):
    """A file takes the place of another one."""
    first = world.pick("file", structural=True)
    second = first and world.pick(
        "file",
        structural=True,
        test=lambda rel, st: (st.st_ino != first[1].st_ino and not alike(st, first[1])),
    )
    if not second:
        return None
    rename(world, first[0], second[0])
    return f"{show(first[0])} renamed over {show(second[0])}"


def swap(world, a, b):
    aside = join(parent(a), world.name())
    rename(world, a, aside)
    rename(world, b, a)
    rename(world, aside, b)
    return f"{show(a)} and {show(b)} changed places"


@mutation("swap-files")
def swap_files(world):
    first = world.pick("file", structural=True)
    second = first and world.pick(
        "file", structural=True, test=lambda rel, st: (not alike(st, first[1]))
    )
    return swap(world, first[0], second[0]) if second else None


@mutation("swap-file-and-dir")
def swap_file_and_dir(world):
    tree = world.small_tree()
    file = tree and world.pick(
        "file", structural=True, test=lambda rel, st: (not rel.startswith(tree[0] + b"/"))
    )
    return swap(world, tree[0], file[0]) if file else None


@mutation("swap-dirs")
def swap_dirs(world):
    first = world.small_tree()
    second = first and world.pick(
        "dir",
        structural=True,
        test=lambda rel, st: (
            rel != b"twins"
            and not (rel + b"/").startswith(first[0] + b"/")
            and not (first[0] + b"/").startswith(rel + b"/")
        ),
    )
    return swap(world, first[0], second[0]) if second else None


@mutation("dir-inside-out")
def inside_out(world):
    """a/b becomes b/a."""
    inner = world.small_tree(empty=None)
    if not inner or not parent(inner[0]) or parent(inner[0]).count(b"/") < 1:
        return None
    outer = parent(inner[0])
    new = join(parent(outer), world.name())
    rename(world, inner[0], new)
    rename(world, outer, join(new, b"was outside"))
    return f"{show(inner[0])} turned inside out"


@mutation("symlink-retarget")
def retarget(world):
    found = world.pick("symlink")
    if not found:
        return None
    return replace_symlink(world, found, b"elsewhere/%d" % world.rng.randrange(10**6), False)


@mutation("symlink-retarget-same-length")
def retarget_same_length(world):
    """Only the text tells: length and mtime stay."""
    found = world.pick("symlink")
    if not found:
        return None
    return replace_symlink(world, found, None, True)


def replace_symlink(world, found, target, keep_time):
    with world.at(found[0]) as path:
        old = os.readlink(path)
        target = target or old[:-1] + bytes([old[-1] ^ 1 or 1])
        if b"\0" in target or target == old:
            return None
        os.unlink(path)
        os.symlink(target, path)
        os.chown(path, found[1].st_uid, found[1].st_gid, follow_symlinks=False)
        if keep_time:
            os.utime(path, ns=(found[1].st_mtime_ns, found[1].st_mtime_ns), follow_symlinks=False)
    return f"{show(found[0])} points elsewhere"


@mutation("device-number")
def device_number(world):
    found = world.pick(
        "chardev", "blockdev", structural=True, test=lambda rel, st: st.st_nlink == 1
    )
    if not found:
        world.create("chardev")
        return None
    with world.at(found[0]) as path:
        os.unlink(path)
        os.mknod(
            path,
            found[1].st_mode,
            os.makedev(os.major(found[1].st_rdev), os.minor(found[1].st_rdev) ^ 1),
        )
        os.chown(path, found[1].st_uid, found[1].st_gid)
        os.utime(path, ns=(found[1].st_mtime_ns, found[1].st_mtime_ns))
    return f"minor number of {show(found[0])}"


@mutation("device-kind")
def device_kind(world):
    """A character device becomes a block device with the same numbers."""
    found = world.pick(
        "chardev", structural=True, test=lambda rel, st: (st.st_nlink == 1 and st.st_rdev)
    )
    if not found:
        world.create("chardev")
        return None
    with world.at(found[0]) as path:
        os.unlink(path)
        os.mknod(path, stat.S_IFBLK | stat.S_IMODE(found[1].st_mode), found[1].st_rdev)
    return f"{show(found[0])} is a block device"


def an_object(world, kind, side=None):
    """Something of the type that may be replaced; None when there is none."""
    if kind.startswith("dir-"):
        found = world.small_tree(side=side, empty=kind == "dir-empty")
    else:
        found = world.pick(kind, side=side, structural=True)
    return found[0] if found else None


def change_type(world, old, new, side=None):
    rel = an_object(world, old, side)
    if rel is None:
        world.create(old, side)
        return None
    objects.remove(side or world.source, rel)
    with world.at(rel, side) as path:
        objects.make(path, new, world.rng)
    return f"{show(rel)}: {old} is now {new}"


def register_types():
    for old in TYPES:
        for new in TYPES:
            if old.partition("-")[0] != new.partition("-")[0]:
                mutation(f"type-{old}-to-{new}")(lambda w, a=old, b=new: change_type(w, a, b))


register_types()
