#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that lint.py finds what it is there to find, in a small tree full of mistakes."""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
LONG_BODY = "\tx++;\n" * 150
WORD = "TO" + "DO"

GUARD = "#ifndef SCRIBE_{0}_H\n#define SCRIBE_{0}_H\n\n{1}#endif\n"
GOOD = {
    "common/CMakeLists.txt": "scribe_room(common LIBS PkgConfig::JSONC)\n",
    "common/low.h": SPDX + GUARD.format("LOW", "int low(void);\n\n"),
    "common/low.c": SPDX + '#include "low.h"\n\nint low(void)\n{\n\treturn 0; /* atoi() is no call */\n}\n',
    "common/report.c": SPDX + "#include <json-c/json.h>\n",
    "proto/CMakeLists.txt": "scribe_room(proto DEPS common)\n",
    "proto/mid.h": SPDX + GUARD.format("MID", '#include "low.h"\n\n'),
    "mover/delta/CMakeLists.txt": "scribe_room(delta DEPS proto LIBS librsync)\n",
    "mover/delta/codec.c": SPDX + '#include <librsync.h>\n#include <zstd.h>\n\n#include "low.h"\n',
}

# name of the mistake: ({file: content}, what the finding says)
BAD = {
    "no licence": ({"common/a.c": "int a;\n"}, r"common/a\.c:1: lacks SPDX"),
    "banned": ({"common/a.c": SPDX + "int a(char *s)\n{\n\treturn atoi (s);\n}\n"},
               r"common/a\.c:4: atoi\(\) is banned"),
    "mark": ({"common/a.c": SPDX + f"/* {WORD}: more */\n"}, r"common/a\.c:2: TO"),
    "white space": ({"common/a.c": SPDX + "int a; \n"}, r"common/a\.c:2: trailing white space"),
    "no end": ({"common/a.c": SPDX + "int a;"}, r"common/a\.c:2: no newline"),
    "twice": ({"proto/low.c": SPDX}, r"proto/low\.c:1: same name as common/low\.c"),
    "dots": ({"proto/a.c": SPDX + '#include "../common/low.h"\n'}, r"proto/a\.c:2: .*plain name"),
    "absent": ({"proto/a.c": SPDX + '#include "nothing.h"\n'}, r"proto/a\.c:2: no header"),
    "upwards": ({"common/a.c": SPDX + '#include "mid.h"\n'},
                r"common/a\.c:2: mid\.h lies in proto, which is not among the DEPS of common"),
    "layer": ({"proto/CMakeLists.txt": "scribe_room(proto DEPS common delta)\n"},
              r"proto/CMakeLists\.txt:1: room proto \(proto\) must not depend on delta"),
    "circle": ({"mover/x/CMakeLists.txt": "scribe_room(x DEPS y)\n",
                "mover/y/CMakeLists.txt": "scribe_room(y DEPS x)\n"}, r"room x depends on itself"),
    "libssh": ({"mover/delta/a.c": SPDX + "#include <libssh/libssh.h>\n"},
               r"mover/delta/a\.c:2: <libssh/libssh\.h> belongs into mover/ssh/"),
    "librsync": ({"proto/a.c": SPDX + "#include <librsync.h>\n"}, r"belongs into mover/delta/"),
    "json": ({"common/a.c": SPDX + "#include <json.h>\n"}, r"belongs into common/report\.c"),
    "zstd": ({"proto/z.c": SPDX + "#include <zstd.h>\n"}, r"proto/z\.c:2: <zstd\.h> is included by "
             r"mover/delta/codec\.c already"),
    "guard": ({"common/g.h": SPDX + "int g(void);\n"}, r"common/g\.h:1: lacks an include guard"),
    "big header": ({"common/g.h": SPDX + GUARD.format("G", "int g(void);\n" * 150)},
                   r"common/g\.h:150: 155 lines"),
    "big file": ({"common/a.c": SPDX + "int a(void);\n" * 1000}, r"common/a\.c:1000: 1001 lines"),
    "big function": ({"common/a.c": SPDX + "int a(int x)\n{\n" + LONG_BODY + "}\n"},
                     r"common/a\.c:2: a\(\) has 153 lines"),
    "layout": ({"common/a.c": SPDX + "int  a;\n"}, r"common/a\.c:2: run clang-format"),
    "long line": ({"common/a.c": SPDX + "int " + 100 * "x" + ";\n"},
                  r"common/a\.c:2: longer than 100 columns"),
    "shell": ({"x.sh": "#!/bin/bash\n# " + SPDX[3:-4] + "\necho $1\n"}, r"x\.sh:3: Double quote"),
}
TOOLS = {"big function": "ctags", "layout": "clang-format", "long line": "clang-format",
         "shell": "shellcheck"}


def lint(files):
    with tempfile.TemporaryDirectory() as root:
        with open(os.path.join(HERE, "../../.clang-format"), encoding="utf-8") as f:
            files = {**files, ".clang-format": f.read()}
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as f:
                f.write(text)
        run = subprocess.run([sys.executable, os.path.join(HERE, "lint.py"), root],
                             stdout=subprocess.PIPE, text=True, check=False)
        return run.returncode, run.stdout


def main():
    failed = 0
    rc, good = lint(GOOD)
    if rc != 0:
        print(f"a tree without mistakes: exit {rc}\n{good}")
        failed += 1
    for name, (files, expected) in BAD.items():
        if f"not installed, not checked: {TOOLS.get(name)}" in good:
            print(f"{name}: not checked, {TOOLS[name]} is not installed")
            continue
        rc, out = lint({**GOOD, **files})
        if rc != 1 or not re.search(expected, out):
            print(f"{name}: exit {rc}, no \"{expected}\" in\n{out}")
            failed += 1
    print(f"{len(BAD) + 1} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
