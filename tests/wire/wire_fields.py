# SPDX-License-Identifier: Apache-2.0
"""Constants, primitive types and parts of messages of proto/SPEC.md (2 to 4, 5.4, 5.8, 5.9).

Made from the specification alone, and strict: what it does not allow is a WireError with its place.
"""

import hashlib
import re
import struct

FRAME_HEADER_BYTES = 8
FRAME_BODY_MAX = 1 << 20
FRAME_PAYLOAD_MAX = FRAME_BODY_MAX + 4096
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 65536
LINK_TEXT_MAX = 4095
XATTR_VALUE_MAX = 65536
XATTR_BLOB_MAX = 262144
XATTR_COUNT_MAX = 1024
META_BYTES_MAX = 266367
ENTRY_BYTES_MAX = 266750
ABORT_TEXT_MAX = 480
SOURCE_ID_MAX = 253
FILTER_WIRE_BYTES_MAX = 300000
FILTER_PATTERNS_MAX = 262144
FILTER_RULES_MAX = 4096
FILTER_PATTERN_MAX = 4096
PREFIX_BYTES_MAX = 65536
CONFIRM_BYTES_MAX = 262144
LEAF_BYTES = 65536
WANT_LEAVES_MAX = 64
SUMS_COUNT_MAX = 16384
PACK_RAW_MAX = 1 << 20
PACK_FILE_MAX = 131072
SEGMENT_RAW_MAX = 262144
SIGNATURE_WINDOW_MAX = 69206016
LINK_BUCKETS = 4096
TRIE_FANOUT = 256
TRIE_DEPTH_MAX = 6
NODE_BYTES = 24
NODE_PREFIXES_MAX = 64
ANCHORS_BYTES_MAX = 65536
ANCHORS_MAX = 4096
SOFTWARE_MAX = 64
ERRNO_MAX = 4095
CREDIT_MAX = 1 << 32
ZSTD_WINDOW_MAX = 1 << 23
ZSTD_BLOCK_MAX = 1 << 17
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1
SIZE_MAX = (1 << 63) - 1
NS_MAX = 999999999

CONTROL, META, DATA = 0, 1, 2
CHANNELS = ("CONTROL", "META", "DATA")

FILE, DIRECTORY, SYMLINK, CHARDEV, BLOCKDEV, FIFO, SOCKET = range(1, 8)
TYPES = " fdlcbps"

DIGEST_FLAGS = ("OPAQUE", "INCOMPLETE", "RACY")
LIST_FLAGS = ("INCOMPLETE", "GONE", "CHANGED")
ENTRY_FLAGS = ("RACY", "LINKED", "STREAM", "CHANGED")
STATE_FLAGS = ("EMPTY", "HAS_RECORD")
OPTION_FLAGS = (
    "DELETE", "DRY_RUN", "ITEMIZE", "CHECKSUM", "ONE_FILE_SYSTEM", "ALLOW_EMPTY",
    "ACCEPT_NEW_SOURCE",
)
ATTRS = (
    "OWNER", "GROUP", "PERMS", "TIMES", "ACLS", "XATTRS", "CAPABILITY", "SYMLINKS", "HARD_LINKS",
    "DEVICES", "SPECIALS", "SPARSE", "SECURITY", "TRUSTED", "SHUT",
)
RACY, LINKED, STREAM, CHANGED = 1, 2, 4, 8
INCOMPLETE, GONE = 1, 2
OPAQUE = 1
LEAVE_MARK = 0xFF

MODES = ("FULL", "PATCH", "COMPARE")
PACK_STATUS = {0: "OK", 2: "CHANGED", 3: "GONE", 4: "FAILED"}
END_STATUS = ("OK", "SAME", "CHANGED", "GONE", "FAILED", "DIFFERS")
ITEM_CODE = re.compile(rb"(?:[<>ch.][fdLDS](?:\+{9}|[cstpoguaxTPOGUAX.? ]{9})|\*deleting  )")
PLAIN = re.compile(rb"[ !#-\[\]-~]*")
RESERVED = re.compile(rb"\.scribe-[0-9a-f]{32}-")


class WireError(Exception):
    """What the specification does not allow. `offset` is in the stream of that direction."""

    def __init__(self, text, offset=None, who=""):
        super().__init__(text)
        self.text, self.offset, self.who = text, offset, who

    def __str__(self):
        if self.offset is None:
            return self.text
        return f"{self.text} at {self.who}{'+' if self.who else ''}{self.offset}"


def need(condition, text, offset=None):
    if not condition:
        raise WireError(text, offset)


