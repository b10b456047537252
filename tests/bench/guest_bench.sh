#!/bin/bash
# What goes through an emulated or real guest: a published port in bulk with QEMU's CPU, `docker save`, and `_ping` over the socket
# against the same request in the guest. Linux, QEMU; needs busybox (static), curl and python3. Prints, asserts nothing.
#
#   tests/bench/guest_bench.sh PROGRAM     in a profile of its own, with the user's image cache
set -eu
program=$(realpath "$1")
home=$(mktemp -d)
export COLIMA_LIKE_HOME=$home/profiles DOCKER_CONFIG=$home/docker
trap '"$program" delete -f --data >/dev/null 2>&1; rm -rf "$home"' EXIT
"$program" start >/dev/null 2>&1
socket=$COLIMA_LIKE_HOME/default/docker.sock
export DOCKER_HOST=unix://$socket
mkdir -p "$home/box/bin" "$home/data"
cp "$(command -v busybox)" "$home/box/bin/busybox"
ln -s busybox "$home/box/bin/sh"
head -c 67108864 /dev/urandom >"$home/data/random"
tar -C "$home/box" -c . | docker import - box >/dev/null
tar -C "$home/data" -c . | docker import - data >/dev/null
# shellcheck disable=SC2016  # for the container's shell
docker run -d --name source -p 19191:9000 -p 19192:9001 -p 19193:9002 -p 19194:9003 box busybox sh -c \
  'for p in 9000 9001 9002 9003; do (while :; do busybox nc -l -p $p -e busybox dd if=/dev/zero bs=1M count=64; done) & done; wait' >/dev/null
sleep 2 # until they listen
python3 - "$home" "$program" <<'PYTHON'
import collections, os, pathlib, socket, subprocess, sys, threading, time

def qemu():
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().startswith("qemu-system") and sys.argv[1].encode() in (process / "cmdline").read_bytes():
                return process
        except OSError:
            pass
    sys.exit("there is no QEMU")

def daemon():
    """The one of this home: it has most CPU of those that are called so."""
    def names_home(process):
        try:
            return (process / "comm").read_text() == "colima-like\n" and sys.argv[1].encode() in (process / "environ").read_bytes()
        except OSError:
            return False
    return max(filter(names_home, pathlib.Path("/proc").glob("[0-9]*")), key=lambda process: cpu_by_thread(process).total())

def cpu_by_thread(process):
    """CPU seconds by the names of its threads."""
    seconds = collections.Counter()
    for stat in process.glob("task/*/stat"):
        try:
            name, fields = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue  # it has ended
        fields = fields.split()
        seconds[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds

def guest_cpu():
    """Seconds of the guest's CPUs by the program that had them (with the children that it waited for), and of its interrupts."""
    said = subprocess.run([sys.argv[2], "ssh", "--", "head -n 1 /proc/stat; cat /proc/[0-9]*/stat 2>/dev/null"], capture_output=True, text=True).stdout
    seconds = collections.Counter()
    for line in said.splitlines():
        if line.startswith("cpu "):
            fields = line.split()
            seconds["(interrupts)"] += (int(fields[6]) + int(fields[7])) / 100
            continue
        name, fields = line.split("(", 1)[1].rsplit(")", 1)
        if name.startswith("sshd"):
            continue  # ours, which asks
        fields = fields.split()
        seconds[name.split("/")[0]] += sum(map(int, fields[11:13])) / 100
        seconds[name.split("/")[0] + "'s children"] += sum(map(int, fields[13:15])) / 100
    return seconds

def fetch(port, sizes):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        buffer, size = bytearray(1 << 20), 0
        while got := connection.recv_into(buffer):
            size += got
        sizes.append(size)

machine, host = qemu(), daemon()
for streams in (1, 1, 4, 4):
    guest = guest_cpu()
    sizes, began, before, before_daemon = [], time.monotonic(), cpu_by_thread(machine), cpu_by_thread(host)
    threads = [threading.Thread(target=fetch, args=(19191 + n, sizes)) for n in range(streams)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    mib = sum(sizes) / 2**20
    speed, of_qemu, of_daemon = mib / (time.monotonic() - began), cpu_by_thread(machine) - before, cpu_by_thread(host) - before_daemon
    print(f"published port, {streams} streams: {speed:.0f} MiB/s, QEMU {of_qemu.total() / mib * 1024:.1f} CPU s for each GiB")
    print("    here: " + ", ".join(f"{name} {seconds / mib * 1024:.1f}" for name, seconds in of_qemu.most_common(4)) +
          f", the daemon {of_daemon.total() / mib * 1024:.1f}")
    time.sleep(1)  # nc listens again
    taken = guest_cpu() - guest
    print("    of the guest's: " + ", ".join(f"{name} {seconds / mib * 1024:.1f}" for name, seconds in taken.most_common(8)))
PYTHON
docker rm -f source >/dev/null
for _ in 1 2; do
  began=$(date +%s%N)
  docker save data | cat >/dev/null
  echo "docker save of 64 MiB: $((($(date +%s%N) - began) / 1000000)) ms"
done
median() { sort -n | awk '{a[NR] = $1} END {if (NR) printf "%.2f ms\n", a[int((NR + 1) / 2)] * 1000}'; }
ping="curl -s -o /dev/null -w '%{time_total}\n' 'http://d/_ping?[1-300]' --unix-socket"
for _ in 1 2; do
  echo "_ping here, kept connection, median: $(eval "$ping" "$socket" | median)"
  echo "_ping in the guest: $("$program" ssh -- "$ping /var/run/docker.sock" 2>/dev/null | median)"
done
