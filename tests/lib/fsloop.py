# SPDX-License-Identifier: Apache-2.0
"""Filesystems on loop devices (and memory), mounted privately and taken down whatever happens."""

import os
import subprocess

import rig

MIB = 1 << 20
MKFS = {
    "ext4": (["mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-m", "0"], 512 * MIB),
    "ext4-128": (["mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "128", "-m", "0"], 256 * MIB),
    "xfs": (["mkfs.xfs", "-q", "-m", "reflink=1,bigtime=1"], 512 * MIB),
    "btrfs": (["mkfs.btrfs", "-q"], 1024 * MIB),
}
MEMORY = ("tmpfs", "ramfs")


class Filesystem:
    """One mounted filesystem; `.path` is its mount point. Context manager."""

    def __init__(self, kind, directory, name, size=None, options=""):
        self.kind = kind
        self.path = os.path.join(directory, name)
        self.image = None if kind in MEMORY else self.path + ".img"
        self.size = size
        self.options = options
        self.mounted = False

    def _command(self):
        if self.image is None:
            options = self.options or ("mode=755" if self.kind == "ramfs" else "mode=755,size=512m")
            return ["mount", "-t", self.kind, "-o", options, self.kind, self.path]
        options = "loop" + ("," + self.options if self.options else "")
        return ["mount", "-o", options, self.image, self.path]

    def _format(self):
        command, size = MKFS[self.kind]
        rig.need_tool(command[0])
        with open(self.image, "wb") as image:
            image.truncate(self.size or size)
        done = subprocess.run(
            [rig.find_tool(command[0]), *command[1:], self.image],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise rig.Skip(f"{command[0]} failed: {done.stderr.strip()}")

    def __enter__(self):
        if self.image:
            self._format()
        os.makedirs(self.path, exist_ok=True)
        done = subprocess.run(self._command(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise rig.Skip(f"{self.kind} can't be mounted here: {done.stderr.strip()}")
        self.mounted = True
        return self

    def __exit__(self, kind, error, trace):
        if self.mounted:
            subprocess.run(["umount", self.path], capture_output=True, check=False)
            subprocess.run(["umount", "-l", self.path], capture_output=True, check=False)
        if kind and issubclass(kind, Exception) and self.image:
            rig.note(f"to look at it: mount -o loop {self.image} {self.path}")
