#!/usr/bin/env python3
"""clang-format over every source, clang-tidy over those of the product; what has passed before is not looked at again.

    style.py ROOT BUILD [SECONDS]   exit code 1 when one of them finds anything; without SECONDS, clang-tidy looks at all
    style.py --self-test            77 without the programs

clang-tidy takes up to fifteen seconds for a source. With SECONDS it looks only at what this branch has changed, then at what includes
that, and begins no more after that time: the runs after it do what one leaves. A source has passed with its headers of ours,
the options and the version, in whatever checkout. Its findings in a header are told with a source that includes it.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

from checked import Passed, Sources

VERSION = "19"  # another one formats and finds other things
CACHE = os.path.expanduser("~/.cache/colima-like-style")
SUFFIXES = {".cpp", ".hpp"}
NOT_PRODUCT = ("tests/", "build")
# A precompiled header is of the compiler's own version, and clang-tidy would look through all of it for every source.
PRECOMPILED = re.compile(r"-Xclang -include(-pch)? -Xclang \S+ ")


def find(tool):
    """The program and what it says of itself."""
    for name in (f"{tool}-{VERSION}", f"{CACHE}/bin/{tool}", tool):
        if shutil.which(name):
            said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
            version = re.search(r"version (\d+)\.\S+", said)
            if version and version[1] == VERSION:
                return name, version[0]
    return None


def sources_of(root):
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "build")))
        yield from (pathlib.Path(folder, name).relative_to(root).as_posix() for name in sorted(files) if pathlib.Path(name).suffix in SUFFIXES)


def changed_in(root):
    """What differs from the main branch; on it, or where there is none, from the commit before this one. None: not a git tree."""
    def git(*words):
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    if not git("rev-parse", "HEAD"):
        return None
    base = git("merge-base", "HEAD", "origin/main")
    if not base or base == git("rev-parse", "HEAD"):
        base = "HEAD^"
    return set(git("diff", "--name-only", base).splitlines()) | set(git("ls-files", "--others", "--exclude-standard").splitlines())


def badly_formatted(tree, tool, passed):
    name, version = tool
    settings = (tree.root / ".clang-format").read_text()
    digests = {path: tree.digest_alone(path, version, settings) for path in sources_of(tree.root)}
    new = [path for path, digest in digests.items() if digest not in passed]
    bad = []
    for begin in range(0, len(new), 100):
        done = subprocess.run([name, "--dry-run", "--ferror-limit=1", *new[begin:begin + 100]], cwd=tree.root, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{name} failed:\n{done.stderr}")
        bad += sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning: code should be clang-formatted", done.stderr, re.MULTILINE)))
    for path in set(new) - set(bad):
        passed.add(digests[path])
    print(f"clang-format: {len(digests)} files, {len(new)} looked at, {len(bad)} to be formatted")
    return bad


def findings(tree, build, tool, passed, seconds):
    name, version = tool
    settings = (tree.root / ".clang-tidy").read_text()
    commands = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = pathlib.Path(entry["directory"], entry["file"])
        path = file.relative_to(tree.root).as_posix() if file.is_relative_to(tree.root) else ""
        if path and not path.startswith(NOT_PRODUCT) and file.is_file():
            entry["command"] = PRECOMPILED.sub("", entry["command"])
            commands.setdefault(path, entry)
    database = build / "tidy"
    database.mkdir(exist_ok=True)
    (database / "compile_commands.json").write_text(json.dumps(list(commands.values())))

    def options(entry):
        """Neither this checkout, nor its build folder, nor the compiler's launcher matters."""
        words = [word.replace(str(build), "BUILD").replace(str(tree.root), "ROOT") for word in shlex.split(entry["command"])]
        return [word for word in words if word.startswith(("-D", "-I", "-std", "-f", "-isystem"))]

    digests = {path: tree.digest(path, version, settings, *options(entry)) for path, entry in commands.items()}
    changed = changed_in(tree.root)
    new = sorted(path for path, digest in digests.items() if digest not in passed)
    if changed is not None:
        new.sort(key=lambda path: (path not in changed, not tree.closure(path) & changed))
    begun = len(new)
    if seconds is not None and changed is not None:
        new = [path for path in new if path in changed or tree.closure(path) & changed]

    begin = time.monotonic()

    def look(path):
        if seconds is not None and time.monotonic() - begin > seconds:
            return None
        done = subprocess.run([name, "--quiet", "-p", str(database), path], cwd=tree.root, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            passed.add(digests[path])
            return ""
        return done.stdout.strip() or done.stderr.strip() or f"{path}: clang-tidy ended with exit code {done.returncode}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = list(pool.map(look, new))
    looked, bad = len(new) - said.count(None), [text for text in said if text]
    left = begun - looked
    print(f"clang-tidy: {len(commands)} sources, {looked} looked at, {len(bad)} with findings" +
          (f", {left} left for another time ('scripts/test --long' looks at all)" if left else ""))
    return bad


def check(root, build, seconds, tools, directory):
    tree, passed = Sources(root), Passed(directory)
    bad = badly_formatted(tree, tools[0], passed)
    if bad:
        print(f"error: these files are not formatted by .clang-format\n  try {tools[0][0]} -i {' '.join(bad)}")
    found = findings(tree, build, tools[1], passed, seconds)
    print("\n".join(found), end="\n" if found else "")
    passed.forget_old()
    return not bad and not found


def self_test(tools):
    """A made-up tree with a badly formatted file and a header with a bug."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name, "tree").resolve()
        build, directory = root / "build", root.parent / "passed"
        (root / "src").mkdir(parents=True)
        build.mkdir()
        (root / ".clang-format").write_text("BasedOnStyle: Google\n")
        (root / ".clang-tidy").write_text("Checks: '-*,bugprone-infinite-loop'\nWarningsAsErrors: '*'\nHeaderFilterRegex: '.*'\n")
        (root / "src/a.cpp").write_text('#include "src/a.hpp"\n\nint main() { return f(); }\n')
        loop = "inline int f() {\n  int i = 0;\n  while (i < 1) {\n  }\n  return i;\n}\n"
        (root / "src/a.hpp").write_text(loop)
        (build / "compile_commands.json").write_text(json.dumps(
            [{"directory": str(root), "file": "src/a.cpp", "command": f"clang++ -I{root} -std=c++20 -c src/a.cpp"}]))

        def expect(what, result, *texts, seconds=None):
            program = f"import style; from pathlib import Path; print(style.check(Path({str(root)!r}), Path({str(build)!r}), {seconds}, {tools}, {str(directory)!r}))"
            done = subprocess.run([sys.executable, "-B", "-c", program], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=False)
            if not done.stdout.endswith(f"{result}\n") or any(text not in done.stdout for text in texts):
                sys.exit(f"{what}: expected {result} and {texts}\n{done.stdout}{done.stderr}")

        expect("no time", True, "1 sources, 0 looked at", "1 left for another time", seconds=-1)
        expect("a bug in a header", False, "2 files, 0 looked at", "1 sources, 1 looked at, 1 with findings", "bugprone-infinite-loop")
        (root / "src/a.hpp").write_text(loop.replace("  }\n", "    ++i;\n  }\n"))
        expect("a mended one", True, "2 files, 1 looked at, 0 to be formatted", "1 sources, 1 looked at, 0 with findings")
        expect("again", True, "2 files, 0 looked at", "1 sources, 0 looked at, 0 with findings")
        (root / "src/a.cpp").write_text('#include "src/a.hpp"\n\nint main() {return f();}\n')
        expect("a badly formatted file", False, "1 looked at, 1 to be formatted", "-i src/a.cpp")
    print("both checks find what they should, once")


def main():
    tools = find("clang-format"), find("clang-tidy")
    if None in tools:
        if sys.argv[1:] == ["--self-test"]:
            print(f"skipped: no clang-format and clang-tidy {VERSION} here; scripts/setup --tests")
            sys.exit(77)
        print(f"warning: neither format nor clang-tidy's checks are looked at: there is no clang-format and clang-tidy {VERSION}")
        return
    if sys.argv[1:] == ["--self-test"]:
        self_test(tools)
        return
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    root, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    seconds = float(sys.argv[3]) if len(sys.argv) == 4 else None
    sys.exit(0 if check(root, build, seconds, tools, f"{CACHE}/passed") else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
