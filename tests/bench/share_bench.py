#!/usr/bin/env python3
"""Times host folders in the guest: trees of small files, and one large file, for each type of share.

    tests/bench/share_bench.py PROGRAM [--files 10000] [--size 1024] [--rounds 2] [--only tree|large ...]

One machine in a home of its own, with the user's image cache; every arm is a folder in that same guest:

    virtiofs    our share by virtiofs
    sshfs       our share by sshfs (through the daemon)
    ssh         the same sshfs with the same options, its other end a plain `ssh` process and sftp-server; that process
                has an SSH server of the guest to itself, on one of the pairs of sockets that the daemon does not use
    disk        the guest's own data disk

The trees are made in the first three, in the order A B C C B A, the large file in the first and the last. Prints every
sample and the medians' ratios; asserts nothing.
"""
import argparse
import itertools
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SFTP_SERVERS = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"]

# One line each; the guest's clock around it. Caches are dropped before each, so that the server is asked.
TREE = {
    "create": "mkdir t && cd t && for d in $(seq {dirs}); do mkdir $d; for f in $(seq {per}); do echo $d.$f > $d/$f; done; done",
    "stat": "find t -type f -printf '%s\\n' > /dev/null",
    "find": "find t > /dev/null",
    "grep -r": "grep -r nothing-such t > /dev/null; true",
    "cp -a": "cp -a t u",
    "rm": "rm -rf t u",
}


