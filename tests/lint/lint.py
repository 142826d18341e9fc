#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a machine can check (CONTRIBUTING.md says them in words).

Usage: lint.py [ROOT]. Prints one line per finding, then function sizes; exit 1 if there is a finding.
A tool that is not installed (ctags, clang-format, shellcheck) is named, and its rules are skipped.
"""
import os
import re
import shutil
import subprocess
import sys

FILE_MAX = 1000
HEADER_MAX = 150
FUNCTION_MAX = 150
LINE_MAX = 100
SPDX = "SPDX-License-Identifier: Apache-2.0"

BANNED = ("strcpy strcat sprintf vsprintf strtok atoi atol atoll atof gets system popen tmpnam "
          "tempnam mktemp alloca").split()

# External headers, by the folders (ending in "/") or files that may include them.
EXTERNAL = {
    r"libssh/": ["mover/ssh/", "controller/keys/"],
    r"librsync\.h": ["mover/delta/"],
    r"(json-c/|json(_\w+)?\.h)": ["common/report.c", "common/test_", "controller/"],
    r"curl/": ["controller/cluster/kube/"],
    r"yaml\.h": ["controller/"],
}
# External headers that exactly one source file includes, whichever it is (tests apart).
SINGLE = ["zstd.h"]

# Folders of the tree from the bottom to the top: a room may depend on rooms of these only.
LAYERS = {
    "common": ["common"],
    "proto": ["common", "proto"],
    "mover": ["common", "proto", "mover"],
    "controller": ["common", "controller"],
}

findings = []
skipped = []


def finding(path, line, text):
    findings.append((path, line, text))


def list_files():
    """All files that belong to the project: known to git or about to be; without git, all."""
    if os.path.isdir(".git") and shutil.which("git"):
        out = subprocess.run(
            ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], stdout=subprocess.PIPE, check=True).stdout
        names = sorted(set(n for n in out.decode().split("\0") if n))
        return [n for n in names if os.path.isfile(n)]
    names = []
    for folder, folders, files in os.walk("."):
        folders[:] = [f for f in folders if f not in (".git", "build", "out")]
        names += [os.path.relpath(os.path.join(folder, f), ".") for f in files]
    return sorted(names)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def is_c(path):
    return path.endswith((".c", ".h"))


def is_text(path):
    """Files whose text the rules are for; what is data for tests is not among them."""
    name = os.path.basename(path)
    if name == "CMakeLists.txt" or is_c(path) or \
            name.endswith((".def", ".py", ".sh", ".bash", ".cmake", ".md", ".yaml", ".yml")):
        return True
    with open(path, "rb") as f:
        return f.read(2) == b"#!"


def is_test(path):
    return path.startswith("tests/") or os.path.basename(path).startswith(("test_", "fuzz_"))


def is_script(path, text):
    return path.endswith((".sh", ".py", ".bash")) or text.startswith("#!")


def is_shell(path, text):
    first = text.split("\n", 1)[0]
    if first.startswith("#!"):
        return bool(re.search(r"\b(ba|da)?sh\b", first))
    return path.endswith((".sh", ".bash"))


def blank_out(text):
    """C text with comments and literals replaced by blanks, lines kept."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)


def check_text(path, text):
    lines = text.split("\n")
    if text and not text.endswith("\n"):
        finding(path, len(lines), "no newline at the end")
    elif text.endswith("\n\n"):
        finding(path, len(lines) - 1, "empty line at the end")
    # Pieced together, so that this file passes its own rule.
    marks = r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b"
    for i, line in enumerate(lines, 1):
        if line != line.rstrip():
            finding(path, i, "trailing white space")
        found = re.search(marks, line)
        if found:
            finding(path, i, f"{found.group(1)}: finish it or say it in the issue tracker")
    if (is_c(path) or is_script(path, text)) and SPDX not in "".join(lines[:2]):
        finding(path, 1, f"lacks {SPDX} in the first two lines")
    if (is_c(path) or is_script(path, text)) and len(lines) - 1 > FILE_MAX:
        finding(path, FILE_MAX, f"{len(lines) - 1} lines, more than {FILE_MAX}")
    if path.endswith(".h") and len(lines) - 1 > HEADER_MAX:
        finding(path, HEADER_MAX, f"{len(lines) - 1} lines, a header has at most {HEADER_MAX}")


