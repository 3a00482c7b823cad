#!/bin/sh
# SPDX-License-Identifier: MIT
# caught.sh STORM WORDS - does a storm over a broken library fail, and say this?

# Chance decides; five storms of the usual length are not all lucky.
for i in 1 2 3 4 5; do
	output=$(LSHM_TEST_SCALE=100 "$1" posix 2>&1)
	if [ $? -ne 0 ]; then
		echo "$output"
		echo "$output" | grep -Eq -- "$2" && exit 0
		echo "caught, but expected \"$2\" in what it says"
		exit 1
	fi
done
echo "$output"
echo "the library is broken, and the storm has not noticed"
exit 1
