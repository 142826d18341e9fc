# SPDX-License-Identifier: Apache-2.0
"""The torture loop: build a tree, then mutate, replicate and compare, round after round.

    run.py BINARY [--fs ext4,xfs,btrfs,dir] [--rounds N] [--seed S] [--quick] [--each]

After each push the project's own diff and rsync must both call the trees equal, the itemized lines
of the dry run must be those of the real run byte for byte, the dry run must have touched nothing,
and no state may be left at the destination. --each applies every mutation alone instead and first
proves that the oracles see it.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import anypath
import fsloop
import mutate
import objects
import oracle
import remote
import rig
import tree
from world import World

# What rsync calls equal although it isn't: a character device with the number of a block device.
UNSEEN_BY_RSYNC = {"device-kind"}
# What rsync as a stand-in for the mover gets wrong or needs a second run for.
WRONG_BY_RSYNC = UNSEEN_BY_RSYNC | {"link-regroup", "link-split-same"}
PROFILES = [
    ("--connections", ("1", "3", "auto")),
    ("--compress", ("auto", "off", "1")),
    ("--in-place", ("auto", "never")),
]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("binary", help="scribe-mover, or - with another --mover")
    parser.add_argument(
        "--fs", default="ext4,xfs,btrfs", help="comma list of ext4, xfs, btrfs, tmpfs, dir"
    )
    parser.add_argument("--rounds", type=int, default=70)
    parser.add_argument("--count", type=int, default=16, help="mutations per round")
    parser.add_argument("--least", type=int, default=0, help="fail when a mutation ran less often")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the random part of the tree"
    )
    parser.add_argument("--quick", action="store_true", help="6 rounds on a plain directory")
    parser.add_argument("--each", action="store_true", help="every mutation alone, once")
    parser.add_argument("--only", help="comma list of mutations")
    parser.add_argument("--mover", choices=tuple(MOVERS), default="scribe")
    parser.add_argument("--direction", choices=("push", "pull"), default="push")
    parser.add_argument("--diff", help="treediff binary; default: BINARY diff")
    args = parser.parse_args()
    if args.quick:
        args.fs, args.rounds, args.count, args.scale = "dir", 6, 40, 0.3
    return args


class ScribeMover:
    """Replicates with the program under test, over SSH."""

    def __init__(self, args, scratch, source, target):
        self.mover = remote.Mover(args.binary, scratch)
        self.keys = remote.Keys(self.mover, scratch.sub("keys"))
        self.direction = args.direction
        self.source, self.target = source, target
        served = {"root": target} if self.direction == "push" else {"source": source}
        self.peer = remote.Serve(self.mover, self.keys, **served)

    def __enter__(self):
        self.peer.__enter__()
        return self

    def __exit__(self, *error):
        return self.peer.__exit__(*error)

    def transfer(self, *options):
        options = ("--delete", "--itemize", *options)
        if self.direction == "push":
            return self.mover.push(self.peer, self.source, *options)
        return self.mover.pull(self.peer, self.target, *options)

    def replicate(self, rng, label):
        """Dry run, real run and what must hold between them; the itemized lines."""
        options = [word for name, values in PROFILES for word in (name, rng.choice(values))]
        before = anypath.stamps(self.target)
        dry = self.transfer("--dry-run", *options).need(0)
        rig.check(
            anypath.stamps(self.target) == before,
            lambda: (
                f"{label}: the dry run changed " + changed(before, anypath.stamps(self.target))
            ),
        )
        real = self.transfer(*options).need(0)
        same_items(dry.items, real.items, label)
        report = real.report
        hashes = report.get("rootHash") or {}
        rig.check(
            report.get("committed") is True
            and report.get("exitCode") == 0
            and not report.get("filesFailed")
            and not report.get("filesChanged"),
            lambda: f"{label}: report says {report}",
        )
        rig.check(
            hashes.get("source") and hashes["source"] == hashes.get("destination"),
            lambda: f"{label}: root hashes {hashes}",
        )
        return real.items

    def nothing_to_do(self, label):
        before = anypath.stamps(self.target)
        again = self.transfer().need(0)
        rig.check(not again.items, lambda: f"{label}: the next run itemizes {again.items[:5]}")
        rig.check(
            anypath.stamps(self.target) == before,
            lambda: (
                f"{label}: the next run changed " + changed(before, anypath.stamps(self.target))
            ),
        )


def changed(before, after):
    """Which entries differ between two stamps(), and in what."""
    told = []
    for rel in sorted(before.keys() | after.keys()):
        old, new = before.get(rel), after.get(rel)
        if old is None or new is None:
            told.append(f"{anypath.show(rel)} ({'gone' if old else 'new'})")
        elif old != new:
            parts = [name for name, a, b in zip(anypath.STAMP, old, new) if a != b]
            told.append(f"{anypath.show(rel)} ({', '.join(parts)})")
    return "; ".join(told[:10])


class StandIn:
    """Another program in place of the mover, to try out the rig itself."""

    def __init__(self, _args, _scratch, source, target):
        self.source, self.target = source, target

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def nothing_to_do(self, _label):
        return None


class RsyncMover(StandIn):
    """rsync; it fails now and then where types, link groups and default ACLs change together."""

    def replicate(self, _rng, _label):
        return oracle.rsync_copy(self.source, self.target, "-i")


class CopyMover(StandIn):
    """A fresh copy with cp each time: slow and right."""

    def replicate(self, _rng, label):
        everything = [n for n in os.listdir(os.fsencode(self.target)) if n != b"lost+found"]
        for name in everything:
            objects.remove(self.target, name)
        subprocess.run(["setfacl", "-b", "-k", self.target], check=True)
        os.chmod(self.target, 0o700)
        for name in os.listxattr(self.target):
            os.removexattr(self.target, name)
        names = [n for n in os.listdir(os.fsencode(self.source)) if n != b"lost+found"]
        done = subprocess.run(
            [
                "cp", "-a", "--reflink=never", "--sparse=always", "-t", self.target, "--",
                *(os.path.join(os.fsencode(self.source), n) for n in names),
            ],
            capture_output=True,
            check=False,
        )
        rig.check(done.returncode == 0, lambda: f"{label}: {done.stderr.decode(errors='replace')}")
        self.copy_root()
        return names

    def copy_root(self):
        st = os.stat(self.source)
        os.chown(self.target, st.st_uid, st.st_gid)
        os.chmod(self.target, st.st_mode & 0o7777)
        for name in os.listxattr(self.source):
            os.setxattr(self.target, name, os.getxattr(self.source, name))
        os.utime(self.target, ns=(st.st_atime_ns, st.st_mtime_ns))


MOVERS = {"scribe": ScribeMover, "rsync": RsyncMover, "cp": CopyMover}


def same_items(dry, real, label):
    if dry == real:
        return
    lost = [line for line in dry if line not in set(real)][:10]
    extra = [line for line in real if line not in set(dry)][:10]
    raise rig.Failure(
        f"{label}: dry run and real run differ ({len(dry)} and {len(real)} lines)\n"
        f"  only announced: {lost}\n  only done: {extra}"
    )


def no_leftovers(target, label):
    left = [
        rel for rel, _ in anypath.walk(target) if rel.rpartition(b"/")[2].startswith(b".scribe")
    ]
    rig.check(
        not left, lambda: f"{label}: left at the destination: {list(map(anypath.show, left))}"
    )


class Torture:
    """One pair of trees on one kind of filesystem."""

    def __init__(self, args, kind, seed, scratch, source, target):
        self.args, self.kind, self.seed = args, kind, seed
        self.source, self.target = source, target
        self.rng = rig.rng_for("torture", seed, kind)
        full = args.mover == "scribe"
        self.limits = tree.build(
            source, rig.rng_for("tree", seed, kind), scale=args.scale, deep=full, huge=full
        )
        self.world = World(source, target, self.rng, self.limits)
        names = set(args.only.split(",") if args.only else mutate.MUTATIONS)
        if args.mover == "rsync":
            names -= WRONG_BY_RSYNC
        self.chooser = mutate.Chooser(self.rng, names)
        self.differ = self.make_differ()
        self.mover = MOVERS[args.mover](args, scratch, source, target)

    def make_differ(self):
        if self.args.diff:
            return oracle.Differ([self.args.diff])
        return oracle.Differ([self.args.binary, "diff"]) if self.args.mover == "scribe" else None

    def push(self, label):
        items = self.mover.replicate(self.rng, label)
        no_leftovers(self.target, label)
        oracle.check_equal(self.differ, self.source, self.target, label, ("/deep", "/huge"))
        return items

    def round(self, number):
        label = f"{self.kind} seed {self.seed} round {number}"
        done = []
        try:
            for name in self.chooser.choose(self.args.count):
                done += mutate.apply(self.world, [name], self.chooser)
            started = time.monotonic()
            items = self.push(label)
            if number % 5 == 0:
                self.mover.nothing_to_do(label)
        except BaseException:
            rig.note(f"{label}, mutations of this round:")
            for name, description in done:
                rig.note(f"  {name}: {description}")
            raise
        rig.note(
            f"{label}: {len(done)} mutations, {len(items)} items, "
            f"{time.monotonic() - started:.1f} s, equal"
        )

    def rounds(self):
        self.push(f"{self.kind} seed {self.seed} first copy")
        number = 0
        while number < self.args.rounds or (
            self.chooser.missing(self.args.least) and number < 2 * self.args.rounds
        ):
            number += 1
            self.round(number)
        return number

    def each(self):
        """Proves for every mutation that the oracles see it, and that one run repairs it."""
        self.push("first copy")
        failed = []
        for name in self.chooser.counts:
            try:
                self.one(name)
            except rig.Failure as error:
                rig.note(f"FAILED: {error}")
                failed.append(name)
                self.push(f"repair after {name}")
        rig.check(not failed, f"{len(failed)} mutations fail alone: {failed}")

    def one(self, name):
        label = f"{self.kind} seed {self.seed} only {name}"
        seen = theirs = done = None
        for _ in range(5):
            done = mutate.apply(self.world, [name], self.chooser)
            if not done:
                self.mover.replicate(self.rng, label)
                continue
            seen = self.differ.differences(self.source, self.target) if self.differ else []
            theirs = oracle.rsync_differences(self.source, self.target, ("/deep", "/huge"))
            if seen or theirs:
                break  # else it happened to choose the value that the other side has already
        rig.check(done, f"{label}: nothing to do it to")
        what = done[0][1]
        rig.note(f"{name}: {what}")
        rig.check(
            seen or not self.differ,
            f"{label}: diff calls the trees equal; rsync says {(theirs or [])[:3]}",
        )
        inside = any(corner in what for corner in ("deep", "huge"))
        rig.check(
            theirs or inside or name in UNSEEN_BY_RSYNC, f"{label}: rsync calls the trees equal"
        )
        self.push(label)


@contextlib.contextmanager
def pair(kind, scratch):
    """Source and target directory: roots of two filesystems of a kind, or plain directories."""
    if kind == "dir":
        yield scratch.sub("source"), scratch.sub("target")
        return
    with fsloop.Filesystem(kind, scratch.path, f"{kind}-source") as source, fsloop.Filesystem(
        kind, scratch.path, f"{kind}-target"
    ) as target:
        yield source.path, target.path


def torture(args):
    rig.need_root("owners, devices and loop mounts")
    rig.need_tool("rsync")
    seed = rig.seed_of(args.seed)
    kinds = args.fs.split(",")
    if kinds != ["dir"]:
        rig.private_mounts()
    total, counts = 0, {}
    for kind in kinds:
        with rig.Scratch("torture") as scratch, pair(kind, scratch) as (source, target):
            run = Torture(args, kind, seed, scratch, source, target)
            with run.mover:
                total += (run.each() or 0) if args.each else run.rounds()
            for name, count in run.chooser.counts.items():
                counts[name] = counts.get(name, 0) + count
    mutate.print_table(counts)
    rig.note(f"{total} rounds on {', '.join(kinds)}")
    missing = sorted(name for name, count in counts.items() if count < args.least * len(kinds))
    rig.check(not missing, lambda: f"ran less than {args.least} times per filesystem: {missing}")


if __name__ == "__main__":
    rig.run(torture, arguments())
