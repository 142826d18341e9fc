# SPDX-License-Identifier: Apache-2.0
"""Captures of whole runs without SSH: scenarios that together make every message appear.

A scenario is a function that brings a source and a target into being or changes them, and says with
which options the run goes. `Lab.capture()` does the run through tee_rsh.py and reads the capture.

    capture.py MOVER SCENARIO CAPTURE       makes one capture
"""

import os
import shlex
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import remote
import rig

HERE = os.path.dirname(os.path.abspath(__file__))
OLD = 1_600_000_000
KIB, MIB = 1 << 10, 1 << 20
SCENARIOS = {}
GOLDEN = {}
SLOW = "slow"


def scenario(function):
    """Registers a scenario under its name; some go on where the one before ended."""
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


def golden(function):
    """Registers a scenario of which a capture is kept: small, and able to stand alone."""
    GOLDEN[function.__name__.partition("_")[2].replace("_", "-")] = function
    return function


class Lab:
    """Pairs of a source and a target below a scratch directory, and the mover between them."""

    def __init__(self, mover, rng):
        self.mover, self.rng = mover, rng
        self.scratch = mover.scratch

    def pair(self, name):
        return Pair(self, name)

    def capture(self, pair, *options, verb="push", code=0, connections=1):
        """One run; the bytes of its capture."""
        path = self.mover.file("capture")
        script = self.script(path, pair, "receive" if verb == "push" else "send")
        ends = [pair.source, "peer:"] if verb == "push" else ["peer:", pair.target]
        common = ["--rsh", script, f"--connections={connections}"]
        self.mover.run(verb, *common, *options, *ends, timeout=100).need(code)
        return remote.read_file(path)

    def script(self, path, pair, role):
        root = pair.target if role == "receive" else pair.source
        words = [sys.executable, "-S", "-E", os.path.join(HERE, "tee_rsh.py"), path]
        words += [self.mover.binary, role, "--root" if role == "receive" else "--source", root]
        name = path + ".rsh"
        with open(name, "w", encoding="utf-8") as script:
            script.write("#!/bin/sh\nexec " + " ".join(map(shlex.quote, words)) + "\n")
        os.chmod(name, 0o755)
        return name


class Pair:
    """A source and a target, and ways to change the source. Paths are relative to it."""

    def __init__(self, lab, name):
        self.lab, self.rng = lab, lab.rng
        self.source = lab.scratch.sub(name, "source")
        self.target = lab.scratch.sub(name, "target")

    def at(self, rel, target=False):
        return os.path.join(self.target if target else self.source, rel)

    def write(self, rel, data, when=OLD, target=False):
        path = self.at(rel, target)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.utime(path, (when, when))

    def change(self, rel, edit, when=None):
        """Replaces the content of a file by edit(content); when: its new mtime, else now."""
        path = self.at(rel)
        with open(path, "rb") as file:
            data = edit(bytearray(file.read()))
        with open(path, "wb") as file:
            file.write(data)
        if when is not None:
            os.utime(path, (when, when))

    def random(self, count):
        return self.rng.randbytes(count)

    def push(self, *options, code=0):
        return self.lab.capture(self, *options, code=code)

    def settle(self, *options):
        """A run that is not looked at: makes the target what the source is."""
        self.push("--delete", *options)


def small_tree(pair, leaves=128 * KIB + 17):
    pair.write("empty", b"")
    pair.write("hello", b"hello\n")
    pair.write("leaves", pair.random(leaves))
    pair.write("dir/one", b"1" * 1000)
    pair.write("dir/sub/two", b"2" * 5000)
    pair.write("dir/sub/déjà \"vu\"\n", b"3")
    os.makedirs(pair.at("void/inner"))
    os.symlink("../hello", pair.at("dir/link"))
    os.symlink("nowhere", pair.at("dangling"))
    os.mkfifo(pair.at("pipe"))
    for name in ("first", "second", "dir/third"):
        if name == "first":
            pair.write(name, b"linked\n")
        else:
            os.link(pair.at("first"), pair.at(name))
    with open(pair.at("sparse"), "wb") as file:
        file.seek(256 * KIB)
        file.write(b"all before this is a hole")
    special(pair)
    os.chmod(pair.at("hello"), 0o4755)


