# SPDX-License-Identifier: Apache-2.0
"""Building blocks of torture trees: what a filesystem can hold, and single objects in it."""

import ctypes
import errno
import os
import socket
import stat
import struct

import anypath

KIB, MIB = 1 << 10, 1 << 20
SECOND = 10**9
UNDEFINED = 0xFFFFFFFF
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
CAPABILITY = "security.capability"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
FULL = (errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EDQUOT, errno.EOPNOTSUPP)

# Borders of time: the epoch, before it, the ends of 32 bits, ext4's and
# XFS's last year, far beyond.
TIMES = [
    0, 1, -1, -1 * SECOND,
    -SECOND // 2,
    -(2**31) * SECOND,
    (2**31 - 1) * SECOND + 999999999,
    2**31 * SECOND,
    13569465600 * SECOND + 1,
    15032385535 * SECOND,
    16299260424 * SECOND,
    19880899200 * SECOND + 123456789,
]
IDS = [0, 1, 1000, 65533, 65534, 65535, 65536, 2**31 - 1, 2**31, 2**31 + 5, 2**32 - 2]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
KEEP_SIZE, PUNCH_HOLE = 1, 2


def fallocate(fd, mode, offset, length):
    if _libc.fallocate(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def acl_bytes(entries):
    """The kernel's form of an ACL: [(tag, permissions, id)] in its order."""
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *e) for e in sorted(entries, key=lambda e: (e[0], e[2]))
    )


def random_acl(rng):
    """A valid ACL with one to four named entries."""
    entries = [
        (USER_OBJ, rng.randrange(8), UNDEFINED),
        (GROUP_OBJ, rng.randrange(8), UNDEFINED),
        (MASK, rng.randrange(8), UNDEFINED),
        (OTHER, rng.randrange(8), UNDEFINED),
    ]
    for uid in rng.sample(IDS, rng.randint(1, 3)):
        entries.append((USER, rng.randrange(8), uid))
    if rng.random() < 0.5:
        entries.append((GROUP, rng.randrange(8), rng.choice(IDS)))
    return acl_bytes(entries)


def capability(rng):
    """A VFS capability set of revision 2 with the effective bit."""
    return struct.pack("<IIIII", 0x02000001, 1 << rng.randrange(32), 0, 0, 0)


def text_data(rng, size):
    """Compressible bytes."""
    words = [rng.randbytes(rng.randint(2, 9)).hex().encode() for _ in range(50)]
    line = b" ".join(rng.choice(words) for _ in range(400)) + b"\n"
    return (line * (size // len(line) + 1))[:size]


def some_data(rng, size):
    return rng.randbytes(size) if rng.random() < 0.5 else text_data(rng, size)


def random_mtime(rng):
    """Any nanosecond of 1970 to 2037, so that two files of one size hardly ever share it."""
    return rng.randrange(2**31 * SECOND)


class Limits:
    """What the filesystem below `directory` can hold, found out by trying."""

    def __init__(self, directory):
        self.root = os.geteuid() == 0
        probe = os.path.join(os.fsencode(directory), b".probe")
        with open(probe, "wb"):
            pass
        try:
            self.times = [t for t in TIMES if self._time_fits(probe, t)]
            self.xattr_max = next(
                (n for n in (65536, 15000, 8000, 3500, 1000, 100) if self._xattr_fits(probe, n)), 0
            )
            self.acls = self._try(
                lambda: os.setxattr(
                    probe,
                    ACCESS,
                    acl_bytes(
                        [
                            (USER_OBJ, 6, UNDEFINED),
                            (USER, 4, 1),
                            (GROUP_OBJ, 4, UNDEFINED),
                            (MASK, 4, UNDEFINED),
                            (OTHER, 0, UNDEFINED),
                        ]
                    ),
                )
            )
            self.capabilities = self.root and self._try(
                lambda: os.setxattr(
                    probe, CAPABILITY, struct.pack("<IIIII", 0x02000001, 1, 0, 0, 0)
                )
            )
        finally:
            os.unlink(probe)
        self.link_max = next(
            (n for n in (4095, 4000, 3900, 2000, 1023, 255) if self._link_fits(probe, n)), 60
        )

    @staticmethod
    def _try(action):
        try:
            action()
        except OSError:
            return False
        return True

    @staticmethod
    def _time_fits(path, time):
        try:
            os.utime(path, ns=(time, time))
        except (OSError, OverflowError):
            return False
        return os.stat(path).st_mtime_ns == time

    def _xattr_fits(self, path, size):
        fits = self._try(lambda: os.setxattr(path, "user.probe", b"x" * size))
        if fits:
            os.removexattr(path, "user.probe")
        return fits

    def _link_fits(self, path, size):
        if not self._try(lambda: os.symlink(b"x" * size, path)):
            return False
        os.unlink(path)
        return True


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def write_sparse(path, size, pieces):
    """A file of `size` with data only at [(offset, bytes)]."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)


def make(path, kind, rng):
    """Creates one object: file, dir-empty, dir-full, symlink, fifo, socket, chardev, blockdev."""
    if kind == "file":
        write_file(path, some_data(rng, rng.choice([0, 10, 5000, 70000])))
    elif kind == "dir-empty":
        os.mkdir(path)
    elif kind == "dir-full":
        make_full_dir(path, rng)
    elif kind == "symlink":
        os.symlink(b"points/to/%d" % rng.randrange(10**9), path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o755)
    elif kind == "chardev":
        os.mknod(
            path, stat.S_IFCHR | 0o600, os.makedev(rng.choice([1, 10, 240]), rng.randrange(1000))
        )
    elif kind == "blockdev":
        os.mknod(
            path, stat.S_IFBLK | 0o600, os.makedev(rng.choice([7, 8, 259]), rng.randrange(1000))
        )
    else:
        raise ValueError(kind)


def make_full_dir(path, rng):
    os.mkdir(path)
    for number in range(rng.randint(1, 4)):
        write_file(path + b"/child%d" % number, some_data(rng, rng.randrange(3000)))
    os.mkdir(path + b"/inner")
    os.symlink(b"../child0", path + b"/inner/up")


def kind_of(st):
    """file, dir, symlink, fifo, socket, chardev, blockdev."""
    for test, kind in (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "dir"),
        (stat.S_ISLNK, "symlink"),
        (stat.S_ISFIFO, "fifo"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "chardev"),
    ):
        if test(st.st_mode):
            return kind
    return "blockdev"


def bound_socket(directory, name):
    """A socket that a program once bound; a name that sun_path can't hold becomes a plain node."""
    path = directory + b"/" + name
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
    except OSError:
        os.mknod(path, stat.S_IFSOCK | 0o755)
    finally:
        sock.close()


def remove(root, rel):
    """Removes whatever is there, a tree included."""
    with anypath.at(root, rel) as path:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        _empty(path)
        os.rmdir(path)


def _empty(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _empty_fd(fd)
    finally:
        os.close(fd)


def _empty_fd(fd):
    for name in os.listdir(fd):
        if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=fd)
            continue
        sub = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            _empty_fd(sub)
        finally:
            os.close(sub)
        os.rmdir(name, dir_fd=fd)
