# SPDX-License-Identifier: Apache-2.0
"""Runs a command and writes {"rc", "peak_rss", "cpu_seconds", "seconds"} to a file.

    measure.py OUT.json COMMAND [ARG...]

A process of its own, because the peak that wait4 reports starts with what the parent had in memory
at the time of exec. Peak and CPU time include the children that the command waited for. SIGTERM,
SIGINT and SIGHUP are passed on.
"""

import json
import os
import signal
import sys
import time


def main():
    out, command = sys.argv[1], sys.argv[2:]
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: os.kill(pid, n))
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    with open(out + ".new", "w", encoding="ascii") as report:
        json.dump(
            {
                "rc": code,
                "peak_rss": usage.ru_maxrss * 1024,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "seconds": time.monotonic() - started,
            },
            report,
        )
    os.rename(out + ".new", out)
    sys.exit(code if code >= 0 else 128 - code)


main()
