#!/usr/bin/env python3
"""Times a profile's life as a user sees it: start, status, idle cost, suspend and resume, memory given back.

    tests/bench/start_bench.py PROGRAM [--runs 7] [--accel auto|tcg|kvm] [--arch host|x86_64|aarch64]
                               [--only start|idle|foreign|suspend|memory ...]

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


def guest_memory(pid, size):
    """MiB that are resident of a hypervisor's mapping of `size` bytes, which is the guest's memory; the rest of a
    hypervisor that emulates is translated code for the most part."""
    with open(f"/proc/{pid}/smaps") as mappings:
        wanted = False
        for line in mappings:
            if span := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
                wanted = int(span[2], 16) - int(span[1], 16) == size
            elif wanted and line.startswith("Rss:"):
                return int(line.split()[1]) / 1024
    sys.exit(f"process {pid} has no mapping of {size} bytes")


def resume(options, env, profile):
    """Seconds from exec of `start` to the first answer on the socket."""
    began = time.monotonic()
    starting = subprocess.Popen([options.program, "start"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ping(f"{profile}/docker.sock")
    took = time.monotonic() - began
    starting.wait()
    return took


def clock_error(options, env):
    """How late the guest's clock is, in ms, and how sure that is: half of the quickest of 30 round trips."""
    command = [options.program, "ssh", "--", "bash", "-c", "while read -r _; do echo $EPOCHREALTIME; done"]
    guest = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    samples = []
    for _ in range(30):
        before = time.time()
        guest.stdin.write("\n")
        told = float(guest.stdout.readline())
        after = time.time()
        samples.append((after - before, (before + after) / 2 - told))
    guest.stdin.close()
    guest.wait()
    trip, late = min(samples)
    return late * 1000, trip * 500


def by_memory(options, env, profile):
    for memory in (1, 2, 4):
        run([options.program, "stop"], env)
        run([options.program, "start", "--accel", options.accel, "--memory", f"{memory}GiB"], env)
        resumes = []
        for _ in range(options.runs):
            run([options.program, "suspend"], env)
            time.sleep(2)
            resumes.append(resume(options, env, profile))
            time.sleep(2)
        report(f"resume with {memory} GiB", resumes)


