#!/usr/bin/env python3
"""Times a profile's life as a user sees it: start to the first `docker version`, status, idle cost.

    tests/bench/start_bench.py PROGRAM [--runs 7] [--accel auto|tcg|kvm]

In a home of its own, with the user's image cache. Prints every sample, the first (cold) one apart, and the median;
asserts nothing. The peer is the same machine without us: QEMU's own time from the daemon's log is printed beside.
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time


def run(command, env):
    began = time.monotonic()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    took = time.monotonic() - began
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return took, done.stdout


def report(name, samples, unit="s", digits=2):
    first, rest = samples[0], samples[1:] or samples
    raw = " ".join(f"{s:.{digits}f}" for s in samples)
    print(f"{name:42} first {first:.{digits}f} {unit}   median of the others {statistics.median(rest):.{digits}f} {unit}   [{raw}]")


def idle_cost(pid, seconds):
    """CPU milliseconds per second and voluntary wake-ups per second of a process, and its PSS in MiB."""

    def facts():
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{pid}/status") as status:
            switches = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M)[1])
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK"), switches

    cpu, switches = facts()
    time.sleep(seconds)
    cpu2, switches2 = facts()
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        pss = int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M)[1]) / 1024
    return (cpu2 - cpu) / seconds, (switches2 - switches) / seconds, pss


def daemon_pid(lock):
    """The process that holds the profile's lock."""
    inode = os.stat(lock).st_ino
    with open("/proc/locks") as locks:
        for line in locks:
            fields = line.split()
            if fields[5].endswith(f":{inode}"):
                return int(fields[4])
    sys.exit("no daemon holds the lock")


def ping(socket_path):
    """Seconds until /_ping is answered with 200 over a new connection."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(socket_path)
        client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    if b" 200 " not in answer.split(b"\r\n", 1)[0]:
        sys.exit(f"/_ping was answered with {answer[:200]}")
    return time.monotonic() - began


def resident(pid):
    """MiB of memory and number of file descriptors of a process."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        pss = int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M)[1]) / 1024
    return pss, len(os.listdir(f"/proc/{pid}/fd"))


def suspend_and_resume(options, env, profile):
    """Suspends, and resumes by each way that a user has; the socket's first answer ends the time."""
    engine = f"{profile}/docker.sock"
    suspends, resumes, wakes = [], [], []
    before = resident(daemon_pid(f"{profile}/lock"))
    for _ in range(options.runs):
        suspends.append(run([options.program, "suspend"], env)[0])
        time.sleep(2)
        began = time.monotonic()
        starting = subprocess.Popen([options.program, "start"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ping(engine)
        resumes.append(time.monotonic() - began)
        starting.wait()
        time.sleep(2)
        run([options.program, "suspend"], env)
        time.sleep(2)
        wakes.append(run(["docker", "version"], env)[0])
        time.sleep(2)
    after = resident(daemon_pid(f"{profile}/lock"))
    report("suspend", suspends)
    report("resume: start to the first /_ping", resumes)
    report("wake: docker version", wakes)
    print(f"daemon before and after {2 * options.runs} cycles: {before[0]:.1f} and {after[0]:.1f} MiB PSS, "
          f"{before[1]} and {after[1]} descriptors")
    run([options.program, "suspend"], env)
    time.sleep(5)
    cpu, wakeups, pss = idle_cost(daemon_pid(f"{profile}/lock"), options.idle_seconds)
    saved = json.loads(run([options.program, "status", "--json"], env)[1])["saved_bytes"]
    print(f"suspended: {cpu:.2f} ms CPU per second, {wakeups:.2f} wake-ups per second, {pss:.1f} MiB PSS, "
          f"{saved / 2**20:.0f} MiB on disk")
    run([options.program, "start"], env)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--accel", default="auto")
    parser.add_argument("--idle-seconds", type=int, default=30)
    options = parser.parse_args()
    home = tempfile.mkdtemp(prefix="cl-bench-", dir="/tmp")
    env = dict(os.environ, COLIMA_LIKE_HOME=f"{home}/h", DOCKER_CONFIG=f"{home}/d", COLIMA_LIKE_CACHE=os.environ.get(
        "COLIMA_LIKE_CACHE", os.path.expanduser("~/.cache/colima-like")))
    env.pop("DOCKER_HOST", None)
    try:
        run([options.program, "image", "build"], env)
        to_version, stops, execs = [], [], []
        for _ in range(options.runs):
            began = time.monotonic()
            run([options.program, "start", "--accel", options.accel], env)
            run(["docker", "version"], env)
            to_version.append(time.monotonic() - began)
            took, _ = run([options.program, "stop"], env)
            stops.append(took)
        report("cold start to docker version", to_version)
        report("stop", stops)
        run([options.program, "start", "--accel", options.accel], env)
        report("status", [run([options.program, "status"], env)[0] * 1000 for _ in range(20)], "ms", 1)
        report("--help", [run([options.program, "--help"], env)[0] * 1000 for _ in range(20)], "ms", 1)
        report("ssh -- true", [run([options.program, "ssh", "--", "true"], env)[0] * 1000 for _ in range(20)], "ms", 1)
        report("docker version", [run(["docker", "version"], env)[0] * 1000 for _ in range(20)], "ms", 1)
        time.sleep(5)
        cpu, wakeups, pss = idle_cost(daemon_pid(f"{home}/h/default/lock"), options.idle_seconds)
        print(f"idle daemon over {options.idle_seconds} s: {cpu:.2f} ms CPU per second, {wakeups:.2f} wake-ups per second, {pss:.1f} MiB PSS")
        suspend_and_resume(options, env, f"{home}/h/default")
        status = json.loads(run([options.program, "status", "--json"], env)[1])
        print(f"machine: {status['arch']}, {status['cpus']} CPUs, accel {status['accel']}")
        print("phases of the last start, from the daemon's log:")
        with open(f"{home}/h/default/log/daemon.log") as log:
            lines = log.read().splitlines()
        begin = max(i for i, line in enumerate(lines) if line.endswith("stopped -> starting"))
        for line in lines[begin:]:
            if line.endswith(" ms)"):
                print("   ", line.split(" info ", 1)[1])
    finally:
        subprocess.run([options.program, "delete", "--data", "--force"], env=env, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)


main()
