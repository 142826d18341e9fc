# SPDX-License-Identifier: Apache-2.0
"""What every end-to-end test stands on: pass, fail, skip, scratch space, clean endings."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

SKIP = 77
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """The machine can't run this test; the text says why."""


class Failure(Exception):
    """The thing under test is wrong; the text says what was expected and what was seen."""


def check(condition, message):
    if not condition:
        raise Failure(message() if callable(message) else message)


def note(*words):
    print(*words, flush=True)


def need_root(why="owners, devices and mounts need it"):
    if os.geteuid() != 0:
        raise Skip(f"needs root: {why}")


def need_tool(*tools):
    for tool in tools:
        if not find_tool(tool):
            raise Skip(f"needs the program {tool}")


def find_tool(tool):
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def die_with_parent():
    """For preexec_fn: no server outlives a test that was killed."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def private_mounts():
    """Mounts made from here on are seen by this process tree only and vanish with it."""
    need_root("mounts")
    clone_newns, ms_rec, ms_private = 0x00020000, 0x4000, 0x40000
    if _libc.unshare(clone_newns) != 0:
        raise Skip(f"no private mount namespace: {os.strerror(ctypes.get_errno())}")
    if _libc.mount(b"none", b"/", None, ms_rec | ms_private, None) != 0:
        raise Skip(f"mounts can't be made private: {os.strerror(ctypes.get_errno())}")


def base_dir():
    return os.environ.get("SCRIBE_TEST_DIR") or tempfile.gettempdir()


class Scratch:
    """A directory for one test. Removed at the end, kept if the body failed or SCRIBE_KEEP=1."""

    def __init__(self, name, where=None):
        self.path = tempfile.mkdtemp(prefix=f"scribe-{name}-", dir=where or base_dir())
        os.chmod(self.path, 0o755)

    def sub(self, *parts):
        path = os.path.join(self.path, *parts)
        os.makedirs(path, exist_ok=True)
        return path

    def file(self, *parts):
        return os.path.join(self.path, *parts)

    def remove(self):
        subprocess.run(["rm", "-rf", "--one-file-system", self.path], check=False)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        kept = os.environ.get("SCRIBE_KEEP") == "1"
        if kept or (kind and not issubclass(kind, (Skip, SystemExit, KeyboardInterrupt))):
            note(f"state kept in {self.path}")
            return
        self.remove()


def seed_of(args_seed=None):
    """The seed of this run: argument, SCRIBE_SEED, else 1. Always printed."""
    seed = args_seed if args_seed is not None else int(os.environ.get("SCRIBE_SEED", "1"))
    note(f"seed {seed}")
    return seed


def rng_for(*words):
    return random.Random("/".join(map(str, words)))


def eventually(test, seconds, what):
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def _on_signal(number, _frame):
    raise SystemExit(128 + number)


def run(body, *args):
    """Calls body and ends the process: 0 passed, 1 failed, 77 skipped with the reason on stdout.

    SIGTERM, SIGHUP and SIGINT unwind like an exception, so that mounts and servers are taken down.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _on_signal)
    started = time.monotonic()
    try:
        body(*args)
    except Skip as reason:
        note(f"skipped: {reason}")
        sys.exit(SKIP)
    except Failure as error:
        note(f"FAILED: {error}")
        for entry in traceback.extract_tb(error.__traceback__):
            note(f"  at {os.path.basename(entry.filename)}:{entry.lineno} {entry.name}")
        sys.exit(1)
    note(f"passed in {time.monotonic() - started:.1f} s")
    sys.exit(0)


@contextlib.contextmanager
def umask(value):
    old = os.umask(value)
    try:
        yield
    finally:
        os.umask(old)


def filesystem_type(path):
    """The type of the filesystem that holds path, as in /proc/self/mountinfo; "" if unknown."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return ""
