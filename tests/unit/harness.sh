#!/bin/sh
# SPDX-License-Identifier: MIT
# harness.sh TEST_HARNESS - does each kind of failure make a test fail, by name?

program=$1
failures=0

# expect TEST WORDS: the test fails, says these words, and how to run it alone
expect() {
	output=$(LSHM_TEST_TIMEOUT=2 "$program" posix "$1" 2>&1)
	if [ $? -eq 0 ]; then
		echo "$1: expected it to fail; it passed"
	elif ! echo "$output" | grep -q -- "$2"; then
		echo "$1: expected \"$2\" in what it says:"
		echo "$output"
	elif ! echo "$output" | grep -q "alone: $program posix $1\$"; then
		echo "$1: it does not say how to run it alone:"
		echo "$output"
	else
		return
	fi
	failures=$((failures + 1))
}

"$program" posix passes >/dev/null || failures=1
expect wrong_number 'left 1 (0x1), right 2 (0x2)'
expect wrong_error 'expected -17 (File exists), seen -22'
expect wrong_message 'no "elephant" in it'
expect checks_nothing 'it checked nothing'
expect crashes 'it died of signal 6'
expect hangs 'it hangs'
expect child_fails 'expected "one", seen "two"'
expect leaves_a_process 'it left a process behind'
expect leaves_a_descriptor 'were open before the test'
expect leaves_a_region 'it left 1 files behind, such as /dev/shm/lshm.ut.'
expect leaves_a_file 'it left 1 files behind, such as .*/left'
[ "$failures" -eq 0 ]
