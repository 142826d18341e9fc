#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds mutable global state: objects of the project's libraries that lie in a writable section.

Usage: globals.py BUILD_DIR. Prints one line per object; exit 1 if there is any, 77 without objdump.
"""
import os
import re
import shutil
import subprocess
import sys

# What has to be global, as (library, object file, name), and why.
ALLOWED = [
    # A signal handler can reach nothing else.
    (r"libscribe_cli\.a", r".*", r"signal_\w+"),
    # Fault hooks are set from outside, by tests, and are not compiled into a release.
    (r"libscribe_sys\.a", r"fault\.c\.o", r".*"),
]
# The sanitizers' own.
FOREIGN = re.compile(r"^(__asan|___asan|__odr_asan|__ubsan|__tsan|__sanc|__unnamed_\d+$|\.L)")
WRITABLE = re.compile(r"^\.(data|bss|tdata|tbss)(\.|$)|^\*COM\*$")


def writable_objects(archive):
    out = subprocess.run(["objdump", "-t", archive], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    member = ""
    for line in out.split("\n"):
        m = re.match(r"^(\S+\.o):\s+file format", line)
        if m:
            member = m.group(1)
        m = re.match(r"^[0-9a-f]+ .{7} (\S+)\s+([0-9a-f]+)\s+(?:\.hidden )?(\S+)$", line)
        if not m or int(m.group(2), 16) == 0 or line[23] not in "O ":
            continue
        section, name = m.group(1), m.group(3)
        if WRITABLE.match(section) and not section.startswith(".data.rel.ro"):
            if not FOREIGN.match(name):
                yield member, name, section


def is_allowed(*place):
    return any(all(map(re.fullmatch, patterns, place)) for patterns in ALLOWED)


def main():
    if not shutil.which("objdump"):
        print("skipped: objdump (binutils) is not installed")
        return 77
    build = sys.argv[1]
    count = archives = 0
    for folder, _, files in os.walk(build):
        for f in sorted(files):
            if not re.fullmatch(r"libscribe_\w+\.a", f):
                continue
            archives += 1
            for member, name, section in writable_objects(os.path.join(folder, f)):
                if not is_allowed(f, member, name):
                    print(f"{f}({member}): {name} in {section} is mutable global state")
                    count += 1
    print(f"{archives} libraries, {count} findings")
    return 1 if count or not archives else 0


if __name__ == "__main__":
    sys.exit(main())
