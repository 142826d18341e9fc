# SPDX-License-Identifier: Apache-2.0
"""Mutations of each attribute, on files, on directories, on the root itself and on the rest."""

import os
import stat

import objects
from anypath import show
from objects import ACCESS, CAPABILITY, DEFAULT, FULL, IDS, random_acl, random_mtime
from world import mutation


def choose(world, kind, test=None, side=None):
    """A (rel, lstat) of "file", "dir" or "root"; None when nothing passes the test."""
    if kind != "root":
        return world.pick(kind, test=test, side=side)
    st = os.lstat(side or world.source)
    return (b"", st) if test is None or test(b"", st) else None


def other(rng, values, current):
    return rng.choice([v for v in values if v != current])


def change_mode(world, kind, side=None):
    found = choose(world, kind, side=side)
    if not found:
        return None
    mode = other(
        world.rng,
        [0, 0o444, 0o500, 0o600, 0o640, 0o755, 0o1777, 0o2755, 0o4711, 0o7777],
        stat.S_IMODE(found[1].st_mode),
    )
    with world.at(found[0], side) as path:
        os.chmod(path, mode)
    return f"mode of {show(found[0])} to {mode:04o}"


def change_owner(world, kind, which, side=None):
    found = choose(world, kind, side=side)
    if not found:
        return None
    old = found[1].st_uid if which == "uid" else found[1].st_gid
    new = other(world.rng, IDS, old)
    with world.at(found[0], side) as path:
        os.chown(path, *((new, -1) if which == "uid" else (-1, new)), follow_symlinks=False)
    return f"{which} of {show(found[0])} to {new}"


def change_mtime(world, kind, side=None):
    found = choose(world, kind, side=side)
    if not found:
        return None
    time = world.rng.choice(
        [
            random_mtime(world.rng),
            found[1].st_mtime_ns + 1,
            other(world.rng, world.limits.times, found[1].st_mtime_ns),
        ]
    )
    with world.at(found[0], side) as path:
        os.utime(path, ns=(time, time), follow_symlinks=False)
    return f"mtime of {show(found[0])} to {time} ns"


def set_xattr(world, rel, name, value, side=None):
    """False when it doesn't fit there."""
    with world.at(rel, side) as path:
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return False
    return True


def xattr_add(world, kind, side=None):
    found = choose(world, kind, side=side)
    value = world.rng.randbytes(world.rng.choice([0, 1, 32, 33, 300]))
    world.serial += 1
    name = f"user.added{world.serial}"
    if not found or not set_xattr(world, found[0], name, value, side):
        return None
    return f"{name} ({len(value)} bytes) on {show(found[0])}"


def xattr_change(world, kind, side=None):
    found = choose(world, kind, side=side, test=lambda rel, st: world.user_xattrs(rel, side))
    if not found:
        xattr_add(world, kind, side)
        return None
    name = world.rng.choice(world.user_xattrs(found[0], side))
    with world.at(found[0], side) as path:
        old = os.getxattr(path, name, follow_symlinks=False)
    new = bytes([old[0] ^ 1]) + old[1:] if old else b"\0"
    return (
        f"value of {name} on {show(found[0])}"
        if set_xattr(world, found[0], name, new, side)
        else None
    )


def xattr_remove(world, kind, side=None):
    found = choose(world, kind, side=side, test=lambda rel, st: world.user_xattrs(rel, side))
    if not found:
        xattr_add(world, kind, side)
        return None
    name = world.rng.choice(world.user_xattrs(found[0], side))
    with world.at(found[0], side) as path:
        os.removexattr(path, name, follow_symlinks=False)
    return f"{name} off {show(found[0])}"


def special_xattr(world, kind, name, action, value, side=None):
    """add, change or remove an attribute with a fixed name (an ACL, the capability)."""
    has = action != "add"
    found = choose(
        world, kind, side=side, test=lambda rel, st: (world.has_xattr(rel, name, side) == has)
    )
    if not found:
        undo_or_prepare(world, kind, name, has, value, side)
        return None
    if action == "remove":
        with world.at(found[0], side) as path:
            os.removexattr(path, name, follow_symlinks=False)
    elif not set_xattr(world, found[0], name, value, side):
        return None
    return f"{action} {name} on {show(found[0])}"


