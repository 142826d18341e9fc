# SPDX-License-Identifier: Apache-2.0
"""The torture tree: a seeded directory tree with one of everything a volume may hold.

tree.py DIRECTORY [--seed S] [--scale N] [--no-deep] [--no-huge] [--lookalikes]
"""

import argparse
import errno
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import anypath
import rig
from objects import (
    ACCESS, CAPABILITY, DEFAULT, FULL, IDS, KEEP_SIZE, KIB, MIB, PUNCH_HOLE,
    Limits,
    acl_bytes,
    bound_socket,
    capability,
    fallocate,
    make,
    random_acl,
    random_mtime,
    some_data,
    text_data,
    write_file,
    write_sparse,
)
from objects import GROUP_OBJ, MASK, OTHER, UNDEFINED, USER_OBJ

# Beyond what rsync copes with (its paths end at PATH_MAX, it reads holes in full): its second
# opinion leaves these two out, nothing else does.
DEEP, HUGE = b"deep", b"huge"
NAMES = [
    b" ", b" lead", b"trail ", b"two  spaces", b"new\nline", b"\n", b"tab\there", b"cr\rhere",
    b"-rf", b"--delete", b"-", b":colon", b"host:path", b"*", b"?", b"[a]", b"[", b"back\\slash",
    b"\\", b"'", b'"', b"`$(false)`", b"$HOME", b"#", b"~", b"...", b"..x", b".hidden", b"%",
    b"%n%s", b"\x01", b"\x1b[31mred", b"\x7f", b"\xff", b"\xff\xfe\x80", b"caf\xe9",
    "café".encode(), "cafe\u0301".encode(), "名前".encode(), "\U0001f512".encode(),
    b"Case", b"case", b"CASE", b"\xc3", b"\xed\xa0\x80", b"CON", b"nul.", b"a=b", b"a,b;c&d|e",
    b"x" * 255,
    b"x" * 254 + b"y", b"y" * 254 + b"\n", "é".encode() * 127 + b"z", b".nfs000001", b"core", b"_",
]
LOOKALIKES = [b".scribe-0123456789abcdef-1", b".scribe-1-1", b".scribe-mover"]
SIZES = [
    0, 1, 2, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 65535, 65536, 65537, 131071,
    131072, 131073, MIB - 1, MIB, MIB + 1,
]