def check_c(path, text):
    code = blank_out(text)
    banned = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for i, line in enumerate(code.split("\n"), 1):
        found = banned.search(line)
        if found:
            finding(path, i, f"{found.group(1)}() is banned")
    if path.endswith(".h") and not re.search(r"^#ifndef (SCRIBE_\w+)\n#define \1$", text, re.M):
        finding(path, 1, "lacks an include guard named SCRIBE_...")


def check_unique_names(files):
    first = {}
    for path in files:
        name = os.path.basename(path)
        if is_c(path) and not name.startswith("main_"):
            if name in first:
                finding(path, 1, f"same name as {first[name]}")
            first.setdefault(name, path)


class Rooms:
    """Folders with a scribe_room() and what they may include, from the CMake files."""

    def __init__(self, files):
        self.folder = {}  # room name -> folder
        self.deps = {}    # room name -> names of rooms
        self.main = {}    # folder -> rooms that programs (main_*.c) link by hand
        for path in files:
            if os.path.basename(path) == "CMakeLists.txt":
                self.load(path)

    def load(self, path):
        folder = os.path.dirname(path)
        text = re.sub(r"#[^\n]*", "", read(path))
        for m in re.finditer(r"\bscribe_room\(\s*(\w+)([^)]*)\)", text):
            words = m.group(2).split()
            deps, keyword = [], None
            for w in words:
                if w in ("DEPS", "LIBS"):
                    keyword = w
                elif keyword == "DEPS":
                    deps.append(w)
            self.folder[m.group(1)] = folder
            self.deps[m.group(1)] = deps
        linked = re.findall(r"\btarget_link_libraries\(([^)]*)\)", text)
        self.main[folder] = [w[len("scribe_"):] for s in linked for w in s.split()
                             if w.startswith("scribe_")]

    def layer(self, room):
        return self.folder[room].split("/")[0]

    def check(self):
        for room, deps in sorted(self.deps.items()):
            path = self.folder[room] + "/CMakeLists.txt"
            layer = self.layer(room)
            for d in deps:
                if d in self.folder and self.layer(d) not in LAYERS.get(layer, [layer]):
                    finding(path, 1, f"room {room} ({layer}) must not depend on {d} "
                                     f"({self.layer(d)})")
            if room in self.closure(deps, set()):
                finding(path, 1, f"room {room} depends on itself, maybe by way of another")

    def closure(self, rooms, seen):
        for r in rooms:
            if r not in seen:
                seen.add(r)
                self.closure(self.deps.get(r, []), seen)
        return seen

    def visible(self, path):
        """Folders whose headers a source file may include; None for files outside the rooms."""
        folder = os.path.dirname(path)
        here = [r for r, f in self.folder.items() if f == folder]
        if not here and not self.main.get(folder):
            return None
        rooms = list(here)
        if not here or os.path.basename(path).startswith("main_"):
            rooms += self.main.get(folder, [])
        return {self.folder[r] for r in self.closure(rooms, set()) if r in self.folder} | {folder}


def check_includes(files):
    rooms = Rooms(files)
    rooms.check()
    where = {os.path.basename(p): os.path.dirname(p) for p in files
             if p.endswith((".h", ".def"))}
    single = {}
    for path in filter(is_c, files):
        visible = None if path.startswith("tests/") else rooms.visible(path)
        for i, line in enumerate(read(path).split("\n"), 1):
            m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not m:
                continue
            name = m.group(2)
            if "../" in name:
                finding(path, i, f'include of "{name}": include by plain name')
            elif m.group(1) == "<":
                check_external(path, i, name, single)
            elif name not in where:
                finding(path, i, f'no header "{name}" in the tree')
            elif visible is not None and where[name] not in visible:
                finding(path, i, f"{name} lies in {where[name]}, which is not among the DEPS of "
                                 f"{os.path.dirname(path)}")
    for name, users in single.items():
        for path, i in users[1:]:
            finding(path, i, f"<{name}> is included by {users[0][0]} already; one file only")


