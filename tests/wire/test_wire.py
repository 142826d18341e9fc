# SPDX-License-Identifier: Apache-2.0
"""What scribe-mover says agrees with proto/SPEC.md, as a second implementation reads it.

- Golden captures are read as they were; the frames in them are dropped, doubled and damaged, and
  the reader must notice, or at least not fail in another way than by a WireError.
- Live runs of many kinds are read strictly; together they show every message but the reserved ones.

--update makes the golden captures anew.
"""

import collections
import os
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import capture
import remote
import rig
import scribe_wire
import stage
import wire_fields
import wire_messages

GOLDEN = os.path.join(HERE, "golden")
GOLDEN_MAX = 65536
MUTATIONS = 150
# Of these one more or less is right, too, or can't be told.
LOOSE = {"CREDIT", "HEARTBEAT", "ISSUE", "LEAVE_OUT", "DIR_CLOSE", "ACK"}
NEVER = {"PING"}
# Payloads of single messages that must be refused.
BAD = (
    ("HEARTBEAT", "07 00", "stage above 6"),
    ("HEARTBEAT", "00 8000", "varint not the shortest"),
    ("HEARTBEAT", "00 ffffffffffffffffff02", "varint of more than 64 bits"),
    ("HEARTBEAT", "00 8080808080808080808001", "varint of eleven bytes"),
    ("HEARTBEAT", "00 80", "varint without an end"),
    ("HEARTBEAT", "00 00 00", "bytes behind the last field"),
    ("CREDIT", "00 05", "credit for CONTROL"),
    ("CREDIT", "01 8180808010", "credit above the maximum"),
    ("DIR_OPEN", "00 00 0161", "handle 0"),
    ("DIR_OPEN", "01 00 012e", "the name ."),
    ("DIR_OPEN", "01 00 022e2e", "the name .."),
    ("DIR_OPEN", "01 00 00", "an empty name"),
    ("DIR_OPEN", "01 00 03612f62", "a name with /"),
    ("DIR_OPEN", "01 00 03610062", "a name with NUL"),
    ("DIR_OPEN", "01 00 8002" + "61" * 256, "a name of 256 bytes"),
    ("LIST_REQ", "01 00 02 00", "kind 2"),
    ("LIST_REQ", "01 00 00 07" + "00" * 7, "depth 7"),
    ("LIST_REQ", "01 00 01 06" + "00" * 6, "nodes of depth 6"),
    ("LIST_REQ", "01 00 00 00 05", "prefixes of depth 0"),
    ("LIST_REQ", "01 00 00 01", "depth 1 without prefixes"),
    ("LIST_REQ", "01 00 00 01 0505", "a prefix twice"),
    ("LIST_REQ", "01 00 00 02 050500", "part of a prefix"),
    ("LIST_REQ", "01 00 01 01" + bytes(range(65)).hex(), "nodes for 65 prefixes"),
    ("WANT", "03 00 0161 00 00", "an odd file id"),
    ("WANT", "02 00 0161 03 00", "mode 3"),
    ("WANT", "02 00 0161 00 05", "FULL with a basis"),
    ("WANT", "02 00 0161 01 05" + "00" * 32, "two leaves for five bytes"),
    ("SUMS_REQ", "02 00 01 00", "first at level 0"),
    ("SUMS_REQ", "02 01 00 818001", "too many sums"),
    ("SUMS_REQ", "02 04 00 00", "level 4"),
    ("SEGMENT", "02 00 05 00" + "00" * 8 + "61", "raw_len that is not the length"),
    ("SEGMENT", "02 00 05 02" + "00" * 8, "codec 2"),
    ("SEGMENT", "02 00 05 01" + "00" * 8 + "28b52ffd", "half a zstd frame"),
    ("SEGMENT", "02 ffffffffffffffff7f 01 00" + "00" * 8 + "61", "beyond 2^63-1"),
    ("RANGES", "02 02 00 05", "range of kind 2"),
    ("RANGES", "02 00 00 00", "range without a length"),
    ("FILE_END", "02 00 00 05 04" + "00" * 16 + "00", "OK, not covered"),
    ("FILE_END", "02 01 05 05 00" + "00" * 16 + "00", "error without FAILED"),
    ("FILE_END", "02 03 00 00 00" + "01" * 16 + "00", "content hash without OK"),
    ("FILE_END", "02 06 00 00 00" + "00" * 16 + "00", "status 6"),
    ("PACK", "00 05 61", "raw_len that is not the length"),
    ("PACK", "00 14 03 01 00 00" + "00" * 16 + "00", "SAME in a pack"),
    ("PACK", "01 00", "compressed pack of nothing"),
    ("ITEM", "00" + "2e" * 11 + "00 00 00", "place 0"),
    ("ITEM", "01" + "07" * 11 + "0161 00 00", "a code that can't be printed"),
    ("ISSUE", "04 00 00 00 00", "reserved kind"),
    ("LEAVE_OUT", "01" + "00" * 16 + "03612f2f", "a path with an empty name"),
    ("LINKS_REQ", "00" + "00" * 32760, "not all bucket sums"),
    ("LINKS", "00 01 0500 0500", "a bucket twice"),
    ("DONE", "02", "mode 2"),
    ("BYE", "00", "BYE with a field"),
)
ENTRY = "04016101a403e8076480c49fd50c05060003"
BAD_ENTRIES = (
    ("10" + ENTRY[2:], "an unknown flag"),
    ("05" + ENTRY[2:], "RACY in a stream"),
    (ENTRY[:-2] + "04", "an even file id in a stream"),
    (ENTRY[:6] + "08" + ENTRY[8:], "entry type 8"),
    (ENTRY[:-10] + "05" + "000003", "STREAM of an empty file"),
    ("0201610100000000000000" + "00" * 8, "LINKED with group 0"),
    ("0001610300000000000000", "a link without text"),
    ("00016103010000000001620000", "a link with a mode"),
    ("00016101808001000000000000", "a mode above 07777"),
    ("0001610100000000000000" + "00", "half an entry behind"),
    ("000161010000000000000a" + "026231" + "00" + "026161" + "00" + "0000", "unsorted attributes"),
)


