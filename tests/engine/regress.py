# SPDX-License-Identifier: Apache-2.0
"""Shapes of trees that once made the engine hang, lie or lose something: source and destination over a
socket pair, without SSH. Each case ends within its time limit, in the right code, with equal trees.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rig

LIMIT = 120


class Pair:
    def __init__(self, scratch, binary, differ):
        self.base = scratch
        self.binary = binary
        self.differ = differ
        self.count = 0

    def fresh(self):
        self.count += 1
        base = os.path.join(self.base, f"case{self.count}")
        source, target = os.path.join(base, "source"), os.path.join(base, "target")
        os.makedirs(source)
        os.makedirs(target)
        return source, target

    def run(self, source, target, *options, expect=0, fault=None):
        env = dict(os.environ)
        if fault:
            env["SCRIBE_FAULT"] = fault
        command = [self.binary, *options, source, target]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=LIMIT, check=False, env=env
            )
        except subprocess.TimeoutExpired:
            subprocess.run(["pkill", "-9", "-f", source], check=False)
            raise rig.Failure(f"hangs: {' '.join(command)}") from None
        words = done.stderr.decode("utf-8", "replace")
        rig.check(
            done.returncode == expect,
            f"{' '.join(command)}: exit {done.returncode}, expected {expect}: {words[-600:]}",
        )
        return words

    def equal(self, source, target):
        done = subprocess.run([self.differ, source, target], capture_output=True, check=False)
        rig.check(done.returncode == 0, f"trees differ: {done.stdout[:600]!r}")


def write(path, data):
    with open(path, "wb") as out:
        out.write(data)


def many_middling_files(p):
    source, target = p.fresh()
    block = os.urandom(130000)
    for i in range(2200):
        write(os.path.join(source, f"f{i}"), i.to_bytes(4, "big") + block[4:])
    p.run(source, target)
    p.equal(source, target)


def young_files_again(p):
    source, target = p.fresh()
    for i in range(6000):
        write(os.path.join(source, f"f{i}"), b"x" * (i % 50))
    p.run(source, target, "-d")
    p.run(source, target, "-d")
    p.equal(source, target)


def changes_beside_new_directories(p):
    source, target = p.fresh()
    for d in range(24):
        os.mkdir(os.path.join(source, f"d{d}"))
        for i in range(300):
            write(os.path.join(source, f"d{d}", f"f{i}"), b"old")
    p.run(source, target, "-d")
    for d in range(24):
        for i in range(300):
            write(os.path.join(source, f"d{d}", f"f{i}"), b"new content")
        os.mkdir(os.path.join(source, f"d{d}", "sub"))
        for i in range(200):
            write(os.path.join(source, f"d{d}", "sub", f"n{i}"), b"x")
    p.run(source, target, "-d")
    p.equal(source, target)


def thousands_of_long_names_to_delete(p):
    source, target = p.fresh()
    for base in (source, target):
        os.mkdir(os.path.join(base, "a"))
    write(os.path.join(source, "a", "kept"), b"1")
    for i in range(200):
        write(os.path.join(source, f"keep{i}"), b"")
    for i in range(9000):
        write(os.path.join(target, "a", f"{i:05}" + "n" * 120), b"")
    p.run(source, target, "-d", expect=5)
    for i in range(9000):
        write(os.path.join(source, f"more{i}"), b"")
    p.run(source, target, "-d")
    p.equal(source, target)


def stealth_change(p):
    source, target = p.fresh()
    name = os.path.join(source, "f")
    write(name, b"hello")
    os.utime(name, (10**9, 10**9))
    p.run(source, target)
    write(name, b"HELLO")
    os.utime(name, (10**9, 10**9))
    p.run(source, target)
    with open(os.path.join(target, "f"), "rb") as got:
        rig.check(got.read() == b"hello", "the quick check looked at content")
    p.run(source, target, "-c")
    p.equal(source, target)


def failures_by_the_thousand(p):
    source, target = p.fresh()
    deep = os.path.join(source, "p" * 200, "q" * 200)
    os.makedirs(deep)
    for i in range(6000):
        write(os.path.join(deep, f"f{i}"), b"x")
    p.run(source, target, expect=3, fault="fchmod:EIO:0")
    p.run(source, target, "-d")
    p.equal(source, target)


def read_error_in_the_middle(p):
    source, target = p.fresh()
    write(os.path.join(source, "big"), os.urandom(24 << 20))
    write(os.path.join(source, "small"), b"x")
    words = p.run(source, target, expect=3, fault="pread:EIO:60")
    rig.check("big: cannot read" in words, words[-300:])
    p.run(source, target)
    p.equal(source, target)


def directory_that_cannot_be_made(p):
    source, target = p.fresh()
    for d in ("a", "b", "c"):
        os.makedirs(os.path.join(source, d, "sub"))
        write(os.path.join(source, d, "sub", "f"), b"1")
    p.run(source, target, expect=3, fault="mkdir:EACCES:3")
    p.run(source, target)
    p.equal(source, target)


def names_parted_there(p):
    source, target = p.fresh()
    for name, mode in (("A", 0o644), ("B", 0o600)):
        write(os.path.join(source, name), b"same")
        os.chmod(os.path.join(source, name), mode)
        os.utime(os.path.join(source, name), (10**9, 10**9))
    shutil.copy2(os.path.join(source, "A"), os.path.join(target, "A"))
    os.link(os.path.join(target, "A"), os.path.join(target, "B"))
    p.run(source, target, "-d")
    p.equal(source, target)


def mounts_survive_deletion(p):
    if os.geteuid() != 0:
        rig.note("mounts_survive_deletion: needs root, left out")
        return
    source, target = p.fresh()
    mount = os.path.join(target, "m")
    os.mkdir(mount)
    write(os.path.join(source, "f"), b"1")
    subprocess.run(["mount", "-t", "tmpfs", "none", mount], check=True)
    try:
        write(os.path.join(mount, "precious"), b"1")
        for options in (("-d",), ("-d", "-X")):
            done = subprocess.run(
                [p.binary, *options, source, target], capture_output=True, timeout=LIMIT, check=False
            )
            rig.check(
                os.path.exists(os.path.join(mount, "precious")),
                f"{options}: deleted across a mount, exit {done.returncode}",
            )
    finally:
        subprocess.run(["umount", mount], check=True)


def killed_and_recovered(p):
    """Old or new by content after any kill, nothing stray after the next run."""
    rng = rig.rng_for("killed", 1)
    for way in ("-J", "-N"):
        source, target = p.fresh()
        for i in range(6):
            write(os.path.join(source, f"f{i}"), os.urandom(3 << 20))
        p.run(source, target)
        for number in range(4):
            old = {n: open(os.path.join(target, n), "rb").read() for n in os.listdir(source)}
            for i in range(6):
                with open(os.path.join(source, f"f{i}"), "r+b") as out:
                    for _ in range(3):
                        out.seek(rng.randrange(700) * 4096)
                        out.write(os.urandom(9000))
            new = {n: open(os.path.join(source, n), "rb").read() for n in os.listdir(source)}
            child = subprocess.Popen(
                [p.binary, way, "-d", source, target],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            time.sleep(rng.uniform(0.03, 0.35))
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for name, data in old.items():
                with open(os.path.join(target, name), "rb") as got:
                    now = got.read()
                torn = now not in (data, new[name])
                rig.check(not torn or way == "-J", f"{way} kill {number}: {name} is neither")
            p.run(source, target, way, "-d")
            p.equal(source, target)
            stray = [n for n in os.listdir(target) if n.startswith(".scribe")]
            rig.check(not stray, f"{way} kill {number}: left behind {stray}")


CASES = [
    many_middling_files,
    young_files_again,
    changes_beside_new_directories,
    thousands_of_long_names_to_delete,
    stealth_change,
    failures_by_the_thousand,
    read_error_in_the_middle,
    directory_that_cannot_be_made,
    names_parted_there,
    mounts_survive_deletion,
    killed_and_recovered,
]


def body(args):
    with rig.Scratch("regress") as scratch:
        pair = Pair(scratch.path, args.binary, args.differ)
        for case in CASES:
            if args.only and case.__name__ not in args.only.split(","):
                continue
            started = time.monotonic()
            case(pair)
            rig.note(f"{case.__name__}: ok, {time.monotonic() - started:.1f} s")
        rig.note(f"{len(CASES)} cases")


if __name__ == "__main__":
    PARSER = argparse.ArgumentParser(description=__doc__)
    PARSER.add_argument("binary", help="enginepair")
    PARSER.add_argument("differ", help="treediff")
    PARSER.add_argument("--only", default="")
    rig.run(body, PARSER.parse_args())
