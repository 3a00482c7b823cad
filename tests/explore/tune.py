#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tune.py FROM TO - copy a source of the library for the explorer

Polling is cut short: to look a thousand times before going to sleep says
nothing that looking once does not say. Tables are small: two descriptors that
are fought for say more than sixty-four. Each constant named for the file must
be found exactly once, with any value.
"""
import os
import re
import sys

TUNED = {
    "mutex.c": {"ROUNDS": "1", "PAUSE_MIN": "1"},
    "log.h": {"LSHMI_SPIN_MAX": "0", "LSHMI_LOSSES": "64", "SEGMENT_SHIFT": "1"},
    "channel.c": {"JOIN_TRIES": "64"},
    "waiters.c": {"ROUNDS": "0"},
}

source, target = sys.argv[1:]
with open(source, encoding="utf-8") as f:
    text = f.read()
for name, value in TUNED.get(os.path.basename(source), {}).items():
    text, found = re.subn(rf"^(#define {name}[ \t]+)[^ \t\n]+",
                          rf"\g<1>{value}", text, flags=re.M)
    if found != 1:
        sys.exit(f"{source}: #define {name} found {found} times: expected 1; "
                 "see TUNED in tests/explore/tune.py")
with open(target, "w", encoding="utf-8") as f:
    f.write(f'#line 1 "{source}"\n' + text)
