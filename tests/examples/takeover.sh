#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# takeover.sh PROGRAM - the lock of a process that was killed is taken over
set -euo pipefail
# shellcheck source=tests/examples/check.sh
. "$(dirname -- "$0")/check.sh"

program=$1
region=test-takeover-$$
trap 'rm -rf "$tmp" "/dev/shm/lshm.$region"' EXIT

run 0 "$program" "$region"
same "an orderly turn" "99 + 1" "$(<"$out")"
run 137 "$program" "$region" die
run 0 "$program" "$region"
same "a turn after a death" \
	$'the owner of the lock died: 98 + 1\n97 + 3' "$(<"$out")"
run 0 "$program" "$region"
same "an orderly turn again" "96 + 4" "$(<"$out")"
run 2 "$program"
has "$out" 'usage: takeover'
passed
