# SPDX-License-Identifier: Apache-2.0
"""Peak memory of each side at 1,000,000 entries, first copy and no change: <= 64 MiB.

With a sanitizer build alone the run is made with few entries and memory is not judged.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import plain
import rig
import stage

PEAK = 64 << 20


def need_inodes(path, count):
    free = os.statvfs(path).f_favail
    if free < count:
        raise rig.Skip(
            f"{path} has {free} free inodes, {count} are needed (SCRIBE_TEST_DIR chooses)"
        )


def weigh(s, source, target, what):
    with s.serve(root=target, measured=True) as peer:
        done = s.push(peer, source, "--delete", measured=True, timeout=3600).need(0)
    peaks = {"source": done.usage["peak_rss"], "destination": peer.usage["peak_rss"]}
    rig.note(
        f"{what}: source {stage.mib(peaks['source'])}, "
        f"destination {stage.mib(peaks['destination'])}, "
        f"{done.usage['seconds']:.1f} s, said {done.report.get('peakRssBytes')}"
    )
    return peaks, done


def body(args):
    release = stage.weighable(args)
    entries = args.entries or (1_000_000 if release else 20_000)
    with stage.Stage("memory", release or args.binary) as s:
        need_inodes(s.scratch.path, 2 * entries + 10000)
        source, target = s.sub("source"), s.sub("target")
        made = plain.many_files(source, entries // 2, per_dir=1000, single=entries - entries // 2)
        rig.note(f"{made} entries, half of the files in one directory")
        first, _ = weigh(s, source, target, "first copy")
        again, done = weigh(s, source, target, "no change")
        rig.check(done.report.get("filesTransferred") == 0, f"no change: {done.report}")
        differences = s.differ.differences(source, target)
        rig.check(not differences, lambda: f"not equal: {differences[:5]}")
        if not release:
            rig.note("sanitizers: memory is not judged")
            return
        for what, peaks in (("first copy", first), ("no change", again)):
            for side, peak in peaks.items():
                rig.check(peak <= PEAK, f"{what}: {side} had {stage.mib(peak)}, limit 64 MiB")


if __name__ == "__main__":
    PARSER = stage.parser(__doc__)
    PARSER.add_argument("--entries", type=int, default=0)
    rig.run(body, PARSER.parse_args())
