#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second reading of proto/SPEC.md: frames and messages of scribe-mover's protocol, version 1.

Made from the specification alone, and strict: what it does not allow is a WireError with the offset.
This module knows what one frame may look like; wire_run.py knows who may send what, and when.

    scribe_wire.py CAPTURE      prints a capture (see tee_rsh.py) as text
"""

import hashlib
import re
import struct
import sys

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
RESERVED = re.compile(rb"\.scribe-[0-9a-f]{32}-")


class WireError(Exception):
    """What the specification does not allow. `offset` is in the stream of that direction."""

    def __init__(self, text, offset=None, who=""):
        super().__init__(text)
        self.text, self.offset, self.who = text, offset, who

    def __str__(self):
        where = "" if self.offset is None else f" at {self.who}{'+' if self.who else ''}{self.offset}"
        return self.text + where


def need(condition, text, offset=None):
    if not condition:
        raise WireError(text, offset)


def quote(data):
    """Bytes as text between quotes, other than printable ASCII as \\xNN."""
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
        said = f"{TYPES[self.type]}{self.mode:04o} {self.uid}:{self.gid} {self.mtime}.{self.mtime_ns:09}"
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


class Message:
    """A decoded frame: fields by name in `m["name"]`, and the text of it."""

    def __init__(self, kind, offset, length):
        self.kind, self.offset, self.length = kind, offset, length
        self.fields, self.words, self.lines = {}, [], []

    def __getitem__(self, name):
        return self.fields[name]

    def put(self, name, value, text=None):
        self.fields[name] = value
        self.words.append(f"{name}={value if text is None else text}")
        return value

    def raw(self, name, value):
        return self.put(name, value, blob(value))

    def said(self, name, value):
        return self.put(name, value, quote(value))

    def flags(self, name, value, names):
        return self.put(name, value, flag_names(value, names))

    def text(self, who):
        head = f"{who}+{self.offset} {self.kind.name} {' '.join(self.words)}".rstrip()
        return "\n    ".join([head] + self.lines)


class Kind:
    def __init__(self, code, name, channel, sender, decode):
        self.code, self.name, self.channel, self.sender = code, name, channel, sender
        self.decode = decode


KINDS = {}


def message(code, name, channel, sender):
    """Registers the decoder of a message; sender is S, D, X (who dialled) or * (both)."""

    def register(decode):
        KINDS[code] = Kind(code, name, channel, sender, decode)
        return decode

    return register


@message(0x01, "HELLO", CONTROL, "*")
def hello(m, r):
    begin = r.offset
    need(m.said("magic", r.fix(4, "magic")) == b"SCRB", "magic is not SCRB", begin)
    low, high = m.put("min", r.u16("version_min")), m.put("max", r.u16("version_max"))
    need(low <= 1 <= high, f"versions {low} to {high} do not include 1", begin)
    need(m.put("features", r.u64("features")) == 0, "feature bits in version 1", begin)
    need(1 <= m.put("role", r.u8("role")) <= 3, f"role {m['role']}", begin)
    m.raw("nonce", r.fix(32, "nonce"))
    m.said("software", r.bytes("software", SOFTWARE_MAX))


@message(0x02, "CREDIT", CONTROL, "*")
def credit(m, r):
    begin = r.offset
    channel = m.put("channel", r.u8("channel"))
    need(channel in (META, DATA), f"credit for channel {channel}", begin)
    m.put("bytes", r.var("bytes", CREDIT_MAX))


@message(0x03, "HEARTBEAT", CONTROL, "*")
def heartbeat(m, r):
    m.put("stage", r.u8("stage", 6))
    need(m.put("progress", r.var("progress")) == 0, "progress is reserved", r.offset)


@message(0x04, "ABORT", CONTROL, "*")
def abort(m, r):
    m.put("code", r.u8("code"))
    m.said("text", r.text("text"))


@message(0x05, "BYE", CONTROL, "S")
def bye(_m, _r):
    """No fields."""


@message(0x06, "PING", CONTROL, "*")
def ping(m, r):
    m.put("token", r.u64("token"))


@message(0x07, "PONG", CONTROL, "*")
def pong(m, r):
    m.put("token", r.u64("token"))


@message(0x08, "BIND", CONTROL, "X")
def bind(m, r):
    m.raw("token", r.fix(32, "token"))


@message(0x10, "OPTIONS", CONTROL, "X")
def options(m, r):
    m.raw("run_id", r.fix(16, "run_id"))
    begin = r.offset
    path = m.said("path", r.bytes("path", PATH_BYTES_MAX))
    for part in path.split(b"/"):
        right = len(part) <= NAME_BYTES_MAX and part != b".." and b"\0" not in part
        need(right, f"path {quote(path)}", begin)
    m.flags("flags", r.bits("flags", OPTION_FLAGS, wide=True), OPTION_FLAGS)
    m.flags("attrs", r.bits("attrs", ATTRS, wide=True), ATTRS)
    m.put("max_delete", r.var("max_delete"))
    m.put("max_shrink", r.u8("max_shrink", 100))
    m.put("in_place", r.u8("in_place", 2))
    m.put("compress", r.svar("compress"))
    m.said("source_id", r.bytes("source_id", SOURCE_ID_MAX))
    m.put("sync_number", r.var("sync_number"))
    m.put("data_as_of", r.svar("data_as_of"))
    m.put("data_as_of_ns", r.var("data_as_of_ns", NS_MAX))
    m.put("filter", decode_filter(r.sub_bytes("filter", FILTER_WIRE_BYTES_MAX), m.lines), "")


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


@message(0x11, "BEGIN", CONTROL, "S")
def begin_run(m, r):
    m.put("clock", r.svar("clock"))
    m.put("clock_ns", r.var("clock_ns", NS_MAX))
    m.put("incarnation", r.u64("incarnation"))


@message(0x12, "BEGIN_OK", CONTROL, "D")
def begin_ok(m, r):
    m.raw("token", r.fix(32, "token"))
    begin = r.offset
    state = m.flags("state", r.bits("state", STATE_FLAGS), STATE_FLAGS)
    clock = m.put("last_clock", r.svar("last_clock"))
    need(state & 2 or clock == 0, "last_clock without a record", begin)
    m.flags("mask", r.bits("mask", ATTRS, wide=True), ATTRS)
    need(m.put("granule_ns", r.var("granule_ns", 10**12)) > 0, "granule_ns is 0", begin)
    low, high = m.put("time_min", r.svar("time_min")), m.put("time_max", r.svar("time_max"))
    need(low <= high, "time_min above time_max", begin)
    m.put("xattr_max", r.var("xattr_max", XATTR_VALUE_MAX))


@message(0x13, "ROOT", CONTROL, "S")
def root(m, r):
    begin = r.offset
    stream = m.put("stream", r.u8("stream", 1))
    digest = m.raw("sum", r.h128("sum"))
    flags = m.flags("digest_flags", r.bits("digest_flags", DIGEST_FLAGS), DIGEST_FLAGS)
    numbers = [m.put(name, r.var(name, SIZE_MAX)) for name in ("children", "entries", "bytes")]
    links = m.raw("links", r.h128("links"))
    if stream:
        blank = not any(digest + links) and not any(numbers) and not flags
        need(blank, "ROOT of a stream with numbers", begin)
    m.put("meta", decode_meta(r, "meta"), "")
    need(m["meta"].type == DIRECTORY, "the root is no directory", begin)
    m.lines.append(m["meta"].show())


def decode_meta(r, what):
    """A BYTES field that holds a meta; None if it is empty."""
    inner = r.sub_bytes(what, META_BYTES_MAX)
    if not inner.left:
        return None
    meta = Meta(inner)
    inner.end(what)
    return meta


@message(0x20, "DIR_OPEN", CONTROL, "D")
def dir_open(m, r):
    begin = r.offset
    need(m.put("handle", r.var("handle")) != 0, "DIR_OPEN of handle 0", begin)
    m.put("parent", r.var("parent"))
    m.said("name", r.name())


@message(0x21, "DIR_CLOSE", CONTROL, "D")
def dir_close(m, r):
    m.put("handle", r.var("handle"))


@message(0x22, "LIST_REQ", CONTROL, "D")
def list_req(m, r):
    begin = r.offset
    m.put("req", r.var("req"))
    m.put("handle", r.var("handle"))
    nodes = m.put("kind", r.u8("kind", 1), "nodes" if r.data[r.at - 1] else "entries")
    depth = m.put("depth", r.u8("depth", TRIE_DEPTH_MAX - nodes))
    body = r.rest("prefixes", PREFIX_BYTES_MAX)
    if not depth:
        need(not body, "prefixes of depth 0", begin)
        m.put("prefixes", [], "-")
        return
    need(body and len(body) % depth == 0, f"prefixes of {len(body)} bytes at {depth}", begin)
    prefixes = [body[i : i + depth] for i in range(0, len(body), depth)]
    ordered = all(a < b for a, b in zip(prefixes, prefixes[1:]))
    need(ordered, "prefixes are not ascending", begin)
    need(not nodes or len(prefixes) <= NODE_PREFIXES_MAX, f"{len(prefixes)} prefixes", begin)
    m.put("prefixes", prefixes, ",".join(p.hex() for p in prefixes))


@message(0x23, "STREAM_REQ", CONTROL, "D")
def stream_req(m, r):
    m.put("handle", r.var("handle"))


@message(0x24, "NODES", META, "S")
def nodes_of(m, r):
    m.put("req", r.var("req"))
    m.put("last", r.u8("last", 1))
    m.flags("flags", r.bits("flags", LIST_FLAGS), LIST_FLAGS)
    begin = r.offset
    body = r.rest("nodes", FRAME_BODY_MAX)
    need(len(body) == TRIE_FANOUT * NODE_BYTES, f"node of {len(body)} bytes", begin)
    records = []
    for index, (low, high, word) in enumerate(struct.iter_unpack("<QQQ", body)):
        count, flags = word & ((1 << 56) - 1), word >> 56
        at = begin + index * NODE_BYTES
        need(flags >> len(DIGEST_FLAGS) == 0, f"node record with flags {flags:#x}", at)
        need(count or not (low or high or flags), "node record of nothing that is not 0", at)
        records.append((body[index * NODE_BYTES :][:16], count, flags))
        if count:
            said = flag_names(flags, DIGEST_FLAGS)
            m.lines.append(f"{index:02x} {records[-1][0].hex()} count={count} flags={said}")
    m.put("nodes", records, sum(count for _, count, _ in records))


@message(0x25, "ENTRIES", META, "S")
def entries_of(m, r):
    stream = m.put("kind", r.u8("kind", 1), "stream" if r.data[0] else "listing")
    m.put("req", r.var("req"))
    m.put("last", r.u8("last", 1))
    m.flags("flags", r.bits("flags", LIST_FLAGS), LIST_FLAGS)
    body = r.sub_rest("entries", FRAME_BODY_MAX)
    items = []
    while body.left:
        mark = stream and body.data[body.at] == LEAVE_MARK
        items.append(Leave(body) if mark else Entry(body, stream))
        m.lines.append(items[-1].show())
    m.put("entries", items, len(items))


@message(0x26, "CONFIRM_REQ", CONTROL, "D")
def confirm_req(m, r):
    m.put("req", r.var("req"))
    m.put("handle", r.var("handle"))
    body, names = r.sub_rest("names", CONFIRM_BYTES_MAX), []
    while body.left:
        names.append(body.name())
        m.lines.append(quote(names[-1]))
    m.put("names", names, len(names))


@message(0x27, "CONFIRM", META, "S")
def confirm(m, r):
    m.put("req", r.var("req"))
    m.raw("answers", r.rest("answers", CONFIRM_BYTES_MAX))


@message(0x30, "WANT", CONTROL, "D")
def want(m, r):
    begin = r.offset
    fid = m.put("fid", r.var("fid"))
    need(fid and fid % 2 == 0, f"WANT with file id {fid}", begin)
    m.put("handle", r.var("handle"))
    m.said("name", r.name())
    mode = m.put("mode", r.u8("mode", 2), MODES[min(r.data[r.at - 1], 2)])
    size = m.put("basis_size", r.var("basis_size", SIZE_MAX))
    leaves = m.raw("leaves", r.rest("leaves", WANT_LEAVES_MAX * 16))
    need(mode or not size, "WANT FULL with a basis", begin)
    need(len(leaves) in (0, -(-size // LEAF_BYTES) * 16), f"{len(leaves)} bytes of leaves", begin)


@message(0x31, "SUMS_REQ", CONTROL, "S")
def sums_req(m, r):
    begin = r.offset
    m.put("fid", r.var("fid"))
    level = m.put("level", r.u8("level", 3))
    first = m.put("first", r.var("first", SIZE_MAX))
    count = m.put("count", r.var("count", SUMS_COUNT_MAX))
    body = r.rest("leaves", PREFIX_BYTES_MAX)
    need(first < (1 << 37) - 1, f"first is {first}", begin)
    need(level in (1, 2) or not (first or count), "first and count have no place here", begin)
    need(level == 0 or not body, "leaves have no place here", begin)
    need(len(body) % 4 == 0, f"{len(body)} bytes of leaf indices", begin)
    leaves = [number for (number,) in struct.iter_unpack("<I", body)]
    m.put("leaves", leaves, ",".join(map(str, leaves)) or "-")


@message(0x33, "SIGNATURE_REQ", CONTROL, "S")
def signature_req(m, r):
    m.put("fid", r.var("fid"))
    m.put("offset", r.var("offset", SIZE_MAX))
    m.put("length", r.var("length", SIGNATURE_WINDOW_MAX))


@message(0x32, "SUMS", META, "D")
def sums(m, r):
    m.put("fid", r.var("fid"))
    m.put("level", r.u8("level", 4))
    m.put("first", r.var("first", SIZE_MAX))
    m.put("last", r.u8("last", 1))
    m.raw("sums", r.rest("sums", FRAME_BODY_MAX))


def check_anchors(data, offset):
    """An anchor list (5.8)."""
    need(len(data) <= ANCHORS_BYTES_MAX, f"anchor list of {len(data)} bytes", offset)
    r = Reader(data, offset)
    spacing = r.var("spacing")
    need(spacing >= 1024, f"spacing {spacing}", offset)
    position = 0
    for index in range(r.var("count of anchors", ANCHORS_MAX)):
        distance = r.var("distance of an anchor")
        need(distance or not index, "two anchors at one place", r.offset)
        position += distance
        need(position <= SIZE_MAX - 256, "anchor beyond the largest file", r.offset)
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


class PackItem:
    """A whole file inside a pack."""

    def __init__(self, r):
        self.offset = r.offset
        self.fid = r.var("fid")
        self.status = r.u8("status")
        need(self.status in PACK_STATUS, f"status {self.status} in a pack", self.offset)
        self.error = r.var("error", ERRNO_MAX)
        self.meta = decode_meta(r, "meta")
        self.content = r.h128("content")
        self.data = r.bytes("data", PACK_FILE_MAX)
        right = self.status == 0 or not (self.data or any(self.content))
        need(right, "content of a file that is not OK", self.offset)
        check_file_meta(self, len(self.data) if self.status == 0 else None)

    def show(self):
        meta = self.meta.show() if self.meta else "as the entry"
        return (
            f"fid={self.fid} status={PACK_STATUS[self.status]} error={self.error} [{meta}]"
            f" content={self.content.hex()} data={blob(self.data)}"
        )


def check_file_meta(item, size):
    """Rules that FILE_END and the items of a pack share; size None: not known."""
    need(item.status == 4 or item.error == 0, f"error {item.error} without FAILED", item.offset)
    if item.meta:
        need(item.meta.type == FILE, "meta of no regular file", item.offset)
        right = size is None or item.meta.size == size
        need(right, f"size {item.meta.size} in meta, {size} in the content", item.offset)


@message(0x40, "PACK", DATA, "S")
def pack(m, r):
    begin = r.offset
    codec = m.put("codec", r.u8("codec", 1))
    raw_len = m.put("raw_len", r.var("raw_len", PACK_RAW_MAX))
    body = r.sub_rest("body", FRAME_BODY_MAX)
    if codec:
        need(raw_len, "compressed pack of nothing", begin)
        check_zstd(body.data, raw_len, body.base)
        m.put("items", None, blob(body.data))
        return
    need(raw_len == body.left, f"raw_len {raw_len} of {body.left} bytes", begin)
    items = []
    while body.left:
        items.append(PackItem(body))
        m.lines.append(items[-1].show())
    m.put("items", items, len(items))


@message(0x41, "SEGMENT", DATA, "S")
def segment(m, r):
    begin = r.offset
    m.put("fid", r.var("fid"))
    offset = m.put("offset", r.var("offset", SIZE_MAX))
    raw_len = m.put("raw_len", r.var("raw_len", SEGMENT_RAW_MAX))
    codec = m.put("codec", r.u8("codec", 1))
    m.put("check", r.u64("check"), f"{int.from_bytes(r.data[r.at - 8 : r.at], 'little'):016x}")
    at = r.offset
    body = m.raw("body", r.rest("body", FRAME_BODY_MAX))
    need(offset + raw_len <= SIZE_MAX, "segment beyond the largest file", begin)
    if codec:
        check_zstd(body, raw_len, at)
    else:
        need(len(body) == raw_len, f"raw_len {raw_len} of {len(body)} bytes", begin)


@message(0x42, "RANGES", DATA, "S")
def ranges_of(m, r):
    m.put("fid", r.var("fid"))
    body, found = r.sub_rest("ranges", FRAME_BODY_MAX), []
    while body.left:
        begin = body.offset
        hole = body.u8("kind of a range", 1)
        dst = body.var("dst", SIZE_MAX)
        src = None if hole else body.var("src", SIZE_MAX)
        length = body.var("length", SIZE_MAX)
        need(dst + length <= SIZE_MAX, "range beyond the largest file", begin)
        found.append((dst, src, length, begin))
        m.lines.append(f"HOLE {dst}+{length}" if hole else f"COPY {dst}+{length} from {src}")
    m.put("ranges", found, len(found))


@message(0x43, "FILE_END", DATA, "S")
def file_end(m, r):
    begin = m.put("begin", r.offset)
    m.words.clear()
    m.put("fid", r.var("fid"))
    m.status = m.put("status", r.u8("status", 5), END_STATUS[min(r.data[r.at - 1], 5)])
    m.error = m.put("error", r.var("error", ERRNO_MAX))
    size = m.put("size", r.var("size", SIZE_MAX))
    covered = m.put("covered", r.var("covered", SIZE_MAX))
    content = m.raw("content", r.h128("content"))
    m.meta = m.put("meta", decode_meta(r, "meta"), "")
    m.lines.append(m.meta.show() if m.meta else "as the entry")
    need(m.status == 0 or not any(content), "content hash without OK", begin)
    need(m.status != 0 or covered == size, f"OK, {covered} of {size} bytes", begin)
    need(m.status not in (1, 5) or not covered, "content where nothing is sent", begin)
    check_file_meta(m, size)


@message(0x50, "ITEM", META, "D")
def item(m, r):
    begin = r.offset
    need(m.put("seq", r.var("seq")), "ITEM 0", begin)
    code = m.said("code", r.fix(11, "code"))
    path = m.said("path", r.bytes("path", PATH_BYTES_MAX))
    arrow = m.said("arrow", r.fix(1, "arrow"))
    target = m.said("target", r.bytes("target", PATH_BYTES_MAX))
    need(arrow in (b"\0", b"-", b"="), f"arrow {quote(arrow)}", begin)
    need(arrow != b"\0" or not target, "target without an arrow", begin)
    if code == bytes(11):
        need(not path and not target, "an item of nothing has a path", begin)
        return
    need(ITEM_CODE.fullmatch(code), f"itemize code {quote(code)}", begin)
    if path != b"./":
        check_path(path[:-1] if path.endswith(b"/") else path, "path", begin, empty=False)


@message(0x51, "ISSUE", META, "D")
def issue(m, r):
    begin = r.offset
    m.put("kind", r.u8("kind", 3))
    code = m.put("code", r.u8("code"))
    need(code in (0, 3, 4, 16, 25), f"ISSUE of code {code}", begin)
    m.put("error", r.var("error", ERRNO_MAX))
    m.said("path", r.path())
    m.said("text", r.text("text"))


@message(0x52, "LEAVE_OUT", META, "D")
def leave_out(m, r):
    begin = r.offset
    need(1 <= m.put("how", r.u8("how")) <= 2, "how is neither 1 nor 2", begin)
    m.raw("term", r.h128("term"))
    m.said("path", r.path())


@message(0x53, "ACK", CONTROL, "D")
def ack(m, r):
    for name in ("epoch", "files", "bytes"):
        m.put(name, r.var(name))


@message(0x60, "LINKS_REQ", CONTROL, "D")
def links_req(m, r):
    begin = r.offset
    kind = m.put("kind", r.u8("kind", 1))
    body = m.raw("buckets", r.rest("buckets", LINK_BUCKETS * 8))
    right = len(body) % 8 == 0 if kind else len(body) == LINK_BUCKETS * 8
    need(right, f"{len(body)} bytes of buckets", begin)


@message(0x61, "LINKS", META, "S")
def links(m, r):
    kind = m.put("kind", r.u8("kind", 1))
    m.put("last", r.u8("last", 1))
    need(kind or m["last"], "sums of links in more than one frame", r.offset)
    body, found = r.sub_rest("body", FRAME_BODY_MAX), []
    while body.left:
        begin = body.offset
        if kind:
            found.append((body.u64("key"), body.path(empty=False)))
            m.lines.append(f"{found[-1][0]:016x} {quote(found[-1][1])}")
            continue
        found.append((body.var("bucket", LINK_BUCKETS - 1), body.var("names", U32_MAX)))
        ordered = len(found) < 2 or found[-2][0] < found[-1][0]
        need(ordered, "buckets are not ascending", begin)
        m.lines.append(f"bucket {found[-1][0]}: {found[-1][1]} names")
    m.put("body", found, len(found))


@message(0x70, "DONE", META, "D")
def done(m, r):
    m.put("mode", r.u8("mode", 1))


@message(0x71, "SOURCE_FINAL", CONTROL, "S")
def source_final(m, r):
    m.raw("sum", r.h128("sum"))
    m.flags("digest_flags", r.bits("digest_flags", DIGEST_FLAGS), DIGEST_FLAGS)
    for name in ("root_hash", "content", "links"):
        m.raw(name, r.h128(name))
    for name in ("entries", "bytes", "changed", "failed"):
        m.put(name, r.var(name, SIZE_MAX))


@message(0x73, "COMMITTED", META, "D")
def committed(m, r):
    begin = r.offset
    code = m.put("code", r.u8("code"))
    need(code in (0, 3, 4, 16, 25), f"COMMITTED with code {code}", begin)
    m.put("changed_anything", r.u8("changed_anything", 1))
    m.raw("root_hash", r.h128("root_hash"))
    m.raw("source_root_hash", r.h128("source_root_hash"))
    for name in (
        "files_total", "files_transferred", "files_deleted", "files_failed", "bytes_total",
        "bytes_literal", "bytes_matched", "bytes_written", "peak_rss", "cpu_ns",
    ):
        m.put(name, r.var(name))
    said = m.said("message", r.text("message"))
    need(code or not said, "a message with code 0", begin)


def decode_header(head, offset):
    """(Kind, payload length) of the 8 bytes of a frame header."""
    length, code, reserved = struct.unpack("<IB3s", head)
    need(length <= FRAME_PAYLOAD_MAX, f"frame of {length} bytes", offset)
    need(reserved == bytes(3), "reserved bytes of a frame header", offset + 5)
    need(code in KINDS, f"unknown message type {code:#04x}", offset + 4)
    return KINDS[code], length


def decode_payload(kind, payload, offset):
    """The Message of a frame that begins at `offset`; raises WireError."""
    reader = Reader(payload, offset + FRAME_HEADER_BYTES)
    found = Message(kind, offset, FRAME_HEADER_BYTES + len(payload))
    kind.decode(found, reader)
    reader.end(kind.name)
    return found


class Splitter:
    """Cuts the bytes of one direction into messages; bytes come in pieces of any size."""

    def __init__(self):
        self.pending, self.offset = bytearray(), 0

    def feed(self, data):
        self.pending += data
        while len(self.pending) >= FRAME_HEADER_BYTES:
            kind, length = decode_header(bytes(self.pending[:FRAME_HEADER_BYTES]), self.offset)
            total = FRAME_HEADER_BYTES + length
            if len(self.pending) < total:
                return
            payload = bytes(self.pending[FRAME_HEADER_BYTES:total])
            yield decode_payload(kind, payload, self.offset)
            del self.pending[:total]
            self.offset += total

    def end(self):
        need(not self.pending, f"{len(self.pending)} bytes of a frame that was cut", self.offset)


def read_capture(data):
    """The pieces (direction, bytes) of a capture: U8 direction, U32 length, bytes. 0 is the dialler."""
    r = Reader(data)
    while r.left:
        direction = r.u8("direction", 1)
        yield direction, r.fix(r.u32("length of a piece"), "piece")


def main():
    import wire_run

    with open(sys.argv[1], "rb") as file:
        data = file.read()
    run = wire_run.Run()
    try:
        for text in run.decode(data):
            print(text)
    except WireError as error:
        sys.exit(f"{sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
