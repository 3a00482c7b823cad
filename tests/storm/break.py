#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""break.py FILE OLD NEW - FILE with one mistake in it, to standard output

OLD must be there once: a mistake that is not made proves nothing.
"""
import sys

path, old, new = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    text = file.read()
if text.count(old) != 1:
    sys.exit(f"{path}: expected {old!r} once, found {text.count(old)} times: "
             "the file has changed, adapt tests/storm/meson.build to it")
sys.stdout.write(text.replace(old, new))