def frames_of(data):
    """[(direction, frame)] of a capture, in the order in which the frames are complete."""
    pending, found = [b"", b""], []
    for _, direction, piece in scribe_wire.read_capture(data):
        pending[direction] += piece
        while len(pending[direction]) >= 8:
            total = 8 + struct.unpack("<I", pending[direction][:4])[0]
            if len(pending[direction]) < total:
                break
            found.append((direction, pending[direction][:total]))
            pending[direction] = pending[direction][total:]
    return found


def join(frames):
    return b"".join(struct.pack("<IBI", 0, way, len(frame)) + frame for way, frame in frames)


def name_of(frame):
    return wire_messages.KINDS[frame[4]].name


def frame_of(name, payload):
    code = next(code for code, kind in wire_messages.KINDS.items() if kind.name == name)
    return struct.pack("<II", len(payload), code) + payload


def refused(data):
    """The WireError of a capture; None if it is right. Anything else is a fault of the reader."""
    try:
        scribe_wire.decode(data)
    except wire_fields.WireError as error:
        return error
    return None


def check_vectors():
    """The encoded examples of the specification, and single messages that are malformed."""
    for text in ("01a403e8076480c49fd50c050600", "02ed03000080c49fd50c0000"):
        reader = wire_fields.Reader(bytes.fromhex(text))
        wire_fields.Meta(reader)
        reader.end("meta")
    entry = wire_fields.Entry(wire_fields.Reader(bytes.fromhex(ENTRY)), True)
    seen = (entry.name, entry.fid, entry.meta.size, entry.meta.mtime, entry.meta.mtime_ns)
    rig.check(seen == (b"a", 3, 6, 1700000000, 5), f"entry of the specification: {seen}")
    bad = [(name, bytes.fromhex(payload), what) for name, payload, what in BAD]
    head = bytes.fromhex("01000100")
    bad += [("ENTRIES", head + bytes.fromhex(text), what) for text, what in BAD_ENTRIES]
    for name, payload, what in bad:
        kind = next(kind for kind in wire_messages.KINDS.values() if kind.name == name)
        try:
            wire_messages.decode_payload(kind, payload, 0)
        except wire_fields.WireError as error:
            rig.check(error.offset is not None, f"{name}, {what}: error without an offset")
        else:
            raise rig.Failure(f"{name} was taken: {what}")


def check_frames(name, frames):
    """No frame can be left out, come twice, or be sent by the other side."""
    count = 0
    for index, (way, frame) in enumerate(frames):
        kind = name_of(frame)
        if kind not in LOOSE | {"ITEM"}:
            dropped = frames[:index] + frames[index + 1 :]
            rig.check(refused(join(dropped)), f"{name}: {kind} {index} is not missed")
            count += 1
        if kind not in LOOSE:
            doubled = frames[: index + 1] + frames[index:]
            rig.check(refused(join(doubled)), f"{name}: {kind} {index} may come twice")
            count += 1
        sender = wire_messages.KINDS[frame[4]].sender
        if sender != "*":
            turned = frames[:index] + [(1 - way, frame)] + frames[index + 1 :]
            rig.check(refused(join(turned)), f"{name}: {kind} {index} may come from both sides")
            count += 1
    return count


def check_signs_of_life(name, frames):
    """HEARTBEAT, PING and PONG may stand anywhere behind the opening words, and change nothing."""
    beat = frame_of("HEARTBEAT", b"\2\0")
    token = bytes(range(8))
    ping, pong = frame_of("PING", token), frame_of("PONG", token)
    for index in range(3, len(frames)):
        for extra in ([(0, beat)], [(1, beat)], [(0, ping), (1, pong)]):
            error = refused(join(frames[:index] + extra + frames[index:]))
            rig.check(not error, lambda e=error: f"{name}: a sign of life is refused: {e}")


