"""vfkit's command line as we rely on it: a grammar of our own, stricter than vfkit's where vfkit takes what cannot work.

    vfkit_grammar.py CASES.json   checks each case of the file: argv, and the configuration or the error that it leads to
    vfkit_grammar.py --parse ARGUMENT...   prints the configuration as JSON

What vfkit 0.6.4 itself says of the cases was seen with its own parser outside of this project; "vfkit" in a case is "accepts"
where it takes what is refused here.
"""
import json
import os
import re
import sys
import tempfile

LOG_LEVELS = ("debug", "info", "error")
SOCKET_PATH_LIMIT = 103  # macOS; 107 elsewhere
MAC = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")


class Refused(Exception):
    """What vfkit prints before it ends with exit code 1."""


def refuse_unless(condition, text):
    if not condition:
        raise Refused(text)


def number(text, what, least, most):
    refuse_unless(re.fullmatch(r"[0-9]+", text or ""), f'invalid argument "{text}" for {what}')
    refuse_unless(least <= int(text) <= most, f"{what} {text} is out of range")
    return int(text)


def options(words, allowed):
    """key=value words; a flag without value is True. Unknown and repeated keys are refused."""
    found = {}
    for word in words:
        key, separator, value = word.partition("=")
        refuse_unless(key in allowed, f"unknown option '{key}'")
        refuse_unless(key not in found, f"option '{key}' is given twice")
        takes_value = allowed[key]
        refuse_unless(bool(separator) == takes_value, f"unexpected value for option '{key}': {value}" if separator else
                      f"option '{key}' needs a value")
        refuse_unless(not takes_value or value != "", f"option '{key}' needs a value")
        found[key] = value if takes_value else True
    return found


def disk(path, reads_qcow2=False):
    """vfkit opens a disk while it parses; of NVMe disks it does not, and fails later."""
    try:
        with open(path, "rb") as file:
            begin = file.read(4)
    except OSError as error:
        raise Refused(f"open {path}: {error.strerror.lower()}") from error
    refuse_unless(len(begin) == 4, f"{path}: EOF")
    refuse_unless(begin != b"QFI\xfb" or reads_qcow2, "vfkit does not support qcow2 image format")
    return path


def socket_path(path):
    refuse_unless(path.startswith("/"), f"{path} is not an absolute path")
    refuse_unless(len(path.encode()) <= SOCKET_PATH_LIMIT, f"the socket path {path} is too long")
    # The real one goes through a URL: it would make another file than was asked for.
    refuse_unless(re.fullmatch(r"[A-Za-z0-9/._~@+:-]+", path), f"the socket path {path} is not what a URL has")
    return path


def virtio_blk(words):
    got = options(words, {"path": True, "type": True, "readonly": False, "deviceId": True})
    refuse_unless("path" in got, "missing mandatory 'path' option for virtio-blk device")
    refuse_unless(got.get("type", "image") in ("image", "dev"), "unexpected type")
    refuse_unless(len(got.get("deviceId", "").encode()) <= 20, "the device identifier is longer than 20 bytes")
    return {"path": disk(got["path"]), "readOnly": "readonly" in got, "deviceId": got.get("deviceId", "")}


def nvme(words):
    got = options(words, {"path": True, "type": True, "readonly": False})
    refuse_unless("path" in got, "missing mandatory 'path' option for nvme device")
    return {"path": disk(got["path"]), "readOnly": "readonly" in got}


def virtio_net(words):
    got = options(words, {"nat": False, "mac": True, "fd": True, "unixSocketPath": True, "type": True, "path": True})
    ways = [way for way in ("nat", "fd", "unixSocketPath", "path") if way in got]
    refuse_unless(len(ways) == 1, "exactly one of nat, fd and unixSocketPath has to be specified")
    refuse_unless(("type" in got) == ("path" in got) and got.get("type", "unixgram") == "unixgram", "unexpected type")
    refuse_unless("mac" not in got or MAC.fullmatch(got["mac"]), f"invalid MAC address {got.get('mac')}")
    return {"way": ways[0], "mac": got.get("mac", "")}


