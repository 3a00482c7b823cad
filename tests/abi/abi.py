#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What other programs and other processes rely on must not change by accident.

abi.py symbols LIBRARY         what the library exports, one a line
abi.py layout HEADER CC...     every struct in shared memory: size, fields
abi.py atomics LIBRARY         fails if it needs libatomic (which may lock)

With --check FILE in front, compares with FILE and says what differs.
"""
import difflib
import os
import re
import subprocess
import sys
import tempfile


def nm(library, which):
    out = subprocess.run(["nm", "-D", which, library], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return [line.split()[-2:] for line in out.splitlines()]


def symbols(library):
    return sorted(name for kind, name in nm(library, "--defined-only")
                  if kind != "A")


def atomics(library):
    bad = [name for kind, name in nm(library, "--undefined-only")
           if name.startswith(("__atomic_", "__sync_"))]
    if bad:
        sys.exit(f"{library} imports {', '.join(bad)}: an access in it is not "
                 "of 16, 32 or 64 bits, or not aligned (see layout.h)")
    return []


def structs(header):
    """The structs of a header, and the names of their fields, as written."""
    text = re.sub(r"/\*.*?\*/", " ", open(header).read(), flags=re.S)
    for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\}", text,
                                 flags=re.S | re.M):
        fields = []
        for declaration in body.split(";"):
            # the name comes last, before any dimensions and attributes
            plain = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)",
                           "", declaration)
            match = re.search(r"(\w+)\s*((?:\[[^\]]*\]\s*)*)$", plain)
            if match:
                fields.append((match[1], match[2].strip() == "[]"))
        yield name, fields


# What lies in users' own structures in shared memory: the headers of it.
PUBLIC = ["mutex", "waiters", "rwlock", "cond", "semaphore", "event", "barrier",
          "once", "list", "vector"]


def layout(header, *compiler):
    public = os.path.join(os.path.dirname(header), "..", "include", "libshm")
    found = list(structs(header))
    for name in PUBLIC:
        found += structs(os.path.join(public, name + ".h"))
    lines = []
    for name, fields in found:
        lines.append(f'printf("struct {name} %zu\\n", sizeof(struct {name}));')
        for field, flexible in fields:
            size = "0" if flexible else f"sizeof(((struct {name} *)0)->{field})"
            lines.append(f'printf("  %5zu %5zu {field}\\n", '
                         f"offsetof(struct {name}, {field}), (size_t){size});")
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "layout")
        with open(program + ".c", "w") as source:
            source.write("#include <stdio.h>\n#include <stddef.h>\n"
                         f'#include "{os.path.abspath(header)}"\n'
                         "int main(void)\n{\n" + "\n".join(lines) +
                         "\nreturn 0;\n}\n")
        subprocess.run([*compiler, "-o", program, program + ".c"], check=True)
        return subprocess.run([program], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.splitlines()


def main(arguments):
    expected = None
    if arguments and arguments[0] == "--check":
        expected = arguments[1]
        arguments = arguments[2:]
    if len(arguments) < 2 or arguments[0] not in ("symbols", "layout", "atomics"):
        sys.exit(__doc__)
    seen = globals()[arguments[0]](*arguments[1:])
    if not expected:
        print("\n".join(seen))
        return
    wanted = open(expected).read().splitlines()
    difference = list(difflib.unified_diff(wanted, seen, expected, "this build",
                                           lineterm="", n=2))
    if difference:
        print("\n".join(difference))
        sys.exit(f"\nThe {arguments[0]} have changed. If that is not meant, undo "
                 "it.\nIf it is: think of those who have the old one"
                 + (" (layout version, feature bits)"
                    if arguments[0] == "layout" else " (symbol map, soname)")
                 + ",\nthen run tests/abi/update and commit the result.")


if __name__ == "__main__":
    main(sys.argv[1:])
