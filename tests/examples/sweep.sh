#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sweep.sh SWEEP - the right version passes, the wrong one is caught and told
set -euo pipefail
# shellcheck source=tests/examples/check.sh
. "$(dirname -- "$0")/check.sh"

run 0 "$1"
has "$out" '^append: [0-9]{2,} instructions, .* 0 failures'
run 1 "$1" wrong
has "$out" '^append: .* [1-9][0-9]* failures'
has "$out" 'expected .*entries\[i\]'
has "$out" 'where: .*addr2line'

# that very failure, alone
again=$(sed -n 's/.*again: LSHM_TEST_KILL=//p' "$out")
export LSHM_TEST_KILL=$again
run 1 "$1" wrong
has "$out" '^append: .* 1 deaths, 0 second deaths, .* 1 failures'
run 0 "$1"
passed