def memory_given_back(options, env, profile):
    """A container takes 1 GiB and ends: what QEMU keeps of it, beside what the guest uses."""
    busybox = shutil.which("busybox")
    if busybox is None:
        print("memory given back: not measured, there is no busybox here")
        return
    with tempfile.TemporaryDirectory() as tree:
        shutil.copy(busybox, f"{tree}/busybox")
        tar = subprocess.run(["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["docker", "import", "-", "bench-busybox"], env=env, input=tar, stdout=subprocess.DEVNULL, check=True)
    status = json.loads(run([options.program, "status", "--json"], env)[1])
    machine, size = status["pid"], status["memory"]

    def used():  # with what the kernel keeps for itself, which MemTotal leaves out
        facts = dict(line.split(":") for line in run([options.program, "ssh", "--", "cat", "/proc/meminfo"], env)[1].splitlines())
        return size / 2**20 - int(facts["MemFree"].split()[0]) / 1024

    before = resident(machine)[0], guest_memory(machine, size)
    run(["docker", "run", "--rm", "--shm-size", "1100m", "bench-busybox", "/busybox", "sh", "-c",
         "/busybox dd if=/dev/zero of=/dev/shm/x bs=1M count=1024 2>/dev/null"], env)
    samples = []
    for _ in range(6):
        samples.append((resident(machine)[0], guest_memory(machine, size)))
        time.sleep(3)
    now = used()
    print(f"memory given back, MiB of QEMU (of the guest's memory in it): {before[0]:.0f} ({before[1]:.0f}) before, "
          f"then every 3 s after 1 GiB was freed {' '.join(f'{all:.0f} ({ram:.0f})' for all, ram in samples)}; "
          f"the guest uses {now:.0f} MiB: {samples[-1][1] / now:.2f}x")


def suspend_and_resume(options, env, profile):
    """Suspends, and resumes by each way that a user has; the socket's first answer ends the time."""
    suspends, resumes, wakes, clocks = [], [], [], []
    before = resident(daemon_pid(f"{profile}/lock"))
    for _ in range(options.runs):
        suspends.append(run([options.program, "suspend"], env)[0])
        time.sleep(2)
        resumes.append(resume(options, env, profile))
        late, half = clock_error(options, env)
        clocks.append(late)
        time.sleep(2)
        run([options.program, "suspend"], env)
        time.sleep(2)
        wakes.append(run(["docker", "version"], env)[0])
        time.sleep(2)
    after = resident(daemon_pid(f"{profile}/lock"))
    report("suspend", suspends)
    report("resume: start to the first /_ping", resumes)
    report("wake: docker version", wakes)
    report(f"guest's clock is late (+-{half:.0f} ms)", clocks, "ms", 1)
    print(f"daemon before and after {2 * options.runs} cycles: {before[0]:.1f} and {after[0]:.1f} MiB PSS, "
          f"{before[1]} and {after[1]} descriptors")
    run([options.program, "suspend"], env)
    time.sleep(5)
    cpu, wakeups, pss = idle_cost(daemon_pid(f"{profile}/lock"), options.idle_seconds)
    saved = json.loads(run([options.program, "status", "--json"], env)[1])["saved_bytes"]
    print(f"suspended: {cpu:.2f} ms CPU per second, {wakeups:.2f} wake-ups per second, {pss:.1f} MiB PSS, "
          f"{saved / 2**20:.0f} MiB on disk")
    run([options.program, "start"], env)


def cold_starts(options, env, start):
    to_ping, to_version, stops = [], [], []
    for _ in range(options.runs):
        began = time.monotonic()
        run(start, env)
        to_ping.append(time.monotonic() - began)  # `start` returns when the engine has answered on the socket
        run(["docker", "version"], env)
        to_version.append(time.monotonic() - began)
        stops.append(run([options.program, "stop"], env)[0])
    report("cold start to the engine's answer", to_ping)
    report("cold start to docker version", to_version)
    report("stop", stops)


def import_program(options, env, platform, arch):
    """An image with the tiny program that the set-up runs for this platform; the machine has it in a file."""
    program = subprocess.run([options.program, "ssh", "--", "cat", f"/var/cache/colima-like/{arch}"], env=env,
                             stdout=subprocess.PIPE, check=True).stdout
    with tempfile.TemporaryDirectory() as tree:
        with open(f"{tree}/machine", "wb") as file:
            file.write(program)
        os.chmod(f"{tree}/machine", 0o755)
        tar = subprocess.run(["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["docker", "import", "--platform", platform, "-", f"bench-{arch}"], env=env, input=tar,
                   stdout=subprocess.DEVNULL, check=True)


def foreign_runs(options, env):
    """docker run of the same small static program, natively and by qemu-user, A B B A."""
    arch = json.loads(run([options.program, "status", "--json"], env)[1])["arch"]
    native = ("linux/386", "i386") if arch == "x86_64" else ("linux/arm/v7", "arm")
    foreign = ("linux/arm64", "aarch64") if arch == "x86_64" else ("linux/amd64", "x86_64")
    for platform, name in (native, foreign):
        import_program(options, env, platform, name)
    samples = {native: [], foreign: []}
    for _ in range(options.runs):
        for one in (native, foreign, foreign, native):
            samples[one].append(run(["docker", "run", "--rm", "--platform", one[0], f"bench-{one[1]}", "/machine"], env)[0])
    report(f"docker run, {native[0]}, native", samples[native])
    report(f"docker run, {foreign[0]}, qemu-user", samples[foreign])
    ratio = statistics.median(samples[foreign]) / statistics.median(samples[native])
    print(f"foreign against native: {ratio:.2f}")


def small_commands(options, env, profile):
    report("status", [run([options.program, "status"], env)[0] * 1000 for _ in range(20)], "ms", 1)
    report("--help", [run([options.program, "--help"], env)[0] * 1000 for _ in range(20)], "ms", 1)
    report("ssh -- true", [run([options.program, "ssh", "--", "true"], env)[0] * 1000 for _ in range(20)], "ms", 1)
    report("docker version", [run(["docker", "version"], env)[0] * 1000 for _ in range(20)], "ms", 1)
    time.sleep(5)
    cpu, wakeups, pss = idle_cost(daemon_pid(f"{profile}/lock"), options.idle_seconds)
    print(f"idle daemon over {options.idle_seconds} s: {cpu:.2f} ms CPU per second, {wakeups:.2f} wake-ups per second, "
          f"{pss:.1f} MiB PSS")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--accel", default="auto")
    parser.add_argument("--idle-seconds", type=int, default=30)
    parser.add_argument("--arch", default="host", help="of the machine: host, x86_64 or aarch64")
    parts = ["start", "idle", "foreign", "suspend", "memory"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    home = tempfile.mkdtemp(prefix="cl-bench-", dir="/tmp")
    profile = f"{home}/h/default"
    env = dict(os.environ, COLIMA_LIKE_HOME=f"{home}/h", DOCKER_CONFIG=f"{home}/d", COLIMA_LIKE_CACHE=os.environ.get(
        "COLIMA_LIKE_CACHE", os.path.expanduser("~/.cache/colima-like")))
    env.pop("DOCKER_HOST", None)
    env["COLIMA_LIKE_ARCH"] = options.arch
    start = [options.program, "start", "--accel", options.accel]
    try:
        run([options.program, "image", "build", "--arch", options.arch], env)
        if "start" in options.only:
            cold_starts(options, env, start)
        run(start, env)
        if "idle" in options.only:
            small_commands(options, env, profile)
        if "foreign" in options.only:
            foreign_runs(options, env)
        if "suspend" in options.only:
            suspend_and_resume(options, env, profile)
        if "memory" in options.only:
            memory_given_back(options, env, profile)
            by_memory(options, env, profile)
        status = json.loads(run([options.program, "status", "--json"], env)[1])
        print(f"machine: {status['arch']}, {status['cpus']} CPUs, accel {status['accel']}")
        print("phases of the last boot, from the daemon's log:")
        with open(f"{profile}/log/daemon.log") as log:
            lines = log.read().splitlines()
        begin = max(i for i, line in enumerate(lines) if line.endswith("stopped -> starting"))
        end = next((i for i, line in enumerate(lines) if i > begin and line.endswith("starting -> running")), len(lines))
        for line in lines[begin:end]:
            if line.endswith(" ms)"):
                print("   ", line.split(" info ", 1)[1])
    finally:
        subprocess.run([options.program, "delete", "--data", "--force"], env=env, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
