#!/usr/bin/env python3
"""Configures the project and links one program with all third-party libraries where these lie in a prefix of their own, as with
Homebrew, and the compiler and the linker find none in their own folders.

    own_prefix.py ROOT WORK COMPILER    prints what the program says of the libraries; exit code 77 where it cannot be tried

In a mount namespace the system's folders become folders of links that lack these libraries. The prefix has links to what is hidden,
and copies of the files for CMake and pkg-config. yaml-cpp's target has the name that it has since 0.8, whichever is installed.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

NAMES = r"(boost|Boost|CLI|fmt|gmock|GTest|gtest|libssh2|openssl|OpenSSL|spdlog|yaml-cpp)"
LIBRARIES = r"lib(boost_\w+|crypto|fmt|gmock\w*|gtest\w*|spdlog|ssh2|ssl|yaml-cpp)\.(a|so)$"
# What is hidden in which folder of the system. Libraries with a version in their name stay: programs run by them.
FOLDERS = {
    "include": rf"{NAMES}([_.].*)?$",
    "include/@": r"openssl$",
    "lib/@": rf"({LIBRARIES}|cmake$|pkgconfig$)",
    "lib/cmake": rf"{NAMES}",
    "lib/pkgconfig": r".*",
    "share/cmake": rf"{NAMES}",
    "share/pkgconfig": r".*",
}


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def run(*command, **options):
    if subprocess.run([str(word) for word in command], check=False, **options).returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")


def hide(folder, pattern, real):
    """Makes `folder` one of links to what is in it but for `pattern`; `real` becomes the folder itself."""
    real.mkdir(parents=True)
    run("mount", "--bind", folder, real)
    links = real.with_name(real.name + ".links")
    links.mkdir()
    for entry in real.iterdir():
        if not re.match(pattern, entry.name):
            (links / entry.name).symlink_to(entry)
    run("mount", "--bind", links, folder)


def make_prefix(prefix, real, folder, pattern):
    """What `pattern` hides, in the prefix: links, but copies of files that say where the rest is."""
    target = prefix / folder
    target.mkdir(parents=True, exist_ok=True)
    for entry in real.iterdir():
        if not re.match(pattern, entry.name):
            continue
        if "cmake" in folder or entry.name in ("cmake", "pkgconfig") or folder.endswith("pkgconfig"):
            copy = shutil.copytree if entry.is_dir() else shutil.copy
            copy(entry, target / entry.name)
        else:
            (target / entry.name).symlink_to(entry)
    if folder.startswith("lib/"):
        for entry in real.glob("lib*.so.*"):  # what the programs linked here run by
            (target / entry.name).symlink_to(entry)


def rewrite(prefix):
    for file in prefix.rglob("*"):
        if file.suffix not in (".cmake", ".pc") or not file.exists():
            continue
        text = file.read_text()
        if file.suffix == ".pc":
            text = re.sub(r"(?<![\w}])/usr\b", str(prefix), text)
        elif "yaml-cpp" in file.name and "yaml-cpp::yaml-cpp" not in text:
            text = re.sub(r'(add_library\(|TARGET |set_target_properties\(|YAML_CPP_LIBRARIES "|foreach\(\w+ |_targets )yaml-cpp\b',
                          r"\1yaml-cpp::yaml-cpp", text)
        file.write_text(text)


def inside(root, work, compiler):
    prefix = work / "prefix"
    multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=False).stdout.strip() or "."
    hidden = []
    for folder, pattern in FOLDERS.items():
        folder = folder.replace("@", multiarch)
        if pathlib.Path("/usr", folder).is_dir():
            hidden.append((folder, pattern, work / "real" / folder.replace("/", "-")))
    for folder, pattern, real in sorted(hidden, key=lambda one: -one[0].count("/")):
        hide(pathlib.Path("/usr") / folder, pattern, real)
        make_prefix(prefix, real, folder, pattern)
    rewrite(prefix)
    for header in ("yaml-cpp/yaml.h", "boost/version.hpp"):
        if pathlib.Path("/usr/include", header).exists():
            sys.exit(f"/usr/include/{header} is still there")
    build = work / "build"
    run("cmake", "-S", root, "-B", build, "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_PREFIX_PATH={prefix}",
        stdout=subprocess.DEVNULL)
    run("ninja", "-C", build, "dependencies", "--quiet")
    run(build / "tests" / "integration" / "dependencies")


def main():
    if sys.argv[1:2] == ["--inside"]:
        inside(*(pathlib.Path(path) for path in sys.argv[2:]))
        return
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    namespace = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    tried = subprocess.run([*namespace, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        skip(f"no mount namespace here: {tried.stderr.strip()}")
    if not pathlib.Path("/usr/include/boost").exists():
        skip("the libraries are not in /usr as it is")
    root, work, compiler = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sys.exit(subprocess.run([*namespace, sys.executable, "-B", __file__, "--inside", root, str(work), compiler], check=False).returncode)


if __name__ == "__main__":
    main()
