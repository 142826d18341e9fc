# SPDX-License-Identifier: Apache-2.0
"""The usual set-up of an end-to-end test, in a few lines.

def body(args):
    with stage.Stage("shifts", args.binary) as s:
        with s.serve(root=target) as peer:
            s.push(peer, source, "--delete").need(0)

rig.run(body, stage.arguments("what this test shows"))
"""

import argparse
import os
import shlex
import sys

import oracle
import remote
import rig

HERE = os.path.dirname(os.path.abspath(__file__))


def parser(description):
    """Options which every test has: the binary and, for what must be weighed, a release build."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("binary", help="scribe-mover under test")
    made.add_argument(
        "release", nargs="?", default="", help="release build of it, for memory and full sizes"
    )
    made.add_argument("--seed", type=int)
    return made


def arguments(description):
    return parser(description).parse_args()


def weighable(args):
    """The binary whose memory says something: a build without sanitizers; None if there is none."""
    for binary in (args.release, args.binary):
        if binary and os.path.exists(binary) and not remote.sanitized(binary):
            return binary
    return None


class Stage:
    """Scratch directory, mover, keys and oracle of one test."""

    def __init__(self, name, binary):
        self.name, self.binary = name, binary

    def __enter__(self):
        self.scratch = rig.Scratch(self.name).__enter__()
        try:
            self.mover = remote.Mover(self.binary, self.scratch)
            self.keys = remote.Keys(self.mover, self.scratch.sub("keys"))
        except BaseException:
            self.scratch.remove()
            raise
        self.differ = oracle.Differ([self.mover.binary, "diff"])
        self.push, self.pull, self.run = self.mover.push, self.mover.pull, self.mover.run
        return self

    def __exit__(self, *error):
        return self.scratch.__exit__(*error)

    def sub(self, *parts):
        return self.scratch.sub(*parts)

    def file(self, *parts):
        return self.scratch.file(*parts)

    def serve(self, **keywords):
        return remote.Serve(self.mover, keywords.pop("keys", self.keys), **keywords)

    def sshd(self, **keywords):
        return remote.Sshd(self.mover, self.keys, **keywords)

    def equal(self, source, target, what, excludes=()):
        oracle.check_equal(self.differ, source, target, what, excludes)

    def counting_rsh(self, counts, *command):
        """A program for --rsh: it runs `command` here and leaves the byte counts in a file."""
        path = self.mover.file("rsh")
        words = [sys.executable, os.path.join(HERE, "rshcount.py"), counts, *command]
        with open(path, "w", encoding="utf-8") as script:
            script.write("#!/bin/sh\nexec " + " ".join(map(shlex.quote, words)) + "\n")
        os.chmod(path, 0o755)
        return path


def within(value, expected, part):
    return abs(value - expected) <= expected * part


def mib(count):
    return f"{count / (1 << 20):.1f} MiB"
