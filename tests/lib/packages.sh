# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by test.sh and demo.sh: which Debian 12 packages they need, and how missing ones get there.

# For scribe-mover, with python3 and cmocka, which the build looks for.
build_packages=(build-essential cmake ninja-build pkg-config python3
	libssh-dev librsync-dev libzstd-dev libxxhash-dev libjson-c-dev libcmocka-dev)
# For the tests beyond that.
test_packages=(ccache binutils
	clang libclang-rt-14-dev clang-format universal-ctags shellcheck
	rsync openssh-server openssh-client acl attr strace iproute2 util-linux procps
	e2fsprogs xfsprogs btrfs-progs)

say()
{
	printf '\n== %s\n' "$*"
}

# install_packages NAME...: installs those that are missing, as root or by sudo without a password;
# else it names them and ends the script with 2.
install_packages()
{
	local missing=() p run=()
	command -v dpkg-query >/dev/null || {
		echo "not a Debian system: needed are the likes of $*"
		return 0
	}
	for p in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed ||
			missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		if ! sudo -n true 2>/dev/null; then
			echo "missing packages: ${missing[*]}"
			echo "install them with: sudo apt-get install ${missing[*]}"
			exit 2
		fi
		run=(sudo -n)
	fi
	say "installing ${missing[*]}"
	if ! "${run[@]}" apt-get update -qq ||
		! "${run[@]}" env DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq -y --no-install-recommends "${missing[@]}"; then
		echo "missing packages could not be installed: ${missing[*]}"
		exit 2
	fi
}
