# SPDX-License-Identifier: Apache-2.0
"""All mutations, and the chooser which sees to it that each one runs often enough.

mutate.py --list
mutate.py SOURCE TARGET [--seed S] [--count K] [--only NAME]
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mutate_attributes  # noqa: F401  (each of these fills the register)
import mutate_data  # noqa: F401
import mutate_links  # noqa: F401
import mutate_names  # noqa: F401
import mutate_target  # noqa: F401
import rig
from objects import Limits
from world import MUTATIONS, World


class Chooser:
    """Counts what ran. Three of four choices go to those which ran least, the rest is chance."""

    def __init__(self, rng, names=None):
        self.rng = rng
        self.counts = {name: 0 for name in sorted(names or MUTATIONS)}

    def choose(self, count):
        names = sorted(self.counts, key=lambda n: (self.counts[n], self.rng.random()))
        count = min(count, len(names))
        fair = names[: count - count // 4]
        chance = self.rng.sample(names[len(fair) :], count - len(fair))
        chosen = fair + chance
        self.rng.shuffle(chosen)
        return chosen

    def done(self, name):
        self.counts[name] += 1

    def least(self):
        return min(self.counts.values())

    def missing(self, wanted):
        return sorted(n for n, c in self.counts.items() if c < wanted)


def apply(world, names, chooser=None):
    """Runs the named mutations; [(name, description)] of those which found something to do."""
    done = []
    for name in names:
        description = MUTATIONS[name](world)
        if description is None:
            continue
        done.append((name, description))
        if chooser:
            chooser.done(name)
    return done


def print_table(counts):
    width = max(map(len, counts))
    rig.note(f"{'mutation':{width}}  count")
    for name in sorted(counts):
        rig.note(f"{name:{width}}  {counts[name]:5}")
    rig.note(f"{len(counts)} mutations, {sum(counts.values())} times, least {min(counts.values())}")


def main():
    parser = argparse.ArgumentParser(description="applies random mutations to a pair of trees")
    parser.add_argument("source", nargs="?")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--only", action="append")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list or not args.target:
        rig.note("\n".join(sorted(MUTATIONS)))
        return
    rng = rig.rng_for("mutate", rig.seed_of(args.seed))
    world = World(args.source, args.target, rng, Limits(args.source))
    names = args.only or Chooser(rng).choose(args.count)
    for name, description in apply(world, names):
        rig.note(f"{name}: {description}")


if __name__ == "__main__":
    main()