def quote(data):
    """Bytes as text between quotes, other than printable ASCII as \\xNN."""
    if PLAIN.fullmatch(data):
        return '"' + data.decode("ascii") + '"'
    parts = []
    for byte in data:
        if byte in b'"\\':
            parts.append("\\" + chr(byte))
        else:
            parts.append(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
    return '"' + "".join(parts) + '"'


def blob(data):
    """Bytes in hexadecimal; long ones by length and the begin of their SHA-256."""
    if len(data) <= 64:
        return bytes(data).hex() or "-"
    return f"<{len(data)} bytes {hashlib.sha256(data).hexdigest()[:16]}>"


def flag_names(value, names):
    said = [name for bit, name in enumerate(names) if value >> bit & 1]
    return "|".join(said) or "0"


class Reader:
    """Reads fields from the payload of one frame; `base` is the offset of the payload's begin."""

    def __init__(self, data, base=0):
        self.data, self.at, self.base = bytes(data), 0, base

    @property
    def offset(self):
        return self.base + self.at

    @property
    def left(self):
        return len(self.data) - self.at

    def fix(self, count, what):
        if count > self.left:
            raise WireError(f"{what}: {count} bytes where {self.left} are left", self.offset)
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self, what, limit=255):
        value = self.fix(1, what)[0]
        need(value <= limit, f"{what} is {value}, the most is {limit}", self.offset - 1)
        return value

    def u16(self, what):
        return int.from_bytes(self.fix(2, what), "little")

    def u32(self, what):
        return int.from_bytes(self.fix(4, what), "little")

    def u64(self, what):
        return int.from_bytes(self.fix(8, what), "little")

    def h128(self, what):
        return self.fix(16, what)

    def bits(self, what, names, wide=False):
        begin = self.offset
        value = self.u64(what) if wide else self.u8(what)
        need(value >> len(names) == 0, f"{what} has unknown bits: {value:#x}", begin)
        return value

    def var(self, what, limit=U64_MAX):
        begin, value = self.offset, 0
        for index in range(10):
            byte = self.u8(what)
            need(index < 9 or byte <= 1, f"{what}: varint beyond 64 bits", begin)
            need(index == 0 or byte != 0, f"{what}: varint is not the shortest form", begin)
            value |= (byte & 127) << (7 * index)
            if byte < 128:
                break
        need(value <= limit, f"{what} is {value}, the most is {limit}", begin)
        return value

    def svar(self, what):
        value = self.var(what)
        return value >> 1 ^ -(value & 1)

    def bytes(self, what, limit):
        begin = self.offset
        count = self.var(f"length of {what}")
        need(count <= limit, f"{what} has {count} bytes, the most is {limit}", begin)
        return self.fix(count, what)

    def rest(self, what, limit):
        need(self.left <= limit, f"{what} has {self.left} bytes, the most is {limit}", self.offset)
        return self.fix(self.left, what)

    def end(self, what):
        need(self.left == 0, f"{what}: {self.left} bytes behind the last field", self.offset)

    def sub(self, count, what):
        begin = self.offset
        return Reader(self.fix(count, what), begin)

    def sub_bytes(self, what, limit):
        data = self.bytes(what, limit)
        return Reader(data, self.offset - len(data))

    def sub_rest(self, what, limit):
        begin = self.offset
        return Reader(self.rest(what, limit), begin)

    def name(self, what="name"):
        begin = self.offset
        name = self.bytes(what, NAME_BYTES_MAX)
        check_name(name, what, begin)
        return name

    def path(self, what="path", empty=True):
        begin = self.offset
        path = self.bytes(what, PATH_BYTES_MAX)
        check_path(path, what, begin, empty)
        return path

    def text(self, what, limit=ABORT_TEXT_MAX):
        return self.bytes(what, limit)


def check_name(name, what, offset):
    need(1 <= len(name) <= NAME_BYTES_MAX, f"{what} has {len(name)} bytes", offset)
    need(b"/" not in name and b"\0" not in name, f"{what} {quote(name)} has / or NUL", offset)
    need(name not in (b".", b".."), f"{what} is {quote(name)}", offset)


def check_path(path, what, offset, empty=True):
    if not path:
        need(empty, f"{what} is empty", offset)
        return
    for name in path.split(b"/"):
        check_name(name, f"component of {what} {quote(path)}", offset)


def check_scope(name, in_root, offset):
    """A name that may stand in a listing (4.5)."""
    need(not RESERVED.match(name), f"reserved name {quote(name)} in a listing", offset)
    barred = in_root and name in (b".scribe-mover", b"lost+found")
    need(not barred, f"{quote(name)} in the listing of the root", offset)


