#!/usr/bin/env python3
"""Times the verbs of a session with containers beside what docker's own client takes for the same.

    tests/bench/verbs_bench.py PROGRAM IMAGE [--runs 10] [--mib 64]

The profile of the environment has to run, and IMAGE to have a shell. Each pair takes turns, in both orders (A B B A), so that a busy moment
meets both. Prints the medians and their ratio; asserts nothing.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

LIMITS = {"debug / exec": "at most 1.2", "cp in / docker cp": "at most 1.1", "cp out / docker cp": "at most 1.1"}


def once(command):
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout.decode()}{done.stderr.decode()}")
    return (time.perf_counter() - began) * 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("image")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--mib", type=int, default=64)
    options = parser.parse_args()
    ours = options.program
    once(["docker", "run", "-d", "--name", "bench", options.image, "sleep", "100000"])
    with tempfile.TemporaryDirectory() as folder:
        big, back = f"{folder}/big", f"{folder}/back"
        with open(big, "wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(1 << 20))
        pairs = {
            "debug / exec": ([ours, "debug", "bench", "--", "true"], ["docker", "exec", "bench", "true"]),
            "cp in / docker cp": ([ours, "cp", big, ":/var/tmp/bench"], ["docker", "cp", "-q", big, "bench:/bench"]),
            "cp out / docker cp": ([ours, "cp", ":/var/tmp/bench", back], ["docker", "cp", "-q", "bench:/bench", back]),
            "completion / --help": ([ours, "complete", "--", "debug", "b"], [ours, "--help"]),
        }
        try:
            for name, (first, second) in pairs.items():
                times = ([], [])
                for turn in range(options.runs):
                    for which in (0, 1) if turn % 2 == 0 else (1, 0):
                        times[which].append(once((first, second)[which]))
                a, b = map(statistics.median, times)
                print(f"{name:22} {a:8.1f} ms {b:8.1f} ms   ratio {a / b:5.2f}   {LIMITS.get(name, '')}")
        finally:
            once(["docker", "rm", "-f", "bench"])
            once([ours, "ssh", "--", "rm -f /var/tmp/bench"])


main()
