#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pages.py HEADER OUTPUT EXAMPLE... - a header's manual page, section 3
pages.py --names HEADER - the functions there whose page has another name

The comments in the public headers are the reference. This makes a page of one
of them: the comment at its top is the description, each /** */ comment with the
declaration behind it is a subsection. A program that is named as an example is
printed in full. The page for mutex.h is lshm_mutex(3).
"""
import re
import sys
from pathlib import Path

LABEL = re.compile(r"(Return|Crash|Blocks|Threads|Signals|Fork|Cost|Fairness"
                   r"|Deadlines|Source|Order|Locks|Processes): ?(.*)")
COLUMN = re.compile(r"(?=.{10}\S)([A-Z]\w+) +(\S.*)")
MEMBER = re.compile(r"(@\w+(?:, @\w+)*): *(.*)")


def literal(line):
    """A line of code, safe for mdoc."""
    line = line.replace("\\", "\\e")
    return "\\&" + line if line[:1] in ".'" else line


def sentences(words):
    """Prose, safe for mdoc: a list with a line for each sentence."""
    words = words.replace("\\", "\\e")
    words = re.sub(r"@(\w+)", r"\\fI\1\\fP", words)
    words = re.sub(r"\*(\w+)\*", r"\\fI\1\\fP", words)
    lines = re.split(r"(?<=[\w)\]`][.!?]) (?=\S)", words)
    return ["\\&" + line if line[:1] in ".'" else line for line in lines]


def quote(word):
    return '"' + word.replace("\\", "\\e").replace('"', "\\(dq") + '"'


def uncomment(comment):
    """The lines of a comment without their stars."""
    lines = [re.sub(r"^ \* ?", "", line) for line in comment.split("\n")]
    return "\n".join(lines).strip("\n").split("\n")


def paragraphs(lines):
    """Groups of lines; each a list that has no empty line."""
    group = []
    for line in lines + [""]:
        if line.strip():
            group.append(line)
        elif group:
            yield group
            group = []


def prose(lines, out):
    """Paragraphs, lists of members, labelled ones, and code (indented)."""
    for group in paragraphs(lines):
        columns = sum(bool(re.match(r"[A-Z]\w+ {2,}\S", line))
                      for line in group) > 1
        if all(line.startswith("    ") for line in group):
            out += [".Bd -literal -offset indent"]
            out += [literal(line[4:]) for line in group] + [".Ed"]
            continue
        items = [("", "")]
        for line in group:
            member = MEMBER.match(line)
            label = (COLUMN if columns else LABEL).match(line)
            if member:
                names = re.findall(r"@(\w+)", member.group(1))
                items.append((" , ".join("Fa " + n for n in names),
                              member.group(2)))
            elif label:
                items.append(("Sy " + label.group(1), label.group(2)))
            else:
                items[-1] = (items[-1][0],
                             items[-1][1] + " " + line.strip())
        if items[0][1]:
            if not out[-1].startswith((".Ss", ".Sh")):
                out.append(".Pp")
            out += sentences(items[0][1].strip())
        if len(items) > 1:
            out.append(".Bl -tag -width Ds")
            for tag, words in items[1:]:
                out.append(".It " + tag)
                out += sentences(words.strip()) if words.strip() else []
            out.append(".El")


def declaration(rest):
    """What a comment is about: the text up to the end of the declaration."""
    if rest.startswith("#define"): # and those on the next lines
        return re.match(r"(?:#define(?:[^\n]|\\\n)*\n)+", rest).group().strip()
    if rest.startswith("static inline"):
        return rest[:rest.index("\n{")] + ";"
    depth = 0
    for i, c in enumerate(rest):
        depth += (c == "{") - (c == "}")
        if c == ";" and depth == 0:
            return rest[:i + 1]
    return rest


def function_of(code):
    """(type, name, [arguments]) of a function's declaration, or None."""
    code = re.sub(r"/\*.*?\*/", "", code, flags=re.S)
    code = re.sub(r"__attribute__\s*\(\(.*?\)\)\s*;", ";", code, flags=re.S)
    code = re.sub(r"\bLSHM_API\b|\bstatic inline\b", "", code)
    code = " ".join(code.split())
    match = re.match(r"([\w \*]+?)(\w+)\((.*)\) ?;$", code)
    if not match:
        return None
    args, depth, arg = [], 0, ""
    for c in match.group(3):
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            args.append(arg.strip())
            arg = ""
        else:
            arg += c
    return match.group(1).strip(), match.group(2), args + [arg.strip()]