class Machine:
    def __init__(self, program, root):
        self.program, self.root = program, root
        for name in ("home", "user", "user/v", "user/s", "user/p", "docker"):
            os.makedirs(os.path.join(root, name), exist_ok=True)
        os.chmod(os.path.join(root, "home"), 0o700)
        self.env = dict(os.environ, HOME=os.path.join(root, "user"), COLIMA_LIKE_HOME=os.path.join(root, "home"),
                        DOCKER_CONFIG=os.path.join(root, "docker"))
        self.env.setdefault("COLIMA_LIKE_CACHE", os.path.expanduser("~/.cache/colima-like"))

    def cl(self, *words, input_text=None, check=True):
        done = subprocess.run([self.program, *words], env=self.env, input=input_text, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if check and done.returncode != 0:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def guest(self, script, check=True):
        return self.cl("ssh", "--", "sh -s", input_text=script, check=check)

    def seconds(self, folder, line):
        """The time that `line` takes in the guest's `folder`, by the guest's own clock."""
        out = self.guest(f"cd {shlex.quote(folder)} && sync && echo 3 > /proc/sys/vm/drop_caches\n"
                         f"b=$(date +%s.%N)\n( {line} ) || exit 1\ne=$(date +%s.%N)\necho $b $e\n")
        begin, end = out.split()[-2:]
        return float(end) - float(begin)


def plain_ssh(machine, folder, mount_point):
    """sshfs in the guest, whose stdin and stdout are an ssh process of this host and an sftp-server."""
    server = next((s for s in SFTP_SERVERS if os.path.exists(s)), None) or sys.exit("there is no sftp-server")
    config = os.path.join(machine.root, "ssh_config")
    with open(config, "w") as file:
        file.write(machine.cl("ssh-config"))
    host = next(line.split()[1] for line in open(config) if line.lower().startswith("host "))
    machine.guest(f"mkdir -p {mount_point}")
    command = (f"exec sshfs :{folder} {mount_point} -o passive,rw,allow_other,default_permissions,idmap=none,"
               "dcache_timeout=1,fsname=plain")
    to_guest, from_server = os.pipe()
    to_server, from_guest = os.pipe()
    run = os.path.join(machine.root, "home", "default", "run")
    proxy = shlex.join([sys.executable, os.path.abspath(__file__), "--proxy", f"{run}/ssh3-in.sock", f"{run}/ssh3-out.sock"])
    ssh = subprocess.Popen(["ssh", "-F", config, "-o", f"ProxyCommand={proxy}", host, command], stdin=to_guest,
                           stdout=from_guest, env=machine.env)
    sftp = subprocess.Popen([server, "-e", "-u", "0000"], stdin=to_server, stdout=from_server)
    for fd in (to_guest, from_server, to_server, from_guest):
        os.close(fd)
    for _ in range(200):
        if "mounted" in machine.guest(f"mountpoint -q {mount_point} && echo mounted; true"):
            return ssh, sftp
        time.sleep(0.1)
    sys.exit("sshfs over plain ssh does not mount")


def proxy(to_guest, from_guest):
    """What ssh speaks through: its input into one socket, another one to its output."""
    sockets = []
    for path in (to_guest, from_guest):
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
        sockets.append(one)

    def copy(read, write):
        while data := read(1 << 16):
            write(data)
        os._exit(0)

    threading.Thread(target=copy, args=(lambda n: os.read(0, n), sockets[0].sendall), daemon=True).start()

    def put(data):
        while data:
            data = data[os.write(1, data):]

    copy(sockets[1].recv, put)


def arms_in_order(names, rounds):
    for number in range(rounds):
        order = list(names) + list(reversed(names))
        yield from (order if number % 2 == 0 else list(reversed(order)))


def report(name, arms, samples, unit):
    print(f"\n{name}")
    for arm in arms:
        values = samples[arm]
        raw = " ".join(f"{v:.2f}" for v in values)
        print(f"  {arm:10} first {values[0]:8.2f} {unit}   median {statistics.median(values):8.2f} {unit}   [{raw}]")


def compare_trees(machine, arms, options):
    per = 100
    dirs = options.files // per
    samples = {what: {arm: [] for arm in arms} for what in TREE}
    for arm in arms_in_order(list(arms), options.rounds):
        for what, line in TREE.items():
            samples[what][arm].append(machine.seconds(arms[arm], line.format(dirs=dirs, per=per)))
    total = {arm: [sum(samples[what][arm][i] for what in TREE) for i in range(len(samples["rm"][arm]))] for arm in arms}
    for what in TREE:
        report(f"{what}, {dirs * per} files", arms, samples[what], "s")
    report("all of it", arms, total, "s")
    print()
    for first, second in itertools.combinations(arms, 2):
        ratio = statistics.median(total[second]) / statistics.median(total[first])
        print(f"  {first} is {ratio:.2f} times as fast as {second}")


def compare_large(machine, arms, size, rounds):
    lines = {
        "write": f"dd if=/dev/zero of=large bs=1M count={size} conv=fsync 2>/dev/null",
        "read": "dd if=large of=/dev/null bs=1M 2>/dev/null",
    }
    samples = {what: {arm: [] for arm in arms} for what in lines}
    for arm in arms_in_order(list(arms), rounds):
        for what, line in lines.items():
            samples[what][arm].append(size / machine.seconds(arms[arm], line))
        machine.guest(f"rm -f {arms[arm]}/large")
    first, second = list(arms)
    for what in lines:
        report(f"{what} of {size} MiB", arms, samples[what], "MiB/s")
        ratio = statistics.median(samples[what][first]) / statistics.median(samples[what][second])
        print(f"  {first} carries {ratio:.2f} times as much as {second}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--rounds", type=int, default=1, help="of A B C C B A")
    parser.add_argument("--only", nargs="*", choices=["tree", "large"], default=["tree", "large"])
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and leave no machine
    root = tempfile.mkdtemp(prefix="cl-share-")
    machine = Machine(os.path.abspath(options.program), root)
    user = os.path.join(root, "user")
    helpers = []
    try:
        shares = json.dumps([f"{user}/v:virtiofs", f"{user}/s:sshfs"])
        machine.cl("start", "--set", f"shares={shares}")
        for share in json.loads(machine.cl("status", "--json"))["shares"]:
            print(f"{share['mount_point']}: {share['type']} ({share.get('why', '')}) {share['state']}")
            if share["state"] != "mounted":
                sys.exit("without it the guest's own disk would be measured")
        if "tree" in options.only:
            helpers = plain_ssh(machine, f"{user}/p", "/mnt/plain")
            compare_trees(machine, {"virtiofs": f"{user}/v", "sshfs": f"{user}/s", "ssh": "/mnt/plain"}, options)
        if "large" in options.only:
            machine.guest("mkdir -p /var/lib/colima-like/bench")
            compare_large(machine, {"virtiofs": f"{user}/v", "disk": "/var/lib/colima-like/bench"}, options.size,
                          options.rounds)
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
        machine.cl("delete", "--data", "--force", check=False)
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--proxy"]:
        proxy(*sys.argv[2:])
    main()
