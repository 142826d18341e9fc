# SPDX-License-Identifier: Apache-2.0
"""Mutations of hard-link groups."""

import os
import stat

import anypath
from anypath import join, parent, show
from objects import random_mtime, some_data, write_file
from world import alike, mutation, ordinary

SPECIALS = ("symlink", "fifo", "socket", "chardev", "blockdev")


def link(world, old, new, side=None):
    with world.at(old, side) as a, world.at(new, side) as b:
        os.link(a, b, follow_symlinks=False)


def unlink(world, rel, side=None):
    with world.at(rel, side) as path:
        os.unlink(path)


def rename(world, old, new, side=None):
    with world.at(old, side) as a, world.at(new, side) as b:
        os.rename(a, b)


def a_group(world, minimum=2, side=None, kinds=("file",), structural=False):
    """A group as a sorted list of names; None when there is none of that size."""
    found = [
        g
        for g in world.groups(side, kinds)
        if len(g) >= minimum and (not structural or all(map(ordinary, g)))
    ]
    return world.rng.choice(found) if found else None


def make_group(world, count=3):
    first = world.create("file")
    for _ in range(count - 1):
        link(world, first, join(world.directory(), world.name()))


@mutation("link-add")
def link_add(world):
    found = world.pick("file", test=lambda rel, st: st.st_nlink < 1000)
    if not found:
        return None
    new = join(world.directory(), world.name())
    link(world, found[0], new)
    return f"{show(new)} linked to {show(found[0])}"


@mutation("link-add-special")
def link_add_special(world):
    found = world.pick(*SPECIALS)
    if not found:
        return None
    new = join(world.directory(), world.name())
    link(world, found[0], new)
    return f"{show(new)} linked to {show(found[0])}"


def join_pair(world, side=None):
    """Two files of one name each become one: the second name is linked to the first."""
    first = world.data_file(minimum=0, side=side, structural=True)
    second = first and world.data_file(
        minimum=0,
        side=side,
        structural=True,
        test=lambda rel, st: (st.st_ino != first[1].st_ino and not alike(st, first[1])),
    )
    if not second:
        return None
    unlink(world, second[0], side)
    link(world, first[0], second[0], side)
    return f"{show(second[0])} is now a link to {show(first[0])}"


@mutation("link-join")
def link_join(world):
    return join_pair(world)


def split_member(world, same, side=None):
    """One name gets an inode of its own, with equal content and attributes or with new content."""
    group = a_group(world, side=side)
    if not group:
        make_group(world)
        return None
    rel = world.rng.choice(group)
    with world.at(rel, side) as path:
        st = os.lstat(path)
        data = b""
        if same and st.st_size < 8 << 20:
            with open(path, "rb") as file:
                data = file.read()
        os.unlink(path)
        write_file(path, data if same else some_data(world.rng, 2000))
        os.chown(path, st.st_uid, st.st_gid)
        os.chmod(path, stat.S_IMODE(st.st_mode))
        if same and len(data) == st.st_size:
            os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))
    return f"{show(rel)} split off a group of {len(group)}, {'same' if same else 'new'} content"


@mutation("link-split-same")
def link_split_same(world):
    return split_member(world, True)


@mutation("link-split-new")
def link_split_new(world):
    return split_member(world, False)


@mutation("link-leader-removed")
def link_leader_removed(world):
    group = a_group(world)
    if not group:
        make_group(world)
        return None
    unlink(world, group[0])
    return f"{show(group[0])} removed, {len(group) - 1} names stay"


@mutation("link-leader-renamed")
def link_leader_renamed(world):
    group = a_group(world, structural=True)
    if not group:
        make_group(world)
        return None
    new = join(parent(group[0]), world.rng.choice([b"\x01", b"zzz"]) + world.name())
    rename(world, group[0], new)
    return f"{show(group[0])} renamed to {show(new)}, {len(group)} names"


@mutation("link-member-removed")
def link_member_removed(world):
    group = a_group(world, 3)
    if not group:
        make_group(world)
        return None
    rel = world.rng.choice(group[1:])
    unlink(world, rel)
    return f"{show(rel)} removed from a group of {len(group)}"