class Builder:
    """Fills one empty directory. Directory times are kept and set at the very end."""

    def __init__(self, root, rng, scale=1.0, deep=True, huge=True, lookalikes=False):
        self.root = os.fsencode(root)
        self.rng, self.scale = rng, scale
        self.deep, self.huge, self.lookalikes = deep, huge, lookalikes
        self.limits = Limits(root)

    def path(self, *parts):
        return b"/".join((self.root, *parts))

    def dir(self, *parts):
        path = self.path(*parts)
        os.makedirs(path, exist_ok=True)
        return path

    def file(self, path, size=None):
        data = some_data(self.rng, self.rng.randrange(3000) if size is None else size)
        write_file(path, data)
        self.date(path)

    def date(self, path, mtime=None):
        mtime = random_mtime(self.rng) if mtime is None else mtime
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)

    def attribute(self, path, name, value):
        """Sets an xattr if it still fits there."""
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in FULL:
                raise

    def build(self):
        for part in (
            self.names, self.sizes, self.sparse, self.modes, self.owners, self.links, self.twins,
            self.symlinks, self.xattrs, self.acls, self.special, self.empties, self.bulk,
        ):
            part()
        if self.deep:
            self.deep_path()
        if self.huge:
            self.huge_files()
        if self.lookalikes:
            for name in LOOKALIKES[:2]:
                self.file(self.path(b"names", name))
        self.times()
        os.makedirs(self.path(b"lost+found"), exist_ok=True)
        write_file(self.path(b"lost+found", b"#12345"), b"stays where it is\n")
        self.directory_times()

    def names(self):
        base = self.dir(b"names")
        for name in NAMES:
            self.file(base + b"/" + name, self.rng.randrange(200))
        inside = self.dir(b"names as directories")
        for name in NAMES:
            os.mkdir(inside + b"/" + name)
            self.file(inside + b"/" + name + b"/" + name, 10)
        linked = self.dir(b"names as links")
        for name in NAMES[::5]:
            os.symlink(name, linked + b"/" + name)

    def sizes(self):
        base = self.dir(b"sizes")
        for size in SIZES:
            write_file(base + b"/random-%d" % size, self.rng.randbytes(size))
            write_file(base + b"/text-%d" % size, text_data(self.rng, size))
        write_file(base + b"/zeros", bytes(200 * KIB))
        for name in os.listdir(base):
            self.date(base + b"/" + name)

    def sparse(self):
        base = self.dir(b"sparse")
        block = self.rng.randbytes(64 * KIB)
        shapes = {
            b"start": (MIB, [(MIB - 64 * KIB, block)]),
            b"middle": (MIB, [(0, block), (MIB - 64 * KIB, block)]),
            b"end": (MIB, [(0, block)]),
            b"all": (2 * MIB, []),
            b"all-odd": (2 * MIB + 77, []),
            b"many": (4 * MIB, [(n * 256 * KIB, block[:4096]) for n in range(16)]),
            b"unaligned": (MIB, [(100001, block[:30000]), (700003, block[:5])]),
            b"small": (8192, [(8191, b"x")]),
        }
        for name, (size, pieces) in shapes.items():
            write_sparse(base + b"/" + name, size, pieces)
        self.allocated(base)
        for name in os.listdir(base):
            self.date(base + b"/" + name)

    def allocated(self, base):
        """Allocated but unwritten space, and a hole punched into data."""
        try:
            with open(base + b"/unwritten", "wb") as file:
                fallocate(file.fileno(), 0, 0, MIB)
                file.write(b"head")
            with open(base + b"/beyond-the-end", "wb") as file:
                file.write(b"short")
                fallocate(file.fileno(), KEEP_SIZE, 0, MIB)
            write_file(base + b"/punched", self.rng.randbytes(MIB))
            with open(base + b"/punched", "r+b") as file:
                fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, 256 * KIB, 384 * KIB)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise

    def modes(self):
        base = self.dir(b"modes")
        modes = [
            0, 0o111, 0o222, 0o400, 0o444, 0o555, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o6711,
            0o7777,
        ]
        for mode in modes:
            for kind in (b"file", b"dir"):
                path = base + b"/%s-%04o" % (kind, mode)
                if kind == b"dir":
                    os.mkdir(path)
                    self.file(path + b"/inside", 5)
                else:
                    self.file(path)
                os.chmod(path, mode)

    def owners(self):
        if not self.limits.root:
            return
        base = self.dir(b"owners")
        for number, uid in enumerate(IDS):
            gid = IDS[-number - 1]
            for kind in ("file", "dir-empty", "symlink", "fifo"):
                path = base + b"/%s-%d-%d" % (kind.encode(), uid, gid)
                make(path, kind, self.rng)
                os.chown(path, uid, gid, follow_symlinks=False)
                if kind == "file":
                    os.chmod(path, self.rng.choice([0o4755, 0o2755, 0o6755, 0o644]))
                self.date(path)

    def links(self):
        base = self.dir(b"links")
        across = self.dir(b"links", b"z", b"far")
        for number in range(6):
            first = base + b"/group%d-a" % number
            self.file(first, self.rng.choice([0, 100, 70000]))
            for name in (base + b"/group%d-b" % number, across + b"/group%d-c" % number):
                os.link(first, name)
        many = base + b"/many-000"
        self.file(many, 100)
        for number in range(1, 60):
            os.link(many, base + b"/many-%03d" % number)
        for kind in ("symlink", "fifo", "socket") + (("chardev",) if self.limits.root else ()):
            name = b"%s/%s" % (base, kind.encode())
            make(name, kind, self.rng)
            self.date(name)
            os.link(name, across + b"/linked-" + kind.encode(), follow_symlinks=False)

    def twins(self):
        """Two groups with the same content and attributes: only membership tells them apart."""
        for number in range(3):
            base = self.dir(b"twins", b"set%d" % number)
            data, mtime = some_data(self.rng, 5000), random_mtime(self.rng)
            for first, second in ((b"a", b"b"), (b"c", b"d")):
                write_file(base + b"/" + first, data)
                self.date(base + b"/" + first, mtime)
                os.link(base + b"/" + first, base + b"/" + second)

    def symlinks(self):
        base = self.dir(b"symlinks")
        targets = {
            b"dangling": b"nowhere",
            b"absolute": b"/etc/hostname",
            b"loop": b"loop",
            b"dir": b"../sizes",
            b"up": b"../../../../..",
            b"space": b" a b ",
            b"bytes": b"\xff\n\x01",
            b"slash": b"x/",
            b"dot": b".",
            b"long": b"l" * self.limits.link_max,
            b"long-path": (b"d/" * 4000)[: self.limits.link_max],
        }
        for name, target in targets.items():
            os.symlink(target, base + b"/" + name)
            self.date(base + b"/" + name)

    def xattrs(self):
        if not self.limits.xattr_max:
            return
        base = self.dir(b"xattrs")
        shapes = {
            b"empty-value": [("user.empty", b"")],
            b"bytes": [("user.bytes", bytes(range(256)))],
            b"named-" + b"n" * 200: [("user." + "n" * 250, b"v")],
            b"many": [(f"user.k{n:02}", b"%d" % n) for n in range(40)],
            b"border-32": [("user.a", b"x" * 31), ("user.b", b"x" * 32), ("user.c", b"x" * 33)],
            b"large": [("user.large", self.rng.randbytes(self.limits.xattr_max))],
            b"utf-8": [("user.é名", b"text")],
        }
        for name, attributes in shapes.items():
            for path in (base + b"/file-" + name, base + b"/dir-" + name):
                make(path, "file" if b"/file-" in path else "dir-empty", self.rng)
                for key, value in attributes:
                    self.attribute(path, key, value)
                self.date(path)

    def acls(self):
        base = self.dir(b"acls")
        if self.limits.acls:
            for number in range(8):
                make(base + b"/file%d" % number, "file", self.rng)
                make(base + b"/dir%d" % number, "dir-empty", self.rng)
                self.attribute(base + b"/file%d" % number, ACCESS, random_acl(self.rng))
                for key in (ACCESS, DEFAULT):
                    self.attribute(base + b"/dir%d" % number, key, random_acl(self.rng))
                self.file(base + b"/dir%d/inherits" % number, 10)
            masked = acl_bytes(
                [
                    (USER_OBJ, 6, UNDEFINED),
                    (GROUP_OBJ, 4, UNDEFINED),
                    (MASK, 5, UNDEFINED),
                    (OTHER, 0, UNDEFINED),
                ]
            )
            for name in (b"only-a-mask", b"with-setuid"):
                make(base + b"/" + name, "file", self.rng)
                self.attribute(base + b"/" + name, ACCESS, masked)
            os.chmod(base + b"/with-setuid", 0o4755)
            make(base + b"/fifo", "fifo", self.rng)
            self.attribute(base + b"/fifo", ACCESS, random_acl(self.rng))
        if self.limits.capabilities:
            for number in range(4):
                make(base + b"/capable%d" % number, "file", self.rng)
                os.chown(base + b"/capable%d" % number, self.rng.choice(IDS), 0)
                os.chmod(base + b"/capable%d" % number, 0o4755)
                self.attribute(base + b"/capable%d" % number, CAPABILITY, capability(self.rng))

    def special(self):
        base = self.dir(b"special")
        for kind in ("fifo", "socket") + (("chardev", "blockdev") if self.limits.root else ()):
            for number in range(3):
                make(base + b"/%s%d" % (kind.encode(), number), kind, self.rng)
                os.chmod(base + b"/%s%d" % (kind.encode(), number), self.rng.randrange(0o10000))
        bound_socket(base, b"bound")
        if self.limits.root:
            os.mknod(base + b"/big-numbers", stat.S_IFBLK | 0o600, os.makedev(511, (1 << 18) - 1))
            os.mknod(base + b"/whiteout", stat.S_IFCHR, os.makedev(0, 0))

    def empties(self):
        for name in (b"one", b"two", b"two/nested", b"two/nested/deeper"):
            self.dir(b"empty", name)

    def deep_path(self):
        """100 levels of 200 bytes: five times PATH_MAX."""
        fd = os.open(self.dir(DEEP), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for level in range(100):
            name = b"%03d" % level + b"d" * 197
            os.mkdir(name, dir_fd=fd)
            down = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = down
        try:
            inside = b"/proc/self/fd/%d/" % fd
            for number in range(4):
                self.file(inside + b"file%d" % number, 5000)
            os.link(inside + b"file0", inside + b"linked", follow_symlinks=False)
            os.symlink(b"file0", inside + b"symlink")
            os.mkfifo(inside + b"fifo")
        finally:
            os.close(fd)

    def huge_files(self):
        """Sizes over 32 bits, nearly all of it holes."""
        base = self.dir(HUGE)
        block = self.rng.randbytes(64 * KIB)
        write_sparse(base + b"/terabyte", 1 << 40, [(1 << 39, block)])
        write_sparse(base + b"/over-4g", (1 << 32) + 1, [((1 << 32) - 4096, block[:4097])])
        write_sparse(base + b"/over-2g", (1 << 31) + 5, [(0, block), (1 << 31, b"12345")])
        for name in os.listdir(base):
            self.date(base + b"/" + name)

    def bulk(self):
        """Many ordinary entries, with random attributes on a part of them."""
        base = self.dir(b"bulk")
        directories = [base]
        for number in range(max(2, int(30 * self.scale))):
            directory = self.rng.choice(directories[-8:]) + b"/dir%d" % number
            os.mkdir(directory)
            directories.append(directory)
        for number in range(int(300 * self.scale)):
            path = self.rng.choice(directories) + b"/file%d" % number
            self.file(path, self.rng.choice([0, 3, 700, 4096, 9000, self.rng.randrange(60000)]))
            self.dress(path)
        for directory in directories[1:]:
            self.dress(directory)

    def dress(self, path):
        """Random owner, mode, xattr and ACL, each on about a third."""
        if self.limits.root and self.rng.random() < 0.3:
            os.chown(path, self.rng.choice(IDS), self.rng.choice(IDS))
        if self.rng.random() < 0.3:
            os.chmod(path, self.rng.randrange(0o10000))
        if self.limits.xattr_max and self.rng.random() < 0.3:
            self.attribute(path, "user.bulk", self.rng.randbytes(self.rng.randrange(60)))
        if self.limits.acls and self.rng.random() < 0.2:
            self.attribute(path, ACCESS, random_acl(self.rng))

    def times(self):
        base = self.dir(b"times")
        for time in self.limits.times:
            for kind in ("file", "symlink", "fifo"):
                make(base + b"/%s%d" % (kind.encode(), time), kind, self.rng)
                self.date(base + b"/%s%d" % (kind.encode(), time), time)
            os.mkdir(base + b"/dir%d" % time)
            self.file(base + b"/dir%d/inside" % time)

    def directory_times(self):
        """Deepest first, since every child made disturbed its parent; the root is the last."""
        for rel, st in reversed(list(anypath.walk(self.root))):
            if not stat.S_ISDIR(st.st_mode):
                continue
            mtime = random_mtime(self.rng)
            if anypath.parent(rel) == b"times":
                mtime = int(rel.rpartition(b"dir")[2])
            with anypath.at(self.root, rel) as path:
                os.utime(path, ns=(mtime, mtime))


def build(root, rng, **options):
    """Builds a torture tree in the existing directory `root`; returns its Limits."""
    with rig.umask(0o022):
        builder = Builder(root, rng, **options)
        builder.build()
    return builder.limits


def main():
    parser = argparse.ArgumentParser(description="builds a torture tree in an empty directory")
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--no-deep", dest="deep", action="store_false")
    parser.add_argument("--no-huge", dest="huge", action="store_false")
    parser.add_argument("--lookalikes", action="store_true")
    args = parser.parse_args()
    rng = rig.rng_for("tree", rig.seed_of(args.seed))
    os.makedirs(args.directory, exist_ok=True)
    build(
        args.directory,
        rng,
        scale=args.scale,
        deep=args.deep,
        huge=args.huge,
        lookalikes=args.lookalikes,
    )
    rig.note(f"{sum(1 for _ in anypath.walk(args.directory))} entries")


if __name__ == "__main__":
    main()
