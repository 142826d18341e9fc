# SPDX-License-Identifier: Apache-2.0
"""The root hash is honest: one flipped bit, one lost utimens, one lost unlink at the destination.

SCRIBE_FAULT=OPERATION:FAULT:N makes the Nth such call of the destination's process go wrong,
silently, in builds with fault hooks. Each time: exit 16, the path on stderr, two different root
hashes; and afterwards a run with --checksum makes the trees equal again.
"""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import plain
import rig
import stage

NAMES = {
    "pwrite:flip": ["small", "large", "dir/inside"],
    "utimens:drop": ["small", "large", "dir/inside", "dir", "."],
    "unlink:drop": ["gone", "dir/gone too"],
}


def fill(source, seed):
    rng = rig.rng_for("faults", seed)
    os.makedirs(os.path.join(source, "dir"))
    sizes = {"small": 3000, "large": 5 << 20, "dir/inside": 100000}
    for name, size in sizes.items():
        plain.random_file(os.path.join(source, name), rng, size)
    for name in (*sizes, "dir", "."):
        stamp = plain.OLD + rng.randrange(10**15)
        os.utime(os.path.join(source, name), ns=(stamp, stamp))


def named(done, candidates):
    """Which of the paths stderr mentions. "." is the root itself."""
    text = done.err.decode("utf-8", "replace")
    return [
        name
        for name in candidates
        if re.search(r"(?<![\w.])" + re.escape(name) + r"(?![\w.])", text)
        or name == "."
        and "root directory" in text
    ]


def one(s, seed, fault, number):
    label = f"{fault}:{number}"
    base = s.sub(label.replace(":", "-"))
    source, target = os.path.join(base, "source"), os.path.join(base, "target")
    fill(source, seed)
    os.mkdir(target)
    if fault.startswith("unlink"):
        subprocess.run(["cp", "-a", source + "/.", target], check=True)
        for name in NAMES[fault]:
            plain.random_file(os.path.join(target, name), rig.rng_for(name), 100)
    with s.serve(root=target, env={"SCRIBE_FAULT": label}) as peer:
        done = s.push(peer, source, "--delete", "--itemize")
    if done.rc == 0 and done.report.get("notReplicated"):
        rig.note(f"{label}: hit the probe of what the destination can hold")
        return False
    if done.rc == 0 and not s.differ.differences(source, target):
        rig.note(f"{label}: no such call, or one without effect on the replica")
        return False
    hashes = done.report.get("rootHash") or {}
    rig.check(
        done.rc == 16, lambda: f"{label}: exit {done.rc}, expected 16; {done.err} {done.report}"
    )
    rig.check(
        done.report.get("exitCode") == 16 and done.report.get("committed") is not True,
        f"{label}: report {done.report}",
    )
    rig.check(
        hashes.get("source")
        and hashes.get("destination")
        and hashes["source"] != hashes["destination"],
        f"{label}: root hashes {hashes}",
    )
    paths = named(done, NAMES[fault])
    rig.check(paths, lambda: f"{label}: no path is named on stderr: {done.err}")
    heal(s, source, target, label)
    rig.note(f"{label}: exit 16, named {paths[0]}, hashes differ, healed")
    return True


def heal(s, source, target, label):
    with s.serve(root=target) as peer:
        s.push(peer, source, "--delete", "--checksum").need(0)
    s.equal(source, target, f"{label}: the run after it")


def hooks(binary):
    with open(binary, "rb") as file:
        return b"SCRIBE_FAULT" in file.read()


def body(args):
    if not hooks(args.binary):
        raise rig.Skip("this build has no fault hooks (SCRIBE_FAULTS=ON)")
    seed = rig.seed_of(args.seed)
    with stage.Stage("faults", args.binary) as s:
        for fault in NAMES:
            hits = [one(s, seed, fault, number) for number in range(1, args.depth + 1)]
            rig.check(any(hits), f"{fault}: never had an effect")


if __name__ == "__main__":
    PARSER = stage.parser(__doc__)
    PARSER.add_argument(
        "--depth", type=int, default=6, help="how many calls of each kind to spoil in turn"
    )
    rig.run(body, PARSER.parse_args())
