# SPDX-License-Identifier: MIT
# check.sh - for the tests of the examples: compare, and tell what was seen. It
# is sourced, from bash; $tmp is an empty directory that goes away at the end.

how_to_run="$0 $*"
tmp=$(mktemp -d)
export TMPDIR=$tmp
trap 'rm -rf "$tmp"' EXIT
checks=0

# wrong EXPECTED SEEN [FILE] - say so, show the file, and end
wrong() {
	printf 'expected: %s\nseen:     %s\n' "$1" "$2"
	[[ ! ${3-} ]] || sed 's/^/    | /' "$3"
	printf 'to run only this test:\n    %s\n' "$how_to_run"
	exit 1
}

# same WHAT EXPECTED SEEN [FILE]
same() {
	checks=$((checks + 1))
	[[ $2 == "$3" ]] || wrong "$1: $2" "$3" "${4-}"
}

# has FILE PATTERN - a line that matches an extended regular expression
has() {
	checks=$((checks + 1))
	grep -Eq -- "$2" "$1" || wrong "a line like '$2'" "none" "$1"
}

# has_not FILE PATTERN
has_not() {
	checks=$((checks + 1))
	! grep -Eq -- "$2" "$1" || wrong "no line like '$2'" "one" "$1"
}

# run STATUS COMMAND... - it must end so, within 40 s, or LSHM_TEST_TIMEOUT; its
# output is in $out
run() {
	local expected=$1 seen=0

	out=$tmp/out
	timeout -k 1 "${LSHM_TEST_TIMEOUT:-40}" "${@:2}" >"$out" 2>&1 || seen=$?
	same "exit status of ${*:2}" "$expected" "$seen" "$out"
}

# alive PID - does it run? A zombie does not.
alive() {
	local state

	state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) &&
		[[ $state && $state != [ZX] ]]
}

# there REGION - has it a name? On the kernel backend (LSHM_BACKEND=kernel, in a
# virtual machine), $SHMCTL knows.
there() {
	if [[ ${LSHM_BACKEND-} == kernel ]]; then
		"$SHMCTL" info "$1" >/dev/null 2>&1
	else
		[[ -e /dev/shm/lshm.$1 ]]
	fi
}

# remove REGION - its name, if it has one
remove() {
	if [[ ${LSHM_BACKEND-} == kernel ]]; then
		"$SHMCTL" rm --force "$1" >/dev/null 2>&1 || true
	else
		rm -f "/dev/shm/lshm.$1"
	fi
}

# gone REGION - no process that printed its pid to $out is alive, the region
# has no name, and no temporary file is left but our own
gone() {
	local pid left

	for pid in $(sed -n 's/.* pid \([0-9]*\) *has the region.*/\1/p' \
		"$out"); do
		checks=$((checks + 1))
		! alive "$pid" || wrong "process $pid has ended" "it runs" "$out"
	done
	same "the region $1" gone \
		"$(there "$1" && echo there || echo gone)" "$out"
	left=$(find "$tmp" -mindepth 1 ! -path "$out" ! -path "$tmp/own*")
	same "temporary files" "" "$left" "$out"
}

# passed - the last line of a test
passed() {
	echo "$checks checks passed"
}
