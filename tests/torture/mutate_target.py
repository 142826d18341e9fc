# SPDX-License-Identifier: Apache-2.0
"""Mutations of the destination: someone else has been at the replica."""

import os
import stat
import time

import anypath
import mutate_attributes as attributes
import objects
from anypath import join, parent, show
from mutate_data import different, rewrite
from mutate_links import join_pair, make_group, rename, split_member
from mutate_names import TYPES, change_type
from objects import ACCESS, CAPABILITY, DEFAULT, random_acl, some_data
from world import mutation


def tampering(name, function):
    """Registers a mutation of the destination; function(world, side)."""
    mutation(f"target-{name}")(lambda world: function(world, world.target))


def edit(world, side):
    found = world.data_file(side=side)
    if not found:
        return None
    offset = world.rng.randrange(found[1].st_size)
    rewrite(
        world,
        found[0],
        lambda d: d[:offset] + different(world.rng, d[offset : offset + 99]) + d[offset + 99 :],
        side,
    )
    return f"content of {show(found[0])} at {offset}"


def resize(world, side):
    found = world.data_file(side=side)
    if not found:
        return None
    size = found[1].st_size
    new = world.rng.choice([0, size // 2, size + 1, size + 70000])
    with world.at(found[0], side) as path:
        os.truncate(path, new)
    return f"size of {show(found[0])} from {size} to {new}"


def replace(world, side):
    found = world.data_file(side=side, structural=True)
    if not found:
        return None
    with world.at(found[0], side) as path:
        os.unlink(path)
        objects.write_file(path, some_data(world.rng, found[1].st_size + 1))
    return f"{show(found[0])} replaced"


def extra_file(world, side):
    return f"extra file {show(world.create('file', side))}"


def extra_tree(world, side):
    base = world.create("dir-full", side)
    world.create("dir-full", side, where=base)
    return f"extra tree {show(base)}"


def extra_special(world, side):
    kind = world.rng.choice(["symlink", "fifo", "socket", "chardev"])
    return f"extra {kind} {show(world.create(kind, side))}"


def extra_link(world, side):
    found = world.pick("file", side=side)
    if not found:
        return None
    new = join(world.directory(side), world.name())
    with world.at(found[0], side) as a, world.at(new, side) as b:
        os.link(a, b)
    return f"extra name {show(new)} of {show(found[0])}"


def removed_file(world, side):
    found = world.pick("file", "symlink", "fifo", side=side)
    if not found:
        return None
    objects.remove(side, found[0])
    return f"{show(found[0])} removed"


def removed_tree(world, side):
    found = world.small_tree(side=side)
    if not found:
        return None
    objects.remove(side, found[0])
    return f"{show(found[0])} removed"


def renamed_file(world, side):
    found = world.pick("file", side=side, structural=True)
    if not found:
        return None
    new = join(parent(found[0]), world.name())
    rename(world, found[0], new, side)
    return f"{show(found[0])} renamed to {show(new)}"


def renamed_dir(world, side):
    found = world.pick("dir", side=side, structural=True)
    if not found:
        return None
    new = join(parent(found[0]), world.name())
    rename(world, found[0], new, side)
    return f"{show(found[0])} renamed to {show(new)}"


def merged(world, side):
    return join_pair(world, side)


def split(world, side):
    done = split_member(world, True, side)
    if done is None:
        make_group(world)
    return done


def split_edited(world, side):
    return split_member(world, False, side)


def type_changed(world, side):
    old, new = world.rng.sample(TYPES, 2)
    if old.partition("-")[0] == new.partition("-")[0]:
        return None
    return change_type(world, old, new, side)


def newer(world, side):
    """A file of the replica is newer than the source's: no reason to keep it."""
    found = world.pick("file", side=side)
    if not found:
        return None
    with world.at(found[0], side) as path:
        tomorrow = time.time_ns() + 86400 * 10**9
        os.utime(path, ns=(tomorrow, tomorrow))
    return f"{show(found[0])} is of tomorrow"


def filled_hole(world, side):
    """Zeros in place of a hole: same bytes, but the space is gone."""
    found = world.data_file(
        minimum=65536, side=side, test=lambda rel, st: (st.st_blocks * 512 + 65536 <= st.st_size)
    )
    if not found:
        return None
    rewrite(world, found[0], lambda d: d, side)
    return f"holes of {show(found[0])} filled with zeros"


for _kind in ("file", "dir", "root"):
    tampering(f"{_kind}-mode", lambda w, s, k=_kind: attributes.change_mode(w, k, s))
    tampering(
        f"{_kind}-owner",
        lambda w, s, k=_kind: attributes.change_owner(w, k, w.rng.choice(["uid", "gid"]), s),
    )
    tampering(f"{_kind}-mtime", lambda w, s, k=_kind: attributes.change_mtime(w, k, s))
    tampering(f"{_kind}-xattr-added", lambda w, s, k=_kind: attributes.xattr_add(w, k, s))
    tampering(
        f"{_kind}-acl-added",
        lambda w, s, k=_kind: attributes.special_xattr(w, k, ACCESS, "add", random_acl(w.rng), s),
    )
tampering(
    "dir-default-acl-added",
    lambda w, s: attributes.special_xattr(w, "dir", DEFAULT, "add", random_acl(w.rng), s),
)
tampering(
    "file-acl-removed", lambda w, s: attributes.special_xattr(w, "file", ACCESS, "remove", b"", s)
)
tampering("file-xattr-changed", lambda w, s: attributes.xattr_change(w, "file", s))
tampering("file-xattr-removed", lambda w, s: attributes.xattr_remove(w, "file", s))
tampering(
    "capability-added",
    lambda w, s: attributes.special_xattr(
        w, "file", CAPABILITY, "add", objects.capability(w.rng), s
    ),
)
tampering("content", edit)
tampering("size", resize)
tampering("replaced", replace)
tampering("newer", newer)
tampering("hole-filled", filled_hole)
tampering("extra-file", extra_file)
tampering("extra-tree", extra_tree)
tampering("extra-special", extra_special)
tampering("extra-link", extra_link)
tampering("removed-file", removed_file)
tampering("removed-tree", removed_tree)
tampering("renamed-file", renamed_file)
tampering("renamed-dir", renamed_dir)
tampering("link-merged", merged)
tampering("link-split", split)
tampering("link-split-edited", split_edited)
tampering("type", type_changed)


def has_directory(world, rel):
    """True when the target has a directory of that name, as the source does."""
    return anypath.exists(world.target, rel) and stat.S_ISDIR(
        anypath.lstat(world.target, rel).st_mode
    )


@mutation("both-sides-created")
def both_created(world):
    """The same new name on both sides, with different content."""
    rel = world.create("file")
    if has_directory(world, parent(rel)):
        with world.at(rel, world.target) as path:
            objects.write_file(path, some_data(world.rng, 333))
    return f"{show(rel)} created on both sides"


@mutation("both-sides-types")
def both_types(world):
    """A new name that is a directory here and a file there."""
    rel = world.create("dir-full")
    if has_directory(world, parent(rel)):
        with world.at(rel, world.target) as path:
            objects.write_file(path, b"in the way")
    return f"{show(rel)} is a directory here and a file there"
