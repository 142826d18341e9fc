#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds, and runs every test that this machine can run:
#
#   ./test.sh          all presets: dev (ASan + UBSan), tsan (threaded tests), fuzz (clang, libFuzzer)
#   ./test.sh quick    preset dev, tests labelled quick: the inner loop, under a minute
#
# The last line is "N passed, N failed, N skipped"; exit 0 if nothing failed, 2 if packages are missing.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

# shellcheck source=tests/lib/packages.sh
. tests/lib/packages.sh

results=() # for summary.py: NAME=FILE
failures=() # for summary.py: --failed WHAT

fail_step()
{
	failures+=(--failed "$1")
	echo "FAILED: $1"
}

# configure PRESET, compile PRESET [TARGET...]: a failure counts as one failed test.
configure()
{
	local preset=$1 cache=()
	say "$preset: build"
	command -v ccache >/dev/null && cache=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
	mkdir -p build
	if ! cmake --preset "$preset" "${cache[@]}" >"build/$preset.log" 2>&1; then
		cat "build/$preset.log"
		fail_step "$preset: configure"
		return 1
	fi
}

compile()
{
	local preset=$1
	shift
	ninja --quiet -C "build/$preset" "$@" || {
		fail_step "$preset: compile"
		return 1
	}
}

# run PRESET NAME [CTEST-OPTION...]: runs tests and notes the result under NAME.
run()
{
	local preset=$1 name=$2 junit
	junit=$PWD/build/junit-$name.xml
	shift 2
	say "$name: tests"
	rm -f "$junit"
	(cd "build/$preset" && ctest -j "$(nproc)" --output-on-failure \
		--test-output-size-passed 65536 --output-junit "$junit" "$@")
	if [ -s "$junit" ]; then
		results+=("$name=$junit")
	else
		fail_step "$name: ctest"
	fi
}

# The programs of the tests with a label, by the naming rule of cmake/ScribeBuild.cmake; "all" if
# one of them follows no rule.
targets_of()
{
	(cd "build/$1" && ctest -N -L "$2") |
		sed -n 's/^ *Test *#[0-9]*: //p' |
		sed -e 's/^unit\./test_/; t' -e 's/^fuzz\./fuzz_/; t' -e 's/.*/all/' | sort -u
}

test_dev()
{
	configure dev && compile dev && run dev "$@"
}

# Data races: only tests with threads are worth the time.
test_tsan()
{
	local targets
	configure tsan || return
	mapfile -t targets < <(targets_of tsan tsan)
	if [ ${#targets[@]} -eq 0 ]; then
		fail_step "tsan: no test has the label"
	elif compile tsan "${targets[@]}"; then
		run tsan tsan -L tsan
	fi
}

# The other compiler's warnings and sanitizers, and fuzzing guided by coverage.
test_fuzz()
{
	configure fuzz && compile fuzz && run fuzz fuzz -L fuzz
}

install_packages "${build_packages[@]}" "${test_packages[@]}"
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
case ${1:-all} in
quick)
	test_dev quick -L quick
	;;
all)
	test_dev dev
	test_tsan
	test_fuzz
	;;
*)
	echo "usage: ./test.sh [quick]" >&2
	exit 2
	;;
esac
say "result"
exec python3 tests/lint/summary.py "${failures[@]}" "${results[@]}"