class Meta:
    """The encoded attributes of an entry (4.3)."""

    def __init__(self, reader):
        begin = reader.offset
        self.offset = begin
        start = reader.at
        self.type = reader.u8("type")
        need(FILE <= self.type <= SOCKET, f"entry type {self.type}", begin)
        self.mode = reader.var("mode", 0o7777)
        self.uid = reader.var("uid", U32_MAX)
        self.gid = reader.var("gid", U32_MAX)
        self.mtime = reader.svar("mtime")
        self.mtime_ns = reader.var("mtime_ns", NS_MAX)
        self.size = reader.var("size", SIZE_MAX) if self.type == FILE else None
        self.link = self.major = self.minor = None
        if self.type == SYMLINK:
            self.link = reader.bytes("link text", LINK_TEXT_MAX)
            need(self.link and b"\0" not in self.link, "link text is empty or has NUL", begin)
        if self.type in (CHARDEV, BLOCKDEV):
            self.major = reader.var("major", U32_MAX)
            self.minor = reader.var("minor", U32_MAX)
        self.xattrs = decode_xattrs(reader.sub_bytes("xattrs", XATTR_BLOB_MAX))
        need(self.type != SYMLINK or self.mode == 0, "a symbolic link has a mode", begin)
        need(reader.at - start <= META_BYTES_MAX, "meta is too long", begin)

    def show(self):
        said = f"{TYPES[self.type]}{self.mode:04o} {self.uid}:{self.gid}"
        said += f" {self.mtime}.{self.mtime_ns:09}"
        if self.size is not None:
            said += f" size={self.size}"
        if self.link is not None:
            said += f" -> {quote(self.link)}"
        if self.major is not None:
            said += f" dev={self.major}:{self.minor}"
        for name, value in self.xattrs:
            said += f" {quote(name)}={blob(value)}"
        return said


def decode_xattrs(reader):
    items = []
    while reader.left:
        begin = reader.offset
        name = reader.fix(reader.u8("length of an attribute's name"), "attribute's name")
        need(name and b"\0" not in name, "attribute's name is empty or has NUL", begin)
        need(not items or items[-1][0] < name, "attributes are not in ascending order", begin)
        value = reader.bytes("attribute's value", XATTR_VALUE_MAX)
        if name.startswith(b"system."):
            known = name in (b"system.posix_acl_access", b"system.posix_acl_default")
            need(known, f"attribute {quote(name)} never travels", begin)
            check_acl(value, name.endswith(b"_access"), begin)
        items.append((name, value))
    need(len(items) <= XATTR_COUNT_MAX, f"{len(items)} attributes", reader.offset)
    return items


def check_acl(value, access, offset):
    need(len(value) >= 4 and len(value) % 8 == 4, f"ACL of {len(value)} bytes", offset)
    need(value[:4] == b"\2\0\0\0", "ACL of another version than 2", offset)
    entries = list(struct.iter_unpack("<HHI", value[4:]))
    keys = [(tag, number) for tag, _, number in entries]
    need(keys == sorted(keys), "ACL is not sorted", offset)
    for tag, _, number in entries:
        need(tag in (2, 8) or number == U32_MAX, f"ACL entry of tag {tag} has an id", offset)
    if access:
        said = len(entries) > 3 or any(tag in (2, 8, 16) for tag, _, _ in entries)
        need(said, "access ACL that says no more than the mode", offset)
    else:
        need(entries, "default ACL without entries", offset)


class Entry:
    """One entry of a listing or stream (5.4)."""

    def __init__(self, reader, stream):
        self.offset, start = reader.offset, reader.at
        self.flags = reader.bits("entry flags", ENTRY_FLAGS)
        self.name = reader.name()
        self.meta = Meta(reader)
        self.sum = self.digest_flags = self.children = self.group = self.fid = None
        if self.meta.type == DIRECTORY:
            self.sum = reader.h128("digest sum")
            self.digest_flags = reader.bits("digest flags", DIGEST_FLAGS)
            self.children = reader.var("children", SIZE_MAX)
        if self.flags & LINKED:
            self.group = reader.u64("group")
        if self.flags & STREAM:
            self.fid = reader.var("fid")
        need(reader.at - start <= ENTRY_BYTES_MAX, "entry is too long", self.offset)
        self._check(stream)

    def _check(self, stream):
        where = self.offset
        is_file, is_dir = self.meta.type == FILE, self.meta.type == DIRECTORY
        need(not (self.flags & RACY) or (is_file and not stream), "RACY has no place here", where)
        need(not (self.flags & LINKED and is_dir), "a directory that is LINKED", where)
        need(self.group != 0, "LINKED with group 0", where)
        if self.flags & STREAM:
            need(stream and is_file and self.meta.size > 0, "STREAM has no place here", where)
            need(self.fid % 2 == 1, f"stream with the even file id {self.fid}", where)
        if stream and is_dir:
            blank = self.sum == bytes(16) and self.children == 0
            need(blank, "directory of a stream with a digest", where)

    def show(self):
        said = f"{quote(self.name)} {self.meta.show()} flags={flag_names(self.flags, ENTRY_FLAGS)}"
        if self.sum is not None:
            digest = flag_names(self.digest_flags, DIGEST_FLAGS)
            said += f" sum={self.sum.hex()} digest={digest} children={self.children}"
        if self.group is not None:
            said += f" group={self.group}"
        if self.fid is not None:
            said += f" fid={self.fid}"
        return said


