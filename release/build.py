"""The program for one target: built and installed into a folder as `cmake --install` does it."""
import os
import pathlib
import re
import shutil
import subprocess

import libraries
from libraries import fail

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGETS = ["x86_64-linux-musl", "aarch64-linux-musl", "aarch64-macos", "x86_64-macos"]


def own_target():
    return {"arm64": "aarch64"}.get(os.uname().machine, os.uname().machine) + "-linux-musl"


def version():
    """The one place that says it is the project() line."""
    return re.search(r"^project\(colima-like VERSION (\d+\.\d+\.\d+) ", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]


def git(*words):
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()


def commit():
    """What is built; with a plus sign when files differ from it."""
    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def frameworks(zig):
    """Stubs of the macOS frameworks that the program uses, laid as its linker looks for them."""
    place = zig.cache / "frameworks"
    for stub in sorted((libraries.HERE / "frameworks").glob("*.tbd")):
        folder = place / f"{stub.stem}.framework"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stub, folder / stub.name)
    return place


def build_program(zig, places, folder, runnable=None):
    """Builds in `folder` and installs into its `stage`; `runnable` is a program of the same sources that runs here, for those that do
    not. Returns the stage."""
    target = zig.target
    compile_flags, link_flags = "-ffunction-sections -fdata-sections", "-Wl,--gc-sections"
    if target.endswith("macos"):
        compile_flags += f" -isystem {ROOT}/tests/macos_headers"
        link_flags = f"-F{frameworks(zig)}"
    elif target.endswith("musl"):
        # musl gives a thread 128 KiB of stack, and takes this for what it gives.
        link_flags += " -Wl,-z,stack-size=1048576"
    pkg_config = shutil.which("pkg-config") or fail("there is no pkg-config\n  try scripts/setup")
    environment = zig.environment(source=ROOT, build=folder, libraries=zig.cache / "libraries")
    environment |= {"CCACHE_COMPILERTYPE": "clang", "CCACHE_COMPILERCHECK": "content", "CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1",
                    "CCACHE_SLOPPINESS": "pch_defines,time_macros"}
    environment["PKG_CONFIG_LIBDIR"] = str(places["libssh2"] / "lib/pkgconfig")
    options = [
        "-DCMAKE_BUILD_TYPE=Release", "-DCOLIMA_LIKE_TESTS=OFF", f"-DCOLIMA_LIKE_COMMIT={commit()}",
        f"-DCOLIMA_LIKE_ZIG={zig.program}", f"-DPKG_CONFIG_EXECUTABLE={pkg_config}",
        f"-DOPENSSL_ROOT_DIR={places['openssl']}", "-DOPENSSL_USE_STATIC_LIBS=TRUE",
        f"-DCMAKE_PREFIX_PATH={';'.join(map(str, places.values()))}", "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG",
        *(["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []),
        f"-DCMAKE_CXX_FLAGS={compile_flags}", f"-DCMAKE_EXE_LINKER_FLAGS={link_flags}",
        f"-DCOLIMA_LIKE_RUNNABLE={runnable or ''}"]
    folder.mkdir(parents=True, exist_ok=True)
    stage = folder / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    log = folder / "build.log"
    with log.open("w") as out:
        for command in (["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *zig.cmake_options(), *options], ["ninja", "-C", folder],
                        ["cmake", "--install", folder, "--prefix", stage]):
            print(f"{target}: {command[0]}", flush=True)
            if subprocess.run(list(map(str, command)), env=environment, stdout=out, stderr=subprocess.STDOUT, check=False).returncode != 0:
                out.flush()
                fail(f"{target} is not built\n{log.read_text()[-6000:]}\n  all of it: {log}")
    return stage
