# SPDX-License-Identifier: MIT
# kernels.sh - Debian's kernels, for scripts/kmod and scripts/vm: fetched as
# packages and unpacked in a cache, never installed. It is sourced, from bash,
# after steps.sh.

cache=${LSHM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libshm}

# newest_kernel SERIES - the release of the newest package, as uname -r says it
newest_kernel() {
	apt-cache pkgnames "linux-headers-$1." |
		sed -nE 's/^linux-headers-(.*-cloud-amd64)$/\1/p' |
		while read -r release; do
			[[ ! $(apt-cache pkgnames "linux-image-$release" |
				grep -x "linux-image-$release") ]] ||
				echo "$release"
		done | sort -V | tail -n 1
}

# packages_of RELEASE - what a module is built with and what is booted
packages_of() {
	echo "linux-image-$1"
	echo "linux-headers-$1"
	apt-cache depends --no-recommends --no-suggests "linux-headers-$1" |
		sed -nE 's/^ *\|?Depends: (linux-(headers|kbuild|compiler)-.*)/\1/p'
}

# fetch_kernel SERIES - have it in the cache; sets kernel_release, kernel_image,
# kernel_headers
fetch_kernel() {
	local series=$1 to=$cache/linux-$1 new start packages
	start=$(now)

	if [[ ! -e $to/release ]]; then
		kernel_release=$(newest_kernel "$series")
		[[ $kernel_release ]] ||
			fail "apt knows no linux-headers-$series.*-cloud-amd64:" \
				"run apt-get update, or use Debian 12"
		mapfile -t packages < <(packages_of "$kernel_release")
		echo "    fetching Linux $kernel_release into $to" >&2
		mkdir -p "$cache"
		new=$(mktemp -d "$cache/linux-$series.XXXXXX")
		mkdir "$new/debs"
		if ! (cd "$new/debs" && apt-get -q download "${packages[@]}") \
			>"$new/log" 2>&1; then
			show_tail "$new/log"
			rm -rf "$new"
			fail "apt-get download failed, see above"
		fi
		for deb in "$new"/debs/*.deb; do
			dpkg-deb -x "$deb" "$new"
		done
		rm -rf "$new/debs"
		# Its Makefile includes another by its installed path. Without
		# vmlinux no type information is made, which needs pahole.
		sed -i "s#/usr/src/#$to/usr/src/#" \
			"$new/usr/src/linux-headers-$kernel_release/Makefile"
		rm -f "$new/usr/src/linux-headers-$kernel_release/vmlinux"
		echo "$kernel_release" >"$new/release"
		mv -T "$new" "$to" 2>/dev/null || rm -rf "$new" # another did
		echo "    done in $(seconds_since "$start")" >&2
	fi
	kernel_release=$(<"$to/release")
	# shellcheck disable=SC2034 # for who sources this
	kernel_image=$to/boot/vmlinuz-$kernel_release
	# shellcheck disable=SC2034
	kernel_headers=$to/usr/src/linux-headers-$kernel_release
}
