# SPDX-License-Identifier: Apache-2.0
"""A second push of an unchanged tree of 100,000 files says nothing, writes nothing, costs nothing.

Three measurements of the second run agree on its bytes:
- the relay's count at the socket, which the report's wireBytes* must match within 1 %;
- the SSH packets themselves: up to NEWKEYS they are in the clear, after it AES-GCM still shows each
  length, so the relay knows how many packets there were and how long the key exchange was;
- the protocol without SSH: the same run through --rsh with a counting pipe.
Beyond the SSH handshake there are then at most: protocol bytes + 45 per packet (length field,
padding, tag and channel header), and the packets of the login are in that count too. The report's
wireHandshakeSent and wireHandshakeReceived make it exact, and they may not claim more than the
difference to the protocol bytes.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import anypath
import plain
import relay
import rig
import stage

PACKET_OVERHEAD = 45
LIMIT = 2048


def ssh_framing(line):
    """(bytes of banner and key exchange, packets after it) of all links of a relay."""
    clear = count = 0
    for link in line.links:
        for pipe in (link.up, link.down):
            part, sealed = relay.packets(pipe.head)
            rig.check(part, "no NEWKEYS seen: not an SSH connection that the relay can read")
            clear += part
            count += len(sealed)
    return clear, count


def protocol_bytes(s, peer, source, target):
    """Bytes of the protocol in an unchanged run, both directions, without SSH."""
    counts = s.file("counts")
    script = s.counting_rsh(counts, s.mover.binary, "receive", "--root", target)
    done = s.run("push", "--rsh", script, "--delete", "--itemize", source, peer.at()).need(0)
    rig.check(not done.items, lambda: f"through --rsh something is itemized: {done.items[:5]}")
    with open(counts, encoding="ascii") as file:
        return sum(map(int, file.read().split()))


def check_report(done, line):
    for name, seen in (("wireBytesSent", line.sent), ("wireBytesReceived", line.received)):
        said = done.report.get(name)
        rig.check(
            said is not None and stage.within(said, seen, 0.01),
            f"{name} is {said}, the relay counted {seen}",
        )
    for name in ("filesTransferred", "filesDeleted", "bytesLiteral", "destinationBytesWritten"):
        rig.check(done.report.get(name) == 0, f"{name} is {done.report.get(name)}, expected 0")


def beyond_handshake(done, line, protocol):
    clear, count = ssh_framing(line)
    parts = [done.report.get(f"wireHandshake{way}") for way in ("Sent", "Received")]
    rig.note(
        f"wire {line.total} B: key exchange {clear} B, then {count} packets; protocol "
        f"{protocol} B; handshake according to the report {parts}"
    )
    if None in parts:
        return protocol + PACKET_OVERHEAD * count
    said = sum(parts)
    rig.check(
        clear < said <= line.total - protocol,
        f"wireHandshake* are {said}, not between {clear} and {line.total - protocol}",
    )
    return line.total - said


def body(args):
    with stage.Stage("nochange", args.binary) as s:
        source, target = s.sub("source"), s.sub("target")
        entries = plain.many_files(source, args.files, size=40)
        with s.serve(root=target) as peer:
            first = s.push(peer, source, "--delete", "--itemize", timeout=1200).need(0)
            rig.check(
                len(first.items) >= entries, f"{len(first.items)} items for {entries} entries"
            )
            s.equal(source, target, "first copy")
            before = anypath.stamps(source), anypath.stamps(target), os.stat(target).st_atime_ns
            with relay.Relay(("127.0.0.1", peer.port), keep=1 << 20) as line:
                second = s.push(peer, source, "--delete", "--itemize", port=line.port).need(0)
                line.settle()
                check_report(second, line)
            protocol = protocol_bytes(s, peer, source, target)
        after = anypath.stamps(source), anypath.stamps(target), os.stat(target).st_atime_ns
        rig.check(not second.items, lambda: f"itemized: {second.items[:5]}")
        rig.check(after[0] == before[0], "the source was touched")
        rig.check(after[1] == before[1], "something at the destination was touched")
        rig.check(after[2] == before[2], "the access time of the destination's root moved")
        beyond = beyond_handshake(second, line, protocol)
        rig.note(f"{entries} entries unchanged: {beyond} B beyond the SSH handshake")
        rig.check(beyond < LIMIT, f"{beyond} B beyond the SSH handshake, limit {LIMIT}")


if __name__ == "__main__":
    PARSER = stage.parser(__doc__)
    PARSER.add_argument("--files", type=int, default=100000)
    rig.run(body, PARSER.parse_args())
