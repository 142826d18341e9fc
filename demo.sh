#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Shows what scribe-mover does, on this machine and without questions: installs what is missing, builds,
# replicates a real tree over SSH on loopback, changes it, replicates again, proves equality.
# Takes a few minutes at most. Leaves build/release (ignored by git) and nothing else.
# Exit 0 if everything went as announced, 2 if packages are missing, else 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tests/lib/packages.sh
. tests/lib/packages.sh

files_wanted=12000
work=
server=

die()
{
	echo "demo: $*" >&2
	exit 1
}

cleanup()
{
	trap - EXIT
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	if [ -n "$work" ]; then
		chmod -R u+rwX "$work" 2>/dev/null || true
		rm -rf --one-file-system "$work"
	fi
}

build()
{
	say "building (release preset)"
	mkdir -p build
	cmake --preset release >build/release.log 2>&1 || {
		cat build/release.log >&2
		die "cmake failed"
	}
	ninja --quiet -C build/release scribe-mover || die "the build failed"
	mover=$PWD/build/release/bin/scribe-mover
	"$mover" version
}

count_files()
{
	find "$work/source" -type f | wc -l
}

# A tree as this machine has it: documentation, headers, libraries. What is too large for a demo is
# passed over; a second round is for machines with little on them.
make_source()
{
	local round dir name
	say "making a source tree of copies"
	mkdir "$work/source"
	for round in 1 2 3 4 5; do
		for dir in /usr/share/doc /usr/lib/python3* /usr/include /usr/lib/gcc \
			/usr/share/perl /usr/share/zoneinfo /usr/share/locale /usr/lib/*/perl*; do
			if [ ! -d "$dir" ] || [ -L "$dir" ]; then
				continue
			fi
			[ "$(du -smx "$dir" | cut -f1)" -le 250 ] || continue
			name=${dir#/usr/}
			# Files that others may not read stay away; the count below decides.
			cp -a --one-file-system "$dir" "$work/source/${name//\//-}-$round" 2>/dev/null || true
			[ "$(count_files)" -lt $files_wanted ] || break 2
		done
	done
	head -c 64M /dev/urandom >"$work/source/image"
	printf 'data' | dd of="$work/source/sparse" bs=1M seek=64 status=none
	[ "$(count_files)" -ge 10000 ] || die "only $(count_files) files found to copy"
	echo "$(count_files) files, $(find "$work/source" | wc -l) entries," \
		"$(du -sh --apparent-size "$work/source" | cut -f1)"
}

start_server()
{
	say "keys and server"
	"$mover" keygen "$work/host"
	"$mover" keygen "$work/user"
	mkdir "$work/replica"
	"$mover" serve --root "$work/replica" --host-key "$work/host" --authorized-keys "$work/user.pub" \
		--listen 127.0.0.1 --port 0 >"$work/serve.out" 2>"$work/serve.log" &
	server=$!
	for _ in {1..100}; do
		port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/serve.out")
		[ -z "$port" ] || break
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	[ -n "$port" ] || {
		cat "$work/serve.log" >&2
		die "the server did not start"
	}
	cat "$work/serve.out"
}

# push REPORT [OPTION...]
push()
{
	local report=$1
	shift
	timeout 200 "$mover" push --identity "$work/user" --known-host-key "$work/host.pub" --port "$port" \
		--report "$work/$report.json" "$@" "$work/source" 127.0.0.1 ||
		die "push ended with $?"
}

change_source()
{
	say "changing the source"
	python3 - "$work/source" <<'PYTHON'
import os, sys
root = sys.argv[1]
os.chdir(root)
tops = sorted(d for d in os.listdir(".") if os.path.isdir(d))
files = sorted(
    os.path.join(folder, name)
    for top in tops
    for folder, _, names in os.walk(top)
    for name in names
    if os.path.isfile(os.path.join(folder, name)) and not os.path.islink(os.path.join(folder, name))
    and os.stat(os.path.join(folder, name)).st_nlink == 1
)
folders = sorted(e.path for top in tops for e in os.scandir(top) if e.is_dir(follow_symlinks=False))
taken = iter(files[:: max(1, len(files) // 12)])

def tell(what, path, more=""):
    print(f"  {what:<12}{path}{more}")

def in_folder(path, folder):
    return path == folder or path.startswith(folder + "/")

gone, moved = folders[0], folders[len(folders) // 2]

def pick():
    return next(p for p in taken if not in_folder(p, gone) and not in_folder(p, moved))

for _ in range(3):
    path = pick()
    os.chmod(path, os.stat(path).st_mode | 0o200)
    with open(path, "ab") as f:
        f.write(b"one more line\n")
    tell("edited", path)
with open("image", "rb") as f:
    data = f.read()
middle = len(data) // 2 + 12345
with open("image", "wb") as f:
    f.write(data[:middle] + os.urandom(1000) + data[middle:])
tell("inserted", "image", ": 1,000 bytes in the middle of 64 MiB")
path = pick()
os.rename(path, path + ".renamed")
tell("renamed", path)
os.rename(moved, moved + ".renamed")
tell("renamed", moved + "/")
path = pick()
os.unlink(path)
tell("deleted", path)
for folder, inner, names in os.walk(gone, topdown=False):
    for name in names:
        os.unlink(os.path.join(folder, name))
    for name in inner:
        path = os.path.join(folder, name)
        os.unlink(path) if os.path.islink(path) else os.rmdir(path)
os.rmdir(gone)
tell("deleted", gone + "/")
path = pick()
os.link(path, path + ".linked")
tell("hard link", path + ".linked")
path = pick()
os.chmod(path, 0o600)
tell("chmod 600", path)
path = pick()
try:
    os.setxattr(path, "user.demo", b"value")
    tell("xattr", path)
except OSError as error:
    print(f"  no xattr: {os.strerror(error.errno)} by the filesystem of {root}")
PYTHON
}

# Ends with 1 if the replica differs; what "differs" means is proven by the tests of diff.
show_diff()
{
	local status=0
	"$mover" diff "$work/source" "$work/replica" >"$work/differences" || status=$?
	[ "$status" -le 1 ] || die "diff ended with $status"
	echo "scribe-mover diff: exit $status, $(wc -l <"$work/differences") differences"
	return "$status"
}

print_table()
{
	say "result"
	python3 - "$work" first dry second third <<'PYTHON'
import json, re, sys
work, names = sys.argv[1], sys.argv[2:]
titles = {"first": "first copy", "dry": "dry run", "second": "after changes", "third": "nothing to do"}
units = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}

def seconds(text):
    return sum(float(n) * units[u] for n, u in re.findall(r"([0-9.]+)(h|ms|us|\u00b5s|ns|m|s)", text))

print(f"{'step':<14} {'files sent':>10} {'bytes on the wire':>18} {'seconds':>8}  root hash: source, destination")
bad = []
for name in names:
    with open(f"{work}/{name}.json", encoding="utf-8") as f:
        r = json.load(f)
    wire = r["wireBytesSent"] + r["wireBytesReceived"]
    source, target = (None if name == "dry" else r["rootHash"][k] for k in ("source", "destination"))
    print(f"{titles[name]:<14} {r['filesTransferred']:>10,} {wire:>18,} {seconds(r['duration']):>8.2f}"
          f"  {source or '-'}" + (f"\n{'':<53}  {target}" if target else ""))
    if name != "dry" and (not r["committed"] or source is None or source != target):
        bad.append(f"{name}: not committed, or the hashes differ")
    if name == "third" and (r["filesTransferred"] or r["filesDeleted"] or r["bytesLiteral"]):
        bad.append("third: something was transferred")
    left = {k: v for k, v in r["notReplicated"].items()}
    if left and name == "first":
        print(f"{'':<14} not replicated, because the destination can't hold it: {left}")
print("\nThe last run lists nothing and sends no content. What it costs beyond a few kilobytes is a look, by"
      "\nhashes, at files changed shortly before the previous run: their times do not prove much.")
for line in bad:
    print("demo:", line, file=sys.stderr)
sys.exit(1 if bad else 0)
PYTHON
}

install_packages "${build_packages[@]}"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
build
work=$(mktemp -d "${TMPDIR:-/tmp}/scribe-demo.XXXXXX")
make_source
start_server

say "first push"
push first --delete
show_diff || die "the first copy differs: $(head -n 3 "$work/differences")"

change_source
show_diff && die "diff does not see the changes"

say "dry run: what the next push will do"
push dry --delete --dry-run --itemize >"$work/dry.out"
grep -vE '^(sent |total size|rsync completed)' "$work/dry.out" >"$work/dry.items" || true
sed -n '1,25s/^/  /p' "$work/dry.items"
lines=$(wc -l <"$work/dry.items")
[ "$lines" -le 25 ] || echo "  ... $lines lines in all"

say "second push"
push second --delete --itemize >"$work/second.out"
grep -vE '^(sent |total size|rsync completed)' "$work/second.out" >"$work/second.items" || true
cmp "$work/dry.items" "$work/second.items" || die "the dry run announced something else"
echo "itemized the same $lines lines as the dry run"
show_diff || die "the replica differs: $(head -n 3 "$work/differences")"

say "third push"
push third --delete --itemize >"$work/third.out"
grep -vE '^(sent |total size|rsync completed)' "$work/third.out" >"$work/third.items" || true
[ ! -s "$work/third.items" ] || die "the third push itemized: $(head -n 3 "$work/third.items")"
echo "itemized nothing"
show_diff || die "the replica differs: $(head -n 3 "$work/differences")"
print_table
echo "demo: everything went as announced, $SECONDS s"
