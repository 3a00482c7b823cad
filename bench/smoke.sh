#!/bin/sh
# SPDX-License-Identifier: MIT
# smoke.sh BENCH... - each program works, for a moment, and leaves nothing
#
# The programs check what they measure, so that exit status 0 says much. No
# figure is looked at. A program's standard output is a pipe that its workers
# have open too: the pipe's end means that none of them is left.
set -u

fail() {
	echo "$*" >&2
	exit 1
}

dir=$(mktemp -d) || exit
trap 'rm -r "$dir"' EXIT

for bench; do
	"$bench" --help | grep -q -e --repetitions || fail "$bench: no --help"
	"$bench" --nonsense 2>/dev/null && fail "$bench takes any option"

	report=$("$bench" --repetitions 1 --time 1 --json) ||
		fail "$bench: exit status $?"
	[ "$(echo "$report" | grep -c '"median"')" -gt 1 ] ||
		fail "$bench: there is little in its report: $report"

	# Killed in the middle, program and workers end.
	mkfifo "$dir/out" || fail "cannot make a pipe"
	"$bench" --repetitions 1000 >"$dir/out" 2>&1 &
	exec 3<"$dir/out"
	rm "$dir/out"
	until [ "$(wc -w <"/proc/$!/task/$!/children")" -eq 2 ]; do
		kill -0 $! || fail "$bench: ended early: $(cat <&3)"
	done
	kill -KILL $!
	timeout 30 cat <&3 >"$dir/said" || fail "$bench: workers outlive it"
	exec 3<&-
	[ ! -s "$dir/said" ] || fail "$bench: $(cat "$dir/said")"
done