def entries(source):
    """(title, lines of the comment, declaration) of each documented thing."""
    for match in re.finditer(r"^/\*\*(.*?)\*/\n", source, re.S | re.M):
        lines = uncomment(match.group(1).strip(" "))
        code = declaration(source[match.end():].lstrip("\n"))
        yield lines[0].strip(), lines[1:], code


def page(header, examples):
    source = header.read_text()
    top = re.search(r"/\*\n \* (\S+)\.h - (.*?)\n(.*?)\*/", source, re.S)
    page_name = "lshm_" + top.group(1)
    things = list(entries(source))
    functions = [f for _, _, code in things for f in [function_of(code)] if f]

    out = [".\\\" Made from " + header.name + " by pages.py.",
           ".Dd November 21, 2026", ".Dt %s 3" % page_name.upper(), ".Os",
           ".Sh NAME"]
    names = [name for _, name, _ in functions]
    names = [page_name] + [name for name in names if name != page_name]
    out += [".Nm %s ," % name for name in names[:-1]]
    out += [".Nm " + names[-1], ".Nd " + top.group(2).split("\n")[0]]
    out += [".Sh LIBRARY", "libshm", ".Pq Fl lshm ;", "compile with",
            ".Ql pkg-config --cflags --libs libshm", ".Sh SYNOPSIS",
            ".In libshm/%s.h" % top.group(1)]
    for kind, name, args in functions:
        out += [".Ft " + quote(kind)]
        out += [".Fo " + name] + [".Fa " + quote(a) for a in args] + [".Fc"]
    out += [".Sh DESCRIPTION"]
    prose(uncomment(top.group(3)), out)
    for title, lines, code in things:
        macro = re.match(r"#define (\w+)", code)
        if " - " not in title and macro:
            title, lines = macro.group(1), [title] + lines
        out += [".Ss " + sentences(title)[0]]
        while lines and re.match(r"\w+\(\) - ", lines[0]):
            out += [".Ss " + sentences(lines.pop(0))[0]]
        if not function_of(code) and code.startswith(
                ("struct", "enum", "typedef", "union", "#define")):
            out += [".Bd -literal -offset indent"]
            out += [literal(line) for line in code.split("\n")] + [".Ed"]
        prose(lines, out)
    if examples:
        out += [".Sh EXAMPLES"]
    for example in examples:
        comment, code = re.match(r"/\*.*?\*/\n/\*\n(.*?)\*/\n(.*)",
                                 example.read_text(), re.S).groups()
        lines = uncomment(comment)
        lines[0] = lines[0].split(" - ", 1)[-1].capitalize() + "."
        prose(lines, out)
        out += [".Bd -literal"]
        out += [literal(line) for line in code.strip("\n").split("\n")] + [".Ed"]
    out += [".Sh ERRORS",
            "Errors are returned as negative numbers.",
            "Those that are not named above,",
            "and what else holds for every function, are in",
            ".Xr libshm 7 .",
            ".Fn lshm_error", "says in words what went wrong.",
            ".Sh SEE ALSO"]
    others = set(re.findall(r"\b(lshm_\w+)\(\)", source))
    others |= {"lshm_" + name
               for name in re.findall(r"#include <libshm/(\w+)\.h>", source)}
    others -= set(names)
    out += [".Xr %s 3 ," % name for name in sorted(others)] + [".Xr libshm 7"]
    return "\n".join(out) + "\n"


def main():
    if sys.argv[1] == "--names":
        source, stem = Path(sys.argv[2]).read_text(), Path(sys.argv[2]).stem
        for _, _, code in entries(source):
            if function_of(code) and function_of(code)[1] != "lshm_" + stem:
                print(function_of(code)[1])
        return
    words = page(Path(sys.argv[1]), [Path(name) for name in sys.argv[3:]])
    Path(sys.argv[2]).write_text(words)


if __name__ == "__main__":
    main()
