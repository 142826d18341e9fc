# SPDX-License-Identifier: Apache-2.0
"""Shifted content is found: inserts at the head and in the middle, a moved end, a long new start.

For each: bytesMatched >= 99 % of the old content, wire <= literal + 1 % + 256 KiB, both sides
within 64 MiB (weighed on a build without sanitizers only), and the report shows the time spent in
librsync.
Full size (256 MiB) with a release build, a quarter of it otherwise; --scale overrides.
"""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import plain
import relay
import rig
import stage

MIB = 1 << 20
PEAK = 64 * MIB


def shapes(size, scale):
    """name -> [(what, start, length)] of the new file; what is "old" or "new"."""
    end = int(100 * MIB * scale)
    middle = size // 2 + 12345
    return {
        "1,000 B at the head": [("new", 0, 1000), ("old", 0, size)],
        "1,000 B in the middle": [
            ("old", 0, middle),
            ("new", 0, 1000),
            ("old", middle, size - middle),
        ],
        "end moved to the start": [("old", size - end, end), ("old", 0, size - end)],
        "long prefix": [("new", 0, int(300 * MIB * scale)), ("old", 0, size)],
    }


def write_shape(path, old, parts, fresh):
    with open(path, "wb") as out:
        for what, start, length in parts:
            plain.append_part(out, old if what == "old" else fresh, start, length)


def one(s, source, target, old, fresh, name, parts):
    path = os.path.join(source, "image")
    size = os.path.getsize(old)
    with s.serve(root=target) as peer:
        shutil.copyfile(old, path)
        s.push(peer, source, "--delete").need(0)
    write_shape(path, old, parts, fresh)
    with s.serve(root=target, measured=True) as peer:
        with relay.Relay(("127.0.0.1", peer.port)) as line:
            done = s.push(
                peer, source, "--delete", measured=True, port=line.port, timeout=1200
            ).need(0)
            line.settle()
    s.equal(source, target, name)
    literal, matched = done.report.get("bytesLiteral"), done.report.get("bytesMatched")
    peaks = done.usage["peak_rss"], peer.usage["peak_rss"]
    rig.note(
        f"{name}: matched {matched} of {size}, literal {literal}, wire {line.total}, "
        f"peak {stage.mib(peaks[0])} and {stage.mib(peaks[1])}, {done.usage['seconds']:.1f} s"
    )
    rig.check(matched >= 0.99 * size, f"{name}: matched {matched} of {size}")
    rig.check(
        matched + literal == os.path.getsize(path),
        f"{name}: {matched} matched + {literal} literal is not the size {os.path.getsize(path)}",
    )
    limit = literal * 1.01 + 256 * 1024
    rig.check(line.total <= limit, f"{name}: {line.total} B on the wire, limit {limit:.0f}")
    return peaks, done.report


def body(args):
    release = stage.weighable(args)
    scale = args.scale or (1.0 if release else 0.25)
    seed = rig.seed_of(args.seed)
    if not release:
        rig.note("sanitizers: memory is not weighed")
    with stage.Stage("shifts", release or args.binary) as s:
        source, target = s.sub("source"), s.sub("target")
        old, fresh = s.file("old"), s.file("fresh")
        size = int(256 * MIB * scale)
        plain.random_file(old, rig.rng_for("shifts", seed, "old"), size)
        plain.random_file(fresh, rig.rng_for("shifts", seed, "new"), int(300 * MIB * scale))
        reports = []
        for name, parts in shapes(size, scale).items():
            peaks, report = one(s, source, target, old, fresh, name, parts)
            reports.append(report)
            if release:
                rig.check(max(peaks) <= PEAK, f"{name}: peak {stage.mib(max(peaks))}, limit 64 MiB")
        spent = [(r.get("stages") or {}).get("delta", {}).get("busy") for r in reports]
        rig.check(None not in spent, f"the stages do not show the time in librsync: {reports[0]}")
        rig.note(f"seconds in librsync: {spent}")


if __name__ == "__main__":
    PARSER = stage.parser(__doc__)
    PARSER.add_argument("--scale", type=float, default=0.0)
    rig.run(body, PARSER.parse_args())
