# SPDX-License-Identifier: Apache-2.0
"""Destinations that can't hold everything: exit 0, counted in notReplicated, then nothing to do.

A receiver without rights, filesystems without xattrs and ACLs, ext4 with 128-byte inodes (whole
seconds, up to 2038), and dates beyond what XFS (2486) and ext4 (2446) can store.
"""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))
import anypath
import fsloop
import objects
import remote
import rig
import stage

NOBODY = 65534
YEAR_2600 = 19880899200 * 10**9 + 123456789


def rich_tree(root, rng, far_dates=False):
    """Some of everything that a poor destination can't hold, beside what it can."""
    root = os.fsencode(root)
    limits = objects.Limits(root)
    for number in range(40):
        path = root + b"/file%d" % number
        objects.make(path, "file", rng)
        os.chown(path, rng.choice(objects.IDS), rng.choice(objects.IDS))
        os.chmod(path, rng.choice([0o644, 0o4755, 0o600]))
        if limits.xattr_max:
            os.setxattr(path, "user.note", b"%d" % number)
        if limits.acls and number % 3 == 0:
            os.setxattr(path, objects.ACCESS, objects.random_acl(rng))
        if limits.capabilities and number % 5 == 0:
            os.setxattr(path, objects.CAPABILITY, objects.capability(rng))
        stamp = YEAR_2600 + number if far_dates else objects.random_mtime(rng)
        os.utime(path, ns=(stamp, stamp))
    os.mkdir(root + b"/dir")
    objects.make(root + b"/dir/inside", "file", rng)
    os.link(root + b"/file0", root + b"/dir/linked")
    for kind in ("symlink", "fifo", "socket", "chardev"):
        objects.make(root + b"/" + kind.encode(), kind, rng)
    stamp = YEAR_2600 if far_dates else objects.random_mtime(rng)
    os.utime(root + b"/dir", ns=(stamp, stamp))


def same_content(source, target, label):
    source, target = os.fsencode(source), os.fsencode(target)
    for rel, st in anypath.walk(source):
        if objects.kind_of(st) != "file":
            continue
        with open(source + b"/" + rel, "rb") as a, open(target + b"/" + rel, "rb") as b:
            rig.check(a.read() == b.read(), f"{label}: content of {anypath.show(rel)}")


def poor(s, label, source, target, kinds, **serve):
    """One destination: first run exit 0 with the kinds counted, second run nothing."""
    with s.serve(root=target, **serve) as peer:
        first = s.push(peer, source, "--delete", "--itemize").need(0)
        counted = first.report.get("notReplicated") or {}
        rig.note(f"{label}: notReplicated {counted}")
        same_content(source, target, label)
        rig.check(
            counted and all(isinstance(n, int) and n > 0 for n in counted.values()),
            f"{label}: notReplicated is {counted}",
        )
        rig.check(
            len(counted) >= kinds,
            f"{label}: {len(counted)} kinds counted, at least {kinds} expected",
        )
        said = [line for line in first.err.split(b"\n") if line.strip()]
        rig.check(
            len(said) <= len(counted) + 3, lambda: f"{label}: said more than once each: {said}"
        )
        before = anypath.stamps(target)
        second = s.push(peer, source, "--delete", "--itemize").need(0)
        rig.check(not second.items, lambda: f"{label}: the second run itemizes {second.items[:5]}")
        rig.check(anypath.stamps(target) == before, f"{label}: the second run wrote something")


def as_nobody(s, source):
    """The receiver runs as another user, with its own copy of program and keys."""
    rig.need_tool("setpriv")
    home = s.sub("nobody")
    mover = remote.Mover(shutil.copy(s.mover.binary, home), s.scratch)
    keys = remote.Keys(mover, os.path.join(home, "keys"))
    for path in (home, os.path.join(home, "keys"), keys.host, keys.authorized):
        os.chown(path, NOBODY, NOBODY)
    target = os.path.join(home, "root")
    os.mkdir(target)
    os.chown(target, NOBODY, NOBODY)
    wrap = [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all",
    ]
    poor(s, "not root", source, target, 1, keys=keys, wrap=wrap)


def without_xattrs(s, kind, source):
    with fsloop.Filesystem(kind, s.scratch.path, kind) as poor_fs:
        limits = objects.Limits(poor_fs.path)
        if limits.xattr_max and limits.acls:
            rig.note(f"{kind}: this kernel's has xattrs and ACLs, nothing to show there")
            return False
        poor(
            s, f"{kind} (xattrs {limits.xattr_max > 0}, ACLs {limits.acls})", source,
            target_in(poor_fs),
            1,
        )
    return True


def target_in(filesystem):
    path = os.path.join(filesystem.path, "root")
    os.mkdir(path)
    return path


def old_inodes(s, source):
    with fsloop.Filesystem("ext4-128", s.scratch.path, "old") as old:
        poor(s, "ext4 with 128-byte inodes", source, target_in(old), 1)


def far_dates(s, rng):
    with fsloop.Filesystem("tmpfs", s.scratch.path, "far-source") as far:
        rich_tree(far.path, rng, far_dates=True)
        for kind in ("xfs", "ext4"):
            with fsloop.Filesystem(kind, s.scratch.path, f"far-{kind}") as near:
                poor(s, f"dates of 2600 on {kind}", far.path, target_in(near), 1)


def body(args):
    rig.need_root("another user, and mounts")
    seed = rig.seed_of(args.seed)
    rig.private_mounts()
    with stage.Stage("masks", args.binary) as s:
        source = s.sub("source")
        rich_tree(source, rig.rng_for("masks", seed))
        as_nobody(s, source)
        shown = [without_xattrs(s, kind, source) for kind in fsloop.MEMORY]
        rig.check(any(shown), "no filesystem without xattrs was found")
        old_inodes(s, source)
        far_dates(s, rig.rng_for("masks far", seed))


if __name__ == "__main__":
    rig.run(body, stage.arguments(__doc__))
