# SPDX-License-Identifier: Apache-2.0
"""Golden cases of the command line: NAME.sh with NAME.sh.out, NAME.sh.err, NAME.sh.exit beside it.

    run_golden.py BINARY [CASES_DIR] [--update] [--only NAME]

A case is run by `sh -eu` in an empty directory, with "$MOVER" as the program. No .out or .err means
that nothing is expected there, no .exit means 0. Before the comparison the case's directory becomes
@DIR@ and the program's path scribe-mover; in an expected line @ANY@ stands for anything and @NUM@
for digits. --update writes what was seen, for a look at the diff afterwards.
"""

import argparse
import difflib
import os
import re
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import remote
import rig

STREAMS = ("out", "err", "exit")


def expected(path, stream):
    name = f"{path}.{stream}"
    if not os.path.exists(name):
        return "0\n" if stream == "exit" else ""
    with open(name, encoding="utf-8") as file:
        return file.read()


def normal(data, directory, binary):
    text = data.decode("utf-8", "backslashreplace")
    return text.replace(directory, "@DIR@").replace(binary, "scribe-mover")


def matches(wanted, seen):
    lines, others = wanted.split("\n"), seen.split("\n")
    return len(lines) == len(others) and all(map(line_matches, lines, others))


def line_matches(wanted, seen):
    pattern = re.escape(wanted).replace("@ANY@", ".*").replace("@NUM@", "[0-9]+")
    return re.fullmatch(pattern, seen) is not None


def run_case(path, binary, scratch):
    directory = scratch.sub(os.path.basename(path))
    env = {
        **os.environ,
        "MOVER": binary,
        "HOME": directory,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "COLUMNS": "80",
    }
    with rig.umask(0o022):
        child = subprocess.Popen(
            ["sh", "-eu", path],
            cwd=directory,
            env=env,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    try:
        out, err = child.communicate(timeout=60)
        code = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        code = "still running after 60 s"
    remote.check_sanitizers(err, path)
    return {
        "out": normal(out, directory, binary),
        "err": normal(err, directory, binary),
        "exit": f"{code}\n",
    }


def update(path, seen):
    for stream in STREAMS:
        name = f"{path}.{stream}"
        if matches(expected(path, stream), seen[stream]):
            continue
        if seen[stream] == ("0\n" if stream == "exit" else ""):
            os.unlink(name)
            continue
        with open(name, "w", encoding="utf-8") as file:
            file.write(seen[stream])
        rig.note(f"wrote {os.path.basename(name)}")


def compare(path, seen):
    """Lines that say what is different; [] when the case is as it should be."""
    told = []
    for stream in STREAMS:
        wanted = expected(path, stream)
        if not matches(wanted, seen[stream]):
            told += difflib.unified_diff(
                wanted.splitlines(),
                seen[stream].splitlines(),
                f"{os.path.basename(path)}.{stream}",
                "seen",
                lineterm="",
            )
    return told


def body(args):
    binary = os.path.abspath(args.binary)
    names = sorted(
        n
        for n in os.listdir(args.cases)
        if n.endswith(".sh") and (not args.only or n == args.only + ".sh")
    )
    rig.check(names, f"no cases in {args.cases}")
    bad = []
    with rig.Scratch("golden") as scratch:
        for name in names:
            path = os.path.join(os.path.abspath(args.cases), name)
            seen = run_case(path, binary, scratch)
            if args.update:
                update(path, seen)
                continue
            told = compare(path, seen)
            rig.note(f"{'differs' if told else 'ok':8} {name}")
            for line in told:
                rig.note(f"    {line}")
            bad += [name] if told else []
    rig.check(not bad, f"{len(bad)} of {len(names)} cases differ: {bad}")


if __name__ == "__main__":
    PARSER = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    PARSER.add_argument("binary")
    PARSER.add_argument("cases", nargs="?", default=os.path.join(HERE, "cases"))
    PARSER.add_argument("--update", action="store_true")
    PARSER.add_argument("--only")
    rig.run(body, PARSER.parse_args())