def virtio_vsock(words):
    got = options(words, {"port": True, "socketURL": True, "listen": False, "connect": False})
    refuse_unless("port" in got, "a port is missing")
    refuse_unless("socketURL" in got, "a socketURL is missing")
    refuse_unless(not ("listen" in got and "connect" in got), "both listen and connect")
    return {"port": number(got["port"], "port", 1, 2**32 - 1), "socket": socket_path(got["socketURL"]),
            "listen": "connect" not in got}


def virtio_serial(words):
    got = options(words, {"logFilePath": True, "stdio": False, "pty": False})
    refuse_unless(len(got) == 1, "exactly one of stdio, logFilePath and pty has to be specified")
    return {"logFile": got.get("logFilePath", "")}


def virtio_fs(words):
    got = options(words, {"sharedDir": True, "mountTag": True})
    refuse_unless("sharedDir" in got, "missing mandatory 'sharedDir' option for virtio-fs device")
    refuse_unless(os.path.isdir(got["sharedDir"]), f"{got['sharedDir']} is no directory")
    return {"sharedDir": got["sharedDir"], "mountTag": got.get("mountTag", os.path.basename(got["sharedDir"]))}


def rosetta(words):
    got = options(words, {"mountTag": True, "install": False, "ignore-if-missing": False})
    refuse_unless("mountTag" in got, "missing mandatory 'mountTag' option for rosetta device")
    return {"mountTag": got["mountTag"], "install": "install" in got}


def nothing(words):
    options(words, {})
    return {}


DEVICES = {"virtio-blk": virtio_blk, "nvme": nvme, "virtio-net": virtio_net, "virtio-vsock": virtio_vsock,
           "virtio-serial": virtio_serial, "virtio-fs": virtio_fs, "rosetta": rosetta, "virtio-rng": nothing,
           "virtio-balloon": nothing}


def split_bootloader(text):
    """At commas outside of double quotes, which the kernel's command line may stand in."""
    words = re.findall(r'(?:[^,"]|"[^"]*")+', text)
    refuse_unless(",".join(words) == text, f"cannot parse {text}")
    return [re.sub(r'^([A-Za-z-]+=)"(.*)"$', r"\1\2", word) for word in words]


def bootloader(text):
    kind, *words = split_bootloader(text)
    if kind == "linux":
        got = options(words, {"kernel": True, "initrd": True, "cmdline": True})
        refuse_unless(len(got) == 3, "kernel, initrd and cmdline are all needed")
        return {"kind": "linux", **got}
    refuse_unless(kind == "efi", f"unknown bootloader type: {kind}")
    got = options(words, {"variable-store": True, "create": False})
    refuse_unless("variable-store" in got, "missing mandatory 'variable-store'")
    refuse_unless("create" in got or os.path.exists(got["variable-store"]), f"{got['variable-store']} does not exist")
    return {"kind": "efi", "variableStore": got["variable-store"], "create": "create" in got}


SINGLE = {"--cpus": "-c", "--memory": "-m", "--bootloader": "-b", "--kernel": "-k", "--initrd": "-i", "--kernel-cmdline": "-C",
          "--restful-uri": "", "--timesync": "-t", "--pidfile": "", "--log-level": "", "--ignition": ""}


def collect(argv):
    """Flags by long name, and the devices in their order."""
    short = {letter: name for name, letter in SINGLE.items() if letter} | {"-d": "--device"}
    got, devices, rest = {}, [], list(argv)
    while rest:
        word = rest.pop(0)
        name, separator, value = word.partition("=") if word.startswith("--") else (word, "", "")
        name = short.get(name, name)
        refuse_unless(name in SINGLE or name == "--device", f"unknown flag or argument: {word}")
        if not separator:
            refuse_unless(rest, f"flag needs an argument: {name}")
            value = rest.pop(0)
        if name == "--device":
            devices.append(value)
            continue
        refuse_unless(name not in got, f"{name} is given twice")
        got[name] = value
    return got, devices


