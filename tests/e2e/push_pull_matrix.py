# SPDX-License-Identifier: Apache-2.0
"""Push and pull, each against `serve` and against sshd, with --connections 1, 3 and auto.

Per combination: first copy, a round of random mutations, and a run that finds nothing to do.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))
import anypath
import mutate
import relay
import rig
import stage
import tree
from world import World

BEYOND_RSYNC = ("/deep", "/huge")


def combination(s, source, server, verb, connections, rng, limits):
    label = f"{verb} with {server}, --connections {connections}"
    target = s.sub("targets", f"{server}-{verb}-{connections}")
    served = {"root": target} if verb == "push" else {"source": source}
    world = World(source, target, rng, limits)
    with getattr(s, server)(**served) as peer, relay.Relay(("127.0.0.1", peer.port)) as line:

        def transfer():
            here = source if verb == "push" else target
            return getattr(s, verb)(
                peer, here, "--delete", "--itemize", "--connections", connections, port=line.port
            ).need(0)

        first = transfer()
        s.equal(source, target, f"{label}: first copy", BEYOND_RSYNC)
        dialled = line.accepted
        rig.check(
            dialled == 1 if connections == "1" else dialled >= 1, f"{label}: {dialled} connections"
        )
        if connections == "3":
            rig.check(dialled <= 3, f"{label}: {dialled} connections")
        mutate.apply(world, mutate.Chooser(rng).choose(20))
        second = transfer()
        s.equal(source, target, f"{label}: after mutations", BEYOND_RSYNC)
        before = anypath.stamps(target)
        third = transfer()
        rig.check(not third.items, lambda: f"{label}: nothing changed, itemized {third.items[:5]}")
        rig.check(
            anypath.stamps(target) == before, f"{label}: a run without changes wrote something"
        )
    role = first.report.get("role")
    rig.check(role == ("source" if verb == "push" else "destination"), f"{label}: role {role}")
    rig.note(f"{label}: {len(first.items)} + {len(second.items)} + 0 items, {dialled} connections")


def body(args):
    rig.need_root("sshd, owners and devices")
    seed = rig.seed_of(args.seed)
    with stage.Stage("matrix", args.binary) as s:
        source = s.sub("source")
        limits = tree.build(source, rig.rng_for("matrix-tree", seed), scale=args.scale)
        for server in args.server.split(","):
            for verb in ("push", "pull"):
                for connections in ("1", "3", "auto"):
                    rng = rig.rng_for("matrix", seed, server, verb, connections)
                    combination(s, source, server, verb, connections, rng, limits)


if __name__ == "__main__":
    PARSER = stage.parser(__doc__)
    PARSER.add_argument("--scale", type=float, default=0.3)
    PARSER.add_argument("--server", default="serve,sshd")
    rig.run(body, PARSER.parse_args())
