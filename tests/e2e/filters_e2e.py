# SPDX-License-Identifier: Apache-2.0
"""Random pattern sets on random trees: what --delete keeps, removes and sends is what rsync would.

For each case `rsync -n -i --delete` lists what it would do, then rsync does it on a copy of the
destination, and the mover on the destination itself. Names and contents must come out the same.
rsync's dry run also announces directories which the real one then keeps for an excluded name in
them; those are not held against the mover.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import anypath
import oracle
import rig
import stage

# Files and directories never share a name: what happens to a file in the way of a protected
# directory is a failure on both sides, and how much of it goes first is nobody's promise.
FILES = [
    b"a", b"b", b"ab", b"a.o", b"b.o", b"x.txt", b"[a]", b"a b", b"core", b".hid", b"*", b"a\\b",
]
DIRS = [b"d", b"e", b"de", b"d.o", b"sub", b"cache", b".git", b"[d]"]
PIECES = [
    "a", "b", "ab", "*.o", "*", "?", "??", "[ab]", "[!a]", "[a-b]*", "x.txt", "d", "e", "de",
    "d.o", "sub", "cache", ".git", "core", ".hid", "*d", "s*b", "\\[a\\]", "\\*", "a b",
    "[[:alpha:]]", ".*", "**", "***", "d*", "*a*",
]
SHAPES = [
    "{0}", "{0}", "{0}", "{0}/", "/{0}", "/{0}/", "{0}/{1}", "/{0}/{1}", "{0}/**", "/{0}/**",
    "**/{0}", "{0}/***", "/{0}/***", "{0}/**/{1}", "/**/{0}", "*/{0}", "/*/{0}/", "**{0}", "{0}**",
    "{0}/*/",
]


def random_pattern(rng):
    return rng.choice(SHAPES).format(rng.choice(PIECES), rng.choice(PIECES))


def random_rules(rng, path):
    """Command line words for mover and rsync alike; a part comes from a file."""
    words, lines = [], []
    for _ in range(rng.randint(1, 6)):
        verb = "include" if rng.random() < 0.4 else "exclude"
        words.append(f"--{verb}={random_pattern(rng)}")
    if rng.random() < 0.3:
        lines = [rng.choice(["", "+ ", "- ", "; ", "# "]) + random_pattern(rng) for _ in range(3)]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))
        words.insert(rng.randrange(len(words) + 1), f"--exclude-from={path}")
    if rng.random() < 0.3:
        words.append("--exclude=*")
    return words, lines


def random_tree(root, rng, depth=3):
    """Few names, so that patterns meet them; content depends on the seed of the side."""
    os.makedirs(root, exist_ok=True)
    for name in rng.sample(FILES, rng.randint(0, 5)):
        with open(os.path.join(root, name), "wb") as file:
            file.write(rng.randbytes(rng.randrange(20)))
        stamp = rng.randrange(10**9) * 10**9
        os.utime(os.path.join(root, name), ns=(stamp, stamp))
    for name in rng.sample(DIRS, rng.randint(0, 3)) if depth else []:
        random_tree(os.path.join(root, name), rng, depth - 1)


def contents(root):
    """{name: content or None for a directory}."""
    found = {}
    for rel, st in anypath.walk(root):
        if rel:
            path = os.path.join(os.fsencode(root), rel)
            found[rel] = None if os.path.isdir(path) else open(path, "rb").read()
    return found


def announced(source, target, rules):
    """Names that `rsync -n -i --delete` would delete."""
    look = ["-naiHS", "--modify-window=-1", "--delete", "--numeric-ids", "-8", *rules]
    code, lines, errors = oracle.rsync(look, source, target)
    rig.check(code == 0, lambda: f"rsync refuses {rules}: {errors.decode(errors='replace')}")
    return {
        line[len(b"*deleting   ") :].rstrip(b"/").replace(b"\\#134", b"\\")
        for line in lines
        if line.startswith(b"*deleting")
    }


def one_case(s, peer, number, seed):
    rng = rig.rng_for("filters", seed, number)
    base = s.sub("cases", str(number))
    source, twin = os.path.join(base, "source"), os.path.join(base, "twin")
    target = s.sub("root", f"case{number}")
    random_tree(source.encode(), rng)
    random_tree(target.encode(), rng)
    rules, lines = random_rules(rng, os.path.join(base, "rules"))
    label = f"seed {seed} case {number}: {rules} file {lines}"
    oracle.rsync(["-a"], target, twin)
    before = contents(target)
    deleted = announced(source, target, rules)
    code, _, errors = oracle.rsync(
        ["-aHS", "--modify-window=-1", "--delete", "--numeric-ids", *rules], source, twin
    )
    rig.check(
        code == 0, lambda: f"{label}: rsync ended with {code}: {errors.decode(errors='replace')}"
    )
    dry = s.push(
        peer, source, "--delete", "--itemize", "--dry-run", "--allow-empty-source", "--max-shrink",
        "100", *rules,
        path=f"case{number}",
    ).need(0)
    rig.check(contents(target) == before, f"{label}: the dry run changed the destination")
    real = s.push(
        peer, source, "--delete", "--itemize", "--allow-empty-source", "--max-shrink", "100",
        *rules,
        path=f"case{number}",
    ).need(0)
    mine, theirs = contents(target), contents(twin)
    rig.check(
        dry.items == real.items, lambda: f"{label}: dry run {dry.items}, real run {real.items}"
    )
    deleted -= theirs.keys()
    rig.check(
        before.keys() - mine.keys() == deleted,
        lambda: (
            f"{label}: removed {sorted(before.keys() - mine.keys())}, "
            f"rsync announced {sorted(deleted)}"
        ),
    )
    rig.check(
        mine == theirs,
        lambda: (
            f"{label}: only here {sorted(mine.keys() - theirs.keys())}, only with rsync "
            f"{sorted(theirs.keys() - mine.keys())}, different content "
            f"{sorted(n for n in mine.keys() & theirs.keys() if mine[n] != theirs[n])}"
        ),
    )
    return len(deleted), len(mine)


def body(args):
    rig.need_tool("rsync")
    seed = rig.seed_of(args.seed)
    with stage.Stage("filters", args.binary) as s:
        removed = kept = 0
        with s.serve(root=s.sub("root")) as peer:
            for number in range(args.first, args.first + args.cases):
                gone, left = one_case(s, peer, number, seed)
                removed, kept = removed + gone, kept + left
        rig.note(
            f"{args.cases} pattern sets: {removed} names deleted, {kept} there afterwards, as rsync"
        )


if __name__ == "__main__":
    PARSER = stage.parser(__doc__)
    PARSER.add_argument("--cases", type=int, default=300)
    PARSER.add_argument("--first", type=int, default=0)
    rig.run(body, PARSER.parse_args())
