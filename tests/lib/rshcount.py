# SPDX-License-Identifier: Apache-2.0
"""Runs COMMAND between our stdin and stdout and writes "<bytes in> <bytes out>" to COUNTS.

    rshcount.py COUNTS COMMAND [ARG...]

Used as the mover's --rsh: what passes here is the protocol itself, without SSH around it.
"""

import os
import subprocess
import sys
import threading


def pump(source, sink, totals, index):
    while True:
        data = os.read(source, 1 << 16)
        if not data:
            break
        totals[index] += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(sink, view) :]
        except OSError:
            break
    os.close(sink)


def main():
    counts, command = sys.argv[1], sys.argv[2:]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    totals = [0, 0]
    up = threading.Thread(
        target=pump, args=(0, os.dup(child.stdin.fileno()), totals, 0), daemon=True
    )
    child.stdin.close()
    up.start()
    pump(child.stdout.fileno(), 1, totals, 1)
    code = child.wait()
    with open(counts, "w", encoding="ascii") as out:
        out.write(f"{totals[0]} {totals[1]}\n")
    os._exit(code if code >= 0 else 128 - code)


main()
