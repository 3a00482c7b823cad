#!/bin/sh
# SPDX-License-Identifier: MIT
# suites.sh PROGRAM... - the library's own tests, on the kernel backend, in a
# virtual machine: TAP, a line for each program
#
# A program of the unit harness, and which of its tests, is told the backend by
# its argument; a script with its arguments, by LSHM_BACKEND. What was skipped is
# said.
#
# QEMU translates a program anew wherever else it lies. So the many that a script
# starts lie where they lay before, which halves the time.

echo "1..$#"
number=0
failed=0
for program; do
	number=$((number + 1))
	begin=$(cut -d. -f1 /proc/uptime)
	path=${program%% *}
	case $path in
	*.sh)
		name=${path##*/}
		echo 0 >/proc/sys/kernel/randomize_va_space
		LSHM_BACKEND=kernel $program >/tmp/output 2>&1
		;;
	*)
		name=${program##*/}
		echo 2 >/proc/sys/kernel/randomize_va_space
		$path kernel ${program#"$path"} >/tmp/output 2>&1
		;;
	esac
	status=$?
	seconds=$(($(cut -d. -f1 /proc/uptime) - begin))
	if [ $status -eq 0 ]; then
		echo "ok $number $name # $(tail -n 1 /tmp/output)," \
			"$seconds s"
		sed -nE 's/^( *Test: |skipped )([a-z_]+).*skipped: (.*) \.\.\..*/#   skipped \2: \3/p' \
			/tmp/output
	else
		failed=1
		echo "not ok $number $name # status $status, $seconds s"
		grep -vE 'passed$|^ *$' /tmp/output | head -n 200 |
			sed 's/^/#   /'
	fi
done
exit $failed
