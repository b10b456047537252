#!/usr/bin/env python3
"""Compiles every header of the product alone, without warnings, so that each includes what it needs.

    headers_alone.py ROOT BUILD    prints what the compiler says; exit code 1 when it says anything
    headers_alone.py --self-test ROOT BUILD  does so with made-up headers and checks what it finds

The compiler and its flags are those of src/main.cpp in BUILD/compile_commands.json. What takes long is precompiled for those
headers that include it, themselves or by others of ours. That cannot hide a missing include: nothing is in it that the header does
not include anyway. Only what has changed is compiled again.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

PARTS = ["src", "profiles", "vm", "provision", "docker"]
# What is precompiled together; a header takes the first line that it includes all of.
HEAVY = [{"src/base/async.hpp", "filesystem"}, {"src/base/async.hpp"}, {"filesystem"}, {"string"}]
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def closure(root, path, known):
    """`path` and all that it includes, by others of ours too."""
    if path not in known:
        known[path] = {path}
        if (root / path).exists():
            for included in INCLUDE.findall((root / path).read_text()):
                known[path] |= closure(root, included, known)
    return known[path]


def compile_command(build):
    """The compiler with the flags that matter for whether a header compiles."""
    commands = json.loads((build / "compile_commands.json").read_text())
    words = shlex.split(next(entry["command"] for entry in commands if entry["file"].endswith("/src/main.cpp")))
    while "clang" not in words[0] and "++" not in words[0]:
        words.pop(0)  # ccache
    kept = [words[0]]
    for word, value in zip(words[1:], [*words[2:], ""]):
        if word.startswith(("-D", "-I", "-W", "-std", "--sysroot", "-stdlib")) and word != "-Winvalid-pch":
            kept.append(word)
        elif word in ("-isystem", "-isysroot", "-F"):
            kept += [word, value]
    return [*kept, "-Werror", "-fsyntax-only", "-x", "c++-header"]


def check(root, headers, command, work):
    """What the compiler says of each header that is not right."""
    known = {}
    for header in headers:
        closure(root, header, known)
    digests = {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in set().union(*known.values()) if (root / path).exists()}

    def key(header):
        parts = [*command, *(f"{path} {digests.get(path)}" for path in sorted(known[header]))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    passed = work / "passed"
    passed.mkdir(parents=True, exist_ok=True)
    wanted = [header for header in headers if not (passed / key(header)).exists()]
    base_of = {header: next((base for base in HEAVY if base <= known[header] - {header}), set()) for header in wanted}
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=False).stdout

    def precompile(base):
        """The options that bring it; none where that cannot be done (only clang takes such a file by its name)."""
        if "clang" not in version or sum(base == chosen for chosen in base_of.values()) < 3:
            return []
        text = "".join(f"#include <{name}>\n" for name in sorted(base))
        output = str(work / f"{HEAVY.index(base)}.pch")
        made = subprocess.run([*(word for word in command if word != "-fsyntax-only"), "-o", output, "-"], input=text, check=False,
                              capture_output=True, text=True, cwd=root)
        return ["-include-pch", output] if made.returncode == 0 else []

    def compile_alone(header):
        extra = precompiled[HEAVY.index(base_of[header])] if base_of[header] else []
        # By a file that includes it: as a main file it may not say #pragma once.
        done = subprocess.run([*command[:-1], "c++", *extra, "-"], input=f'#include "{header}"\n', capture_output=True, text=True,
                              check=False, cwd=root)
        if done.returncode == 0 and not done.stderr:
            (passed / key(header)).touch()
            return ""
        return f"{header} does not compile alone:\n{done.stderr}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        precompiled = list(pool.map(precompile, HEAVY))
        return [said for said in pool.map(compile_alone, wanted) if said], len(wanted)


def self_test(root, command):
    made_up = {
        "src/base/async.hpp": (root / "src/base/async.hpp").read_text(),
        "src/base/error.hpp": (root / "src/base/error.hpp").read_text(),
        "src/good.hpp": '#pragma once\n#include "src/base/async.hpp"\ninline cl::asio::awaitable<void> good() { co_return; }\n',
        "src/good_by_other.hpp": '#pragma once\n#include "src/good.hpp"\ninline std::string other(cl::error_code ec) { return ec.message(); }\n',
        "src/lacks_list.hpp": '#pragma once\n#include "src/base/async.hpp"\nstruct LacksList { std::list<std::filesystem::path> a; };\n',
        "src/another.hpp": '#pragma once\n#include "src/good.hpp"\n',
        "src/lacks_async.hpp": "#pragma once\n#include <string>\nboost::asio::awaitable<std::string> lacks_async();\n",
    }
    with tempfile.TemporaryDirectory() as name:
        tree = pathlib.Path(name).resolve()
        for path, text in made_up.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        moved = [word.replace(f"-I{root}", f"-I{tree}") if word == f"-I{root}" else word for word in command]
        said, _ = check(tree, sorted(made_up), moved, tree / "work")
    found = {text.split()[0] for text in said}
    print("\n".join(said))
    return found == {"src/lacks_list.hpp", "src/lacks_async.hpp"}


def main():
    arguments = sys.argv[1:]
    testing = arguments[:1] == ["--self-test"]
    if len(arguments) != 2 + testing:
        sys.exit(__doc__)
    root, build = (pathlib.Path(path).resolve() for path in arguments[testing:])
    command = compile_command(build)
    if testing:
        sys.exit(0 if self_test(root, command) else 1)
    headers = sorted(path.relative_to(root).as_posix() for part in PARTS for path in (root / part).rglob("*.hpp"))
    said, count = check(root, headers, command, build / "headers_alone")
    print("\n".join(said) or f"every header compiles alone ({len(headers)}, {count} of them compiled now)")
    sys.exit(1 if said else 0)


if __name__ == "__main__":
    main()
