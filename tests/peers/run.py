#!/usr/bin/env python3
"""The clients that people use do the same by our socket and by the engine's own, and are answered alike.

    run.py OURS THEIRS [CLIENT...]    two unix sockets of one engine (the second one is a forward to the guest's, docs/forwards.md)
    run.py --machine PROGRAM          starts a machine of that colima-like, does that, and deletes it
    run.py --self-test

Clients come from their registries (PyPI, npm, the Go proxy) into the user's cache; without one its client is skipped, with the
reason, and exit code 77 says that all of them were. Each prints a line of JSON for each operation: its name and the answer.
What differs from run to run (ids, times, sizes, addresses) is taken out before they are compared.
"""
import difflib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))) / "colima-like" / "peers"
IMAGE = "peers-box:latest"
SKIPPED = 77
LIMIT = 600  # seconds, for one client
NAMES = [("docker-py", "py/docker_py.py"), ("testcontainers-python", "py/testcontainers_py.py"), ("dockerode", "node/dockerode.mjs"),
         ("testcontainers-node", "node/testcontainers.mjs"), ("go-client", "go/client"), ("testcontainers-go", "go/containers")]
VOLATILE = [(re.compile(pattern), to) for pattern, to in (
    (r"\b(sha256:)?[0-9a-f]{64}\b", "ID"), (r"\b[0-9a-f]{12}\b", "ID"), (r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "TIME"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"), (r"\b172\.\d+\.\d+\.\d+\b", "ADDRESS"))]


class Missing(Exception):
    """A client cannot be had here."""


def fetched(what, directory, *command):
    """Runs it once in a folder of the cache that is there when it went well."""
    done = directory / "done"
    if done.exists():
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    got = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if got.returncode != 0:
        raise Missing(f"{what} cannot be fetched: {(got.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    done.touch()


def program(name):
    if shutil.which(name) is None:
        raise Missing(f"there is no {name} here")
    return name


def command_of(name, file):
    """What runs this client; fetches it first."""
    versions = (HERE / file.split("/")[0] / "versions").read_text().split()
    kind, digest = file.split("/")[0], "-".join(versions).replace("/", "_")
    if kind == "py":
        place = CACHE / f"py-{digest}"
        fetched("the Python clients", place, sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place / "lib"), *versions)
        return [sys.executable, "-B", str(HERE / file)], {"PYTHONPATH": str(place / "lib")}
    if kind == "node":
        place = CACHE / f"node-{digest.replace('@', '_')}"
        fetched("the Node clients", place, program("npm"), "install", "--no-audit", "--no-fund", "--silent", *versions)
        script = place / pathlib.Path(file).name  # modules are looked for beside the program
        shutil.copy(HERE / file, script)
        return [program("node"), str(script)], {}
    place = CACHE / f"go-{digest.replace('@', '_')}"
    source = place / "source"
    go = program("go")
    if not (place / "fetched").exists():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(HERE / "go", source)
        for arguments in (["mod", "init", "peers"], ["get", *versions], ["mod", "tidy"]):
            got = subprocess.run([go, *arguments], cwd=source, capture_output=True, text=True, check=False)
            if got.returncode != 0:
                raise Missing(f"the Go clients cannot be fetched: {got.stderr.strip().splitlines()[-1]}")
        (place / "fetched").touch()
    for folder in ("client", "containers"):
        shutil.copytree(HERE / "go" / folder, source / folder, dirs_exist_ok=True)
    built = place / name
    got = subprocess.run([go, "build", "-o", str(built), f"./{pathlib.Path(file).name}"], cwd=source, capture_output=True, text=True, check=False)
    if got.returncode != 0:
        sys.exit(f"{name} does not compile:\n{got.stderr}")
    return [str(built)], {}


def normal(answer):
    for pattern, to in VOLATILE:
        answer = pattern.sub(to, answer)
    return answer


def answers(command, environment, socket):
    """The client's lines, or a line that says how it ended."""
    env = {**os.environ, **environment, "DOCKER_HOST": f"unix://{socket}", "PEERS_IMAGE": IMAGE, "TESTCONTAINERS_RYUK_DISABLED": "true",
           "TESTCONTAINERS_CONNECTION_MODE": "docker_host", "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1"}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired as late:
        return [normal(line) for line in (late.stdout or b"").decode().splitlines()] + [f"it did not end in {LIMIT} s"]
    lines = [normal(line) for line in done.stdout.splitlines()]
    if done.returncode != 0:
        lines.append(f"exit code {done.returncode}: {normal(done.stderr)[-2000:]}")
    return lines


def import_image(socket):
    """An image of busybox, made here."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Missing("there is no busybox here, of which the image is made")
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(busybox, "bin/busybox")
            for name in ("sh", "true", "echo", "cat", "sleep", "ls", "httpd", "env", "pwd", "wc", "id", "touch", "rm"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
            tar.addfile(tarfile.TarInfo("etc/passwd"), io.BytesIO())
        file.seek(0)
        subprocess.run(["docker", "-H", f"unix://{socket}", "import", "-c", "CMD [\"sh\"]", "-", IMAGE], stdin=file, check=True, capture_output=True)


def compare(ours, theirs, wanted):
    failed, compared = [], 0
    for name, file in NAMES:
        if wanted and name not in wanted:
            continue
        try:
            command, environment = command_of(name, file)
        except Missing as why:
            print(f"{name}: skipped: {why}")
            continue
        here, there = answers(command, environment, ours), answers(command, environment, theirs)
        broken = any(not line.startswith("{") for line in here + there)
        compared += 1
        print(f"{name}: {len(here)} operations by our socket, {len(there)} by the engine's own; "
              + ("alike" if here == there and not broken else "NOT ALIKE" if here != there else "BROKEN"), flush=True)
        if here != there or broken:
            failed.append(name)
            print("\n".join(difflib.unified_diff(there, here, "the engine's own", "ours", lineterm="", n=0)) or "\n".join(here[-2:]))
    if failed:
        sys.exit(f"error: {', '.join(failed)}")
    sys.exit(0 if compared else SKIPPED)


def with_machine(program_file, wanted):
    with tempfile.TemporaryDirectory(prefix="cl-peers-") as name:
        home = pathlib.Path(name)
        env = {**os.environ, "COLIMA_LIKE_HOME": str(home / "h"), "HOME": name, "DOCKER_CONFIG": str(home / "docker"),
               "XDG_CACHE_HOME": str(CACHE.parent.parent)}

        def cl(*arguments):
            done = subprocess.run([program_file, *arguments], env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"colima-like {' '.join(arguments)}: {done.stderr}")
            return done.stdout

        try:
            cl("start")
            raw = home / "raw.sock"
            cl("forward", "add", f"{raw}:/run/docker.sock")
            ours = home / "h" / "default" / "docker.sock"
            import_image(ours)
            compare(ours, raw, wanted)
        finally:
            subprocess.run([program_file, "delete", "--data", "--force"], env=env, capture_output=True, check=False)


def self_test():
    assert normal('{"id": "sha256:' + "a" * 64 + '", "at": "2026-11-30T08:00:00.123Z"}') == '{"id": "ID", "at": "TIME"}'
    assert normal("172.17.0.2 and 0123456789ab") == "ADDRESS and ID"
    with tempfile.TemporaryDirectory() as name:
        client = pathlib.Path(name) / "client"
        client.write_text('#!/bin/sh\necho "{\\"op\\": \\"$DOCKER_HOST\\"}"\n[ "$DOCKER_HOST" != unix:///broken ] || exit 3\n')
        client.chmod(0o755)
        assert answers([str(client)], {}, "/a") == ['{"op": "unix:///a"}']
        assert answers([str(client)], {}, "/broken")[-1].startswith("exit code 3")
    print("answers are compared as they should")


def main():
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        self_test()
    elif len(arguments) >= 2 and arguments[0] == "--machine":
        try:
            with_machine(arguments[1], arguments[2:])
        except Missing as why:
            print(why)
            sys.exit(SKIPPED)
    elif len(arguments) >= 2:
        import_image(arguments[0])
        compare(arguments[0], arguments[1], arguments[2:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
