#!/usr/bin/env python3
"""A stand-in for vfkit, for tests on hosts without Apple's framework.

It takes vfkit's command line (vfkit_grammar.py), serves the same REST interface, makes the same unix sockets and ends with
the same exit codes. It is as faithful in what vfkit does badly: the end of one direction of a vsock connection is not passed
on, SIGTERM waits for the guest for five seconds only, a socket that cannot be made is a warning, a REST socket that is in the way
ends it, files that it made stay behind.

The machine is one of
  qemu   the same kernel and disks under qemu-system-*, by emulation. There is no vsock here, so each connection to port 22
         becomes a pair of the virtio-serial ports that our own images have sshd on.
  sshd   no machine: this host's sshd, as root, with the keys of the initrd and a shell that agrees with everything
  none   nothing; connections to the guest end at once
as $COLIMA_LIKE_FAKE_GUEST says. $COLIMA_LIKE_FAKE_FAULTS is a list with commas of
  exit-at-start   ends with exit code 1 after a message, before the machine
  no-rosetta      the same, but only for a machine with Rosetta
  old             tells version 0.6.1
  mute            does not tell its version
  slow-boot       the machine runs after three seconds
  never-runs      it never does
  no-vsock        warns that it cannot make the sockets to the guest, and goes on
  ignore-stop     Stop changes nothing
  sigterm-hang    SIGTERM stops the machine, but not the process
  rest-hang       accepts connections to its REST socket and says nothing
  lost-close      the guest is not told either of a client that closed its connection altogether
$COLIMA_LIKE_FAKE_ROSETTA is a directory that the machine finds as the share "rosetta".
"""
import ctypes
import http.server
import json
import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vfkit_grammar  # noqa: E402

FAULTS = set(filter(None, os.environ.get("COLIMA_LIKE_FAKE_FAULTS", "").split(",")))
GUEST = os.environ.get("COLIMA_LIKE_FAKE_GUEST", "qemu")
PR_SET_PDEATHSIG = 1
SSH_PORTS = 4  # pairs of serial ports of our images
MARK = b"\r\ncolima-like\r\n"  # what they begin with
MAY = {"Running": ("canPause", "canStop", "canHardStop"), "Paused": ("canResume", "canStop", "canHardStop")}


def log(level, text):
    print(f'time="{time.strftime("%Y-%m-%dT%H:%M:%S")}" level={level} msg="{text}"', file=sys.stderr, flush=True)


def fail(text):
    print(f"Error: {text}", file=sys.stderr, flush=True)
    log("error", text)
    os._exit(1)


def die_with_us():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    return listener


def device(config, kind, **wanted):
    return [one for one in config["devices"]
            if one["kind"] == kind and all(one.get(key) == value for key, value in wanted.items())]


# --- machines --------------------------------------------------------------------------------------------------------


class NoGuest:
    """A machine in name alone; it hears its power button."""

    def __init__(self, config):
        self.ended = threading.Event()
        console = device(config, "virtio-serial")
        if console and console[0]["logFile"]:
            self.console = open(console[0]["logFile"], "w", encoding="ascii")

    def press_button(self):
        if hasattr(self, "console"):
            self.console.write("[    1.000000] reboot: Power down\n")
            self.console.flush()
        self.ended.set()

    def set_paused(self, paused):
        pass

    def end(self):
        self.ended.set()

    def dial(self):
        """Two sockets, to and from an SSH server in the guest, or nothing while there is none."""
        return None

    def release(self, port):
        pass


