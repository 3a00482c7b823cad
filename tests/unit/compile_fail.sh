#!/bin/sh
# SPDX-License-Identifier: MIT
# compile_fail.sh pass|fail COMPILER ARGUMENTS... - does it compile, as expected?

expected=$1
shift
if "$@"; then
	found=pass
else
	found=fail
fi
if [ "$found" != "$expected" ]; then
	echo "expected this to $expected, but it did not: $*" >&2
	exit 1
fi
