# SPDX-License-Identifier: MIT
# steps.sh - for scripts/demo and scripts/test: say what is done and how long it
# took. It is sourced, from bash.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# A time in microseconds; the decimal point may be a comma.
now() {
	echo "${EPOCHREALTIME/[.,]/}"
}

# seconds_since TIME - such as "1.2 s"
seconds_since() {
	local tenths=$((($(now) - $1 + 50000) / 100000))

	echo "$((tenths / 10)).$((tenths % 10)) s"
}

# fail MESSAGE... - to standard error, and end
fail() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# show_tail FILE - the end of a log
show_tail() {
	sed 's/^/    /' <(tail -n "${2:-30}" "$1") >&2
}
