#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# wordcount_kill.sh WORDCOUNT BACKEND - whoever is killed, nobody hangs
#
# --look runs its command while the reader is stopped half-way, and the delay
# keeps the workers busy with the chunks published so far: so whoever is killed
# then is in the middle of its work.
set -euo pipefail
# shellcheck source=tests/examples/check.sh
. "$(dirname -- "$0")/check.sh"

region=test-kill-$2-$$
name=$region
[[ $2 != file ]] || name=$tmp/own-$region
trap 'remove "$region"; rm -rf "$tmp"' EXIT
wordcount=("$(realpath "$1")" --backend "$2" --region "$name" \
	--chunk 8192)

# ends STATUS DELAY LOOK - by itself
ends() {
	run "$1" "${wordcount[@]}" --delay "$2" --look "$3"
	has_not "$out" 'by force'
	[[ $3 != *LAUNCHER* ]] || return 0
	gone "$region"
	[[ ! -e $name ]] || wrong "$name is gone" "it is there" "$out"
}

# again LOOK - the same result; a chunk that was held is delivered again. A
# worker that has not begun yet, or has no more to do, holds none: try again.
again() {
	for _ in 1 2 3 4 5; do
		ends 0 300 "set -- \$WORDCOUNT_WORKERS; sleep 0.1; $1"
		same "last line" identical "$(tail -n 1 "$out")" "$out"
		has "$out" 'worker 2, pid [0-9]+, was killed by signal 9'
		! grep -q 'chunks delivered again' "$out" || break
	done
	has "$out" '^[1-9][0-9]* chunks delivered again'
}

# a worker: another one does its work
again 'kill -KILL $2'

# all workers but one
again 'shift; kill -KILL $*'

# all of them
ends 1 50 'kill -KILL $WORDCOUNT_WORKERS'
has "$out" '^wc_reducer: the workers are gone before the end of the text$'
has "$out" '^wordcount: no result$'

# the reader
ends 1 50 'kill -KILL $WORDCOUNT_READER'
has "$out" 'reader, pid [0-9]+, was killed by signal 9'
has "$out" '^wc_worker: the reader is gone before the end of the text$'
has "$out" '^wordcount: no result$'

# the reducer
ends 1 50 'kill -KILL $WORDCOUNT_REDUCER'
has "$out" 'reducer, pid [0-9]+, was killed by signal 9'
has "$out" '^wordcount: no result$'

# everybody but the launcher
ends 1 50 'kill -KILL $WORDCOUNT_READER $WORDCOUNT_REDUCER $WORDCOUNT_WORKERS'
has "$out" '^wordcount: no result$'

# the launcher is asked to end
ends 143 50 'kill -TERM $WORDCOUNT_LAUNCHER; sleep 60'
has "$out" 'ended by signal 15'
gone "$region"

# the launcher is killed: the others end, and only the name is left
ends 137 50 'kill -KILL $WORDCOUNT_LAUNCHER'
for pid in $(sed -n 's/.* pid \([0-9]*\) *has the region.*/\1/p' "$out"); do
	for ((i = 0; i < 500; i++)); do
		alive "$pid" || break
		sleep 0.02
	done
	! alive "$pid" || wrong "process $pid has ended" "it runs" "$out"
	checks=$((checks + 1))
done
passed
