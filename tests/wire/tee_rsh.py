# SPDX-License-Identifier: Apache-2.0
"""Runs COMMAND between our stdin and stdout and adds all that passes to CAPTURE.

    tee_rsh.py CAPTURE COMMAND [ARG...]

Used as the mover's --rsh: what passes here is the protocol itself, without SSH around it. All
connections of a run write to one capture. It is a sequence of pieces, integers little endian: U32
connection (any number; that of the first piece is the first connection), U8 direction (0 from
stdin, which is the side that dialled, 1 to stdout), U32 length, bytes. A piece is written before it
is passed on, in one write(), so that no frame stands in front of the one that it answers.
"""

import os
import struct
import subprocess
import sys
import threading


def write_all(sink, data):
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]


def pump(source, sink, capture, direction):
    while True:
        data = os.read(source, 1 << 16)
        if not data:
            break
        piece = struct.pack("<IBI", os.getpid(), direction, len(data)) + data
        if os.write(capture, piece) != len(piece):
            os._exit(1)
        try:
            write_all(sink, data)
        except OSError:
            break
    os.close(sink)


def main():
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    capture = os.open(sys.argv[1], flags, 0o600)
    child = subprocess.Popen(
        sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    up = threading.Thread(
        target=pump, args=(0, os.dup(child.stdin.fileno()), capture, 0), daemon=True
    )
    child.stdin.close()
    up.start()
    pump(child.stdout.fileno(), 1, capture, 1)
    code = child.wait()
    os._exit(code if code >= 0 else 128 - code)


main()
