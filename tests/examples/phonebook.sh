#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# phonebook.sh PHONEBOOK - several processes share a map, and some are killed
set -euo pipefail
# shellcheck source=tests/examples/check.sh
. "$(dirname -- "$0")/check.sh"

phonebook=$1
region=test-phonebook-$$
trap 'rm -rf "$tmp" "/dev/shm/lshm.$region"' EXIT

run 0 "$phonebook" "$region" list
same "an empty book" "" "$(<"$out")"
run 0 "$phonebook" "$region" add alice 1
run 0 "$phonebook" "$region" add bob 2
run 0 "$phonebook" "$region" add alice 3
run 0 "$phonebook" "$region" find alice
same "the number" "alice 3" "$(<"$out")"
run 0 "$phonebook" "$region" list
same "the book" $'alice 3\nbob 2' "$(sort "$out")"
run 0 "$phonebook" "$region" remove alice
run 1 "$phonebook" "$region" find alice
has "$out" '^phonebook: there is no such key'
run 1 "$phonebook" "$region" remove alice
run 2 "$phonebook" "$region" add alice
run 2 "$phonebook" "$region"
run 1 "$phonebook" a/b list
has "$out" '^phonebook: .+'

# Several at once; of those that are killed each entry is there or not.
add() {
	local i

	for i in {1..40}; do
		"$phonebook" "$region" add "$1-$i" "$i"
	done
}
add a &
one=$!
add b &
two=$!
for i in {1..40}; do
	timeout -s KILL "0.00$((i % 10))" \
		"$phonebook" "$region" add "c-$i" "$i" || true
done >/dev/null 2>&1
wait "$one" || wrong "one ends with status 0" "$?"
wait "$two" || wrong "two ends with status 0" "$?"
run 0 "$phonebook" "$region" list
same "entries of the two" 80 "$(grep -c '^[ab]-' "$out")"
same "entries that are wrong" "" \
	"$(grep -vE '^(bob 2|[abc]-([0-9]+) \2)$' "$out" || true)"
passed
