#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second reading of proto/SPEC.md: follows a whole run of scribe-mover's protocol, version 1.

    scribe_wire.py CAPTURE      prints a capture (see tee_rsh.py) as text

`Run` takes the bytes of both directions in an order in which nothing comes before what it answers,
and refuses, as a WireError with the offset, what the specification does not allow: frames, fields,
who sends what and when, credit, what answers what, which bytes of a file are described how often.

Not looked into, as Python's library has neither XXH3 nor zstd: values of hashes, content of
compressed packs.
"""

import collections
import sys

from wire_fields import (
    CHANNELS, CHANGED, CHARDEV, BLOCKDEV, CONTROL, DATA, DIRECTORY, FIFO, FILE,
    GONE, INCOMPLETE, LINKED, META, OPAQUE, RACY, Reader, SOCKET, STREAM, SYMLINK,
    TRIE_FANOUT, WireError, check_anchors, check_scope, check_signature, need, quote,
)
from wire_messages import Splitter

WINDOWS = {META: 1 << 20, DATA: 16 << 20}
LISTS_IN_FLIGHT_MAX = 16
WANTS_IN_FLIGHT_MAX = 4096
HANDLES_MAX = 100000
DEPTH_MAX = 1000
RACY_SECONDS = 60
LANES_MAX = 15
OWNER, GROUP, PERMS, TIMES, ACLS, XATTRS, CAPABILITY, SYMLINKS, HARD_LINKS = (
    1 << bit for bit in range(9)
)
DEVICES, SPECIALS, SPARSE, SECURITY, TRUSTED, SHUT = (1 << bit for bit in range(9, 15))
SCOPE = {
    SYMLINK: SYMLINKS, CHARDEV: DEVICES, BLOCKDEV: DEVICES, FIFO: SPECIALS, SOCKET: SPECIALS,
}
DELETE, DRY_RUN, ITEMIZE, CHECKSUM = 1, 2, 4, 8
EMPTY, HAS_RECORD = 1, 2
FULL, PATCH, COMPARE = 0, 1, 2
OK, SAME, DIFFERS = 0, 1, 5
ANY_TIME = {"CREDIT", "HEARTBEAT", "PING", "PONG"}
OPENING = ("HELLO", "OPTIONS", "BEGIN", "BEGIN_OK", "ROOT")
BETWEEN = ANY_TIME | {"ABORT"}


class Credit:
    """What one direction may still send on one channel."""

    def __init__(self, channel):
        self.window = self.left = WINDOWS[channel]

    def spend(self, count, offset):
        allowed = self.left >= count or self.left == self.window
        need(allowed, f"frame of {count} bytes with credit {self.left}", offset)
        self.left -= count

    def give(self, count, offset):
        self.left += count
        right = self.left <= self.window
        need(right, f"credit {self.left} above the window {self.window}", offset)


class Side:
    """One direction: the frames it sent so far."""

    def __init__(self, dialler):
        self.dialler, self.role, self.splitter = dialler, "", Splitter()
        self.credit = {META: Credit(META), DATA: Credit(DATA)}
        self.seen, self.closed = collections.Counter(), False


class Lane:
    """A further connection, which carries content only (section 11)."""

    def __init__(self):
        self.splitters = (Splitter(), Splitter())
        self.names = ([], [])
        self.up = False


class Listing:
    """A LIST_REQ, until its number is used again."""

    def __init__(self, m, handle):
        self.req, self.handle, self.nodes = m["req"], handle, m["kind"]
        self.left = max(1, len(m["prefixes"]))
        self.flags, self.names, self.over = 0, set(), False
        self.asked = None


class Content:
    """A file whose content is asked for or on its way."""

    def __init__(self, want=None, sizes=None):
        self.want, self.sizes = want, sizes
        self.entry = None
        self.parts, self.end, self.packed = [], None, None
        self.sums = None

    @property
    def total(self):
        return sum(length for _, length, _ in self.parts)

    @property
    def over(self):
        return self.packed is not None or (
            self.end is not None and self.total == self.end["covered"]
        )


class Sums:
    """A request for sums of an old file that is not answered in full."""

    def __init__(self, m, level):
        self.request, self.level, self.data = m, level, b""


class Run:
    """A run over one connection, to which others that carry content may be added."""

    def __init__(self):
        self.sides = (Side(True), Side(False))
        self.first, self.lanes = None, {}
        self.options = self.mask = self.root = None
        self.begin_ok = None
        self.handles, self.closed = {0}, set()
        self.lists, self.queue = {}, collections.deque()
        self.stack, self.stream_flags = [], 0
        self.shut_dir = False
        self.files, self.used = {}, set()
        self.sizes = collections.defaultdict(set)
        self.groups, self.items, self.epoch = set(), set(), 0
        self.modes, self.finals, self.final = [], 0, None
        self.links_asked = None
        self.committed = None
        self.unseen_packs = False

    # Both directions ------------------------------------------------------------------------------

    def decode(self, capture):
        """Yields the text of every message of a capture, and checks its end."""
        for piece in read_capture(capture):
            for who, m in self.feed(*piece):
                yield m.text(who)
        self.finish()

    def feed(self, connection, direction, data):
        """Yields (who, Message) for every frame that `data` completes; direction 0 dialled."""
        if self.first is None:
            self.first = connection
        if connection == self.first:
            yield from self.feed_first(direction, data)
        else:
            yield from self.feed_lane(connection, direction, data)

    def feed_lane(self, connection, direction, data):
        if connection not in self.lanes:
            self.lanes[connection] = Lane()
            need(len(self.lanes) <= LANES_MAX, f"{len(self.lanes)} lanes")
        lane, number = self.lanes[connection], list(self.lanes).index(connection) + 1
        who = f"{self.sides[direction].role}.lane{number}"
        try:
            for m in lane.splitters[direction].feed(data):
                try:
                    self.take_on_lane(lane, direction, m)
                except WireError as error:
                    error.offset = m.offset if error.offset is None else error.offset
                    raise
                yield who, m
        except WireError as error:
            error.who = error.who or who
            raise

    def take_on_lane(self, lane, direction, m):
        """A frame of a lane: it comes up by one exchange, then carries DATA."""
        side, name, said = self.sides[direction], m.kind.name, lane.names[direction]
        need(self.begin_ok, "a lane before BEGIN_OK")
        said.append(name)
        if lane.up:
            need(m.kind.channel == DATA, f"{name} on a lane")
            self.check_sender(side, m)
            self.check_open(side, name)
            side.credit[DATA].spend(m.length, m.offset)
            getattr(self, "on_" + name.lower())(side, m)
        elif direction == 0:
            need(said in (["HELLO"], ["HELLO", "BIND"]), f"{name} opens a lane")
            need(name != "HELLO" or m["role"] == 3, "HELLO of a lane without role 3")
            right = name != "BIND" or m["token"] == self.begin_ok["token"]
            need(right, "BIND with another token than that of BEGIN_OK")
        else:
            need(name in ("HELLO", "HEARTBEAT", "PONG"), f"{name} answers a lane")
            need(said[0] == "HELLO" and said.count("HELLO") == 1, "HELLO opens a lane, once")
            if name == "PONG":
                need(lane.names[0] == ["HELLO", "BIND"], "PONG before BIND")
                need(m["token"] == 1, f"a lane is answered with {m['token']}")
                lane.up = True

    def feed_first(self, direction, data):
        side = self.sides[direction]
        who = side.role or ("dialler" if side.dialler else "dialled")
        try:
            need(not side.closed, "bytes behind the last frame", side.splitter.offset)
            for m in side.splitter.feed(data):
                try:
                    self.take(side, m)
                except WireError as error:
                    if error.offset is None:
                        error.offset = m.offset
                    raise
                who = side.role
                yield who, m
        except WireError as error:
            error.who = error.who or who
            raise

    def finish(self):
        """The end of both streams."""
        splitters = [side.splitter for side in self.sides]
        for splitter in splitters + [s for lane in self.lanes.values() for s in lane.splitters]:
            splitter.end()
        aborted = any(side.seen["ABORT"] for side in self.sides)
        if aborted:
            return
        source = self.side("S")
        need(source and source.seen["BYE"], "the stream ends without BYE or ABORT")
        need(not self.busy(), f"the run ends while these are open: {self.busy()[:5]}")
        if self.options["flags"] & ITEMIZE:
            right = self.items == set(range(1, len(self.items) + 1))
            need(right, "places of ITEM lines are missing")

    def side(self, role):
        for side in self.sides:
            if side.role == role:
                return side
        return None

    def busy(self):
        """What was asked for and is not answered, as words; empty if there is nothing."""
        left = [f"{kind} {thing}" for kind, thing in self.queue]
        left += [f"file {fid}" for fid, file in self.files.items() if not self.settled(file)]
        return left

    def settled(self, file):
        if file.want is None and file.entry is None:
            return False
        if self.unseen_packs or file.over:
            return True
        return file.want is None and bool(self.options["flags"] & DRY_RUN)

    def take(self, side, m):
        """One frame: may it come now, and what does it change?"""
        name = m.kind.name
        need(not side.closed, f"{name} behind the last frame")
        if not side.seen:
            need(name == "HELLO", f"{name} before HELLO")
        elif side.dialler and sum(side.seen.values()) == 1:
            need(name == "OPTIONS", f"{name} where OPTIONS must follow HELLO")
        if name in OPENING:
            need(not side.seen[name], f"a second {name}")
        self.check_sender(side, m)
        side.seen[name] += 1
        if m.kind.channel != CONTROL:
            side.credit[m.kind.channel].spend(m.length, m.offset)
        if name not in BETWEEN and name not in OPENING:
            self.check_open(side, name)
        handler = getattr(self, "on_" + name.lower(), None)
        if handler:
            handler(side, m)

    def check_sender(self, side, m):
        name, sender = m.kind.name, m.kind.sender
        if name == "HELLO" or sender == "*":
            return
        if sender == "X":
            need(side.dialler, f"{name} of the side that did not dial")
        else:
            need(side.role == sender, f"{name} on {CHANNELS[m.kind.channel]} sent by {side.role}")

    def check_open(self, side, name):
        if side.role == "S":
            need(side.seen["ROOT"], f"{name} before ROOT")
        else:
            need(side.seen["BEGIN_OK"], f"{name} before BEGIN_OK")
            need(self.root or name == "ISSUE", f"{name} before ROOT")
            need(not self.committed or name == "ACK", f"{name} behind COMMITTED")

    def other(self, side):
        return self.sides[1] if side is self.sides[0] else self.sides[0]

    # Session --------------------------------------------------------------------------------------

    def on_hello(self, side, m):
        need(m["role"] in (1, 2), "a bulk lane opens no run")
        side.role = "SD"[m["role"] - 1]
        need(self.other(side).role != side.role, "two sides of one role")

    def on_credit(self, side, m):
        self.other(side).credit[m["channel"]].give(m["bytes"], m.offset)

    def on_abort(self, side, _m):
        side.closed = True

    def on_bye(self, side, _m):
        need(self.committed, "BYE before COMMITTED")
        side.closed = True

    def on_pong(self, side, _m):
        pings, pongs = self.other(side).seen["PING"], side.seen["PONG"]
        need(pongs <= pings, "PONG without a PING")

    def on_bind(self, _side, _m):
        raise WireError("BIND on the first connection")

    def on_options(self, _side, m):
        self.options = m

    def on_begin(self, side, _m):
        need(self.options, "BEGIN before OPTIONS")
        need(self.other(side).seen["HELLO"], "BEGIN before HELLO of the destination")

    def on_begin_ok(self, side, m):
        need(self.other(side).seen["BEGIN"], "BEGIN_OK before BEGIN")
        self.mask, self.begin_ok = m["mask"], m
        need(not self.mask & ~self.options["attrs"], "mask beyond OPTIONS.attrs")

    def on_root(self, side, m):
        need(self.other(side).seen["BEGIN_OK"], "ROOT before BEGIN_OK")
        need(not m["stream"] or self.begin_ok["state"] & EMPTY, "a stream to what is not empty")
        self.root = m
        self.check_mask(m["meta"])
        if m["stream"]:
            self.queue.append(("stream", 0))

    # What an entry may look like under the mask (4.2) ---------------------------------------------

    def check_mask(self, meta):
        mask, where = self.mask, meta.offset
        bit = SCOPE.get(meta.type, 0)
        need(mask & bit == bit, f"entry of type {meta.type} out of scope", where)
        need(mask & OWNER or not meta.uid, "uid without OWNER", where)
        need(mask & GROUP or not meta.gid, "gid without GROUP", where)
        need(mask & PERMS or not meta.mode, "mode without PERMS", where)
        self.check_time(meta)
        if not mask & SHUT and mask & PERMS and meta.type == DIRECTORY:
            need(meta.mode & 0o500 == 0o500, "a shut directory without SHUT", where)
        elif not mask & SHUT and mask & PERMS and meta.type != SYMLINK and not meta.mode & 0o400:
            need(not meta.xattrs, "attributes of what D can't look into", where)
        for name, value in meta.xattrs:
            self.check_xattr(name, value, where)

    def check_time(self, meta):
        where, at, ns = meta.offset, meta.mtime, meta.mtime_ns
        if not self.mask & TIMES:
            need(not at and not ns, "mtime without TIMES", where)
            return
        low, high = self.begin_ok["time_min"], self.begin_ok["time_max"]
        granule = min(self.begin_ok["granule_ns"], 4 * 10**9)
        if granule < 10**9:
            need(low <= at <= high, f"mtime {at} out of [{low}, {high}]", where)
            need(low < at < high or not ns, "nanoseconds at the end of the range", where)
            need(ns % granule == 0, f"nanoseconds {ns} between steps", where)
        else:
            step = granule // 10**9
            need(low - step < at <= high, f"mtime {at} out of [{low}, {high}]", where)
            need(not ns and at % step == 0, f"mtime {at}.{ns} between steps", where)

    def check_xattr(self, name, value, where):
        need(len(value) <= self.begin_ok["xattr_max"], "value above xattr_max", where)
        family, _, rest = name.partition(b".")
        bits = {b"user": XATTRS, b"system": ACLS, b"security": SECURITY, b"trusted": TRUSTED}
        bit = CAPABILITY if name == b"security.capability" else bits.get(family, 0)
        need(self.mask & bit, f"attribute {quote(name)} out of the mask", where)
        hidden = family in (b"user", b"trusted") and rest.startswith(b"scribe-mover.")
        need(not hidden, f"attribute {quote(name)} never travels", where)

    def check_entry(self, entry, in_root, names):
        check_scope(entry.name, in_root, entry.offset)
        need(entry.name not in names, f"{quote(entry.name)} is listed twice", entry.offset)
        names.add(entry.name)
        self.check_mask(entry.meta)
        linked = entry.flags & LINKED
        need(not linked or self.mask & HARD_LINKS, "LINKED without HARD_LINKS", entry.offset)
        late = entry.flags & CHANGED
        need(not late or 1 in self.modes, "CHANGED before a DONE of mode 1", entry.offset)

    def check_racy(self, entry):
        racy = bool(self.options["flags"] & CHECKSUM) or not self.mask & TIMES
        if self.begin_ok["state"] & HAS_RECORD:
            racy = racy or entry.meta.mtime >= self.begin_ok["last_clock"] - RACY_SECONDS
        racy = racy and entry.meta.type == FILE
        said = bool(entry.flags & RACY)
        need(said == racy, f"{quote(entry.name)}: RACY is {said}, not {racy}", entry.offset)

    # Directories and listings ---------------------------------------------------------------------

    def on_dir_open(self, _side, m):
        handle = m["handle"]
        need(handle not in self.handles and handle not in self.closed, f"handle {handle} is used")
        known = m["parent"] in self.handles or m["parent"] in self.closed
        need(known, f"parent {m['parent']} was not opened")
        self.handles.add(handle)
        need(len(self.handles) <= HANDLES_MAX + 1, "too many open handles")

    def on_dir_close(self, _side, m):
        handle = m["handle"]
        if handle and handle in self.handles:
            self.handles.remove(handle)
            self.closed.add(handle)

    def need_handle(self, handle):
        need(handle in self.handles, f"handle {handle} is not open")

    def on_list_req(self, _side, m):
        self.need_handle(m["handle"])
        old = self.lists.get(m["req"])
        need(not old or old.over, f"request {m['req']} is in use")
        self.lists[m["req"]] = Listing(m, m["handle"])
        self.queue.append(("list", m["req"]))
        self.count_lists()

    def count_lists(self):
        count = sum(kind in ("list", "confirm") for kind, _ in self.queue)
        need(count <= LISTS_IN_FLIGHT_MAX, f"{count} unfinished listings")

    def on_stream_req(self, _side, m):
        self.need_handle(m["handle"])
        self.queue.append(("stream", m["handle"]))

    def head(self, kind, number, m):
        """S answers in the order it was asked."""
        now = self.queue[0] if self.queue else None
        need(now == (kind, number), f"{m.kind.name} for {kind} {number}, in turn is {now}")

    def check_list_flags(self, flags, offset):
        need(not flags & 4 or 1 in self.modes, "list flag CHANGED before a DONE of mode 1", offset)

    def on_nodes(self, _side, m):
        self.head("list", m["req"], m)
        listing = self.lists[m["req"]]
        need(listing.nodes, "NODES where entries were asked for")
        self.check_list_flags(m["flags"], m.offset)
        need(len(m["nodes"]) == TRIE_FANOUT, "node without 256 records")
        listing.left -= 1
        need(bool(m["last"]) == (listing.left == 0), f"last={m['last']}, {listing.left} to come")
        if m["last"]:
            self.queue.popleft()
            listing.over = True

    def on_entries(self, _side, m):
        self.check_list_flags(m["flags"], m.offset)
        if m["kind"]:
            self.stream_part(m)
            return
        self.head("list", m["req"], m)
        listing = self.lists[m["req"]]
        need(not listing.nodes, "ENTRIES where nodes were asked for")
        listing.flags |= m["flags"]
        for entry in m["entries"]:
            self.check_entry(entry, listing.handle == 0, listing.names)
            self.check_racy(entry)
            if entry.meta.type == FILE:
                self.sizes[listing.handle, entry.name].add(entry.meta.size)
        if m["last"]:
            self.queue.popleft()
            listing.over = True

    def on_confirm_req(self, _side, m):
        listing = self.lists.get(m["req"])
        need(listing and listing.over and not listing.nodes, f"no listing {m['req']} to confirm")
        need(listing.asked is None, "a listing is confirmed twice")
        need(not listing.flags & (INCOMPLETE | GONE), "CONFIRM_REQ for what is incomplete or gone")
        need(listing.handle == m["handle"], "CONFIRM_REQ for another directory")
        listed = listing.names & set(m["names"])
        need(not listed, f"CONFIRM_REQ for names that were listed: {listed}")
        listing.asked, listing.over = m["names"], False
        self.queue.append(("confirm", m["req"]))
        self.count_lists()

    def on_confirm(self, _side, m):
        self.head("confirm", m["req"], m)
        listing = self.lists[m["req"]]
        count = len(m["answers"])
        need(count <= len(listing.asked), f"{count} answers for {len(listing.asked)} names")
        self.queue.popleft()
        listing.over = True

    # Streams --------------------------------------------------------------------------------------

    def stream_part(self, m):
        self.head("stream", m["req"], m)
        if not self.stack:
            self.stack = [set()]
            self.shut_dir = False
        for item in m["entries"]:
            if not hasattr(item, "meta"):
                need(len(self.stack) > 1, "leave mark where no directory was entered", item.offset)
                self.check_list_flags(item.flags, item.offset)
                self.stack.pop()
                self.shut_dir = False
                continue
            need(not self.shut_dir, "content of an opaque directory", item.offset)
            in_root = m["req"] == 0 and len(self.stack) == 1
            self.check_entry(item, in_root, self.stack[-1])
            if item.meta.type == DIRECTORY:
                self.stack.append(set())
                need(len(self.stack) <= DEPTH_MAX + 2, "a stream too deep", item.offset)
                self.shut_dir = bool(item.digest_flags & OPAQUE)
            elif item.meta.type == FILE:
                self.stream_file(item)
        if m["last"]:
            need(len(self.stack) == 1, f"stream ends {len(self.stack) - 1} directories deep")
            gone = m["flags"] & GONE
            need(not gone or not m["entries"], "a stream that is gone has entries")
            self.stack = []
            self.queue.popleft()

    def stream_file(self, entry):
        again = bool(entry.flags & LINKED) and entry.group in self.groups
        if not entry.flags & STREAM:
            right = entry.meta.size == 0 or again
            need(right, f"{quote(entry.name)} of a stream lacks STREAM", entry.offset)
            return
        need(not again, "second name of an inode is marked STREAM", entry.offset)
        if entry.flags & LINKED:
            self.groups.add(entry.group)
        file = self.files.setdefault(entry.fid, Content())
        need(file.entry is None, f"file id {entry.fid} is used twice", entry.offset)
        file.entry, file.sizes = entry, {entry.meta.size}
        self.check_size(file)

    # Files ----------------------------------------------------------------------------------------

    def on_want(self, _side, m):
        self.need_handle(m["handle"])
        need(m["fid"] not in self.files, f"file id {m['fid']} is used twice")
        if self.options["flags"] & DRY_RUN:
            need(m["mode"] == COMPARE, "content is asked for in a dry run")
        self.files[m["fid"]] = Content(m, self.sizes.get((m["handle"], m["name"]), set()))
        open_ = sum(f.want is not None and not f.over for f in self.files.values())
        need(self.unseen_packs or open_ <= WANTS_IN_FLIGHT_MAX, f"{open_} unfinished WANT")

    def file(self, fid, offset):
        """The file that DATA is for. That of a stream may come before its entry."""
        if fid not in self.files:
            need(fid % 2 == 1, f"content of file {fid}, which nobody asked for", offset)
            self.files[fid] = Content()
        file = self.files[fid]
        need(not file.over, f"more of file {fid}, which is over", offset)
        need(file.packed is None, f"more of file {fid}, which came in a pack", offset)
        return file

    def on_sums_req(self, _side, m):
        self.ask_sums(m, m["level"])

    def on_signature_req(self, _side, m):
        self.ask_sums(m, 4)

    def ask_sums(self, m, level):
        file = self.files.get(m["fid"])
        need(file and file.want, f"sums of file {m['fid']}, which nobody asked for")
        need(file.want["mode"] != FULL, "sums for a file that was asked for in full")
        need(not file.over, "sums for a file that is over")
        need(file.sums is None, "a second request for sums of one file")
        file.sums = Sums(m, level)

    def on_sums(self, _side, m):
        file = self.files.get(m["fid"])
        asked = file.sums if file else None
        need(asked is not None, f"SUMS of file {m['fid']}, which nobody asked for")
        need(asked.level == m["level"], f"SUMS of level {m['level']}, asked was {asked.level}")
        need(m["first"] == len(asked.data), f"SUMS from {m['first']}, {len(asked.data)} are here")
        asked.data += m["sums"]
        if m["last"]:
            self.check_sums(file.want["basis_size"], asked, m.offset)
            file.sums = None

    def check_sums(self, size, asked, offset):
        request, length = asked.request, len(asked.data)
        if asked.level == 3:
            check_anchors(asked.data, size, offset)
        elif asked.level == 4:
            window = max(0, min(request["length"], size - request["offset"]))
            check_signature(asked.data, window, offset)
        else:
            unit = 16 if asked.level else 128
            count = request["count"] if asked.level else len(request["leaves"])
            right = length % unit == 0 and length <= unit * count
            need(right, f"{length} bytes of sums of level {asked.level} for {count}", offset)

    def no_content(self, m):
        need(not self.options["flags"] & DRY_RUN, f"{m.kind.name} in a dry run")

    def on_pack(self, _side, m):
        self.no_content(m)
        if m["items"] is None:
            self.unseen_packs = True
            return
        for item in m["items"]:
            file = self.file(item.fid, item.offset)
            need(not file.parts and not file.end, "a file in a pack and outside", item.offset)
            file.packed = item
            self.check_size(file)

    def on_segment(self, _side, m):
        self.no_content(m)
        file = self.file(m["fid"], m.offset)
        file.parts.append((m["offset"], m["raw_len"], m.offset))
        self.check_parts(file, m)

    def on_ranges(self, _side, m):
        self.no_content(m)
        file = self.file(m["fid"], m.offset)
        for dst, src, length, offset in m["ranges"]:
            if src is not None:
                patch = file.want and file.want["mode"] != FULL
                need(patch, "COPY where there is no old file", offset)
                inside = src + length <= file.want["basis_size"]
                need(inside, f"COPY of {src}+{length} beyond the old file", offset)
            file.parts.append((dst, length, offset))
        self.check_parts(file, m)

    def on_file_end(self, _side, m):
        file = self.file(m["fid"], m.offset)
        need(file.end is None, f"a second FILE_END of file {m['fid']}")
        dry = self.options["flags"] & DRY_RUN
        if m["status"] in (SAME, DIFFERS):
            compared = file.want and file.want["mode"] == COMPARE
            need(compared, "SAME or DIFFERS without COMPARE")
        need(m["status"] != DIFFERS or dry, "DIFFERS outside a dry run")
        need(m["status"] != OK or not dry, "OK in a dry run")
        file.end = m
        self.check_parts(file, m)

    def check_parts(self, file, m):
        """Once a file is over: its bytes are described exactly once."""
        if file.end is None:
            return
        covered = file.end["covered"]
        need(file.total <= covered, f"file {m['fid']}: {file.total} bytes of {covered}")
        if not file.over:
            return
        need(file.sums is None, f"file {m['fid']} ends while sums are asked for")
        self.check_size(file)
        if file.end["status"] != OK:
            return
        at = 0
        for begin, length, offset in sorted(file.parts):
            if length:
                need(begin == at, f"bytes {at} to {begin} are described twice or never", offset)
            at += length

    def check_size(self, file):
        """A file without meta of its own has the size of its entry."""
        if not file.sizes or not file.over:
            return
        if file.packed:
            size = len(file.packed.data)
            plain = file.packed.status == OK and not file.packed.meta
            offset = file.packed.offset
        else:
            size = file.end["size"]
            plain = file.end["status"] == OK and not file.end.meta
            offset = file.end.offset
        need(not plain or size in file.sizes, f"size {size}, entries {file.sizes}", offset)

    # Reports and the end --------------------------------------------------------------------------

    def on_item(self, side, m):
        need(self.options["flags"] & ITEMIZE, "ITEM without ITEMIZE")
        need(m["seq"] not in self.items, f"a second ITEM {m['seq']}")
        self.items.add(m["seq"])
        sent = b"<" if not side.dialler else b">"
        first = m["code"][:1]
        right = first not in (b"<", b">") or first == sent
        need(right, f"itemize code {quote(m['code'])} of the wrong direction")

    def on_ack(self, _side, m):
        need(m["epoch"] == self.epoch + 1, f"epoch {m['epoch']} behind {self.epoch}")
        self.epoch = m["epoch"]

    def on_done(self, _side, m):
        need(len(self.modes) == self.finals, "DONE while another one is not answered")
        dry = self.options["flags"] & DRY_RUN
        need(not dry or not self.modes, "another DONE in a dry run")
        need(self.modes or m["mode"] == 0, "the first DONE has mode 1")
        need(1 not in self.modes, "DONE behind a DONE of mode 1")
        need(not self.busy(), f"DONE while these are open: {self.busy()[:5]}")
        self.modes.append(m["mode"])

    def on_source_final(self, _side, m):
        need(self.finals < len(self.modes), "SOURCE_FINAL without DONE")
        self.finals += 1
        self.final = m

    def on_links_req(self, _side, m):
        need(self.finals, "LINKS_REQ before SOURCE_FINAL")
        self.queue.append(("links", m["kind"]))

    def on_links(self, _side, m):
        self.head("links", m["kind"], m)
        if m["last"]:
            self.queue.popleft()

    def on_committed(self, _side, m):
        need(self.finals == len(self.modes) > 0, "COMMITTED before SOURCE_FINAL")
        need(not self.busy(), f"COMMITTED while these are open: {self.busy()[:5]}")
        same = m["source_root_hash"] == self.final["root_hash"]
        need(same, "source_root_hash is not that of SOURCE_FINAL")
        if self.options["flags"] & DRY_RUN:
            need(not any(m["root_hash"]), "root hash of a dry run")
        self.committed = m


def read_capture(data):
    """The pieces of a capture as (connection, direction, bytes); see tee_rsh.py."""
    r = Reader(data)
    while r.left:
        connection, direction = r.u32("connection"), r.u8("direction", 1)
        yield connection, direction, r.fix(r.u32("length of a piece"), "piece")


def decode(data):
    """The text of a capture, a line or more for every message."""
    return "".join(text + "\n" for text in Run().decode(data))


def main():
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    try:
        for text in Run().decode(data):
            print(text)
    except WireError as error:
        sys.exit(f"{sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