def check_external(path, line, name, single):
    if path.startswith("tests/"):
        return
    for pattern, allowed in EXTERNAL.items():
        if re.match(pattern, name) and not path.startswith(tuple(allowed)):
            finding(path, line, f"<{name}> belongs into {' '.join(allowed)} only")
    if name in SINGLE and not is_test(path):
        single.setdefault(name, []).append((path, line))


def check_functions(files):
    """Length of every function; returns the lengths outside tests."""
    if not shutil.which("ctags"):
        skipped.append("ctags (universal-ctags): function lengths")
        return []
    sources = [f for f in files if f.endswith(".c")]
    if not sources:
        return []
    out = subprocess.run(["ctags", "--fields=+ne", "--kinds-C=f", "-f", "-", "-L", "-"],
                         input="\n".join(sources), stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    lengths = []
    for tag in out.split("\n"):
        m = re.search(r"^(\S+)\t([^\t]+)\t.*\tline:(\d+)\b.*\tend:(\d+)", tag)
        if not m:
            continue
        length = int(m.group(4)) - int(m.group(3)) + 1
        if not is_test(m.group(2)):
            lengths.append(length)
        if length > FUNCTION_MAX:
            finding(m.group(2), int(m.group(3)),
                    f"{m.group(1)}() has {length} lines, more than {FUNCTION_MAX}")
    return sorted(lengths)


def check_format(files):
    """clang-format, and lines that it cannot break."""
    sources = [f for f in files if is_c(f)]
    unformatted = run_clang_format(sources)
    for path in sources:
        if path in unformatted:
            finding(path, unformatted[path], "run clang-format -i on it")
            continue
        for i, line in enumerate(read(path).split("\n"), 1):
            if len(line.expandtabs(8)) > LINE_MAX:
                finding(path, i, f"longer than {LINE_MAX} columns")


def run_clang_format(sources):
    """The files it would change, each with the first line of that."""
    if not shutil.which("clang-format"):
        skipped.append("clang-format: layout")
        return {}
    if not sources:
        return {}
    err = subprocess.run(["clang-format", "--dry-run", "-Werror"] + sources,
                         stderr=subprocess.PIPE, text=True, check=False).stderr
    first = {}
    for m in re.finditer(r"^(\S+?):(\d+):\d+: error: code should be clang-formatted", err, re.M):
        first.setdefault(m.group(1), int(m.group(2)))
    return first


def check_shell(scripts):
    if not shutil.which("shellcheck"):
        skipped.append("shellcheck: shell scripts")
        return
    if not scripts:
        return
    out = subprocess.run(["shellcheck", "-x", "-f", "gcc"] + scripts, stdout=subprocess.PIPE,
                         text=True, check=False).stdout
    for m in re.finditer(r"^(.+?):(\d+):\d+: \w+: (.*)$", out, re.M):
        finding(m.group(1), int(m.group(2)), m.group(3))


def percentile(values, p):
    return values[min(len(values) - 1, len(values) * p // 100)]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "../.."))
    files = list_files()
    shell = []
    for path in files:
        if not is_text(path):
            continue
        text = read(path)
        check_text(path, text)
        if is_c(path):
            check_c(path, text)
        if is_shell(path, text):
            shell.append(path)
    check_unique_names(files)
    check_includes(files)
    lengths = check_functions(files)
    check_format(files)
    check_shell(shell)
    for path, line, text in sorted(findings):
        print(f"{path}:{line}: {text}")
    if lengths:
        print(f"functions: {len(lengths)}, lines median {percentile(lengths, 50)}, "
              f"p90 {percentile(lengths, 90)}, max {lengths[-1]}")
    for what in skipped:
        print(f"not installed, not checked: {what}")
    print(f"{len(files)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