def special(pair):
    """What not every user and filesystem can make."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(pair.at("socket"))
    try:
        os.setxattr(pair.at("hello"), "user.colour", b"green")
        os.setxattr(pair.at("hello"), "user.a", b"")
        tags = ((1, 7, -1), (2, 6, 1234), (4, 5, -1), (16, 7, -1), (32, 0, -1))
        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *tag) for tag in tags)
        os.setxattr(pair.at("dir/one"), "system.posix_acl_access", acl)
    except OSError as error:
        rig.note(f"without attributes and ACLs: {error}")
    if os.geteuid() == 0:
        os.mknod(pair.at("null"), 0o020666, os.makedev(1, 3))
        os.chown(pair.at("hello"), 1234, 70000)


def flip(at, count=1):
    def edit(data):
        for index in range(at, at + count):
            data[index] ^= 0xFF
        return data

    return edit


@scenario
def first(lab):
    """Everything that an entry can be, into an empty directory."""
    pair = lab.pair("first")
    small_tree(pair)
    return pair.push("--delete", "--itemize")


@scenario
def unchanged(lab):
    pair = lab.pair("first")
    return pair.push("--delete", "--itemize")


@scenario
def edits(lab):
    """New, changed, gone, of another type, other attributes; a directory that D does not have."""
    pair = lab.pair("first")
    pair.change("leaves", flip(70000))
    pair.change("dir/one", lambda data: data + b"more")
    pair.write("dir/new", b"new\n")
    pair.write("fresh/a/b", b"b" * 100)
    pair.write("fresh/big", pair.random(140 * KIB))
    os.unlink(pair.at("dangling"))
    pair.write("dangling", b"a file now")
    os.unlink(pair.at("dir/sub/two"))
    os.rmdir(pair.at("void/inner"))
    os.chmod(pair.at("hello"), 0o600)
    return pair.push("--delete", "--itemize")


@scenario
def kept(lab):
    """Without --delete what only the target has is left out of the digests."""
    pair = lab.pair("first")
    pair.write("only/here", b"x", target=True)
    pair.write("mine", b"x", target=True)
    pair.write("hello", b"hello again\n")
    return pair.push("--itemize", "--source-id=lab", "--sync-number=7")


@scenario
def in_place(lab):
    """Scattered pages of a big file: leaf and page sums, ranges of the old file, a journal."""
    pair = lab.pair("place")
    pair.write("big", pair.random(6 * MIB))
    pair.settle()
    for at in (5, 3 * MIB, 5 * MIB + 70000):
        pair.change("big", flip(at, 40))
    return pair.push("--in-place=always")


@scenario
def windows(lab):
    """A file of more than one window, sparse for the most part."""
    pair = lab.pair("windows")
    pair.write("wide", b"")
    with open(pair.at("wide"), "r+b") as file:
        file.truncate(140 * MIB)
        for at in (0, 70 * MIB, 139 * MIB):
            file.seek(at)
            file.write(pair.random(64 * KIB))
    os.utime(pair.at("wide"), (OLD, OLD))
    pair.settle()
    with open(pair.at("wide"), "r+b") as file:
        file.seek(70 * MIB + 10)
        file.write(b"changed")
    return pair.push()


@scenario
def shifted(lab):
    """Content at another offset: anchors, signatures of librsync."""
    pair = lab.pair("shifted")
    pair.write("shifted", pair.random(5 * MIB))
    pair.settle()
    pair.change("shifted", lambda data: pair.random(1000) + data)
    return pair.push("--in-place=never")


@scenario
def moved_far(lab):
    """More is put in front than a window is widened by: anchors find the rest."""
    pair = lab.pair("moved")
    pair.write("moved", pair.random(20 * MIB))
    pair.settle()
    pair.change("moved", lambda data: pair.random(3 * MIB) + data)
    return pair.push("--in-place=never")


@scenario
def credits(lab):
    """More than the windows of META and DATA hold, so that credit must come back."""
    pair = lab.pair("credits")
    for index in range(5):
        pair.write(f"big{index}", pair.random(4 * MIB))
    for index in range(4500):
        pair.write(f"d/{index:05}{'-' * 240}", b"")
    return pair.push("--itemize")


@scenario
def blocked(lab):
    """What can't be made is reported and left out: a full directory stands in the way."""
    pair = lab.pair("blocked")
    pair.write("name", b"a file")
    pair.write("other", b"another")
    pair.write("name/in/the/way", b"x", target=True)
    return pair.push("--itemize", code=3)


@scenario
def links(lab):
    """Hard links in other groups than before."""
    pair = lab.pair("links")
    for name in "abcdef":
        pair.write(f"d/{name}", b"the same everywhere")
    for group in ("ab", "cd", "ef"):
        os.unlink(pair.at(f"d/{group[1]}"))
        os.link(pair.at(f"d/{group[0]}"), pair.at(f"d/{group[1]}"))
    pair.settle()
    for old, new in (("a", "c"), ("b", "e")):
        os.unlink(pair.at(f"d/{new}"))
        os.link(pair.at(f"d/{old}"), pair.at(f"d/{new}"))
    return pair.push("--delete", "--itemize")


@scenario
def parted(lab):
    """One inode at the target is many files at the source, of the same content and time."""
    pair = lab.pair("parted")
    pair.write("x", b"same")
    for name in "yz":
        os.link(pair.at("x"), pair.at(name))
    pair.settle()
    os.unlink(pair.at("z"))
    pair.write("z", b"same")
    return pair.push("--delete", "--itemize")


@scenario
def deletions(lab):
    pair = lab.pair("deletions")
    for index in range(40):
        pair.write(f"d{index % 4}/f{index}", b"x" * index)
    pair.settle()
    for index in range(0, 40, 3):
        os.unlink(pair.at(f"d{index % 4}/f{index}"))
    return pair.push("--delete", "--itemize")


