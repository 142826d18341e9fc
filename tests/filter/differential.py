#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares mover/filter with rsync on random rules and random trees.

Per case two questions are put to both: what is kept of the source, and what vanishes from a
destination that holds something else. rsync answers the second by really deleting: its dry run
also names directories that it could not remove because they hold protected entries.

    differential.py FILTERLIST [--cases N] [--seed S] [--case K] [--jobs J]

A failure prints what is needed to repeat it: --seed S --case K.
"""
import argparse
import concurrent.futures
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

COMPONENTS = [
    b"a", b"b", b"c", b"ab", b"ba", b"abc", b"A", b"a.o", b"b.o", b"a.c", b".a", b"foo", b"foo.o",
    b"x y", b" a", b"a ", b"[a]", b"]", b"^", b"!", b"-", b"- a", b"+ b", b"#a", b";b", b"*", b"**",
    b"?", b"a*b", b"\\a", b"a\\", b"\\*", b"a-b", b"\xc3\xa9", b"\xff", b"1", b"0f", b"a\nb", b"\t",
    b"[!a]", b"a:b", b"z",
]
COMMON = COMPONENTS[:14]
SETS = [
    b"[abc]", b"[!a]", b"[^b]", b"[a-c]", b"[]a]", b"[!]a]", b"[a-]", b"[-a]", b"[[:alpha:]]",
    b"[[:digit:]a]", b"[![:space:]]", b"[[:upper:][:punct:]]", b"[\\]a]", b"[a\\-c]", b"[\\a-c]",
    b"[a-\\c]", b"[c-a]", b"[[:bogus:]]", b"[a", b"[", b"[]", b"[[:alpha:]", b"[[:]a]", b"[[::]]",
    b"[a/b]", b"[!/]", b"[.-0]", b"[ -~]", b"[[:xdigit:]]", b"[[:blank:]]", b"[[:cntrl:]]",
    b"[\x80-\xff]", b"[[a]", b"[a-b-c]", b"[**]", b"[[:alnum:]-z]", b"[[:graph:]]", b"[[:lower:]]",
    b"[[:print:]]", b"[\\", b"[a-\\", b"[a-[:alpha:]]", b"[!", b"[!]", b"[*?]", b"[[:alpha]",
    b"[[:]", b"[![:bogus:]]", b"[[:bogus:]a]", b"[a-b-d]", b"[[:digit:]-z]", b"[^[:alnum:]]",
]
STARS = [b"*", b"**", b"***", b"?", b"*", b"**", b"****"]
LITERALS = [b"a", b"b", b"c", b"ab", b".", b"o", b"\\", b"/", b"/", b"-", b" ", b"\\*", b"\\a"]


def random_tree(rng, names, budget, depth=0):
    """A dict of name to None (file), bytes (symbolic link) or dict (directory)."""
    tree = {}
    for _ in range(rng.randint(1, 6)):
        if budget[0] <= 0:
            break
        budget[0] -= 1
        name = rng.choice(names)
        kind = rng.random()
        if depth < 5 and kind < 0.55:
            tree[name] = random_tree(rng, names, budget, depth + 1)
        elif kind < 0.62:
            tree[name] = rng.choice([b".", b"a", b"nowhere"])
        else:
            tree[name] = None
    return tree


def mutate_tree(rng, tree, names):
    """A destination: parts of the source, some of another type, and entries of its own."""
    out = {}
    for name, node in tree.items():
        p = rng.random()
        if p < 0.2:
            continue
        if p < 0.3:
            out[name] = random_tree(rng, names, [6], 3) if node is None else None
        elif isinstance(node, dict):
            out[name] = mutate_tree(rng, node, names)
        else:
            out[name] = node
    if rng.random() < 0.7:
        for name, node in random_tree(rng, names, [10], 2).items():
            out.setdefault(name, node)
    return out


def make(tree, path):
    os.mkdir(path)
    for name, node in tree.items():
        full = path + b"/" + name
        if isinstance(node, dict):
            make(node, full)
        elif node is None:
            os.close(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        else:
            os.symlink(node, full)


def walk(path, prefix=b""):
    found = set()
    with os.scandir(path) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                found.add(name + b"/")
                found |= walk(entry.path, name + b"/")
            else:
                found.add(name)
    return found


def paths_of(tree, prefix=b""):
    out = []
    for name, node in tree.items():
        out.append(prefix + name)
        if isinstance(node, dict):
            out += paths_of(node, prefix + name + b"/")
    return out


def blur(rng, component):
    """A component with parts of it replaced by wildcards."""
    p = rng.random()
    if p < 0.45 or not component:
        return component
    if p < 0.6:
        return rng.choice(STARS)
    i = rng.randrange(len(component))
    j = rng.randint(i, len(component))
    middle = rng.choice([b"*", b"**", b"?", b"*" + component[i:j], component[i:j] + b"**",
                         b"\\" + component[i:i + 1] + component[i + 1:j], rng.choice(SETS)])
    return component[:i] + middle + component[j:]


def pattern_from_path(rng, path):
    parts = [blur(rng, c) for c in path.split(b"/")]
    if rng.random() < 0.4:
        parts = parts[rng.randrange(len(parts)):]
    if len(parts) > 1 and rng.random() < 0.3:
        i = rng.randrange(len(parts))
        parts[i:i + rng.randint(0, 2)] = [rng.choice([b"**", b"*", b"**a", b"a**", b"***"])]
    text = b"/".join(parts)
    if rng.random() < 0.3:
        text = b"/" + text
    p = rng.random()
    if p < 0.2:
        text += b"/"
    elif p < 0.35:
        text += rng.choice([b"/***", b"/**", b"/*", b"***", b"**", b"*", b"/***/", b"//"])
    return text


def random_pattern(rng, paths):
    if paths and rng.random() < 0.75:
        return pattern_from_path(rng, rng.choice(paths))
    parts = []
    for _ in range(rng.randint(1, 7)):
        parts.append(rng.choice(rng.choice([SETS, STARS, LITERALS, LITERALS, COMPONENTS])))
    return b"".join(parts)


def random_argument(rng, paths):
    text = random_pattern(rng, paths)
    p = rng.random()
    if p < 0.08:
        return b"- " + text
    if p < 0.16:
        return b"+ " + text
    if p < 0.19:
        return rng.choice([b"!", b"!a", b"- !", b"", b" !", b"-", b"+", b"-a", b"- - a", b"/"])
    if p < 0.195:
        return rng.choice([b"- ", b"+ "])
    return text


def random_file(rng, paths):
    lines = []
    for _ in range(rng.randint(0, 6)):
        p = rng.random()
        if p < 0.15:
            lines.append(rng.choice([b"", b"#*", b";*", b"# a", b" ", b"\0*", b"#\0\r*.nothing"]))
        else:
            lines.append(random_argument(rng, paths).replace(b"\n", b"?"))
            if rng.random() < 0.1:
                lines[-1] += b"\0" + rng.choice([b"", b"*", b"/"])
    end = rng.choice([b"\n", b"\n", b"\r\n", b"\r"])
    return end.join(lines) + rng.choice([b"", end])


def flat_tree(rng):
    """Many short names in one place, for bracket expressions, and some of them deeper."""
    always = [bytes([c]) for c in b"abcdz-[]^!\\:A1 \t*?~\x7f\xff"]
    always += [b"a]", b"b]", b":]", b"]]", b":a]"]
    others = [bytes([c]) for c in range(1, 256) if c not in b"./" and bytes([c]) not in always]
    tree = dict.fromkeys(always + rng.sample(others, 30) + [b".a", b"[a", b"[:", b"-]", b"\\]"])
    for name in [b"a", b"-"] + rng.sample(others, 2):
        tree[name] = dict.fromkeys(rng.sample(always, 8))
    return tree


def bracket_pattern(rng, number):
    """Each of SETS has its turn."""
    parts = [SETS[number % len(SETS)]]
    if rng.random() < 0.3:
        more = [b"*", b"?", b"**", b"/", b"*/", b"**/", b"a", rng.choice(SETS)]
        parts.insert(rng.randint(0, 1), rng.choice(more))
    return b"".join(parts)


class Case:
    def __init__(self, seed, number, top):
        rng = random.Random("%d:%d" % (seed, number))
        self.number = number
        self.top = os.path.join(top, b"%d" % number)
        flat = number % 4 == 0
        names = rng.sample(COMMON, 5) + rng.sample(COMPONENTS, rng.randint(0, 6))
        source = flat_tree(rng) if flat else random_tree(rng, names, [rng.randint(3, 40)])
        destination = mutate_tree(rng, source, names[:2] if flat else names)
        os.mkdir(self.top)
        make(source, self.top + b"/src")
        make(destination, self.top + b"/dst")
        self.before = walk(self.top + b"/dst")
        self.rules = []
        self.files = []
        paths = paths_of(source) + paths_of(destination)
        # Rules ahead that keep directories show what later ones say of the depth.
        if rng.random() < 0.2:
            self.rules += [b"--include", b"*/"]
        if flat:
            self.rules += [b"--exclude", bracket_pattern(rng, number // 4)]
        else:
            self.add_rules(rng, paths)
        if not flat and rng.random() < 0.3:
            self.rules += [b"--include", b"*/", b"--exclude", b"*"]
        elif rng.random() < 0.3:
            self.rules += [b"--exclude", rng.choice([b"*", b"**", b"/*", b"*/", b"*/*"])]

    def add_rules(self, rng, paths):
        for i in range(rng.randint(1, 6)):
            option = rng.choice([b"--exclude", b"--exclude", b"--include"])
            if rng.random() < 0.12:
                name = self.top + b"/rules%d" % i
                self.files.append(random_file(rng, paths))
                with open(name, "wb") as f:
                    f.write(self.files[-1])
                self.rules += [option + b"-from", name]
            else:
                self.rules += [option, random_argument(rng, paths)]

    def questions(self):
        source, destination = self.top + b"/src", self.top + b"/dst"
        return [self.rules + [source], self.rules + [b"--deleted", source, destination]]

    def rsync(self, destination, *arguments):
        """Runs it; returns the process and the names that it considered for transfer."""
        rules = [o + b"=" + v for o, v in zip(self.rules[::2], self.rules[1::2])]
        done = subprocess.run([b"rsync", b"-aii", b"--out-format=%i %n", *arguments, *rules,
                               self.top + b"/src/", self.top + destination],
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              env=dict(os.environ, LC_ALL="C"))
        names = set()
        for line in done.stdout.split(b"\n"):
            item = re.fullmatch(rb"[.<>ch][fdL].{9} (.*)", line)
            if item:
                names.add(re.sub(rb"\\#([0-7]{3})", lambda m: bytes([int(m[1], 8)]), item[1]))
        return done, names - {b"./"}

    def ask_rsync(self):
        """(kept, deleted), or an error text if rsync refuses the rules."""
        done, kept = self.rsync(b"/dst/", b"--delete")
        if done.returncode == 23:
            # An entry that can't land, for a directory in its way, is not named.
            os.mkdir(self.top + b"/none")
            listing, kept = self.rsync(b"/none/", b"-n")
            if listing.returncode:
                return "rsync -n: %d %r" % (listing.returncode, listing.stderr)
        elif done.returncode:
            return "rsync: %d %r" % (done.returncode, done.stderr)
        return kept, self.before - walk(self.top + b"/dst")

    def describe(self):
        lines = ["rules: %r" % self.rules]
        lines += ["rules file: %r" % f for f in self.files]
        lines += ["source: %r" % sorted(walk(self.top + b"/src"))]
        lines += ["destination before: %r" % sorted(self.before)]
        return "\n".join(lines)


def ask_filterlist(program, cases):
    """Per case (kept, deleted), or an error text."""
    request = bytearray()
    for case in cases:
        for question in case.questions():
            request += b"\0".join([b"%d" % len(question), *question]) + b"\0"
    done = subprocess.run([program, "--batch"], input=bytes(request), capture_output=True,
                          check=False)
    if done.returncode:
        sys.exit("filterlist --batch failed: %r" % done.stderr)
    answers = []
    current = []
    for item in done.stdout.split(b"\0")[:-1]:
        if item:
            current.append(item)
        else:
            answers.append(current)
            current = []
    results = []
    for kept, deleted in zip(answers[::2], answers[1::2]):
        bad = [a[0] for a in (kept, deleted) if a[0] != b"ok"]
        results.append("filterlist: %r" % bad[0] if bad else (set(kept[1:]), set(deleted[1:])))
    if len(results) != len(cases):
        sys.exit("filterlist --batch answered %d of %d cases" % (len(results), len(cases)))
    return results


def differences(ours, theirs):
    if isinstance(ours, str) or isinstance(theirs, str):
        both = isinstance(ours, str) and isinstance(theirs, str)
        return [] if both else ["ours %r, rsync %r" % (ours, theirs)]
    out = []
    for what, mine, other in zip(("kept", "deleted"), ours, theirs):
        if mine != other:
            out.append("%s: only ours %r, only rsync %r" %
                       (what, sorted(mine - other), sorted(other - mine)))
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("filterlist")
    parser.add_argument("--cases", type=int, default=320)
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SCRIBE_SEED", "0")) or
                        int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    if not shutil.which("rsync"):
        print("no rsync here")
        return 77
    print("seed %d" % options.seed, flush=True)
    failures = refused = kept = deleted = sources = destinations = 0
    with tempfile.TemporaryDirectory(prefix="scribe-filter-") as top:
        numbers = range(options.cases) if options.case is None else [options.case]
        cases = [Case(options.seed, n, os.fsencode(top)) for n in numbers]
        ours = ask_filterlist(options.filterlist, cases)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            theirs = list(pool.map(Case.ask_rsync, cases))
        for case, mine, other in zip(cases, ours, theirs):
            if isinstance(mine, str):
                refused += 1
            else:
                kept += len(mine[0])
                deleted += len(mine[1])
                sources += len(walk(case.top + b"/src"))
                destinations += len(case.before)
            found = differences(mine, other)
            if found:
                failures += 1
                print("FAIL --seed %d --case %d\n%s" %
                      (options.seed, case.number, "\n".join(found)))
                print("%s\n" % (case.describe() if options.case is not None else case.rules))
    print("%d cases, %d differ; %d refused, %d of %d entries kept, %d of %d deleted" %
          (len(cases), failures, refused, kept, sources, deleted, destinations))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