class Leave:
    """A leave mark of a stream: the directory that was entered last ends."""

    def __init__(self, reader):
        self.offset = reader.offset
        reader.u8("leave mark")
        self.flags = reader.bits("flags of a leave mark", LIST_FLAGS)

    def show(self):
        return f"leave flags={flag_names(self.flags, LIST_FLAGS)}"


def decode_meta(r, what):
    """A BYTES field that holds a meta; None if it is empty."""
    inner = r.sub_bytes(what, META_BYTES_MAX)
    if not inner.left:
        return None
    meta = Meta(inner)
    inner.end(what)
    return meta


def decode_filter(r, lines):
    begin = r.offset
    need(r.u8("filter version") == 1, "filter version is not 1", begin)
    count = r.u16("filter count")
    need(count <= FILTER_RULES_MAX, f"{count} filter rules", begin)
    rules, total = [], 0
    for _ in range(count):
        at = r.offset
        flags = r.u8("rule flags", 1)
        length = r.u16("length of a pattern")
        need(1 <= length <= FILTER_PATTERN_MAX, f"pattern of {length} bytes", at)
        pattern = r.fix(length, "pattern")
        need(b"\0" not in pattern, "NUL in a pattern", at)
        total += length
        rules.append((flags, pattern))
        lines.append(f"{'exclude' if flags else 'include'} {quote(pattern)}")
    need(total <= FILTER_PATTERNS_MAX, f"patterns of {total} bytes", begin)
    r.end("filter")
    return rules


def check_anchors(data, size, offset):
    """An anchor list (5.8) of a file of `size` bytes."""
    need(len(data) <= ANCHORS_BYTES_MAX, f"anchor list of {len(data)} bytes", offset)
    r = Reader(data, offset)
    spacing = r.var("spacing")
    first = max(1024, size // 2048)
    right = any(spacing == first << times for times in range(54))
    need(right, f"spacing {spacing}, the first one is {first}", offset)
    position = 0
    for index in range(r.var("count of anchors", ANCHORS_MAX)):
        distance = r.var("distance of an anchor")
        need(distance or not index, "two anchors at one place", r.offset)
        position += distance
        need(position <= size - 256, "anchor beyond the end of the file", r.offset)
        r.u64("identity")
    r.end("anchor list")


def check_signature(data, window, offset):
    """A librsync signature of `window` bytes (5.8), or nothing."""
    if not data:
        return
    need(len(data) >= 12, f"signature of {len(data)} bytes", offset)
    magic, block, strong = struct.unpack(">III", data[:12])
    need(magic == 0x72730147 and strong == 12, "signature of another kind", offset)
    right = 1024 if window <= 4 << 20 else 2048
    need(block == right, f"block length {block} for a window of {window}", offset)
    blocks = -(-window // block)
    need(len(data) == 12 + 16 * blocks, f"signature of {len(data)} bytes, {blocks} blocks", offset)


def check_zstd(data, raw_len, offset):
    """That data is exactly one zstd frame; its blocks are walked, not decompressed."""
    r = Reader(data, offset)
    need(r.fix(4, "zstd magic") == b"\x28\xb5\x2f\xfd", "not a zstd frame", offset)
    head = r.u8("zstd frame header")
    need(not head & 8, "reserved bit of a zstd frame header", offset)
    need(not head & 3, "zstd frame with a dictionary", offset)
    single = head >> 5 & 1
    if not single:
        shape = r.u8("zstd window")
        window = (1 << 10 + (shape >> 3)) * (8 + (shape & 7)) // 8
        need(window <= ZSTD_WINDOW_MAX, f"zstd window of {window} bytes", offset)
    width = (1 if single else 0, 2, 4, 8)[head >> 6]
    if width:
        said = int.from_bytes(r.fix(width, "zstd content size"), "little") + 256 * (width == 2)
        need(said == raw_len, f"zstd content size {said}, raw_len {raw_len}", offset)
    last = 0
    while not last:
        block = int.from_bytes(r.fix(3, "zstd block header"), "little")
        last, form, size = block & 1, block >> 1 & 3, block >> 3
        need(form != 3 and size <= ZSTD_BLOCK_MAX, "zstd block header", r.offset)
        r.fix(1 if form == 1 else size, "zstd block")
    if head & 4:
        r.fix(4, "zstd checksum")
    r.end("zstd frame")
