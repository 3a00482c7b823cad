#!/bin/bash
# SPDX-License-Identifier: MIT
#
# shmctl_test.sh - every verb of shmctl, as text and as JSON
#
#     shmctl_test.sh SHMCTL HOLDER [TEST...]
#
# SHMCTL and HOLDER are the programs tools/shmctl and tests/tools/holder of the
# build directory. A test is a function test_NAME below; without any named, all
# are run. A failure tells what was expected and what was seen.

set -u
export LC_ALL=C

if [ $# -lt 2 ]; then
	echo "usage: $0 SHMCTL HOLDER [TEST...]" >&2
	exit 2
fi
self=$0
shmctl=$(realpath "$1")
holder=$(realpath "$2")
shift 2

# posix, or as the library has it: LSHM_BACKEND=kernel, in a virtual machine
backend=${LSHM_BACKEND:-posix}
prefix=${LSHM_BACKEND:+$backend:}shmctl-test-$$

# ---- what the tests say ----

# failed EXPECTED: the last command did something else, which ends the test
failed() {
	local frame=0

	while [ "${FUNCNAME[$frame]}" != "$test" ]; do
		frame=$((frame + 1))
	done
	{
		echo "FAILED  $test, line ${BASH_LINENO[$frame - 1]}: $command"
		echo "  expected: $1"
		echo "  seen:     exit code $status"
		sed 's/^/  stdout:   /' "$scratch/stdout" | head -n 60
		sed 's/^/  stderr:   /' "$scratch/stderr" | head -n 20
		echo "  alone:    $self $shmctl $holder $test"
	} >&2
	exit 1
}

# skipped REASON: it cannot be tested here
skipped() {
	echo "skipped $test: $1"
	exit 77
}

# run ARGUMENT...: run shmctl, and keep what it says
run() {
	command="shmctl $*"
	"$shmctl" "$@" >"$scratch/stdout" 2>"$scratch/stderr" </dev/null
	status=$?
}

# exits CODE: how it has ended
exits() {
	[ "$status" -eq "$1" ] || failed "exit code $1"
}

# says PATTERN: a line of its output
says() {
	grep -Eq -e "$1" "$scratch/stdout" ||
		failed "standard output with /$1/"
}

says_not() {
	! grep -Eq -e "$1" "$scratch/stdout" ||
		failed "standard output without /$1/"
}

# complains PATTERN: a line of its error output
complains() {
	grep -Eq -e "$1" "$scratch/stderr" || failed "standard error with /$1/"
}

silent() {
	[ ! -s "$scratch/stdout" ] || failed "no standard output"
	[ ! -s "$scratch/stderr" ] || failed "no standard error"
}

# json EXPRESSION: its output is JSON, and this Python expression of it (d) holds
json() {
	local seen

	seen=$(python3 -IS -c '
import json, sys
d = json.load(open(sys.argv[1]))
region = next((r for r in d.get("regions", []) if r["name"] == sys.argv[3]), d)
sys.exit(0 if eval("(" + sys.argv[2] + ")") else "false")
' "$scratch/stdout" "$1" "${region:-}" 2>&1) ||
		failed "JSON with $1 (python3: ${seen##*$'\n'})"
}

# ---- what the tests need ----

# start ROLE ADDRESS: a participant of $region; sets $pid and $base
start() {
	local in out

	started=$((started + 1))
	in=$scratch/in.$started
	out=$scratch/out.$started
	mkfifo "$in" "$out"
	"$holder" "$region" "$2" "$1" <"$in" >"$out" 2>"$scratch/stderr" &
	pid=$!
	pids+=("$pid")
	exec {stop[$pid]}>"$in"
	if ! read -r -t 30 base <"$out"; then
		command="holder $region $2 $1" status=-1
		: >"$scratch/stdout"
		failed "a participant that is ready"
		base=none
	fi
}
# finish PID: let it end well, or be killed
finish() {
	echo >&"${stop[$1]}"
	wait "$1"
}

kill_it() {
	kill -9 "$1"
	wait "$1" 2>/dev/null
}

is_root() {
	[ "$(id -u)" -eq 0 ]
}

# CAP_SYS_ADMIN, which it takes to see page frames
sees_frames() {
	local caps

	caps=$(sed -n 's/^CapEff:\s*//p' /proc/self/status)
	[ $((0x$caps >> 21 & 1)) -eq 1 ]
}

# as_nobody ARGUMENT...: like run, without any privilege; fails if it cannot be
as_nobody() {
	local user=(setpriv --reuid=65534 --regid=65534 --clear-groups --)

	is_root && "${user[@]}" "$shmctl" --version >/dev/null 2>&1 || return 1
	command="(as nobody) shmctl $*"
	"${user[@]}" "$shmctl" "$@" >"$scratch/stdout" 2>"$scratch/stderr" \
		</dev/null
	status=$?
}

# there NAME: is there such a region?
there() {
	if [ "$backend" = posix ]; then
		[ -e "/dev/shm/lshm.$1" ]
	else
		"$shmctl" info "$1" >"$scratch/there" 2>&1
	fi
}

# in_files: the test does something with the region's file
in_files() {
	[ "$backend" = posix ] || skipped "regions are not in files"
}

# bytes: a digest of all of $region
bytes() {
	if [ "$backend" = posix ]; then
		sha256sum "/dev/shm/lshm.$region"
	else
		"$shmctl" dump --json "$region" | sha256sum
	fi
}

# created OPTION...: make $region
created() {
	run create --size 1M --max-size 4M "$@" "$region"
	exits 0
}

# ---- the tests ----

test_usage() {
	run
	exits 2
	complains '^usage: shmctl VERB'
	run --help
	exits 0
	says '^  create +Create a region'
	says '^  rm '
	run --version
	exits 0
	says '^shmctl \(libshm\) [0-9]+\.[0-9]+\.[0-9]+$'
	for verb in create list info maps dump rm; do
		run "$verb" --help
		exits 0
		says "^usage: shmctl $verb \[OPTION...\]"
		says '^  --help '
	done
	run create --help
	says '^  --max-size SIZE '
}

test_wrong_usage() {
	run frobnicate
	exits 2
	complains "^shmctl: 'frobnicate' is no verb"
	complains "^shmctl: try 'shmctl --help'"
	run info
	exits 2
	complains '^shmctl: info: expected NAME$'
	run info a b
	exits 2
	complains "^shmctl: info: 'b' is too much"
	run list --colour
	exits 2
	complains "^shmctl: list: unrecognized option '--colour'"
	run maps --pages many "$region"
	exits 2
	complains "^shmctl: maps: --pages 'many': expected a number"
	run dump --object a --offset 1 "$region"
	exits 2
	complains '^shmctl: dump: --object goes without'
	for size in 16Q -1 '' 1.5M 9999999999999G; do
		run create --size "$size" "$region"
		exits 2
		complains "^shmctl: create: --size '$size': expected a number"
	done
	for mode in rw 8 1777 -1; do
		run create --mode "$mode" "$region"
		exits 2
		complains "^shmctl: create: --mode '$mode': expected permission"
	done
	run create --backend ram "$region"
	exits 2
	complains "^shmctl: create: --backend 'ram': expected posix, kernel or file"
	! there "$region" || failed "no region"
}

test_unknown_region() {
	for verb in info maps dump rm; do
		run "$verb" "$region"
		exits 1
		complains "^shmctl: $region: .+"
	done
	run create "bad/$region"
	exits 1
	complains "^shmctl: bad/$region: .+"
}

test_create() {
	run create --size 1M --max-size 1G --mode 0640 --participants 7 \
		"$region"
	exits 0
	says '^size +1\.0M \(1048576 bytes\)$'
	says '^grows to +1\.0G \(1073741824 bytes\)$'
	says '^mode +0640$'
	says '^participants +7$'
	if [ "$backend" = posix ]; then
		seen=$(stat -c %a "/dev/shm/lshm.$region")
		[ "$seen" = 640 ] || failed "a file of mode 640, not $seen"
	fi
	run create "$region"
	exits 1
	complains "^shmctl: $region: .+"
	run rm "$region"
	exits 0
	silent
}

test_create_json() {
	run create --size 128K --json --prefault --lock --huge "$region"
	exits 0
	json 'd["name"] == "'"$region"'" and d["backend"] == "'"$backend"'"'
	json 'd["size"] >= 131072 and d["max_size"] >= d["size"]'
	json 'd["huge_bytes"] >= 0'
	# the address sanitizer's mlock(2) does nothing
	grep -q __asan_init "$shmctl" || json 'd["locked_bytes"] == d["size"]'
	json 'd["mode"] == "0600" and len(d["uuid"]) == 36'
}

test_create_numa() {
	run create --numa 900 "$region"
	exits 1
	complains "^shmctl: $region: .*NUMA"
	! there "$region" || failed "no region"
	run create --numa 0 "$region"
	# a container may forbid mbind(2)
	grep -Eq 'not (permitted|implemented)' "$scratch/stderr" &&
		skipped "$(cat "$scratch/stderr")"
	exits 0
}

test_create_file() {
	region=file:$scratch/region
	created
	[ -f "$scratch/region" ] || failed "the file $scratch/region"
	run info --json "$region"
	exits 0
	json 'd["backend"] == "file" and d["size"] == 1 << 20'
	run rm "$region"
	exits 0
	[ ! -e "$scratch/region" ] || failed "no file $scratch/region"
	run create --backend file "$scratch/region"
	exits 0
	run rm "$region"
	exits 0
}

test_list() {
	created
	run list
	exits 0
	says '^NAME +BACKEND +SIZE +MAX +OWNER +MODE +ALIVE +DEAD +SLOTS '
	says "^$region +$backend +1\.0M +4\.0M +$(id -un) +0600 +0 +0 +64 +0 +0$"
	run list --json
	exits 0
	json 'region["name"] == "'"$region"'" and region["size"] == 1 << 20'
	json 'region["participants"] == [] and region["objects"] == []'
	json 'region["owner_uid"] == '"$(id -u)"' and region["deaths"] == 0'
}

# A memfd region is listed by a descriptor of a process that has it.
test_list_memfd() {
	region=memfd:$region
	start producer 0
	run list --json
	exits 0
	region=$(python3 -IS -c '
import json, sys
for r in json.load(open(sys.argv[1]))["regions"]:
    if [p["pid"] for p in r.get("participants", [])] == [int(sys.argv[2])]:
        print(r["name"])
' "$scratch/stdout" "$pid")
	case $region in
	file:/proc/*/fd/*) ;;
	*) failed "a region file:/proc/PID/fd/N with the participant $pid" ;;
	esac
	run info --json "$region"
	exits 0
	json 'd["backend"] == "memfd" and len(d["objects"]) == 2'
	run maps --json "$region"
	exits 0
	json '{m["pid"] for m in d["mappings"]} == {'"$pid"'}'
	run rm "$region"
	exits 1
	complains "^shmctl: $region: in use by pid $pid holder$"
	finish "$pid"
}

test_list_unreadable() {
	in_files
	echo "This is no region." >"/dev/shm/lshm.$region"
	run list
	exits 0
	says "^$region +- "
	says '^  cannot be read: .+'
	run list --strict
	exits 1
	says "^$region +- "
	run list --json
	exits 0
	json '"error" in region and "size" not in region'
	for verb in info maps dump; do
		run "$verb" "$region"
		exits 1
		complains "^shmctl: $region: .+"
	done
}

test_list_no_permission() {
	created
	as_nobody list --json || skipped "cannot be somebody else"
	exits 0
	if [ "$backend" = kernel ]; then # lists what one may read
		json 'region["regions"] == []'
	else
		json '"error" in region'
	fi
	as_nobody info "$region"
	exits 1
	complains "^shmctl: $region: .+"
}

test_list_deaths() {
	local first second

	created
	start producer 200000000000
	first=$pid
	start consumer 300000000000
	second=$pid
	run list
	says "^$region +$backend .* 2 +0 +64 +0 +2$"
	says_not "died: pid $second"

	kill_it "$second"
	run list
	exits 0
	says "^$region +$backend .* 1 +1 +64 +0 +2$"
	says "^  died: pid $second holder, not yet reaped$"
	run list --json
	json 'region["dead"] == 1 and region["alive"] == 1'
	json '[p["pid"] for p in region["participants"]
		if p["state"] == "dead"] == ['"$second"']'

	# who comes next reaps it
	start idle 0
	finish "$pid"
	run list
	exits 0
	says "^$region +$backend .* 1 +0 +64 +1 +2$"
	says "^  died: pid $second holder, [0-9]+ s ago$"
	run list --json
	json 'region["deaths"] == 1 and len(region["last_deaths"]) == 1'
	json 'region["last_deaths"][0]["pid"] == '"$second"
	json 'region["last_deaths"][0]["command"] == "holder"'
	json 'region["last_deaths"][0]["reaped_ns"] > 1.7e18'
	run info "$region"
	exits 0
	says '^last deaths$'
	says "^ +[0-9]+ +$second +holder "
	finish "$first"
}

test_many_deaths() {
	created
	for _ in 1 2 3 4 5 6; do
		start idle 0
		kill_it "$pid"
	done
	start idle 0
	finish "$pid"
	run list
	says '^  died: 2 more; '
	run list --json
	json 'region["deaths"] == 6 and len(region["last_deaths"]) == 6'
}

test_info() {
	local first second first_base second_base

	created
	start producer 200000000000
	first=$pid first_base=$base
	start consumer 300000000000
	second=$pid second_base=$base
	run info "$region"
	exits 0
	says "^$region$"
	says '^  uuid +[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-'
	says '^  size +1\.0M \(1048576 bytes\)$'
	says '^  alive +2$'
	says "^ +[0-9]+ +$first +holder +$(id -un) +alive +$first_base "
	says "^ +[0-9]+ +$second +holder +$(id -un) +alive +$second_base "
	says '^heap$'
	says '^  greeting +text +[0-9]+ +256$'
	says '^  lines +work +8 +64K +1 +1 +no +3 +3 +0$'
	says "^ +consumer +[0-9]+ +$second +holder +yes +1 "

	run info --json "$region"
	exits 0
	json 'd["layout_version"] >= 1 and d["incompat"].startswith("0x")'
	json '{p["pid"]: p["base"] for p in d["participants"]} ==
		{'"$first: '$first_base', $second: '$second_base'"'}'
	json 'len({p["base"] for p in d["participants"]}) == 2'
	json 'd["heap"]["total_bytes"] > 0 and d["heap"]["free_bytes"] > 0'
	json '{o["name"] for o in d["objects"]} == {"greeting", "lines"}'
	json 'd["channels"][0]["published"] == 3'
	json 'd["channels"][0]["backlog"] == 3'
	json '{(e["role"], e["pid"], e["held"])
		for e in d["channels"][0]["endpoints"]} ==
		{("producer", '"$first"', 0), ("consumer", '"$second"', 1)}'
	finish "$second"
	finish "$first"
}

test_maps() {
	local first second first_base second_base

	created
	run maps "$region"
	exits 0
	says '^no process has it mapped$'

	start producer 200000000000
	first=$pid first_base=$base
	start consumer 300000000000
	second=$pid second_base=$base
	run maps "$region"
	exits 0
	says '^ *PID +COMMAND +ADDRESS +OFFSET +SIZE +RIGHTS +RESIDENT .* VMFLAGS'
	says "^ *$first +holder +$first_base +0 +[0-9.]+M +rw-s +[0-9]+.* rd wr sh"
	says "^ *$second +holder +$second_base +0 +[0-9.]+M +rw-s +[0-9]+.* rd wr sh"

	run maps --pages 2 --json "$region"
	exits 0
	json '{m["pid"] for m in d["mappings"]} == {'"$first, $second"'}'
	json '{m["address"] for m in d["mappings"] if m["offset"] == 0} ==
		{'"'$first_base', '$second_base'"'}'
	# the kernel backend's memory is counted nowhere, and has flags of its own
	json 'all(("pf" in m["vm_flags"].split()) == (m["rss"] == 0)
		for m in d["mappings"] if m["offset"] == 0)'
	json 'all(m["locked"] == 0 <= m["swap"] for m in d["mappings"])'
	json 'd["unreadable"] >= 0'
	if sees_frames; then
		# two addresses, one frame: the same memory
		json 'len({f["offset"] for f in d["frames"]}) == 2'
		json 'all(len({f["frame"] for f in d["frames"]
			if f["offset"] == o}) == 1
			for o in {f["offset"] for f in d["frames"]})'
		json '{(f["pid"], f["address"]) for f in d["frames"]
			if f["offset"] == 0} ==
			{'"($first, '$first_base'), ($second, '$second_base')"'}'
		run maps "$region"
		says '^page frames'
		says "^ +0 +0x[0-9a-f]+ +$first +holder +$first_base$"
	else
		json 'd["frames"] is None'
		run maps "$region"
		says '^page frames: need root$'
	fi
	finish "$second"
	finish "$first"
}

test_maps_no_permission() {
	(umask 0 && created --mode 0666)
	start idle 0
	as_nobody maps "$region" || skipped "cannot be somebody else"
	exits 0
	says '^no process has it mapped$'
	says '^processes that could not be looked into: [1-9][0-9]*$'
	finish "$pid"
}

test_dump() {
	created
	start producer 0
	run dump --length 48 "$region"
	exits 0
	says '^00000000  4c 53 48 4d 52 47 4e 31  .*\|LSHMRGN1........\|$'
	says '^00000030$'
	[ "$(wc -l <"$scratch/stdout")" -le 4 ] || failed "at most 4 lines"
	run dump --offset 1 --length 7 "$region"
	says '^00000001  53 48 4d 52 47 4e 31  +\|SHMRGN1\|$'
	says '^00000008$'
	run dump --object greeting "$region"
	exits 0
	says '\|Hello from share\|$'
	says '\|d memory'
	says '^\*$'
	run dump --object greeting --json "$region"
	exits 0
	json 'd["object"] == "greeting" and d["length"] == 256'
	json 'bytes.fromhex(d["hex"]).rstrip(b"\0") ==
		b"Hello from shared memory"'
	run dump --offset 0x10000 --length 1K --json "$region"
	json 'd["offset"] == 65536 and len(d["hex"]) == 2048'
	run dump --json "$region"
	json 'len(d["hex"]) == 2 << 20'
	run dump "$region"
	exits 0
	says '^00100000$'
	finish "$pid"
}

# The whole file, as the tool that everybody knows shows it.
test_dump_hexdump() {
	created
	in_files
	command -v hexdump >/dev/null || skipped "no hexdump"
	run dump "$region"
	hexdump -C "/dev/shm/lshm.$region" |
		diff - "$scratch/stdout" >"$scratch/stderr" ||
		failed "what hexdump -C says"
}

test_dump_refusals() {
	created
	run dump --object nonesuch "$region"
	exits 1
	complains "^shmctl: $region: no object 'nonesuch'"
	run dump --offset 1M --length 1 "$region"
	exits 1
	complains "^shmctl: $region: 1 bytes at offset 1048576 reach beyond"
	run dump --offset 8191P "$region"
	exits 1
	run dump --offset 1M "$region"
	exits 0
}

test_check() {
	created
	start producer 200000000000
	run check "$region"
	exits 0
	says "^$region: sound$"
	run check --json "$region"
	exits 0
	json 'd["regions"] == [{"name": "'"$region"'", "sound": True}]'
	run check "$region" "$region-not"
	exits 1
	says "^$region: sound$"
	complains "^shmctl: $region-not: "
	run check
	exits 2
}

# The page where memory is searched for next is made one within a run.
test_check_damaged() {
	in_files
	created
	printf '\005' | dd of="/dev/shm/lshm.$region" bs=1 seek=328 \
		conv=notrunc 2>/dev/null
	run check "$region"
	exits 1
	complains "^shmctl: $region: the heap is damaged at offset 0x148: "
	run check --json "$region"
	exits 1
	json 'd["regions"][0]["sound"] is False and
		"0x148" in d["regions"][0]["error"]'
}

test_rm() {
	created
	start idle 0
	run rm "$region"
	exits 1
	complains "^shmctl: $region: in use; --force"
	complains "^shmctl: $region: in use by pid $pid holder$"
	there "$region" || failed "the region is still there"
	kill_it "$pid"
	run rm "$region"
	exits 0
	silent
	! there "$region" || failed "the region is gone"
}

test_rm_force() {
	created
	start idle 0
	run rm --force "$region"
	exits 0
	! there "$region" || failed "the region is gone"
	finish "$pid" || failed "the participant goes on"

	[ "$backend" = posix ] || return 0
	echo "This is no region." >"/dev/shm/lshm.$region"
	run rm "$region"
	exits 1
	run rm --force "$region"
	exits 0
	echo "Somebody's letter." >"$scratch/letter"
	run rm --force "file:$scratch/letter"
	exits 1
	[ -e "$scratch/letter" ] || failed "the letter is still there"
}

test_rm_several() {
	local one=$region-1 two=$region-2

	region=$one created
	region=$two created
	run rm "$one" "$region-nonesuch" "$two"
	exits 1
	complains "^shmctl: $region-nonesuch: "
	! there "$one" || failed "the first region is gone"
	! there "$two" || failed "the second region is gone"
}

# Looking at a region does not change a byte of it.
test_observer() {
	local before after

	created
	start producer 0
	kill_it "$pid"
	before=$(bytes)
	for verb in info maps dump; do
		run "$verb" "$region"
		exits 0
	done
	run list
	exits 0
	after=$(bytes)
	[ "$before" = "$after" ] || failed "the same bytes as before"
}

test_output_full() {
	created
	command="shmctl list >/dev/full"
	"$shmctl" list >/dev/full 2>"$scratch/stderr"
	status=$?
	: >"$scratch/stdout"
	exits 1
	complains '^shmctl: standard output: No space left'
}

# ---- all of them, or those named ----

# What a test has left goes with it, however it ends; only what is its own.
cleanup() {
	if [ ${#pids[@]} -gt 0 ]; then
		kill -9 "${pids[@]}" 2>/dev/null
		wait "${pids[@]}" 2>/dev/null
	fi
	[ "$backend" = posix ] ||
		"$shmctl" rm --force "$region_name"{,-1,-2} >"$scratch/stdout" 2>&1
	rm -rf "/dev/shm/lshm.$region_name"* "$scratch"
}

# A test in a process of its own, with a region's name of its own
run_test() (
	test=$1
	region=$prefix-$2
	region_name=$region
	scratch=$(mktemp -d)
	pids=()
	started=0
	declare -A stop
	trap cleanup EXIT
	trap 'exit 130' INT TERM
	: >"$scratch/stdout" >"$scratch/stderr"
	command=nothing status=0
	"$test"
)

if [ $# -eq 0 ]; then
	mapfile -t tests < <(declare -F | sed -n 's/^declare -f \(test_\)/\1/p')
else
	tests=("$@")
fi
number=0
failures=0
for name in "${tests[@]}"; do
	number=$((number + 1))
	run_test "$name" "$number"
	case $? in
	0) echo "ok      $name" ;;
	77) ;;
	*) failures=$((failures + 1)) ;;
	esac
done
echo "$number tests, $failures failures"
[ "$failures" -eq 0 ] && [ "$number" -gt 0 ]
