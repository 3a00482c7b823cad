# SPDX-License-Identifier: MIT
# kernels.sh - Debian's kernels, for scripts/kmod and scripts/vm: fetched as
# packages and unpacked in a cache, never installed; and kernels that find more,
# built there from Debian's source. It is sourced, from bash, after steps.sh.

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

# with_progress WHAT COMMAND... - say how far a long build is; its output is a
# log, shown if it fails
with_progress() {
	local what=$1 log start status=0 pid lines
	start=$(now)
	log=$(mktemp)

	shift
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		((SECONDS % 20)) || {
			lines=$(wc -l <"$log")
			echo "    $what: $lines files, $(seconds_since "$start")" >&2
		}
	done
	wait "$pid" || status=$?
	((status == 0)) || show_tail "$log"
	rm -f "$log"
	return "$status"
}

# Which kernels are built here: their options, the last one counts, and what
# make is told. KCSAN is to look at the module, so the kernel is left alone.
declare -A built_configs=(
	[6.1-debug]="debug.config"
	[6.1-kcsan]="debug.config kcsan.config"
)
declare -A built_arguments=([6.1-kcsan]="KCSAN_SANITIZE=n")

# build_kernel SERIES DIRECTORY - make one there, from the package's source
build_kernel() {
	local to=$2 source=$2/source line configs arguments
	local -A options

	for program in bison flex bc; do
		command -v "$program" >/dev/null ||
			fail "there is no $program: scripts/setup kernel"
	done
	read -ra configs <<<"${built_configs[$1]}"
	read -ra arguments <<<"${built_arguments[$1]-}"
	configs=("${configs[@]/#/$root/tests/kmod/}")
	mkdir -p "$source"
	tar -x --strip-components=1 -C "$source" \
		-f "$to"/usr/src/linux-source-6.1.tar.xz
	rm -rf "$to/usr"
	make -s -C "$source" tinyconfig
	(cd "$source" &&
		scripts/kconfig/merge_config.sh -m .config "${configs[@]}")
	make -s -C "$source" olddefconfig
	while read -r line; do
		[[ ! $line =~ ^(# )?(CONFIG_[A-Z0-9_]+) ]] ||
			options[${BASH_REMATCH[2]}]=$line
	done < <(cat "${configs[@]}")
	for line in "${options[@]}"; do
		[[ $line == '#'* ]] || grep -qx "$line" "$source/.config" || {
			echo "the configuration has no $line"
			return 1
		}
	done
	make -C "$source" -j "$(nproc)" "${arguments[@]}" bzImage modules
	mkdir -p "$to/boot"
	kernel_release=$(make -s -C "$source" kernelrelease)
	cp "$source/arch/x86/boot/bzImage" "$to/boot/vmlinuz-$kernel_release"
	# what modules are not built with
	find "$source" \( -name '*.o' -o -name '*.a' -o -name vmlinux \) \
		! -path '*/scripts/*' ! -path '*/tools/*' -delete
	echo "$kernel_release" >"$to/release"
}

# fetch_built_kernel SERIES - the same as fetch_kernel: once, it takes minutes
fetch_built_kernel() {
	local series=$1 to=$cache/linux-$1 new start mark
	start=$(now)

	mark=$(cd "$root/tests/kmod" &&
		# shellcheck disable=SC2086 # several names
		cat ${built_configs[$series]} | sha256sum)
	if [[ ! -e $to/mark || $(<"$to/mark") != "$mark" ]]; then
		echo "    building the kernel $series, once, in $to" >&2
		mkdir -p "$cache"
		new=$(mktemp -d "$cache/linux-$series.XXXXXX")
		(cd "$new" && apt-get -q download linux-source-6.1) \
			>"$new/log" 2>&1 || {
			show_tail "$new/log"
			rm -rf "$new"
			fail "apt-get download linux-source-6.1 failed"
		}
		for deb in "$new"/*.deb; do
			dpkg-deb -x "$deb" "$new"
			rm "$deb"
		done
		with_progress "the kernel $series" build_kernel "$series" \
			"$new" || {
			rm -rf "$new"
			fail "the kernel $series cannot be built, see above"
		}
		echo "$mark" >"$new/mark"
		rm -rf "$to"
		mv -T "$new" "$to"
		echo "    done in $(seconds_since "$start")" >&2
	fi
	kernel_release=$(<"$to/release")
	kernel_image=$to/boot/vmlinuz-$kernel_release
	kernel_headers=$to/source
}

# fetch_kernel SERIES - have it in the cache; sets kernel_release, kernel_image,
# kernel_headers
fetch_kernel() {
	local series=$1 to=$cache/linux-$1 new start packages
	start=$(now)

	if [[ ${built_configs[$series]-} ]]; then
		fetch_built_kernel "$series"
		return
	fi

	if [[ ! -e $to/release ]]; then
		kernel_release=$(newest_kernel "$series")
		[[ $kernel_release ]] ||
			fail "apt knows no linux-headers-$series.*-cloud-amd64:" \
				"expected Debian 12 with its security updates" \
				"in apt's sources, and apt-get update after that"
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