@mutation("link-across-directories")
def link_across(world):
    group = a_group(world, structural=True)
    if not group:
        make_group(world)
        return None
    old = world.rng.choice(group)
    new = join(world.directory(), world.name())
    rename(world, old, new)
    return f"{show(old)} of a group moved to {show(new)}"


def twin_sets(world):
    """Directories with a, b, c, d where two groups of two look alike."""
    found = []
    for rel, st in world.entries():
        if not stat.S_ISDIR(st.st_mode) or not rel.startswith(b"twins/"):
            continue
        try:
            a, b, c, d = [
                anypath.lstat(world.source, join(rel, n)) for n in (b"a", b"b", b"c", b"d")
            ]
        except OSError:
            continue
        pairs = sorted([(a.st_ino, b"a"), (b.st_ino, b"b"), (c.st_ino, b"c"), (d.st_ino, b"d")])
        if (
            pairs[0][0] == pairs[1][0] != pairs[2][0] == pairs[3][0]
            and alike(a, b)
            and alike(a, c)
            and alike(a, d)
        ):
            found.append((rel, [join(rel, n) for _, n in pairs]))
    return found


def make_twins(world):
    if not anypath.exists(world.source, b"twins"):
        os.mkdir(world.source + b"/twins")
    base = world.source + b"/twins/" + world.name()
    os.mkdir(base)
    data, time = some_data(world.rng, 5000), random_mtime(world.rng)
    for first, second in ((b"a", b"b"), (b"c", b"d")):
        write_file(base + b"/" + first, data)
        os.utime(base + b"/" + first, ns=(time, time))
        os.link(base + b"/" + first, base + b"/" + second)


@mutation("link-regroup")
def link_regroup(world):
    """{A,B},{C,D} becomes {A,C},{B,D}: every entry looks as before."""
    sets = twin_sets(world)
    if not sets:
        make_twins(world)
        return None
    rel, (_, second, third, _) = world.rng.choice(sets)
    aside = join(rel, world.name())
    st = anypath.lstat(world.source, rel)
    rename(world, second, aside)
    rename(world, third, second)
    rename(world, aside, third)
    with world.at(rel) as path:
        os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))
    return f"groups in {show(rel)} changed partners: {show(second)} and {show(third)}"


@mutation("link-groups-merged")
def link_groups_merged(world):
    """{A,B},{C,D} becomes {A,B,C,D}."""
    sets = twin_sets(world)
    if len(sets) < 2:
        make_twins(world)
        return None
    rel, (first, _, third, fourth) = world.rng.choice(sets)
    for name in (third, fourth):
        unlink(world, name)
        link(world, first, name)
    return f"all four of {show(rel)} are one"


@mutation("link-edit")
def link_edit(world):
    """Content of a linked file changes in place, so all its names follow."""
    group = a_group(world)
    if not group:
        make_group(world)
        return None
    rel = world.rng.choice(group)
    with world.at(rel) as path, open(path, "ab") as file:
        file.write(world.rng.randbytes(50))
    return f"50 bytes appended to {show(rel)}, {len(group)} names"


@mutation("link-edit-and-split")
def link_edit_and_split(world):
    """One name leaves the group while the rest is edited in the same round."""
    group = a_group(world, 2, structural=True)
    if not group:
        make_group(world)
        return None
    rel = group[0]
    unlink(world, rel)
    with world.at(rel) as path:
        write_file(path, some_data(world.rng, 3000))
    with world.at(group[-1]) as path, open(path, "ab") as file:
        file.write(world.rng.randbytes(50))
    return f"{show(rel)} split off, {show(group[-1])} edited"


@mutation("link-chain-rotated")
def link_rotated(world):
    """Members of two groups change places: each name stays, what it is linked with changes."""
    groups = [g for g in world.groups() if len(g) < 30 and all(map(ordinary, g))]
    if len(groups) < 2:
        make_group(world)
        return None
    first, second = world.rng.sample(groups, 2)
    a, b = world.rng.choice(first), world.rng.choice(second)
    if alike(anypath.lstat(world.source, a), anypath.lstat(world.source, b)):
        return None
    aside = join(parent(a), world.name())
    rename(world, a, aside)
    rename(world, b, a)
    rename(world, aside, b)
    return f"{show(a)} and {show(b)} of two groups changed places"
