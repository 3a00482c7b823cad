#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# wordcount.sh WORDCOUNT BACKEND - the counts are identical to coreutils', the
# addresses differ, and nothing stays behind
set -euo pipefail
# shellcheck source=tests/examples/check.sh
. "$(dirname -- "$0")/check.sh"

region=test-wordcount-$2-$$
name=$region
[[ $2 != file ]] || name=$tmp/$region
wordcount=("$(realpath "$1")" --backend "$2" --region "$name")

# identical WORDCOUNT-ARGUMENT... - and at different addresses
identical() {
	local places

	run 0 "${wordcount[@]}" "$@"
	same "last line" identical "$(tail -n 1 "$out")" "$out"
	has_not "$out" 'ended|killed|force'
	places=$(grep -o 'region at 0x[0-9a-f]*' "$out" | sort -u | wc -l)
	((places >= 4)) || wrong "4 or more addresses" "$places" "$out"
	has "$out" "^$places processes, at $places different addresses$"
	gone "$region"
}

identical
identical --workers 1
identical --workers 9 --chunk 333

# texts that chunks do not fit
mkdir "$tmp/own"
cd "$tmp/own"
: >empty
printf '1234 5678\n' >no-words
printf 'no line ends here' >end
printf 's or does it?' >no-end
tr '\0' x </dev/zero | head -c 700000 >long || true
head -c 1000000 /dev/urandom >random
printf -- 'a name like an option\n' >-n
identical empty
identical no-words empty
identical end no-end
identical --chunk 2 end no-end
identical long random no-end
identical --progress .

# what cannot be counted is told
run 1 "${wordcount[@]}" no-such-file
has "$out" 'no-such-file: No such file'
gone "$region"
tr '\0' x </dev/zero | head -c 1100000 >too-long || true
run 1 "${wordcount[@]}" too-long
has "$out" 'a word of more than 1048576 letters'
has "$out" '^wordcount: no result$'
gone "$region"
rm too-long
run 2 "${wordcount[@]}" --workers 65
if [[ ! -e /dev/lshm ]]; then
	run 1 "${wordcount[0]}" --backend kernel
	has "$out" 'no kernel backend'
fi

# a difference is found
mkdir "$tmp/own-bin"
printf '#!/bin/sh\n/usr/bin/uniq "$@" | sed "s/ 1 ghi/ 2 ghi/"\n' \
	>"$tmp/own-bin/uniq"
chmod +x "$tmp/own-bin/uniq"
echo abc def ghi >text
PATH=$tmp/own-bin:$PATH run 1 "${wordcount[@]}" text
has "$out" '^different: "ghi": wordcount 1, coreutils 2$'
has_not "$out" '^identical$'
gone "$region"

# it can be looked at, and kept
run 0 "${wordcount[@]}" --output table \
	--look 'echo "look at $WORDCOUNT_REGION"; test -d /proc/$WORDCOUNT_READER'
has "$out" "^look at (file:)?.+"
gone "$region"
same "lines of the table" "$(sed -n 's/.* words, \(.*\) different/\1/p' "$out")" \
	"$(wc -l <table)" "$out"
if [[ $2 == posix ]]; then
	run 0 "${wordcount[@]}" --keep
	same "the region" there \
		"$(there "$region" && echo there || echo gone)"
	run 1 "${wordcount[@]}"
	remove "$region"
fi
passed
