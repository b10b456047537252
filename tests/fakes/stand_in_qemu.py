#!/usr/bin/env python3
"""A stand-in for qemu-system-*, for tests that kill it and its daemon some hundred times.

It takes QEMU's command line as vm/qemu/command_line.cpp writes it, talks QMP, and has this host's sshd behind the
machine's ports, whose only command is a guest that agrees with everything. No processor runs.

Its "memory" is one number, which it raises and writes into the last block of the data disk all the time while the
machine runs. Saved memory holds the number of that moment. So a machine that is resumed over a disk that others have
written to in between finds another number on the disk than in its memory: that is a torn resume, which it reports in
the file `torn` beside the disk. Nothing else would show such a fault before it has eaten a file system.

While there is a file `no-save` beside the disk, saving fails half-way.
"""

import ctypes
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time

BLOCK = 4096
TICK = 0.002  # seconds between two writes to the disk
LONGEST_MIGRATION = 0.08  # seconds
PR_SET_PDEATHSIG = 1
END = {"quit": "host-qmp-quit", "system_powerdown": "guest-shutdown"}

GUEST = r"""
case ${SSH_ORIGINAL_COMMAND-} in
  *colima-like-agent*) echo 'error it is none that runs anything' ;;
  yes) exec yes ;;
  *) cat >/dev/null ;;
esac
"""


def option(name, start=""):
    """The value of the first `name` whose value begins with `start`, without it."""
    for flag, value in zip(sys.argv, sys.argv[1:]):
        if flag == name and value.startswith(start):
            return value[len(start):]
    return None


def field(value, name):
    for part in value.replace(",,", "\0").split(","):
        if part.startswith(name + "="):
            return part[len(name) + 1:].replace("\0", ",")
    return None


def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)
    return listener


class Machine:
    def __init__(self, disk):
        self.disk = os.open(disk, os.O_RDWR)
        self.place = os.fstat(self.disk).st_size - BLOCK
        self.torn = os.path.join(os.path.dirname(disk), "torn")
        self.no_save = os.path.join(os.path.dirname(disk), "no-save")
        self.number = self.on_disk()
        self.lock = threading.Lock()
        self.status = "inmigrate" if option("-incoming") else "running"
        self.migration = {"status": "none"}
        threading.Thread(target=self.run, daemon=True).start()

    def on_disk(self):
        return int.from_bytes(os.pread(self.disk, 8, self.place), "little")

    def run(self):
        while True:
            with self.lock:
                if self.status == "running":
                    self.number += 1
                    os.pwrite(self.disk, self.number.to_bytes(8, "little"), self.place)
            time.sleep(TICK)

    def enter(self, status):
        with self.lock:
            self.status = status

    def save(self, file, offset):
        """Behind the place of the memory, which the daemon copies by itself when it is a file of its own."""
        pieces = 8
        with open(file, "wb") as out:
            out.seek(offset)
            for piece in range(pieces):
                if piece == pieces // 2 and os.path.exists(self.no_save):
                    raise OSError("No space left on device")
                out.write(os.urandom(BLOCK))
                out.flush()
                time.sleep(random.uniform(0, LONGEST_MIGRATION / pieces))
            out.write(b"end:" + str(self.number).encode())
        self.enter("postmigrate")

    def load(self, file, offset):
        with open(file, "rb") as memory:
            memory.seek(offset)
            content = memory.read()
        time.sleep(random.uniform(0, LONGEST_MIGRATION))
        mark = content.rfind(b"end:")
        if mark < 0:
            raise ValueError("the memory has no end")
        self.number = int(content[mark + 4:])
        if self.number != self.on_disk():
            with open(self.torn, "a", encoding="ascii") as torn:
                torn.write(f"memory {self.number}, disk {self.on_disk()}\n")
        self.enter("paused")


