#!/usr/bin/env python3
"""Times what a user waits for without a machine: help, `config check`, `status`, and `list` of many profiles.

    tests/bench/cli_bench.py PROGRAM [--runs 40] [--profiles 50]

In a home of its own, where nothing runs. The commands take turns, so that a busy moment meets all of them. Prints the
first sample, the median and the slowest of each, beside `true`, which is what starting any program costs here; asserts
nothing.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def once(command, env):
    began = time.perf_counter()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    took = (time.perf_counter() - began) * 1000
    if done.returncode not in (0, 3):  # 3: status of a profile that is not running
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout.decode()}{done.stderr.decode()}")
    return took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--profiles", type=int, default=50)
    options = parser.parse_args()
    home = tempfile.mkdtemp(prefix="cl-bench-", dir="/tmp")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COLIMA_LIKE_", "DOCKER_"))}
    env.update(COLIMA_LIKE_HOME=f"{home}/h", COLIMA_LIKE_CACHE=f"{home}/c", DOCKER_CONFIG=f"{home}/d")
    try:
        os.mkdir(f"{home}/h", 0o700)
        names = ["default"] + [f"profile-{number:02}" for number in range(1, options.profiles)]
        for name in names:
            once([options.program, "config", "set", "-p", name, "cpus", "1"], env)
        commands = {
            "true": ["true"],
            "--help": [options.program, "--help"],
            "start --help": [options.program, "start", "--help"],
            "config check": [options.program, "config", "check"],
            "status": [options.program, "status"],
            f"list, {options.profiles} profiles": [options.program, "list"],
            f"list --json, {options.profiles} profiles": [options.program, "list", "--json"],
        }
        samples = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                samples[name].append(once(command, env))
        for name, all_of in samples.items():
            print(f"{name:26} first {all_of[0]:5.1f} ms   median {statistics.median(all_of):5.1f} ms   "
                  f"slowest {max(all_of):5.1f} ms")
    finally:
        shutil.rmtree(home, ignore_errors=True)


main()
