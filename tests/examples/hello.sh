#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hello.sh PRODUCER CONSUMER SOURCE... - five greetings arrive, whoever comes
# first, and the sources are as short as they claim to be
set -euo pipefail
# shellcheck source=tests/examples/check.sh
. "$(dirname -- "$0")/check.sh"

producer=$1
consumer=$2
region=test-hello-$$
trap 'remove "$region"; rm -rf "$tmp"' EXIT
expected=$(printf 'hello, world, %d of 5\n' 1 2 3 4 5)

# the producer first, and gone before the consumer comes
run 0 "$producer" "$region"
run 0 "$consumer" "$region"
same "greetings" "$expected" "$(<"$out")"

# the stream has ended
run 0 "$consumer" "$region"
same "greetings of an ended stream" "" "$(<"$out")"
run 1 "$producer" "$region"
remove "$region"

# the consumer first, and waiting
"$consumer" "$region" >"$tmp/own" 2>&1 &
until there "$region"; do sleep 0.01; done
run 0 "$producer" "$region"
wait $! || wrong "the consumer ends with status 0" "$?" "$tmp/own"
same "greetings" "$expected" "$(<"$tmp/own")"

# errors are told
run 1 "$producer" a/b
has "$out" '^hello_producer: .+'
run 1 "$consumer" a/b
has "$out" '^hello_consumer: .+'

# lines of code: neither empty nor of a comment
for source in "${@:3}"; do
	lines=$(grep -vcE '^[[:space:]]*(/?\*.*)?$' "$source")
	((lines <= 25)) || wrong "$source: at most 25 lines of code" "$lines"
	checks=$((checks + 1))
done
passed