@scenario
def max_delete(lab):
    """Deletions that are not all allowed: kept entries are reported and left out."""
    pair = lab.pair("deletions")
    for index in (1, 2, 4, 5):
        os.unlink(pair.at(f"d{index % 4}/f{index}"))
    return pair.push("--delete", "--itemize", "--max-delete=2", code=25)


@scenario
def filters(lab):
    pair = lab.pair("filters")
    for name in ("keep.c", "drop.o", "sub/keep.h", "sub/drop.o", "cache/x", "sub/cache"):
        pair.write(name, name.encode())
    pair.write("stays.o", b"of the target", target=True)
    rules = ["--include=/sub/dr*.o", "--exclude=*.o", "--exclude=cache/"]
    return pair.push("--delete", "--itemize", *rules)


@scenario
def dry_run(lab):
    """What would be done, content compared too; then it is done."""
    pair = lab.pair("dry")
    small_tree(pair)
    pair.settle()
    pair.change("hello", flip(0), when=OLD)
    pair.write("plus/new", b"new" * 1000)
    os.unlink(pair.at("dir/one"))
    return pair.push("--delete", "--itemize", "--dry-run", "--checksum")


@scenario
def dry_first(lab):
    """A dry run into an empty directory: streams without content behind them."""
    pair = lab.pair("dry-first")
    small_tree(pair)
    return pair.push("--delete", "--itemize", "--dry-run")


@scenario
def checksum(lab):
    pair = lab.pair("dry")
    return pair.push("--delete", "--itemize", "--checksum")


@scenario
def nodes(lab):
    """One change among 3,000 names: parts of a directory are compared."""
    pair = lab.pair("nodes")
    for index in range(3000):
        pair.write(f"name{index:04}", b"")
    pair.settle()
    pair.write("name1234", b"no longer empty")
    os.unlink(pair.at("name2345"))
    return pair.push("--delete", "--itemize")


@scenario
def compressed(lab):
    pair = lab.pair("compressed")
    pair.write("text", b"all work and no play\n" * 30000)
    for index in range(5):
        pair.write(f"small{index}", b"makes a dull file\n" * 100 * index)
    return pair.push("--compress=3")


@scenario
def masked(lab):
    """Attributes that were not asked for are 0 on the wire."""
    pair = lab.pair("masked")
    small_tree(pair)
    off = ("owner", "group", "perms", "times", "acls", "xattrs", "hard-links", "specials")
    return pair.push("--delete", *(f"--no-{name}" for name in off))


@scenario
def pulled(lab):
    """The destination dials: OPTIONS come from the other side."""
    pair = lab.pair("pulled")
    small_tree(pair)
    return lab.capture(pair, "--delete", "--itemize", verb="pull")


@scenario
def pulled_again(lab):
    pair = lab.pair("pulled")
    pair.change("leaves", flip(100, 5000))
    pair.write("dir/sub/two", b"2" * 5001)
    return lab.capture(pair, "--delete", "--itemize", verb="pull")


@scenario
def lanes(lab):
    """More connections than one: they are introduced, then share the content."""
    pair = lab.pair("lanes")
    for index in range(8):
        pair.write(f"big{index}", pair.random(3 * MIB))
    return lab.capture(pair, connections=3)


@scenario
def slow(lab):
    """Longer than the time between two signs of life."""
    pair = lab.pair("slow")
    pair.write("slow", pair.random(2400 * KIB))
    return pair.push("--bwlimit=200K")


@scenario
def refused(lab):
    """The brake: ABORT in place of an answer."""
    pair = lab.pair("refused")
    pair.write("precious", b"x", target=True)
    return pair.push("--delete", code=5)


@golden
def golden_first(lab):
    pair = lab.pair("golden-first")
    small_tree(pair, 3000)
    return pair.push("--delete", "--itemize", "--exclude=*.o", "--include=/dir/")


@golden
def golden_edits(lab):
    """A change of every kind in one run, one of which can't be made."""
    pair = lab.pair("golden-edits")
    small_tree(pair, 3000)
    pair.write("big", pair.random(1 * MIB))
    pair.write("shifted", pair.random(100 * KIB))
    pair.write("aged", b"a" * 100)
    pair.settle()
    pair.change("big", flip(300 * KIB, 9))
    pair.change("shifted", lambda data: b"in front" + data)
    pair.change("aged", flip(50), when=OLD + 1)
    pair.write("fresh/a/b", b"b" * 100)
    pair.write("dir/new", b"new\n")
    os.unlink(pair.at("dir/sub/two"))
    os.unlink(pair.at("dangling"))
    pair.write("dangling", b"a file now")
    os.unlink(pair.at("second"))
    pair.write("second", b"linked\n")
    pair.write("blocked", b"no way")
    pair.write("blocked/by/this", b"x", target=True)
    return pair.push("--itemize", "--in-place=always", code=3)


@golden
def golden_nodes(lab):
    return nodes(lab)


def main(binary, name, path):
    with rig.Scratch("capture") as scratch:
        lab = Lab(remote.Mover(binary, scratch), rig.rng_for(name))
        data = {**SCENARIOS, **GOLDEN}[name](lab)
    with open(path, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    rig.run(main, *sys.argv[1:])
