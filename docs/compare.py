#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scribe-mover and rsync side by side: bytes on the wire and time, on the same trees in one run.

    docs/compare.py build/release/bin/scribe-mover [--files 100000] [--mib 256] [--rounds 3]

Both log in to OpenSSH's sshd on loopback with the same cipher (aes128-gcm); a third column of times has
scribe-mover against its own `serve`. Bytes are counted by a relay at the socket, handshakes included,
in a run of their own; times are medians of --rounds further runs, taken in turn and without the relay.
Needs root (sshd logs in as root). SCRIBE_TEST_DIR chooses the filesystem, else TMPDIR.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "lib"))
sys.dont_write_bytecode = True
import plain
import relay
import remote
import rig
import stage

RSYNC = ["rsync", "-aAXHSx", "--numeric-ids", "--delete"]
MIB = 1 << 20


class PlainSshd(remote.Sshd):
    """sshd without a forced command, for rsync."""

    def __init__(self, mover, keys):
        super().__init__(mover, keys, root="/")
        shutil.copyfile(keys.user + ".pub", self.authorized)


class Contest:
    """One source, a target per program, and how each program brings it up to date."""

    def __init__(self, s, name):
        self.s, self.name = s, name
        self.source = s.sub(name, "source")
        self.targets = {who: s.sub(name, who) for who in ("rsync", "sshd", "serve")}

    def rsync(self, peer, port):
        shell = (
            f"ssh -F none -p {port} -i {peer.keys.user} -c aes128-gcm@openssh.com -o LogLevel=ERROR "
            "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        )
        command = [*RSYNC, "-e", shell, self.source + "/", f"root@127.0.0.1:{self.targets['rsync']}/"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=3600)
        rig.check(done.returncode == 0, f"rsync ended with {done.returncode}: {done.stderr[-500:]}")

    def push(self, peer, port):
        self.s.push(peer, self.source, "--delete", "--quiet", port=port, timeout=3600).need(0)

    def peer(self, who):
        if who == "rsync":
            return PlainSshd(self.s.mover, self.s.keys), self.rsync
        if who == "sshd":
            return self.s.sshd(root=self.targets[who]), self.push
        return self.s.serve(root=self.targets[who]), self.push

    def seconds(self, who):
        peer, transfer = self.peer(who)
        with peer:
            started = time.monotonic()
            transfer(peer, peer.port)
            return time.monotonic() - started

    def wire(self, who):
        peer, transfer = self.peer(who)
        with peer, relay.Relay(("127.0.0.1", peer.port)) as line:
            transfer(peer, line.port)
            line.settle()
            return line.total

    def empty(self):
        for target in self.targets.values():
            shutil.rmtree(target)
            os.mkdir(target)

    def measure(self, what, change, rounds):
        """change(n) makes the n-th difference between the source and the targets."""
        wires, times = {}, {who: [] for who in self.targets}
        for number in range(rounds + 1):
            change(number)
            for who in self.targets:
                if number == 0:
                    wires[who] = self.wire(who)
                else:
                    times[who].append(self.seconds(who))
        self.s.equal(self.source, self.targets["sshd"], what)
        middle = {who: statistics.median(times[who]) for who in times}
        print(
            f"{what:<44}{wires['rsync']:>14,}{wires['sshd']:>14,}"
            f"{middle['rsync']:>9.2f}{middle['sshd']:>9.2f}{middle['serve']:>9.2f}",
            flush=True,
        )


def small_files(s, args):
    c = Contest(s, "small")
    plain.many_files(c.source, args.files, size=40)
    victim = os.path.join(c.source, "d00000", "f000007")

    def touch(_):
        with open(victim, "ab") as file:
            file.write(b"more\n")

    count = f"{args.files:,} files"
    c.measure(f"{count} of 40 B: first copy", lambda _: c.empty(), args.rounds)
    c.measure(f"{count}: nothing changed", lambda _: None, args.rounds)
    c.measure(f"{count}: one appended to", touch, args.rounds)


def big_file(s, args):
    c = Contest(s, "big")
    size, path = args.mib * MIB, os.path.join(c.source, "image")
    rng = rig.rng_for("compare", rig.seed_of())
    plain.random_file(path, rng, size)

    def insert(number):
        old, middle = s.file("old"), size // 2 + 12345 + number * 777
        os.rename(path, old)
        with open(path, "wb") as out:
            plain.append_part(out, old, 0, middle)
            out.write(rng.randbytes(1000))
            plain.append_part(out, old, middle, os.path.getsize(old) - middle)
        os.unlink(old)

    def pages(_):
        with open(path, "r+b") as file:
            for _ in range(500):
                file.seek(rng.randrange(size // 4096) * 4096)
                file.write(rng.randbytes(4096))

    def move(_):
        old, part = s.file("old"), size * 100 // 256
        os.rename(path, old)
        with open(path, "wb") as out:
            whole = os.path.getsize(old)
            plain.append_part(out, old, whole - part, part)
            plain.append_part(out, old, 0, whole - part)
        os.unlink(old)

    name = f"{args.mib} MiB"
    c.measure(f"{name} of random bytes: first copy", lambda _: c.empty(), args.rounds)
    c.measure(f"{name}: 500 pages of 4 KiB rewritten", pages, args.rounds)
    c.measure(f"{name}: 1,000 B inserted in the middle", insert, args.rounds)
    c.measure(f"{name}: the last 39 % moved to the start", move, args.rounds)


def body(args):
    rig.need_root("sshd logs in as root")
    rig.need_tool("rsync", "sshd", "ssh")
    with stage.Stage("compare", args.binary) as s:
        print(f"{'':<44}{'bytes on the wire':>28}{'seconds':>27}")
        print(f"{'':<44}{'rsync':>14}{'ours':>14}{'rsync':>9}{'ours':>9}{'to serve':>9}")
        small_files(s, args)
        big_file(s, args)


if __name__ == "__main__":
    PARSER = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    PARSER.add_argument("binary", help="a release build of scribe-mover")
    PARSER.add_argument("--files", type=int, default=100000)
    PARSER.add_argument("--mib", type=int, default=256)
    PARSER.add_argument("--rounds", type=int, default=3)
    rig.run(body, PARSER.parse_args())
