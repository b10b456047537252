#!/usr/bin/env python3
"""No class has more than 25 member functions or 400 lines of its own, unless the comment above it says why: "It is large
because ...".

    class_sizes.py ROOT             names those that have more and say nothing
    class_sizes.py --all ROOT       names the twenty largest
    class_sizes.py --self-test ROOT checks that one would be found

Lines are those of the class and of its member functions' definitions; what else is in their files is not the class's.
"""
import collections
import pathlib
import re
import sys

MOST_FUNCTIONS, MOST_LINES = 25, 400
REASON = "is large because"
FOLDERS = ("src", "vm", "provision", "profiles", "docker")


def without_comments(text):
    """Comments and strings are blanked; lines and columns stay."""
    blank = lambda match: re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'R"(\w*)\(.*?\)\1"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def end_of_braces(code, begin):
    depth = 1
    while depth and begin < len(code):
        depth += {"{": 1, "}": -1}.get(code[begin], 0)
        begin += 1
    return begin


def functions_in(body):
    """Declared or defined in a class's own braces: not those of a class within it, not data, not what is deleted."""
    flat, depth = [], 0
    for c in body:
        depth -= c == "}"
        if depth == 0:
            flat.append(c)
        depth += c == "{"
    flat = re.sub(r"\b(class|struct|enum)\b[^;{]*\{\}", "", "".join(flat))
    while re.search(r"<[^<>]*>", flat):  # a type's arguments may have parentheses
        flat = re.sub(r"<[^<>]*>", " ", flat)
    found = 0
    for statement in re.split(r";|\{\}|public:|private:|protected:", flat):
        # A parenthesis that stands behind a name and before any "=": else it is data, or no declaration.
        declared = re.match(r"[^=(]*[\w>\]=+!-]\s*\(", statement)
        wanted = "= delete" not in statement and "= default" not in statement and "using " not in statement
        found += bool(declared and wanted and not statement.strip().startswith(("friend", "static_assert")))
    return found


def classes_of(files):
    """(file, name, functions, lines, comment above), for {file: text}."""
    found, lines_elsewhere = [], collections.Counter()
    for file, text in files.items():
        code = without_comments(text)
        for at in re.finditer(r"^(?:[\w:<>,*&~ ]+[ *&])?(\w+)(?:<[^<>]*>)?::[~\w]+[^;{}]*?\{", code, flags=re.M):
            lines_elsewhere[at.group(1)] += code.count("\n", at.start(), end_of_braces(code, at.end())) + 1
        for at in re.finditer(r"^[ ]*(?:class|struct) (\w+)(?: final)?(?: :[^;{]*)?[ ]*\{", code, flags=re.M):
            end = end_of_braces(code, at.end())
            comment = []
            for line in reversed(text[: at.start()].splitlines()):
                if not line.lstrip().startswith("//") and not line.startswith("template"):
                    break
                comment.append(line.strip().lstrip("/ "))
            found.append((file, at.group(1), functions_in(code[at.end(): end - 1]), code.count("\n", at.start(), end) + 1,
                          " ".join(reversed(comment))))
    return [(file, name, functions, lines + lines_elsewhere[name], comment)
            for file, name, functions, lines, comment in found]


def too_large(classes):
    return [f"{file}: {name} has {functions} member functions and {lines} lines, and its comment does not say why"
            for file, name, functions, lines, comment in classes
            if (functions > MOST_FUNCTIONS or lines > MOST_LINES) and REASON not in comment]


def self_test():
    many = "".join(f"  void f{i}(int a = 0);\n" for i in range(26))
    body = "  int x = 0;\n" * 200
    samples = {
        "many.hpp": f"/// A class.\nclass Many {{\n{many}}};\n",
        "long.hpp": "class Long {\n  void f();\n};\n",
        "long.cpp": f"void Long::f() {{\n{body * 2}}}\n",
        "said.hpp": f"/// It is large because it is one\nclass Said {{\n{many}}};\n",
        "data.hpp": "struct Data {\n" + "  std::function<void(int)> f = g();\n" * 30 + "};\n",
        "fine.hpp": "class Fine {\n  class In {\n" + "    void f();\n" * 30 + "  };\n  int f() { return (1); }\n};\n",
    }
    found = {problem.split(":")[1].split()[0] for problem in too_large(classes_of(samples))}
    wanted = {"Many", "Long", "In"}
    return [] if found == wanted else [f"found {sorted(found)}, wanted {sorted(wanted)}"]


def main():
    root = pathlib.Path(sys.argv[-1])
    files = {str(file.relative_to(root)): file.read_text()
             for folder in FOLDERS for file in sorted((root / folder).rglob("*.[ch]pp"))}
    classes = classes_of(files)
    if sys.argv[1] == "--all":
        for file, name, functions, lines, _ in sorted(classes, key=lambda one: -one[2] * 16 - one[3])[:20]:
            print(f"{functions:4} functions {lines:5} lines  {name}  {file}")
        return
    problems = self_test() if sys.argv[1] == "--self-test" else too_large(classes)
    if len(classes) < 100:
        problems.append(f"only {len(classes)} classes were found")
    print("\n".join(problems) or "no class is too large without a reason")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
