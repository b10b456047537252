#!/usr/bin/env python3
"""Puts each fault of mutations.toml into a copy of the tree and says whether the tests notice it.

    run.py [PART_OF_NAME_OR_AREA...]   those whose name or area has one of these in it, or all
    run.py --check                     whether each fault still has its place in the sources
    run.py --self-test

The copy is build/mutations/tree; each fault is built there with the test that is named with it, which has to be part of the
default run. Exit code 1 when one is missed, or cannot be tried: a test that fails without it, a fault that does not compile.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import run as tests  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIST = pathlib.Path(__file__).with_name("mutations.toml")
KEYS = {"name", "area", "file", "old", "new", "caught_by"}


def problems_of(mutations, root):
    names = [mutation.get("name") for mutation in mutations]
    for mutation in mutations:
        name = mutation.get("name", "?")
        if set(mutation) != KEYS:
            yield f"{name}: has {sorted(mutation)} and needs {sorted(KEYS)}"
        elif names.count(name) > 1:
            yield f"{name}: there are two of this name"
        elif not (root / mutation["file"]).is_file():
            yield f"{name}: there is no {mutation['file']}"
        elif (count := (root / mutation["file"]).read_text().count(mutation["old"])) != 1:
            yield f"{name}: {mutation['file']} has {mutation['old']!r} {count} times"
        elif mutation["old"] == mutation["new"]:
            yield f"{name}: changes nothing"


def copy_tree(tree):
    """What git knows of and what is new. A file that is the same already keeps its time, so that only what differs is built."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, text=True, check=True)
    wanted = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    for file in list(tree.rglob("*")):
        path = file.relative_to(tree)
        if path.parts[0] != "build" and not file.is_dir() and path.as_posix() not in wanted:
            file.unlink()
    for name in wanted:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if not (tree / name).is_file() or (tree / name).read_bytes() != (ROOT / name).read_bytes():
            shutil.copy(ROOT / name, tree / name, follow_symlinks=False)


def run_tests(build, pattern):
    return subprocess.run(["ctest", "--test-dir", str(build), "--no-tests=error", "-j2", "--output-on-failure", "-L", "^default$", "-R", pattern],
                          capture_output=True, text=True, check=False)


def exactly(names):
    return "^(" + "|".join(re.escape(name) for name in names) + ")$"


def try_one(mutation, tree, build, environment):
    """'caught', 'MISSED', or why it could not be tried."""
    pattern = exactly([mutation["caught_by"]])
    if not tests.known_tests(build, "-L", "^default$", "-R", pattern):
        return f"CANNOT BE TRIED: the default run has no test {mutation['caught_by']}"
    file = tree / mutation["file"]
    sound = file.read_text()
    try:
        file.write_text(sound.replace(mutation["old"], mutation["new"]))
        built = subprocess.run(["ninja", "-C", str(build), *tests.targets(build, pattern)], capture_output=True, text=True, env=environment, check=False)
        if built.returncode != 0:
            return f"CANNOT BE TRIED: it does not compile\n{built.stdout}"
        return "caught" if run_tests(build, pattern).returncode != 0 else "MISSED"
    finally:
        file.write_text(sound)


def run_all(mutations):
    tree = ROOT / "build/mutations/tree"
    tree.mkdir(parents=True, exist_ok=True)
    copy_tree(tree)
    build = tree / "build/test"
    print("==> all tests pass without a fault")
    pattern = exactly({mutation["caught_by"] for mutation in mutations})
    if subprocess.run([str(tree / "scripts/test"), pattern], check=False).returncode != 0:
        sys.exit("error: what fails without a fault cannot notice one")
    environment = {**os.environ, "CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
    results = []
    for mutation in mutations:
        begin = time.monotonic()
        result = try_one(mutation, tree, build, environment)
        results.append(result)
        print(f"{mutation['area']:10} {mutation['name']}: {result} ({mutation['caught_by']}, {time.monotonic() - begin:.0f} s)", flush=True)
    print(f"{results.count('caught')} of {len(results)} faults were caught")
    return all(result == "caught" for result in results)


def self_test():
    good = {"name": "good", "area": "a", "file": "a.cpp", "old": "once", "new": "never", "caught_by": "unit.a"}
    bad = [{**good, "name": "gone", "old": "missing"}, {**good, "name": "twice", "old": "two"}, {**good, "name": "same", "new": "once"},
           {**good, "name": "no file", "file": "b.cpp"}, {**good, "name": "double"}, {**good, "name": "double"}, {"name": "unfinished"}]
    with tempfile.TemporaryDirectory() as name:
        (pathlib.Path(name) / "a.cpp").write_text("once two two")
        told = list(problems_of([good, *bad], pathlib.Path(name)))
    if len(told) != len(bad) or any(problem.startswith("good") for problem in told):
        sys.exit("self-test: these are told, of " + ", ".join(entry["name"] for entry in bad) + ":\n" + "\n".join(told))
    print("faults that have lost their place are told")


def main():
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        self_test()
        return
    mutations = tomllib.loads(LIST.read_text())["mutation"]
    if problems := list(problems_of(mutations, ROOT)):
        sys.exit(f"error: {LIST.relative_to(ROOT)} does not fit the sources\n" + "\n".join(problems))
    if arguments == ["--check"]:
        print(f"{len(mutations)} faults have their place")
        return
    chosen = [mutation for mutation in mutations if not arguments or any(word in mutation["name"] or word == mutation["area"] for word in arguments)]
    if not chosen:
        sys.exit(__doc__)
    sys.exit(0 if run_all(chosen) else 1)


if __name__ == "__main__":
    main()
