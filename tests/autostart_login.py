#!/usr/bin/env python3
"""A login and its end with a real `systemd --user`, in name spaces of its own: the unit that `autostart enable` writes starts the profile,
with the environment that it was enabled with, ends it with the session, and leaves nothing running.

    autostart_login.py PROGRAM      exit code 77 where systemd or name spaces are missing

A stand-in takes the program's place in the unit: what a start does is tested elsewhere.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

SYSTEMD = "/usr/lib/systemd/systemd"
SESSION = """
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
"$1" --user --log-target=console --unit=default.target &
manager=$!
for i in $(seq 300); do [ -s told ] && break; sleep 0.1; done
systemctl --user is-active colima-like-work.service
kill -TERM $manager
wait $manager
pgrep -x sleep && exit 1 || exit 0
"""
STAND_IN = """#!/bin/sh
echo "$* $COLIMA_LIKE_HOME $(command -v colima-like-finds-this)" >> told
[ "$1" != start ] || setsid sleep 1000 >/dev/null 2>&1 &
"""


def main():
    if not os.access(SYSTEMD, os.X_OK) or subprocess.run(["unshare", "--mount", "--pid", "--cgroup", "--fork", "true"], check=False).returncode != 0:
        print("skipped: no systemd, or no name spaces")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="cl-login-") as folder:
        work = pathlib.Path(folder)
        home, tools = work / "a home", work / "tools"
        (home / "work").mkdir(parents=True)
        (home / "work/profile.yaml").write_text("cpus: 1\n")
        tools.mkdir()
        (work / "run").mkdir(mode=0o700)
        (tools / "colima-like-finds-this").write_text("#!/bin/sh\n")
        (tools / "colima-like-finds-this").chmod(0o755)
        environment = {**os.environ, "HOME": folder, "COLIMA_LIKE_HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}",
                       "XDG_RUNTIME_DIR": str(work / "run")}
        for name in ("XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS", "COLIMA_LIKE_PROFILE"):
            environment.pop(name, None)
        program = pathlib.Path(sys.argv[1]).resolve()
        subprocess.run([program, "autostart", "enable", "work"], env=environment, check=True, stdout=subprocess.DEVNULL)
        unit = work / ".config/systemd/user/colima-like-work.service"
        stand_in = work / "stand-in"
        stand_in.write_text(STAND_IN.replace("told", str(work / "told")))
        stand_in.chmod(0o755)
        text = unit.read_text()
        assert text.count(f'"{program}"') == 2, text
        unit.write_text(text.replace(str(program), str(stand_in)))
        done = subprocess.run(["unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "sh", "-c", SESSION, "sh", SYSTEMD],
                              env=environment, cwd=work, capture_output=True, text=True, check=False, timeout=100)
        told = (work / "told").read_text() if (work / "told").exists() else "(nothing)"
        found = tools / "colima-like-finds-this"
        if done.returncode != 0 or told != f"start work {home} {found}\nautostart-end work {home} {found}\n":
            sys.exit(f"exit code {done.returncode}; the program was told:\n{told}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
