# SPDX-License-Identifier: Apache-2.0
"""Who says that two trees are equal: the project's own exact comparer, and rsync.

rsync's xattr rules: one rule with the modifier x turns its built-in choice of namespaces off, so
system.* (ACLs travel by -A) has to be named again.
"""

import os
import subprocess

import rig

RSYNC_LOOK = ["-nicaAXHS", "--modify-window=-1", "--delete", "--numeric-ids"]
RSYNC_COPY = ["-aAXHS", "--modify-window=-1", "--delete", "--numeric-ids"]
RSYNC_RULES = [
    "--filter=-x system.*", "--filter=-x trusted.*", "--filter=-xr user.scribe-mover.*",
    "--exclude=/lost+found",
]


def rsync(options, source, target, timeout=600):
    """Runs rsync SOURCE/ TARGET/; (exit code, stdout lines, stderr)."""
    rig.need_tool("rsync")
    command = ["rsync", *options, os.fspath(source) + "/", os.fspath(target) + "/"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=timeout)
    return done.returncode, [line for line in done.stdout.split(b"\n") if line], done.stderr


def rsync_differences(source, target, excludes=()):
    """What rsync would still change; [] when it finds nothing to do."""
    rules = [f"--exclude={pattern}" for pattern in excludes]
    code, lines, errors = rsync(RSYNC_LOOK + RSYNC_RULES + rules, source, target)
    if code:
        lines.append(b"rsync ended with %d: %s" % (code, errors.strip()))
    return [line.decode("utf-8", "backslashreplace") for line in lines]


def rsync_copy(source, target, *options, excludes=()):
    """rsync as a stand-in for the mover, to try a rig out."""
    rules = [f"--exclude={pattern}" for pattern in excludes]
    code, lines, errors = rsync([*RSYNC_COPY, *options, *RSYNC_RULES, *rules], source, target)
    rig.check(code == 0, lambda: f"rsync ended with {code}: {errors.decode(errors='replace')}")
    return lines


class Differ:
    """`command` is ["…/scribe-mover", "diff"] or ["…/treediff"]: exit 0 equal, 1 differs."""

    def __init__(self, command):
        self.command = list(command)

    def differences(self, a, b, timeout=600):
        """Lines that name what differs; [] when equal."""
        command = [*self.command, os.fspath(a), os.fspath(b)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=timeout)
        output = (done.stdout + done.stderr).decode("utf-8", "backslashreplace").splitlines()
        rig.check(
            done.returncode in (0, 1),
            lambda: f"{' '.join(command)} ended with {done.returncode}: {output[-5:]}",
        )
        rig.check(done.returncode == 0 or output, f"{' '.join(command)}: exit 1 and not a word")
        return output if done.returncode else []


def forget_cached_inodes(path):
    """XFS reports space that it set aside for copy-on-write as data, so a hole of a patched clone may
    not show (SEEK_HOLE) until the inode leaves the cache; on disk it is a hole all along."""
    drop = "/proc/sys/vm/drop_caches"
    if rig.filesystem_type(path) == "xfs" and os.access(drop, os.W_OK):
        os.sync()
        with open(drop, "w", encoding="ascii") as control:
            control.write("3")


def check_equal(differ, source, target, what, excludes=()):
    """Both oracles; raises Failure with the first lines of either."""
    forget_cached_inodes(target)
    mine = differ.differences(source, target) if differ else []
    rig.check(not mine, lambda: f"{what}: diff says\n  " + "\n  ".join(mine[:20]))
    theirs = rsync_differences(source, target, excludes)
    rig.check(not theirs, lambda: f"{what}: rsync says\n  " + "\n  ".join(theirs[:20]))