def undo_or_prepare(world, kind, name, wanted, value, side):
    """Makes an object that a later round can use: with the attribute, or without it."""
    found = choose(world, kind, side=side)
    if found and wanted:
        set_xattr(world, found[0], name, value, side)
    elif found:
        with world.at(found[0], side) as path:
            os.removexattr(path, name, follow_symlinks=False)


def register_kind(kind):
    mutation(f"{kind}-mode")(lambda w: change_mode(w, kind))
    mutation(f"{kind}-uid")(lambda w: change_owner(w, kind, "uid"))
    mutation(f"{kind}-gid")(lambda w: change_owner(w, kind, "gid"))
    mutation(f"{kind}-mtime")(lambda w: change_mtime(w, kind))
    mutation(f"{kind}-xattr-add")(lambda w: xattr_add(w, kind))
    mutation(f"{kind}-xattr-change")(lambda w: xattr_change(w, kind))
    mutation(f"{kind}-xattr-remove")(lambda w: xattr_remove(w, kind))
    for action in ("add", "change", "remove"):
        register_acl(f"{kind}-acl-{action}", kind, ACCESS, action)
        if kind != "file":
            register_acl(f"{kind}-default-acl-{action}", kind, DEFAULT, action)


def register_acl(title, kind, name, action):
    mutation(title)(lambda w: special_xattr(w, kind, name, action, random_acl(w.rng)))


def register_capability(action):
    mutation(f"file-capability-{action}")(
        lambda w: special_xattr(w, "file", CAPABILITY, action, objects.capability(w.rng))
    )


for each in ("file", "dir", "root"):
    register_kind(each)
for each in ("add", "change", "remove"):
    register_capability(each)
for each in ("symlink", "fifo", "chardev"):
    mutation(f"{each}-owner")(
        lambda w, kind=each: change_owner(w, kind, w.rng.choice(["uid", "gid"]))
    )
    mutation(f"{each}-mtime")(lambda w, kind=each: change_mtime(w, kind))
for each in ("fifo", "socket", "chardev"):
    mutation(f"{each}-mode")(lambda w, kind=each: change_mode(w, kind))


@mutation("file-owner-keeps-setuid")
def owner_and_setuid(world):
    """chown clears setuid and capabilities, so they have to be put back after it."""
    found = world.pick("file")
    if not found:
        return None
    uid = other(world.rng, IDS, found[1].st_uid)
    with world.at(found[0]) as path:
        os.chown(path, uid, -1)
        os.chmod(path, 0o6755)
        if world.limits.capabilities:
            set_xattr(world, found[0], CAPABILITY, objects.capability(world.rng))
    return f"uid of {show(found[0])} to {uid}, then setuid and a capability"


@mutation("file-all-attributes")
def all_attributes(world):
    found = world.pick("file")
    if not found:
        return None
    with world.at(found[0]) as path:
        os.chown(path, world.rng.choice(IDS), world.rng.choice(IDS))
        os.chmod(path, world.rng.randrange(0o10000))
        if world.limits.acls:
            set_xattr(world, found[0], ACCESS, random_acl(world.rng))
        set_xattr(world, found[0], "user.all", world.rng.randbytes(9))
        time = random_mtime(world.rng)
        os.utime(path, ns=(time, time))
    return f"every attribute of {show(found[0])}"


@mutation("dir-closed")
def close_directory(world):
    """A directory without any right for its owner, filled and changed all the same."""
    found = world.pick("dir", structural=True)
    if not found:
        return None
    rel = world.create("file", where=found[0])
    with world.at(found[0]) as path:
        os.chmod(path, world.rng.choice([0, 0o111, 0o300, 0o500]))
    return f"{show(rel)} created, its directory closed"