def mutate(rng, frames):
    """A capture with one byte of one frame changed, or one more, or one less, or cut short."""
    index = rng.randrange(len(frames))
    way, frame = frames[index]
    at = rng.randrange(len(frame))
    how = rng.randrange(6)
    if how == 0:
        frame = frame[:at] + frame[at + 1 :]
    elif how == 1:
        frame = frame[:at] + rng.randbytes(1) + frame[at:]
    elif how == 2:
        return join(frames)[: rng.randrange(len(join(frames)))]
    elif how == 3:
        frame = frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]
    else:
        frame = frame[:at] + rng.choice([b"\0", b"\xff", b"\x80", b"\x7f"]) + frame[at + 1 :]
    return join(frames[:index] + [(way, frame)] + frames[index + 1 :])


def check_mutations(name, frames, seed):
    count = 0
    for number in range(MUTATIONS):
        data = mutate(rig.rng_for(seed, name, number), frames)
        try:
            count += refused(data) is not None
        except Exception as error:
            raise rig.Failure(f"mutation {number} of {name}: {error!r}") from error
    rig.check(count >= MUTATIONS // 4, f"{name}: only {count} of {MUTATIONS} were noticed")
    return count


def check_golden(seed):
    names = sorted(f[:-4] for f in os.listdir(GOLDEN) if f.endswith(".bin"))
    rig.check(set(names) == set(capture.GOLDEN), f"golden captures: {names}")
    for name in names:
        data = remote.read_file(os.path.join(GOLDEN, name + ".bin"))
        rig.check(len(data) < GOLDEN_MAX, f"{name}.bin has {len(data)} bytes")
        text = scribe_wire.decode(data).encode()
        rig.check(
            text == remote.read_file(os.path.join(GOLDEN, name + ".txt")),
            f"{name}.bin is not read as {name}.txt has it",
        )
        frames = frames_of(data)
        moved = check_frames(name, frames)
        check_signs_of_life(name, frames)
        noticed = check_mutations(name, frames, seed)
        rig.note(f"golden {name}: {len(frames)} frames, {moved} misplaced, {noticed} of"
                 f" {MUTATIONS} mutations refused")


def update(binary):
    with rig.Scratch("golden") as scratch:
        lab = capture.Lab(remote.Mover(binary, scratch), rig.rng_for("golden"))
        for name, make in capture.GOLDEN.items():
            data = join(frames_of(make(lab)))
            for suffix, content in ((".bin", data), (".txt", scribe_wire.decode(data).encode())):
                with open(os.path.join(GOLDEN, name + suffix), "wb") as file:
                    file.write(content)
            rig.note(f"golden {name}: {len(data)} bytes")


def read_live(name, data, seen):
    """Reads a capture of a run that was right; adds its messages to the Counter `seen`."""
    try:
        run = scribe_wire.Run()
        for piece in scribe_wire.read_capture(data):
            for who, m in run.feed(*piece):
                m.text(who)
                seen[m.kind.name] += 1
        run.finish()
    except wire_fields.WireError as error:
        raise rig.Failure(f"{name}: {error}") from error


def start_slow(binary, path):
    """The scenario that has to wait, while others go on."""
    return subprocess.Popen(
        [sys.executable, "-B", os.path.join(HERE, "capture.py"), binary, capture.SLOW, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=rig.die_with_parent,
    )


def live(binary, seed):
    with rig.Scratch("wire") as scratch:
        path = scratch.file("slow")
        slow = start_slow(binary, path)
        seen = collections.Counter()
        try:
            lab = capture.Lab(remote.Mover(binary, scratch), rig.rng_for(seed))
            for name, make in capture.SCENARIOS.items():
                if name != capture.SLOW:
                    read_live(name, make(lab), seen)
            check_golden(seed)
            said, _ = slow.communicate(timeout=120)
            rig.check(slow.returncode == 0, lambda: f"the slow run failed: {said.decode()}")
        finally:
            slow.terminate()
            slow.wait()
        read_live(capture.SLOW, remote.read_file(path), seen)
    rig.note("live:", ", ".join(f"{name} {count}" for name, count in sorted(seen.items())))
    missing = {kind.name for kind in wire_messages.KINDS.values()} - set(seen) - NEVER
    rig.check(not missing, f"never seen: {sorted(missing)}")


def body(args):
    check_vectors()
    if args.update:
        update(args.binary)
        return
    live(os.path.abspath(args.binary), rig.seed_of(args.seed))


def arguments():
    made = stage.parser(__doc__)
    made.add_argument("--update", action="store_true", help="make the golden captures anew")
    return made.parse_args()


rig.run(body, arguments())
