#!/usr/bin/env python3
"""filter.py HEADER: prints a public header as Doxygen wants it. The headers have plain comments; here those before a
declaration and those behind one on its line become documentation. A comment counts for all declarations that follow it
without an empty line. Lines stay where they are, so that Doxygen's warnings name the right ones."""
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()

# The results are an X-macro; Doxygen gets what it expands to.
results = re.findall(r'X\((\w+), (-?\d+), "([^"]*)"\)', text)
enumerators = " ".join(f"RETNET_{name} = {value}, /**< {meaning} */" for name, value, meaning in results)
text = re.sub(r"^ *RETNET_RESULTS\(RETNET_RESULT_ENUM\)$", lambda match: enumerators, text, flags=re.M)


def comments(lines):
    """Yields each line, and whether it is inside a comment, a macro's continuation, or neither."""
    inside = continued = False
    for line in lines:
        if inside or continued or re.match(r"\s*/\*", line):
            yield line, "macro" if continued else "comment"
        else:
            yield line, "code"
        start = line.rfind("/*")
        inside = (inside or start >= 0) and line.rfind("*/") < max(start, 0)
        continued = not inside and line.endswith("\\")


output = []
comment, fresh = [], False  # the comment that counts; has it been given to no declaration yet
for line, kind in comments(text.split("\n")):
    if not line.strip() or line.startswith("/* ----"):
        comment = []
    elif kind == "comment":
        if re.match(r"\s*/\*", line):
            comment, fresh = [], True
            line = line.replace("/*", "/**" if output else "/** @file", 1)
        comment.append(re.sub(r"^\s*(/\*\*|\*(?!/))?|\*/$", "", line).strip())
    elif kind == "code":
        declares = re.match(r"RETNET_API|typedef|#define", line)
        if declares and comment and not fresh:
            line = f"/** {' '.join(comment)} */ {line}"
        if declares:
            fresh = False
        trailing = re.search(r"\s*/\*(?!\*)", line)
        if trailing:
            before = line[:trailing.start()]
            mark = "/**" if before.endswith("{") else "/**<"
            line = f"{before} {mark}{line[trailing.end():]}"
        if line.startswith("}"):
            comment = []
    output.append(line)
print("\n".join(output), end="")
