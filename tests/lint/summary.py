#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up ctest's JUnit files.

Usage: summary.py [--failed WHAT]... NAME=FILE...
WHAT is a step that failed before its tests could run, counted as one failed test. Prints every
failed and every skipped test with its reason, then as last line "N passed, N failed, N skipped".
Exit 1 if a test failed or none passed.
"""
import re
import sys
import xml.etree.ElementTree as ET


def reason(case):
    """Why a test was skipped: its own last word about that, or its last word."""
    skipped = case.find("skipped")
    message = skipped.get("message", "") if skipped is not None else ""
    if not message.startswith("SKIP_"):
        return message or case.get("status", "")
    lines = [line.strip() for line in (case.findtext("system-out") or "").split("\n")]
    lines = [line for line in lines if line]
    said = [line for line in lines if re.search(r"skip", line, re.I)]
    return (said or lines or ["no reason given"])[-1]


def outcome(case):
    status = case.get("status")
    if status == "run" and case.find("failure") is None:
        return "passed"
    skipped = case.find("skipped")
    if status == "disabled":
        return "skipped"
    # "notrun" is also what ctest says of a program that is not there.
    if status == "notrun" and skipped is not None and \
            skipped.get("message", "").startswith("SKIP_"):
        return "skipped"
    return "failed"


def main():
    args = sys.argv[1:]
    count = {"passed": 0, "failed": 0, "skipped": 0}
    told = {"failed": [], "skipped": [], "partly": []}
    while args and args[0] == "--failed":
        count["failed"] += 1
        told["failed"].append(args[1])
        args = args[2:]
    for arg in args:
        name, path = arg.split("=", 1)
        for case in ET.parse(path).getroot().iter("testcase"):
            result = outcome(case)
            count[result] += 1
            test = f"{name}: {case.get('name')}"
            if result == "failed":
                told["failed"].append(test)
            elif result == "skipped":
                told["skipped"].append(f"{test}: {reason(case)}")
            for part in re.findall(r"\[\s*SKIPPED\s*\] (\w+)", case.findtext("system-out") or ""):
                told["partly"].append(f"{test}: {part}")
    for what in sorted(set(told["partly"])):
        print(f"skipped inside {what}")
    for what in told["skipped"]:
        print(f"skipped {what}")
    for what in told["failed"]:
        print(f"failed {what}")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