def parse(argv):
    """The machine that a command line (without the program) asks for, or Refused."""
    got, devices = collect(argv)
    config = {"vcpus": number(got.get("--cpus", "1"), "--cpus", 1, 1024),
              "memoryMiB": number(got.get("--memory", "512"), "--memory", 1, 2**40)}
    trio = [got.get(name) for name in ("--kernel", "--initrd", "--kernel-cmdline")]
    refuse_unless(all(trio) or not any(part is not None for part in trio), "kernel, initrd and cmdline are all needed")
    refuse_unless(("--bootloader" in got) != all(trio), "one of --bootloader and the kernel's options is needed")
    if "--bootloader" in got:
        config["bootloader"] = bootloader(got["--bootloader"])
    else:
        config["bootloader"] = {"kind": "linux", "kernel": trio[0], "initrd": trio[1], "cmdline": trio[2]}
    if config["bootloader"]["kind"] == "linux":
        for part in ("kernel", "initrd"):
            refuse_unless(os.path.exists(config["bootloader"][part]), f"{config['bootloader'][part]} does not exist")
    refuse_unless(got.get("--log-level", "info") in LOG_LEVELS, "invalid log level")
    uri = got.get("--restful-uri", "none://")
    if uri != "none://":
        refuse_unless(uri.startswith("unix:///"), f"unsupported REST address {uri}")
        config["rest"] = socket_path(uri.removeprefix("unix://"))
    if "--timesync" in got:
        port = options([got["--timesync"]], {"vsockPort": True})["vsockPort"]
        config["timesync"] = number(port, "vsockPort", 1, 2**32 - 1)
    if "--ignition" in got:
        refuse_unless("," not in got["--ignition"], "--ignition takes one file")
        config["ignition"] = got["--ignition"]
    if "--pidfile" in got:
        config["pidfile"] = got["--pidfile"]
    config["devices"] = []
    for device in devices:
        kind, *words = device.split(",")  # with no way to write a comma
        refuse_unless(kind in DEVICES, f"unknown device type: {kind}")
        try:
            config["devices"].append({"kind": kind, **DEVICES[kind](words)})
        except Refused as refused:
            raise Refused(f"{kind}: {refused}") from refused
    tags = [device["mountTag"] for device in config["devices"] if "mountTag" in device]
    refuse_unless(len(tags) == len(set(tags)), "two devices have the same mount tag")
    return config


def replaced(value, names):
    if isinstance(value, str):
        for name, path in names.items():
            value = value.replace(name, path)
        return value
    if isinstance(value, list):
        return [replaced(item, names) for item in value]
    if isinstance(value, dict):
        return {key: replaced(item, names) for key, item in value.items()}
    return value


def check(cases):
    """Each case: "argv" and "config" or "error". @raw, @qcow2, @empty, @missing and @dir are paths made for it."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="vfkit-") as directory:
        names = {"@" + name: os.path.join(directory, name) for name in
                 ("raw", "with space=.raw", "qcow2", "empty", "missing", "kernel", "initrd", "dir", "sock")}
        for name, content in (("raw", b"\0" * 512), ("with space=.raw", b"\0" * 512), ("qcow2", b"QFI\xfb" + b"\0" * 508),
                              ("empty", b""), ("kernel", b"k"), ("initrd", b"i")):
            with open(names["@" + name], "wb") as file:
                file.write(content)
        os.mkdir(names["@dir"])
        for case in replaced(cases, names):
            try:
                outcome = {"config": parse(case["argv"])}
            except Refused as refused:
                outcome = {"error": str(refused)}
            good = outcome.get("config") == case["config"] if "config" in case else (
                case["error"] in outcome.get("error", ""))
            if not good:
                wrong += 1
                print(f"{case['argv']}\n  expected {case.get('config', case.get('error'))}\n  got      {outcome}")
    print(f"{len(cases)} cases, {wrong} of them wrong")
    return wrong


def main():
    if sys.argv[1:2] == ["--parse"]:
        try:
            print(json.dumps(parse(sys.argv[2:])))
        except Refused as refused:
            sys.exit(f"Error: {refused}")
    elif len(sys.argv) == 2:
        with open(sys.argv[1], encoding="utf-8") as file:
            cases = json.load(file)
        refuse_unless(any("error" in case for case in cases) and any("config" in case for case in cases), "no cases")
        sys.exit(1 if check(cases) else 0)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
