#!/bin/sh
# What a boot and a container's start cost an emulated guest, in its own instructions: the same on a loaded computer.
#
#   tests/bench/instructions.sh PROGRAM [RUNS]     PROGRAM is an installed colima-like; needs busybox and docker
#
# QEMU counts instructions (2 ns of the guest's clock each) on one thread, by a program of its name in front in PATH. Prints
# seconds of the guest's clock: of the boot to the first command behind `start`, and of `docker run --rm box true` by crun
# alone and by the agent, in turns.
set -eu
program=$(realpath "$1")
runs=${2:-6}
root=$(mktemp -d)
qemu=$(command -v qemu-system-x86_64)
mkdir -p "$root/bin" "$root/user" "$root/docker" "$root/box/bin"
cat > "$root/bin/qemu-system-x86_64" << WRAPPER
#!/usr/bin/env python3
import os, sys
words = ["tcg,thread=single,tb-size=512" if word.startswith("tcg,") else word for word in sys.argv[1:]]
if "guest=colima-like,debug-threads=on" in words:
    words += ["-icount", "shift=1,sleep=off"]
os.execv("$qemu", ["$qemu"] + words)
WRAPPER
chmod 755 "$root/bin/qemu-system-x86_64"
export PATH="$root/bin:$PATH" HOME="$root/user" DOCKER_CONFIG="$root/docker" COLIMA_LIKE_HOME="$root/home"
export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)/.cache}"
trap '"$program" delete --data --force > "$root/end" 2>&1; rm -rf "$root"' EXIT

"$program" start > "$root/start" 2>&1 || { cat "$root/start" >&2; exit 1; }
echo "boot $("$program" ssh -- cut -d' ' -f1 /proc/uptime)"
cp "$(command -v busybox)" "$root/box/bin/busybox"
ln -s busybox "$root/box/bin/true"
tar -C "$root/box" -c . | docker -H "unix://$root/home/default/docker.sock" import - box > "$root/image"
cat > "$root/user/turn" << 'TURN'
ln -sfn "$2" /usr/lib/colima-like/crun
docker run --rm box true
begin=$(cut -d' ' -f1 /proc/uptime)
for i in $(seq "$3"); do docker run --rm box true; done
end=$(cut -d' ' -f1 /proc/uptime)
echo "$1 $begin $end $3" | awk '{printf "%s %.3f\n", $1, ($3 - $2) / $4}'
TURN
for turn in 1 2; do
  "$program" ssh -- sh "$root/user/turn" crun /usr/bin/crun "$runs"
  "$program" ssh -- sh "$root/user/turn" agent colima-like-agent "$runs"
done
