# SPDX-License-Identifier: Apache-2.0
"""The pair of trees that mutations work on, how they choose objects in it, and their register."""

import os
import stat

import anypath
import objects
from tree import DEEP, HUGE

MIB = objects.MIB
BIG_TREE = 60
MUTATIONS = {}
RECORD = "user.scribe-mover."


def mutation(name):
    """Registers fn(world) -> description, or None when there was nothing it could be done to.

    One that returns None may have prepared the tree so that it can be done in a later round.
    """

    def register(function):
        if name in MUTATIONS:
            raise ValueError(f"two mutations named {name}")
        MUTATIONS[name] = function
        return function

    return register


def top(rel):
    return rel.partition(b"/")[0]


def ordinary(rel):
    """May be moved, removed or replaced as a whole: neither the root nor the special corners."""
    return rel and top(rel) not in (DEEP, HUGE)


class World:
    """Source and target directory plus the random choices of one run.

    A mutation names objects by relative path and reaches them through `at`, so deep paths work.
    """

    def __init__(self, source, target, rng, limits):
        self.source, self.target = os.fsencode(source), os.fsencode(target)
        self.rng, self.limits = rng, limits
        self.serial = 0

    def at(self, rel, side=None):
        return anypath.at(side or self.source, rel)

    def name(self):
        """A name that was never used before in this run; some are ugly."""
        self.serial += 1
        ugly = self.rng.choice([b"", b"", b"", b" \n", b"\xff", b"-", b"'\"", "é".encode()])
        return b"new%d%s" % (self.serial, ugly)

    def entries(self, side=None):
        return list(anypath.walk(side or self.source))

    def pick(self, *kinds, test=None, side=None, structural=False):
        """A random (rel, lstat) of the kinds for which test(rel, st) holds; None if there is none.

        structural=True keeps away from what must stay where it is.
        """
        found = [
            (rel, st)
            for rel, st in self.entries(side)
            if rel and objects.kind_of(st) in kinds and (not structural or ordinary(rel))
        ]
        self.rng.shuffle(found)
        return next((f for f in found if test is None or test(*f)), None)

    def directory(self, side=None):
        """A random directory that may get children: not in the corner of huge files."""
        found = [
            rel
            for rel, st in self.entries(side)
            if stat.S_ISDIR(st.st_mode) and top(rel) != HUGE and (top(rel) != DEEP or rel == DEEP)
        ]
        return self.rng.choice(found)

    def data_file(self, test=None, minimum=1, side=None, structural=False):
        """A regular file of a size that can be rewritten in a moment."""
        return self.pick(
            "file",
            side=side,
            structural=structural,
            test=lambda rel, st: (
                minimum <= st.st_size < 8 * MIB and (test is None or test(rel, st))
            ),
        )

    def small_tree(self, side=None, empty=None):
        """A directory that may go as a whole. empty=True or False asks for that."""
        sizes = {}
        for rel, _ in self.entries(side):
            while rel:
                rel = anypath.parent(rel)
                sizes[rel] = sizes.get(rel, 0) + 1
        return self.pick(
            "dir",
            side=side,
            structural=True,
            test=lambda rel, st: (
                sizes.get(rel, 0) <= BIG_TREE and empty in (None, not sizes.get(rel, 0))
            ),
        )

    def groups(self, side=None, kinds=("file",)):
        """Hard-link groups as sorted lists of names, in a fixed order."""
        found = {}
        for rel, st in self.entries(side):
            if st.st_nlink > 1 and objects.kind_of(st) in kinds:
                found.setdefault(st.st_ino, []).append(rel)
        return sorted(sorted(group) for group in found.values() if len(group) > 1)

    def create(self, kind, side=None, where=None):
        """A new object in a random directory; its path."""
        rel = anypath.join(self.directory(side) if where is None else where, self.name())
        with self.at(rel, side) as path:
            objects.make(path, kind, self.rng)
        return rel

    def user_xattrs(self, rel, side=None):
        with self.at(rel, side) as path:
            return [
                n
                for n in os.listxattr(path, follow_symlinks=False)
                if n.startswith("user.") and not n.startswith(RECORD)
            ]

    def has_xattr(self, rel, name, side=None):
        with self.at(rel, side) as path:
            return name in os.listxattr(path, follow_symlinks=False)


def alike(a, b):
    """True when a mover's quick check would take one of the two files for the other."""
    return a.st_size == b.st_size and a.st_mtime_ns == b.st_mtime_ns