class Sshd(NoGuest):
    """This host's sshd in place of a guest."""

    SHELL = r"""
case ${SSH_ORIGINAL_COMMAND-} in
  *colima-like-agent*) echo 'error it is none that runs anything' ;;
  *poweroff*) touch "$0.off" ;;
  */proc/net/route*) echo 10.0.2.2 ;;
  *) cat >/dev/null ;;
esac
"""

    def __init__(self, config):
        super().__init__(config)
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's own requirement
        self.directory = os.path.dirname(config["rest"])
        keys = credentials_of(config["bootloader"]["initrd"])
        for name, content in keys.items():
            self.write("guest." + name, content)
        self.write("guest.sh", self.SHELL.encode())
        self.config = self.write("guest.sshd_config", (
            f"HostKey {self.directory}/guest.colima-like.hostkey\n"
            f"AuthorizedKeysFile {self.directory}/guest.colima-like.authorized_keys\n"
            f"ForceCommand /bin/sh {self.directory}/guest.sh\n"
            "PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nUseDNS no\nPidFile none\nSetEnv SHLVL=1\n"
            "PrintMotd no\nPrintLastLog no\n").encode())
        self.paused = False
        threading.Thread(target=self.watch_for_power_off, daemon=True).start()

    def write(self, name, content):
        path = os.path.join(self.directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        return path

    def watch_for_power_off(self):
        while not os.path.exists(os.path.join(self.directory, "guest.sh.off")):
            time.sleep(0.05)
        if "ignore-poweroff" not in FAULTS:
            self.press_button()

    def set_paused(self, paused):
        self.paused = paused

    def dial(self):
        ours, theirs = socket.socketpair()
        serving = threading.Event()

        def serve():
            # This thread waits for it, and so lives as long: the kernel takes its end for ours.
            sshd = subprocess.Popen(["/usr/sbin/sshd", "-i", "-f", self.config], stdin=theirs, stdout=theirs,
                                    stderr=subprocess.DEVNULL, preexec_fn=die_with_us)
            theirs.close()
            serving.set()
            sshd.wait()

        threading.Thread(target=serve, daemon=True).start()
        serving.wait()
        return ours, ours, None


class Qemu(NoGuest):
    """The same disks and kernel under QEMU."""

    def __init__(self, config):
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.directory = os.path.dirname(config["rest"])
        self.free = list(range(SSH_PORTS))
        self.qmp_path = os.path.join(self.directory, "behind.sock")
        self.helpers = []
        self.remove_sockets()
        self.process = subprocess.Popen(self.command_line(config), stdin=subprocess.DEVNULL, preexec_fn=die_with_us)
        self.qmp = self.connect_control()
        # The thread that started it stays: the kernel takes its end for ours.
        threading.Thread(target=self.watch, daemon=True).start()

    def paths(self, port):
        return [os.path.join(self.directory, f"behind{port}{direction}.sock") for direction in ("i", "o")]

    def remove_sockets(self):
        for path in [self.qmp_path] + [path for port in range(SSH_PORTS) for path in self.paths(port)]:
            if os.path.exists(path):
                os.remove(path)

    def command_line(self, config):
        boot = config["bootloader"]
        arch = os.uname().machine
        x86 = arch == "x86_64"
        memory = f"{config['memoryMiB']}M"
        words = [f"qemu-system-{arch}", "-nodefaults", "-no-user-config", "-display", "none", "-name", "behind-the-fake",
                 "-machine", ("q35,vmport=off,hpet=off,i8042=off,sata=off,smbus=off,usb=off" if x86 else "virt,gic-version=max")
                 + ",memory-backend=ram", "-object", f"memory-backend-memfd,id=ram,size={memory},share=on",
                 "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", str(config["vcpus"]), "-m", memory,
                 "-qmp", f"unix:{self.qmp_path},server=on,wait=off", "-device", "virtio-rng-pci"]
        if boot["kind"] != "linux":
            fail("this fake boots no EFI firmware")
        # Emulation alone needs these, see vm/qemu/command_line.cpp.
        extra = " mitigations=off no5lvl no_timer_check" if x86 else " mitigations=off"
        words += ["-kernel", boot["kernel"], "-initrd", boot["initrd"], "-append", boot["cmdline"] + extra]
        for number, disk in enumerate(device(config, "virtio-blk")):
            words += ["-drive", f"if=none,id=disk{number},format=raw,file={disk['path'].replace(',', ',,')}"
                      + (",readonly=on" if disk["readOnly"] else ""),
                      "-device", f"virtio-blk-pci,drive=disk{number}" + (f",serial={disk['deviceId']}" if disk["deviceId"] else "")]
        for net in device(config, "virtio-net", way="nat"):
            words += ["-netdev", "user,id=net", "-device", f"virtio-net-pci,netdev=net,romfile=,mac={net['mac']}"]
        words += ["-device", f"virtio-serial-pci,id=serial,max_ports={2 * SSH_PORTS + 1}"]
        for console in device(config, "virtio-serial"):
            words += ["-chardev", f"file,id=console,path={console['logFile'].replace(',', ',,')}",
                      "-device", "virtconsole,bus=serial.0,nr=0,chardev=console"]
        number = 0
        for port in range(SSH_PORTS):
            for path, direction in zip(self.paths(port), ("in", "out")):
                number += 1
                words += ["-chardev", f"socket,id=s{number},path={path},server=on,wait=off",
                          "-device", f"virtserialport,bus=serial.0,nr={number},chardev=s{number},name=colima-like.ssh.{port}.{direction}"]
        for number, share in enumerate(device(config, "virtio-fs") + self.rosetta(config)):
            self.serve_share(number, share, words)
        return words

    @staticmethod
    def rosetta(config):
        directory = os.environ.get("COLIMA_LIKE_FAKE_ROSETTA")
        return [{"sharedDir": directory, "mountTag": one["mountTag"]} for one in device(config, "rosetta") if directory]

    def serve_share(self, number, share, words):
        cache = os.environ.get("COLIMA_LIKE_CACHE") or os.path.expanduser("~/.cache/colima-like")
        places = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", cache + "/tools/bin/virtiofsd")
        virtiofsd = shutil.which("virtiofsd") or next((path for path in places if os.path.exists(path)), None)
        if virtiofsd is None:
            log("warning", f"no virtiofsd: the share {share['mountTag']} is missing")
            return
        path = os.path.join(self.directory, f"behind-share{number}.sock")
        if os.path.exists(path):
            os.remove(path)
        self.helpers.append(subprocess.Popen([virtiofsd, "--socket-path", path, "--shared-dir", share["sharedDir"],
                                              "--sandbox", "none" if os.geteuid() else "chroot"],
                                             stdin=subprocess.DEVNULL, preexec_fn=die_with_us))
        while not os.path.exists(path):
            if self.helpers[-1].poll() is not None:
                fail("virtiofsd ended")
            time.sleep(0.01)
        words += ["-chardev", f"socket,id=share{number},path={path}",
                  "-device", f"vhost-user-fs-pci,chardev=share{number},tag={share['mountTag']}"]

    def connect_control(self):
        while True:
            control = socket.socket(socket.AF_UNIX)
            try:
                control.connect(self.qmp_path)
                break
            except OSError:
                control.close()
            if self.process.poll() is not None:
                fail(f"the machine did not start, with exit code {self.process.returncode}")
            time.sleep(0.02)
        self.replies = control.makefile("rb")
        self.replies.readline()
        control.sendall(b'{"execute":"qmp_capabilities"}\n')
        self.replies.readline()
        return control

    def execute(self, command):
        with self.lock:
            try:
                self.qmp.sendall(json.dumps({"execute": command}).encode() + b"\n")
                while True:
                    reply = json.loads(self.replies.readline() or b'{"return":{}}')
                    if "return" in reply or "error" in reply:
                        return
            except OSError:
                pass  # it ended

    def watch(self):
        self.process.wait()
        self.ended.set()

    def press_button(self):
        self.execute("system_powerdown")

    def set_paused(self, paused):
        self.execute("stop" if paused else "cont")

    def end(self):
        self.process.kill()
        self.process.wait()

    def dial(self):
        with self.lock:
            if not self.free:
                return None
            port = self.free.pop(0)
        try:
            ends = []
            for path in self.paths(port):
                ends.append(socket.socket(socket.AF_UNIX))
                ends[-1].connect(path)
            if self.find_mark(ends[1]):
                return (*ends, port)
        except OSError:
            pass
        for end in ends:
            end.close()
        self.release(port)
        return None

    @staticmethod
    def find_mark(end):
        """Drops what comes before the guest's sshd; false when nothing comes, because the guest has none yet."""
        seen = b""
        end.settimeout(1)
        try:
            while MARK not in seen:
                byte = end.recv(1)
                if not byte:
                    return False
                seen += byte
        except socket.timeout:
            return False
        end.settimeout(None)
        return True

    def release(self, port):
        if port is None:
            return
        time.sleep(0.3)  # a connection faster than the guest looks is one that it does not see
        with self.lock:
            self.free.append(port)


def credentials_of(initrd):
    """The files below credentials/ of the archives in an initrd ("newc" cpio)."""
    with open(initrd, "rb") as file:
        data = file.read()
    found, at = {}, 0
    while at + 110 <= len(data):
        if data[at:at + 6] != b"070701":
            at += 4 if data[at:at + 4] == b"\0" * 4 else len(data)
            continue
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[at + 110:at + 110 + name_size - 1].decode()
        begin = (at + 110 + name_size + 3) // 4 * 4
        if name.startswith("credentials/"):
            found[name.removeprefix("credentials/")] = data[begin:begin + size]
        at = (begin + size + 3) // 4 * 4
    return found


# --- vsock -----------------------------------------------------------------------------------------------------------


def closed_altogether(client):
    """Whether an end that says no more was closed, and not only in this direction."""
    poll = select.poll()
    try:
        poll.register(client, 0)
    except ValueError:
        return True  # by us
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def host_to_guest(client, guest):
    try:
        while data := client.recv(65536):
            guest.sendall(data)
    except OSError:
        pass
    # vfkit's proxy knows no half-closed vsock: what was the end of the client's bytes never comes to an end in the guest.
    while not closed_altogether(client):
        time.sleep(0.05)
    if "lost-close" not in FAULTS:
        close(guest)


def close(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def carry(machine, client):
    ends = machine.dial()
    if ends is None:  # nobody in the guest listens: the connection is made all the same, and then ends
        client.close()
        return
    to_guest, from_guest, port = ends
    threading.Thread(target=host_to_guest, args=(client, to_guest), daemon=True).start()
    try:
        while data := from_guest.recv(65536):
            client.sendall(data)
    except OSError:
        pass
    close(client)
    for end in {to_guest, from_guest}:
        close(end)
        end.close()
    machine.release(port)


def serve_vsock(machine, listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=carry, args=(machine, client), daemon=True).start()


# --- REST ------------------------------------------------------------------------------------------------------------


class Control:
    def __init__(self, config, machine):
        self.config, self.machine = config, machine
        self.state = "Starting"
        self.hangs = False

    def change(self, wanted):
        """Empty, or why not."""
        if wanted == "HardStop":
            self.machine.end()
            os._exit(0)  # before any answer
        if wanted == "Stop" and "canStop" in MAY.get(self.state, ()):
            if "ignore-stop" not in FAULTS:
                self.machine.press_button()
            return ""
        if wanted == "Pause" and self.state == "Running" or wanted == "Resume" and self.state == "Paused":
            self.machine.set_paused(wanted == "Pause")
            self.state = "Paused" if wanted == "Pause" else "Running"
            return ""
        return f"invalid virtual machine state transition: {wanted} while {self.state}"

    def facts(self):
        may = MAY.get(self.state, ())
        return {"state": "VirtualMachineState" + self.state,
                **{key: key in may for key in ("canStart", "canPause", "canResume", "canStop", "canHardStop")}}

    def describe(self):
        kinds = {"virtio-serial": "virtioserial", "virtio-blk": "virtioblk", "virtio-fs": "virtiofs"}
        devices = [{"kind": kinds.get(one["kind"], one["kind"]), **({"LogFile": one["logFile"]} if "logFile" in one else {})}
                   for one in self.config["devices"]]
        return {"vcpus": self.config["vcpus"], "memoryBytes": self.config["memoryMiB"] << 20,
                "bootloader": self.config["bootloader"], "devices": devices}


def handler_for(control):
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status, body):
            content = json.dumps(body).encode() if body is not None else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):  # pylint: disable=invalid-name
            if "rest-hang" in FAULTS:
                time.sleep(3600)
            if self.path == "/vm/state":
                self.answer(200, control.facts())
            elif self.path == "/vm/inspect":
                self.answer(200, control.describe())
            else:
                self.answer(404, {"error": "not found"})

        def do_POST(self):  # pylint: disable=invalid-name
            try:
                wanted = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))["state"]
            except (ValueError, KeyError, TypeError):
                return self.answer(400, {"error": "invalid request"})
            why_not = control.change(wanted)
            return self.answer(500, {"error": why_not}) if why_not else self.answer(202, None)

        def log_message(self, *args):
            pass

        def address_string(self):
            return "unix"

    return Handler


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve_rest(control):
    try:
        server = Server(control.config["rest"], handler_for(control))
    except OSError as error:
        fail(f"listen unix {control.config['rest']}: bind: {error.strerror.lower()}")
    threading.Thread(target=server.serve_forever, daemon=True).start()


