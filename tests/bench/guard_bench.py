#!/usr/bin/env python3
"""What the guard of hidden folders costs each call that has a path: the same loop with it and without it, by turns. Linux.

    tests/bench/guard_bench.py PROGRAM     a release's colima-like; prints, asserts nothing
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

CALLS = 20_000
HIDDEN = [".ssh", ".gnupg", ".aws", ".azure", ".config/gcloud", ".kube", ".docker/config.json", ".mozilla"]


def loop(file):
    for name, call in (("lstat", os.lstat), ("open and close", lambda path: os.close(os.open(path, os.O_RDONLY)))):
        began = time.perf_counter()
        for _ in range(CALLS):
            call(file)
        print(f"  {name} {(time.perf_counter() - began) / CALLS * 1e6:.1f} us", flush=True)


def main():
    if sys.argv[1] == "--loop":
        return loop(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "file")
        file.touch()
        plain = [os.path.realpath(sys.executable), __file__, "--loop", file]
        guard = [sys.argv[1], "confine", "paths", f"f:{folder}", *(f"h:{folder}/{name}" for name in HIDDEN), f"k:{folder}/.bashrc", "--"]
        for name, command in (("without", plain), ("with", guard + plain)) * 2:
            print(name, flush=True)
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
