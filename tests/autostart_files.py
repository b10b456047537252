#!/usr/bin/env python3
"""The files that `autostart enable` writes, as tests/golden has them, in the eyes of others: Python's reader of property lists, and
systemd itself where it is installed.

    autostart_files.py ROOT
"""
import os
import pathlib
import plistlib
import shutil
import subprocess
import sys
import tempfile

golden = pathlib.Path(sys.argv[1]) / "tests/golden"
problems = []

agent = plistlib.loads((golden / "autostart.plist").read_bytes())
expected = {
    "Label": "colima-like.work",
    "ProgramArguments": ["/usr/bin/env", "autostart-hold", "work"],
    "EnvironmentVariables": {"PATH": "/usr/bin:/bin", "COLIMA_LIKE_HOME": "/home/me/.colima-like"},
    "RunAtLoad": True,
    "AbandonProcessGroup": True,
    "ExitTimeOut": 120,
    "StandardOutPath": "/home/me/a.log",
    "StandardErrorPath": "/home/me/a.log",
}
if agent != expected:
    problems.append(f"autostart.plist is read as {agent}")

if shutil.which("systemd-analyze"):
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder) / "colima-like-work.service"
        shutil.copyfile(golden / "autostart.service", unit)
        done = subprocess.run(["systemd-analyze", "--user", "--man=no", "verify", unit], capture_output=True, text=True, check=False,
                              env={**os.environ, "XDG_RUNTIME_DIR": folder})
        said = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
        if done.returncode != 0 or said:
            problems.append("systemd does not take autostart.service: " + "\n".join(said or [done.stderr]))

print("\n".join(problems))
sys.exit(1 if problems else 0)
