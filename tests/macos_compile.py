#!/usr/bin/env python3
"""Compiles every product source for macOS on Apple silicon, on any host, without warnings.

    macos_compile.py ROOT WORK     prints what the compiler says; exit code 1 when it says anything, 77 without compiler
    macos_compile.py ROOT WORK --alone
                                   without the precompiled headers, so that a source that lacks an include is found

The compiler is the clang in zig, whose package brings macOS's headers (PyPI: ziglang; $COLIMA_LIKE_ZIG or a zig in PATH will do). The headers of
libraries are those of this host, and only those: its C library's would get in the way. Nothing is linked or run. A source is compiled
again only when it, a header of ours or the options have changed, in whatever checkout: PASSED has an empty file for each that
has passed, whose name is the digest of all that.
"""
import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from checked import Passed, Sources

PARTS = ["src", "profiles", "vm", "provision", "docker"]
# Not part of the program there; those of the guest's agent are of a program for Linux.
NOT_THERE = {"src/base/confine_linux.cpp", "src/base/file_watch_linux.cpp",
             "src/base/folder_look_linux.cpp", "src/base/net/held_socket_linux.cpp", "src/base/path_guard_linux.cpp", "src/base/platform_linux.cpp"}
LIBRARIES = ["boost", "yaml-cpp", "spdlog", "fmt", "CLI", "openssl", "libssh2.h", "libssh2_sftp.h", "libssh2_publickey.h"]
TARGET = "aarch64-macos.13.0"
OPTIONS = ["-target", "arm64-apple-macosx13.0", "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow",
           "-Wnon-virtual-dtor", "-Woverloaded-virtual", "-Werror", "-DBOOST_ASIO_NO_DEPRECATED",
           "-DBOOST_PROCESS_USE_STD_FS", "-DBOOST_ASIO_DISABLE_BOOST_ARRAY", "-DBOOST_ASIO_DISABLE_BOOST_BIND",
           "-DBOOST_ASIO_SEPARATE_COMPILATION", "-D__APPLE_USE_RFC_3542",
           '-DCOLIMA_LIKE_VERSION="0"', '-DCOLIMA_LIKE_COMMIT=""']
PRECOMPILED = "src/base/async.hpp"  # ours among what is precompiled: it is part of every source
PASSED = os.path.expanduser("~/.cache/colima-like-zig/passed")


def find_zig():
    if "COLIMA_LIKE_ZIG" in os.environ:
        return shlex.split(os.environ["COLIMA_LIKE_ZIG"])
    if shutil.which("zig"):
        return ["zig"]
    for python in (sys.executable, os.path.expanduser("~/.cache/colima-like-zig/bin/python")):
        if os.path.exists(python) and subprocess.run([python, "-m", "ziglang", "version"], capture_output=True).returncode == 0:
            return [python, "-m", "ziglang"]
    return None


def system_options(zig, cache, environment):
    """Where zig has macOS's and the C++ library's headers, and what it defines for them, as it tells itself. Its own `zig c++`
    cannot be used: it insists on an object file."""
    probe = cache / "empty.cpp"
    probe.write_text("")
    told = subprocess.run([*zig, "c++", "-target", TARGET, "-c", probe.name, "-o", "empty.o"], capture_output=True, text=True,
                          cwd=cache, env={**environment, "ZIG_VERBOSE_CC": "1"}, check=False)
    line = next((line for line in told.stderr.splitlines() if " clang " in line), None)
    if told.returncode != 0 or line is None:
        sys.exit(f"zig does not tell how it compiles:\n{told.stderr}")
    words = shlex.split(line)
    chosen = [word for word in words if word.startswith(("-nostdinc", "-D"))]
    for flag, value in zip(words, words[1:]):
        if flag == "-isystem":
            chosen += [flag, value]
    return chosen


def gather_headers(cache):
    """A folder that has the libraries' headers and nothing else of this host."""
    folder = cache / "include"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in LIBRARIES:
        places = [path for path in [pathlib.Path("/usr/include") / name, *pathlib.Path("/usr/include").glob(f"*-linux-gnu/{name}")]
                  if path.exists()]
        if not places and name.endswith(".h"):
            continue
        if not places:
            sys.exit(f"the headers of {name} are not installed: scripts/setup")
        if len(places) == 1:
            (folder / name).symlink_to(places[0])
            continue
        (folder / name).mkdir()  # OpenSSL: a part of it depends on the architecture
        for place in places:
            for header in place.iterdir():
                if not (folder / name / header.name).exists():
                    (folder / name / header.name).symlink_to(header)
    return folder


def precompile(root, cache, command, environment):
    """The options for what the build precompiles as well."""
    names = re.search(r"set\(precompiled_headers(.*?)\)", (root / "cmake/modules.cmake").read_text(), re.DOTALL)[1]
    names = names.replace("[[", "").replace("]]", "").split()
    header, made = cache / "precompiled.hpp", cache / "precompiled.pch"
    header.write_text("".join(f"#include {name}\n" for name in names))
    done = subprocess.run([*command, "-x", "c++-header", "-fpch-instantiate-templates", str(header), "-o", str(made)],
                          capture_output=True, text=True, env=environment, cwd=cache)
    if done.returncode != 0:
        sys.exit(f"the headers cannot be precompiled:\n{done.stdout}{done.stderr}")
    return ["-include-pch", str(made)]


def main():
    alone = sys.argv[3:] == ["--alone"]
    if len(sys.argv) != 3 and not alone:
        sys.exit(__doc__)
    root, cache = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    zig = find_zig()
    if zig is None:
        print("skipped: no zig here; scripts/setup --tests installs the Python package ziglang")
        sys.exit(77)
    cache.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache / "zig"), "ZIG_LOCAL_CACHE_DIR": str(cache / "zig")}
    command = [*zig, "clang", *system_options(zig, cache, environment), *OPTIONS, "-isystem", str(gather_headers(cache)),
               "-isystem", str(root / "tests/macos_headers"), f"-I{root}"]
    sources = [path.relative_to(root).as_posix() for part in PARTS for path in sorted((root / part).rglob("*.cpp"))]
    sources = [path for path in sources if path not in NOT_THERE and not path.startswith("provision/agent/")]
    if len(sources) < 50 or "src/base/platform_darwin.cpp" not in sources:
        sys.exit(f"only {len(sources)} sources were found in {root}")
    # Neither this checkout nor its build folder matters.
    anywhere = [word.replace(str(cache), "WORK").replace(str(root), "ROOT") for word in command]
    tree, passed = Sources(root), Passed(PASSED)
    if not alone:
        anywhere.append("precompiled " + tree.digest(PRECOMPILED))
    digests = {path: tree.digest(path, *anywhere) for path in sources}
    work = [path for path, digest in digests.items() if digest not in passed]
    if work and not alone:
        command += precompile(root, cache, command, environment)

    def compile_one(path):
        done = subprocess.run([*command, "-fsyntax-only", str(root / path)], capture_output=True, text=True, env=environment, cwd=cache)
        said = (done.stdout + done.stderr).strip()
        if done.returncode == 0 and not said:
            passed.add(digests[path])
            return None
        return f"--- {path}\n{said or f'exit code {done.returncode}'}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = list(filter(None, pool.map(compile_one, work)))
    passed.forget_old()
    print("\n".join(complaints))
    print(f"{len(sources)} sources, {len(work)} compiled for macOS, {len(complaints)} with complaints")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
