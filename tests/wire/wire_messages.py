# SPDX-License-Identifier: Apache-2.0
"""The messages of proto/SPEC.md, section 5, and the frames of section 3, one at a time.

What goes with what, and in which order, is for scribe_wire.py.
"""

import struct

from wire_fields import (
    ATTRS, CONFIRM_BYTES_MAX, CONTROL, CREDIT_MAX, DATA, DIGEST_FLAGS, DIRECTORY, END_STATUS,
    ERRNO_MAX, Entry, FILE, FILTER_WIRE_BYTES_MAX, FRAME_BODY_MAX, FRAME_HEADER_BYTES,
    FRAME_PAYLOAD_MAX, ITEM_CODE, LEAF_BYTES, LEAVE_MARK, LINK_BUCKETS, LIST_FLAGS, Leave, META,
    MODES, NAME_BYTES_MAX, NODE_BYTES, NODE_PREFIXES_MAX, NS_MAX, OPTION_FLAGS, PACK_FILE_MAX,
    PACK_RAW_MAX, PACK_STATUS, PATH_BYTES_MAX, PREFIX_BYTES_MAX, Reader, SEGMENT_RAW_MAX,
    SIGNATURE_WINDOW_MAX, SIZE_MAX, SOFTWARE_MAX, SOURCE_ID_MAX, STATE_FLAGS, SUMS_COUNT_MAX,
    TRIE_DEPTH_MAX, TRIE_FANOUT, U32_MAX, WANT_LEAVES_MAX, XATTR_VALUE_MAX, blob, check_path,
    check_zstd, decode_filter, decode_meta, flag_names, need, quote,
)


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
    need(m["meta"] and m["meta"].type == DIRECTORY, "the root is no directory", begin)
    m.lines.append(m["meta"].show())


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
    begin = r.offset
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
