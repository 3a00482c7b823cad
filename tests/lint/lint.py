#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lint.py CHECK [ROOT] - look over the sources; prints FILE:LINE and what to do

  all          all of these:
  spdx         every file says its licence in its first lines
  doc          every public function has a comment block right above it
  atomics      atomic accesses go through libshm/atomic.h (examples, benchmarks
               and the kernel module's tests see the installed headers only:
               not meant)
  columns      C has no line over 80 columns, strings apart
  whitespace   no white space at the end of a line, one newline at the end
  shell        shell scripts are well-formed (bash -n)
  man          the manual pages name every function and every verb
  crash        docs/crash.md has the figures of every sweep, and of no other
"""
import os
import re
import subprocess
import sys

# Data, and what is not ours to annotate.
NO_SPDX = re.compile(r"(^|/)(LICENSE|debian/changelog|debian/copyright|.*\.(json|txt|png|csv|patch))$")
BINARY = re.compile(r"\.(png|gz|zip|pdf)$")


def files():
    """What is tracked, or would be: all of it if this is no git checkout."""
    git = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if git.returncode == 0 and git.stdout:
        names = git.stdout.decode().split("\0")
        return sorted(n for n in names if n and os.path.isfile(n))
    found = []
    for where, directories, names in os.walk("."):
        directories[:] = [d for d in directories
                          if d != ".git" and not d.startswith("build")]
        found += [os.path.relpath(os.path.join(where, n)) for n in names]
    return sorted(found)


def lines(name):
    with open(name, encoding="utf-8") as text:
        return text.read().split("\n")


def is_c(name):
    return name.endswith((".c", ".h"))


def without_comments(text):
    """C with its comments blanked out, line by line as it was."""
    return re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text,
                  flags=re.S)


def public_headers():
    return [n for n in files() if re.match(r"include/libshm/\w+\.h$", n)]


def public_functions():
    """(header, line, name, text above) of every exported function."""
    for header in public_headers():
        text = open(header, encoding="utf-8").read()
        for match in re.finditer(r"^LSHM_API\b[^;(]*?\b(lshm_\w+)\s*\(", text,
                                 re.M):
            yield (header, text.count("\n", 0, match.start()) + 1, match[1],
                   text[:match.start()])


def spdx():
    for name in files():
        if NO_SPDX.search(name) or BINARY.search(name):
            continue
        if not any("SPDX-License-Identifier: MIT" in line
                   for line in lines(name)[:5]):
            yield name, 1, ("write SPDX-License-Identifier: MIT in one of the "
                            "first lines")


def doc():
    for header, line, name, above in public_functions():
        block = re.search(r"/\*\*(?:(?!\*/).)*\*/\n$", above, re.S)
        if not block:
            yield header, line, f"put a /** */ comment right above {name}()"
        elif not re.search(rf"\b{name}\(\) - ", block[0]):
            yield header, line, (f"begin the comment above it with "
                                 f"\"{name}() - what it does\"")


def atomics():
    doors = "libshm/atomic.h", "tests/storm/slow.h"
    for name in filter(is_c, files()):
        if name in doors or name.startswith(
                ("examples/", "bench/", "kmod/", "tests/kmod/")):
            continue
        text = without_comments(open(name, encoding="utf-8").read())
        for number, line in enumerate(text.split("\n"), 1):
            if re.search(r"\b__(atomic|sync)_\w|stdatomic\.h|\b_Atomic\b", line):
                yield name, number, "use libshm/atomic.h for atomic accesses"


def columns():
    for name in filter(is_c, files()):
        for number, line in enumerate(lines(name), 1):
            width = len(line.expandtabs(8))
            if width > 80 and '"' not in line:
                yield name, number, f"{width} columns: break it at 80"


def whitespace():
    for name in files():
        if BINARY.search(name):
            continue
        text = lines(name)
        for number, line in enumerate(text, 1):
            if line != line.rstrip():
                yield name, number, "remove the white space at its end"
        if text[-1] or (len(text) > 1 and not text[-2]):
            yield name, len(text), "end the file with one newline"


def shell():
    for name in files():
        if BINARY.search(name):
            continue
        first = lines(name)[0]
        if not (name.endswith(".sh") or
                re.match(r"#!\s*/(usr/)?bin/(env )?(ba|da)?sh\b", first)):
            continue
        checked = subprocess.run(["bash", "-n", name], text=True, check=False,
                                 stderr=subprocess.PIPE)
        for message in checked.stderr.splitlines():
            found = re.search(r"line (\d+): (.*)", message)
            yield (name, int(found[1]) if found else 1,
                   "bash -n: " + (found[2] if found else message))


def man():
    def missing(page, words, what):
        if not os.path.exists(page):
            yield page, 1, f"write it: it is to name every {what}"
            return
        # roff writes a hyphen as \- and may put markup inside a line
        text = re.sub(r"\\f.", "", open(page, encoding="utf-8").read())
        text = text.replace("\\-", "-").replace("\\_", "_")
        for word in words:
            if not re.search(rf"\b{word}\b", text):
                yield page, 1, f"say something about the {what} {word}"

    for page in "libshm", "libshm-testing":
        functions = sorted({f[2] for f in public_functions()
                            if f[0].endswith("/testing.h") ==
                            page.endswith("-testing")})
        yield from missing(f"man/{page}.7", functions, "function")
    verbs = sorted(m[1] for n in files()
                   if (m := re.match(r"tools/cmd_(\w+)\.c$", n)))
    yield from missing("man/shmctl.1", verbs, "verb")


def crash():
    page = "docs/crash.md"
    sweeps = {}
    for name in files():
        if re.match(r"tests/crash/step_\w+\.c$", name) and \
                not name.endswith("_harness.c"):
            text = open(name, encoding="utf-8").read()
            for match in re.finditer(r"^STEP\(\s*(\w+),", text, re.M):
                sweeps[match[1]] = (name, text.count("\n", 0, match.start()) + 1)
    builds = re.split(r"^### .*\n", open(page, encoding="utf-8").read(),
                      flags=re.M)[1:]
    if not builds:
        yield page, 1, "it has no figures: run scripts/crash --full"
    for build in builds:
        listed = set(re.findall(r"^\| (\w+) +\|", build, re.M)) - {"operation"}
        for name in sorted(sweeps.keys() - listed):
            yield (*sweeps[name], f"{page} has no figures of {name}: run "
                                  f"scripts/crash --full")
        for name in sorted(listed - sweeps.keys()):
            yield page, 1, (f"there is no sweep {name} any more: run "
                            f"scripts/crash --full")


CHECKS = {f.__name__: f
          for f in (spdx, doc, atomics, columns, whitespace, shell, man, crash)}


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in [*CHECKS, "all"]:
        sys.exit(__doc__)
    checks = CHECKS if sys.argv[1] == "all" else sys.argv[1:2]
    os.chdir(sys.argv[2] if len(sys.argv) == 3 else
             os.path.join(os.path.dirname(__file__), "../.."))
    found = 0
    for check in checks:
        for name, line, advice in CHECKS[check]():
            print(f"{name}:{line}: {advice}")
            found += 1
    if found:
        sys.exit(f"{sys.argv[1]}: {found} to mend")


if __name__ == "__main__":
    main()
