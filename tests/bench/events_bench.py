#!/usr/bin/env python3
"""Times file events: from an edit on this host until a program that watches the file in a container has said so here.

    tests/bench/events_bench.py PROGRAM [--edits 100] [--burst 10000] [--files 100000] [--idle 60]

In a home of its own, with the user's image cache. The watcher is tests/e2e/file_watcher.cpp,
built by this; its words come back over `docker attach`, so that the time of that way is in each sample. Idle is the daemon's CPU time while a container mounts a folder with
so many files and nothing changes. Prints; asserts nothing.
"""
import argparse
import os
import pathlib
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from start_bench import daemon_pid, idle_cost, report, run


def import_busybox(env, where):
    """An image that holds busybox alone."""
    tree = pathlib.Path(where, "tree")
    (tree / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox") or sys.exit("busybox is not here: apt-get install busybox-static")
    shutil.copy(busybox, tree / "bin" / "busybox")
    (tree / "bin" / "sh").symlink_to("busybox")
    archive = pathlib.Path(where, "box.tar")
    subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
    run(["docker", "import", str(archive), "box"], env)


class Watcher:
    """A container that prints what happens in a folder; lines come with the time they were read."""

    def __init__(self, env, name, source, events):
        self.env, self.name = env, name
        shutil.copy(pathlib.Path(source).parent / "watcher", pathlib.Path(source) / "watcher")
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            ["docker", "run", "--rm", "--name", name, "-v", f"{source}:/src", "box", "sh", "-c",
             f"exec /src/watcher {events} /src"],
            env=env, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()
        self.until("ready")
        time.sleep(2)

    def read(self):
        for line in self.process.stdout:
            self.lines.put((time.monotonic(), line.rstrip("\n")))

    def until(self, end, limit=60):
        deadline = time.monotonic() + limit
        while True:
            when, line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            if line.endswith(end):
                return when

    def stop(self):
        subprocess.run(["docker", "rm", "-f", self.name], env=self.env, stdout=subprocess.DEVNULL, check=True)
        self.process.wait()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("program")
    options.add_argument("--edits", type=int, default=100)
    options.add_argument("--burst", type=int, default=10000)
    options.add_argument("--files", type=int, default=100000)
    options.add_argument("--idle", type=int, default=60)
    args = options.parse_args()
    home = tempfile.mkdtemp(prefix="cl-events-", dir="/tmp")
    source, tree = pathlib.Path(home, "src"), pathlib.Path(home, "tree-of-many")
    env = {**os.environ, "COLIMA_LIKE_HOME": f"{home}/home", "DOCKER_CONFIG": f"{home}/docker"}
    source.mkdir()
    watcher = pathlib.Path(__file__).parent.parent / "e2e" / "file_watcher.cpp"
    subprocess.run([os.environ.get("CXX", "clang++-19"), "-std=c++20", "-O1", "-static", watcher, "-o", f"{home}/watcher"], check=True)
    for i in range(args.files):
        if i % 10 == 0:
            (tree / str(i // 1000) / str(i // 10 % 100)).mkdir(parents=True, exist_ok=True)
        (tree / str(i // 1000) / str(i // 10 % 100) / str(i)).touch()
    try:
        run([args.program, "start", "--set", f'shares=["{source}", "{tree}"]'], env)
        import_busybox(env, home)
        watcher = Watcher(env, "watcher", source, "wnyd")
        samples = {"modify": [], "create": [], "delete": []}
        edited = source / "edited"
        edited.write_text("0")
        watcher.until("w\t/src\tedited")
        for i in range(args.edits):
            for kind, name in (("modify", "edited"), ("create", f"new{i}"), ("delete", f"new{i}")):
                began = time.monotonic()
                if kind == "delete":
                    (source / name).unlink()
                else:
                    (source / name).write_text(str(i))
                letter = {"modify": "w", "create": "n", "delete": "d"}[kind]
                samples[kind].append((watcher.until(f"{letter}\t/src/{name}".replace("/src/", "/src\t")) - began) * 1000)
                time.sleep(0.02)
        for kind, times in samples.items():
            report(f"{kind} to the watcher's word", times, "ms", 1)
        watcher.stop()

        watcher = Watcher(env, "counter", source, "n")
        began = time.monotonic()
        for i in range(args.burst):
            (source / f"burst{i}").write_text("x")
        written = time.monotonic() - began
        seen, deadline = set(), time.monotonic() + 120
        while len(seen) < args.burst and time.monotonic() < deadline:
            try:
                seen.add(watcher.lines.get(timeout=5)[1])
            except queue.Empty:
                break
        print(f"burst of {args.burst} new files, written in {written:.2f} s: {len(seen)} seen after {time.monotonic() - began:.2f} s")
        watcher.stop()

        watcher = Watcher(env, "idle", tree, "n")
        time.sleep(5)
        cpu, wakeups, pss = idle_cost(daemon_pid(f"{home}/home/default/lock"), args.idle)
        print(f"idle with {args.files} files watched: {cpu:.2f} ms CPU/s, {wakeups:.1f} wake-ups/s, {pss:.1f} MiB")
        print(run([args.program, "status"], env)[1])
        watcher.stop()
    finally:
        subprocess.run([args.program, "delete", "--data", "--force"], env=env)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