class Control:
    """QMP, one client at a time."""

    def __init__(self, path, machine):
        self.listener = listen(path)
        self.machine = machine
        self.client = None

    def send(self, message):
        try:
            self.client.sendall(json.dumps(message).encode() + b"\r\n")
        except OSError:
            pass  # a client that was killed; the next one asks again

    def event(self, name, **data):
        self.send({"event": name, "data": data, "timestamp": {"seconds": int(time.time()), "microseconds": 0}})

    def serve(self):
        while True:
            self.client, _ = self.listener.accept()
            self.send({"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}}, "capabilities": []}})
            try:
                for line in self.client.makefile("rb"):
                    request = json.loads(line)
                    command = request["execute"]
                    self.send({"return": self.execute(command), "id": request.get("id")})
                    if command in ("migrate", "migrate-incoming"):
                        place = request["arguments"]["channels"][0]["addr"]
                        threading.Thread(target=self.migrate, args=(command, place["filename"], place["offset"]), daemon=True).start()
                    if command in END:
                        self.event("SHUTDOWN", guest=command != "quit", reason=END[command])
                        os._exit(0)
            except OSError:
                pass
            self.client.close()

    def execute(self, command):
        if command == "query-status":
            return {"status": self.machine.status, "running": self.machine.status == "running"}
        if command == "query-migrate":
            return self.machine.migration
        if command == "stop":
            self.machine.enter("paused")
        if command == "cont":
            self.machine.enter("running")
        return {}

    def migrate(self, command, file, offset):
        self.machine.migration = {"status": "active"}
        try:
            (self.machine.save if command == "migrate" else self.machine.load)(file, offset)
            self.machine.migration = {"status": "completed"}
        except (OSError, ValueError) as error:
            self.machine.migration = {"status": "failed", "error-desc": str(error)}
        self.event("MIGRATION", status=self.machine.migration["status"])


def die_with_us():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def accept_pair(to_guest, from_guest):
    inwards, _ = to_guest.accept()
    outwards, _ = from_guest.accept()
    # Whoever was killed between its two connections has left the first one; the one that belongs to ours is behind it.
    while select.select([to_guest], [], [], 0)[0]:
        inwards.close()
        inwards, _ = to_guest.accept()
    return inwards, outwards


def serve_ssh(to_guest, from_guest, config):
    while True:
        inwards, outwards = accept_pair(to_guest, from_guest)
        try:
            outwards.sendall(b"\r\ncolima-like\r\n")
            # This thread waits for it, and so lives as long: the kernel takes its end for ours.
            sshd = subprocess.Popen(["/usr/sbin/sshd", "-i", "-f", config], stdin=inwards, stdout=outwards,
                                    stderr=subprocess.DEVNULL, preexec_fn=die_with_us)
            inwards.close()
            outwards.close()
            sshd.wait()
        except OSError:
            pass


def sshd_config(run_directory):
    credentials = {}
    for flag, value in zip(sys.argv, sys.argv[1:]):
        if flag == "-fw_cfg":
            credentials[field(value, "name").rsplit("/", 1)[1]] = field(value, "file")
    guest = os.path.join(run_directory, "guest.sh")
    with open(guest, "w", encoding="ascii") as script:
        script.write(GUEST)
    config = os.path.join(run_directory, "sshd_config")
    with open(config, "w", encoding="ascii") as out:
        out.write(f"HostKey {credentials['colima-like.hostkey']}\n"
                  f"AuthorizedKeysFile {credentials['colima-like.authorized_keys']}\n"
                  f"ForceCommand /bin/sh {guest}\n"
                  "PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nUseDNS no\nPidFile none\nSetEnv SHLVL=1\n"
                  "PrintMotd no\nPrintLastLog no\n")
    return config


def main():
    sockets = {field(value, "id"): field(value, "path") for flag, value in zip(sys.argv, sys.argv[1:])
               if flag == "-chardev" and value.startswith("socket,")}
    disk = next(field(value, "filename") for flag, value in zip(sys.argv, sys.argv[1:])
                if flag == "-blockdev" and "node-name=data-file" in value)
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's own requirement
    config = sshd_config(os.path.dirname(sockets["qmp"]))
    machine = Machine(disk)
    for name in sockets:
        if name.startswith("ssh") and name.endswith("-in"):
            pair = (listen(sockets[name]), listen(sockets[name[:-3] + "-out"]))
            threading.Thread(target=serve_ssh, args=(*pair, config), daemon=True).start()
    Control(sockets["qmp"], machine).serve()


main()