def end_on_signal(control):
    def on_signal(_number, _frame):
        def stop():
            if "sigterm-hang" in FAULTS:
                control.hangs = True
                control.machine.end()
                return
            control.change("Stop")
            control.machine.ended.wait(5)
            control.machine.end()

        threading.Thread(target=stop, daemon=True).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def main():
    if sys.argv[1:] == ["--version"]:
        print("vfkit version: " + ("v0.6.1" if "old" in FAULTS else "unknown" if "mute" in FAULTS else "v0.6.4"))
        return
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        config = vfkit_grammar.parse(sys.argv[1:])
    except vfkit_grammar.Refused as refused:
        fail(str(refused))
    if "pidfile" in config:
        with open(config["pidfile"], "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    if "exit-at-start" in FAULTS:
        fail("invalid virtual machine configuration")
    if "no-rosetta" in FAULTS and device(config, "rosetta"):
        fail("rosetta is not installed")
    if config["bootloader"].get("create"):
        with open(config["bootloader"]["variableStore"], "wb") as file:
            file.write(b"NVRAM")

    class NotYet(NoGuest):
        """Until the machine is there."""
    control = Control(config, NotYet({"devices": []}))
    serve_rest(control)
    if "slow-boot" in FAULTS:
        time.sleep(3)
    while "never-runs" in FAULTS:
        time.sleep(1)
    control.machine = {"qemu": Qemu, "sshd": Sshd, "none": NoGuest}[GUEST](config)
    control.state = "Running"
    end_on_signal(control)
    log("info", "virtual machine is running")
    for vsock in device(config, "virtio-vsock"):
        try:
            if "no-vsock" in FAULTS:
                raise OSError(98, "Address already in use")
            listener = listen(vsock["socket"])
        except OSError as error:
            log("warning", f"error exposing vsock port {vsock['port']}: {error.strerror.lower()}")
            continue
        threading.Thread(target=serve_vsock, args=(control.machine, listener), daemon=True).start()
    control.machine.ended.wait()
    while control.hangs:
        time.sleep(1)
    log("info", "VM is stopped")
    os._exit(0)


main()
