#!/usr/bin/env python3
"""An engine on a host: by our socket, and by `docker -H ssh://`, to the same host and in turns.

    hosts_bench.py PROGRAM LAB_SUDO [--rounds N] [--delay MS]

PROGRAM is the installed colima-like, LAB_SUDO the lab_sudo of the test build. Takes root: the host is name spaces of this
computer (tests/support/host_lab.sh), and this program lives in a network of its own. With --delay each packet takes so long
there and back together, by netem or, where the kernel has none, by a relay in front of sshd. Prints medians, and our part of
theirs."""
import argparse
import asyncio
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve()
LAB = HERE.parent.parent / "support" / "host_lab.sh"


async def relay(host, port, milliseconds):
    """Between stdin/stdout and host:port, each byte so much later."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(own), os.fdopen(0, "rb"))
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(1, "wb"))
    out = asyncio.StreamWriter(transport, protocol, None, loop)
    delay = float(milliseconds) / 1000

    async def pump(source, sink):
        queue = asyncio.Queue()

        async def later():
            while True:
                at, data = await queue.get()
                await asyncio.sleep(max(0, at - loop.time()))
                if not data:
                    return
                sink.write(data)
                await sink.drain()

        task = asyncio.create_task(later())
        while True:
            data = await source.read(1 << 18)
            await queue.put((loop.time() + delay, data))
            if not data:
                break
        await task

    await asyncio.wait([asyncio.create_task(pump(own, writer)), asyncio.create_task(pump(reader, out))],
                       return_when=asyncio.FIRST_COMPLETED)
    os._exit(0)


def ping(read, write):
    write(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
    got = b""
    while b"\r\n\r\nOK" not in got:
        part = read()
        if not part:
            sys.exit("the engine does not answer a ping: " + repr(got))
        got += part


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, pathlib.Path(folder)
        self.lab_folder = self.folder / "lab"
        self.lab_folder.mkdir()
        wrappers = self.folder / "bin"
        wrappers.mkdir()
        (wrappers / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {self.lab_folder}/ssh_config "$@"\n')
        (wrappers / "ssh").chmod(0o755)
        self.environment = dict(os.environ, PATH=f"{wrappers}:{os.environ['PATH']}", COLIMA_LIKE_LAB_SUDO=options.sudo,
                                COLIMA_LIKE_HOME=str(self.folder / "h"), DOCKER_CONFIG=str(self.folder / "d"),
                                HOME=str(self.folder / "home"))
        for gone in ("DOCKER_HOST", "DOCKER_CONTEXT", "SSH_AUTH_SOCK"):
            self.environment.pop(gone, None)
        self.lab = subprocess.Popen(["sh", str(LAB), str(self.lab_folder), "with-docker"], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, env=self.environment)
        if b"ready" not in self.lab.stdout.readline():
            sys.exit("the host does not come up")
        if options.delay:
            self.add_delay()
        self.run([options.program, "start", "big", "--host", "lab"])
        self.socket = str(self.folder / "h/big/docker.sock")
        self.arms = {"ours": "unix://" + self.socket, "docker -H ssh://": "ssh://lab"}

    def add_delay(self):
        half = self.options.delay / 2
        netem = ["netem", "delay", f"{half}ms"]
        if subprocess.run(["tc", "qdisc", "add", "dev", "lab0", "root", *netem], capture_output=True).returncode == 0:
            inner = (self.lab_folder / "pid").read_text().strip()
            self.run(["nsenter", "-n", "-t", inner, "tc", "qdisc", "add", "dev", "lab1", "root", *netem])
            print(f"# {self.options.delay} ms by netem")
            return
        config = self.lab_folder / "ssh_config"
        config.write_text(f"ProxyCommand {sys.executable} {HERE} --relay 10.77.0.2 22 {half}\n" + config.read_text())
        print(f"# {self.options.delay} ms by a relay: this kernel has no netem")

    def run(self, words, **more):
        done = subprocess.run(words, env=self.environment, capture_output=True, **more)
        if done.returncode != 0:
            sys.exit(f"{words} failed: {done.stdout} {done.stderr}")
        return done.stdout

    def docker(self, arm, *words, **more):
        return self.run(["docker", "-H", self.arms[arm], *words], **more)

    def new_connection(self, arm):
        if arm == "ours":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.socket)
                ping(lambda: connection.recv(65536), connection.sendall)
            return
        process = subprocess.Popen(["ssh", "-o", "ConnectTimeout=30", "-T", "--", "lab", "docker", "system", "dial-stdio"],
                                   env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def write(data):
            process.stdin.write(data)
            process.stdin.flush()

        ping(lambda: os.read(process.stdout.fileno(), 65536), write)
        process.kill()
        process.wait()

    def save_and_load(self, arm):
        save = subprocess.Popen(["docker", "-H", self.arms[arm], "save", "noise"], env=self.environment,
                                stdout=subprocess.PIPE)
        self.docker(arm, "load", stdin=save.stdout)
        save.wait()

    def compare(self, what, work, rounds):
        times = {arm: [] for arm in self.arms}
        for _ in range(rounds):
            for arm, list_ in times.items():
                begun = time.perf_counter()
                work(arm)
                list_.append(time.perf_counter() - begun)
        ours, theirs = (statistics.median(times[arm]) * 1000 for arm in self.arms)
        print(f"{what:32} ours {ours:9.1f} ms   docker -H ssh:// {theirs:9.1f} ms   {ours / theirs:5.2f}", flush=True)

    def ports(self, count):
        ready = 0
        for i in range(count):
            name = self.docker("ours", "run", "-d", "-p", f"{20000 + i}:80", "box", "busybox", "nc", "-l", "-p", "80", "-e",
                               "/bin/busybox", "echo", "here").decode().strip()
            try:
                with socket.create_connection(("127.0.0.1", 20000 + i), 5) as connection:
                    ready += connection.recv(100) == b"here\n"
            except OSError as error:
                print(error)
            self.docker("ours", "rm", "-f", name)
        print(f"{'port ready when run returns':32} {ready} of {count}", flush=True)

    def make_images(self):
        tree = self.folder / "tree"
        (tree / "bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), tree / "bin/busybox")
        for name, size in (("box", 0), ("noise", 64 << 20)):
            (tree / "noise").write_bytes(os.urandom(size))
            tar = self.run(["tar", "-C", str(tree), "-c", "."])
            self.docker("ours", "import", "-", name, input=tar)

    def measure(self):
        self.make_images()
        rounds = self.options.rounds
        self.compare("new connection and _ping", self.new_connection, 3 * rounds)
        self.compare("docker ps", lambda arm: self.docker(arm, "ps"), rounds)
        self.compare("docker save | docker load, 64 MiB", self.save_and_load, max(3, rounds // 4))
        self.ports(self.options.ports)

    def end(self):
        subprocess.run([self.options.program, "delete", "big", "--force"], env=self.environment, capture_output=True)
        self.lab.stdin.close()
        self.lab.wait()


def main():
    if sys.argv[1:2] == ["--relay"]:
        return asyncio.run(relay(*sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("sudo")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--ports", type=int, default=100)
    parser.add_argument("--delay", type=float, default=0)
    options = parser.parse_args()
    if not os.environ.get("HOSTS_BENCH_APART"):
        os.environ["HOSTS_BENCH_APART"] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, str(HERE), *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="hb.", dir="/tmp", ignore_cleanup_errors=True) as folder:
        (pathlib.Path(folder) / "home").mkdir()
        bench = Bench(options, folder)
        try:
            bench.measure()
        finally:
            bench.end()


if __name__ == "__main__":
    main()
