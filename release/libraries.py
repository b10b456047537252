"""The libraries that release programs are linked with: fetched by digest, patched, and built for one target by zig.

Everything is kept under the cache folder by a digest of all that it depends on, so a second release builds none of it again.
"""
import hashlib
import inspect
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
OPENSSL_NAMES = {"x86_64-linux-musl": "linux-x86_64", "aarch64-linux-musl": "linux-aarch64",
                 "x86_64-macos": "darwin64-x86_64-cc", "aarch64-macos": "darwin64-arm64-cc"}
# Of OpenSSL the digests, TLS of downloads and libssh2's backend are used.
OPENSSL_WITHOUT = """shared tests docs apps module legacy engine dso comp ssl3 dtls srp psk srtp cms ocsp ts ct quic idea seed camellia
    aria bf cast md4 mdc2 rc2 whirlpool sm2 sm3 sm4 siphash gost afalgeng padlockeng uplink ml-dsa slh-dsa http cmp rfc3779""".split()


def fail(message):
    sys.exit(f"error: {message}")


def pinned():
    return json.loads((HERE / "sources.json").read_text())


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "colima-like" / "release"


def digest_of(*words):
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(file, cache):
    """The archive, from the cache or a Debian mirror; ends the program when it is not the one that is pinned."""
    kept = cache / "sources" / pathlib.PurePosixPath(file["path"]).name
    if kept.exists() and sha256(kept) == file["sha256"]:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    mirror = os.environ.get("COLIMA_LIKE_MIRROR", "http://deb.debian.org/debian").rstrip("/")
    url = f"{mirror}/{file['path'].replace('+', '%2b').replace('~', '%7e')}"
    print(f"fetching {url}", flush=True)
    helper = "/usr/lib/apt/apt-helper"
    part = kept.with_name(kept.name + ".part")
    part.unlink(missing_ok=True)
    if os.access(helper, os.X_OK):
        command = [helper, "-o", "APT::Sandbox::User=root", "download-file", url, str(part), f"SHA256:{file['sha256']}"]
    else:
        command = ["curl", "-fsSL", "-o", str(part), url]
    if subprocess.run(command, check=False).returncode != 0:
        fail(f"{url} cannot be fetched\n  try another mirror of Debian: COLIMA_LIKE_MIRROR=http://.../debian, or put the file into {kept.parent}")
    if sha256(part) != file["sha256"]:
        fail(f"{url} is not the file that is pinned in release/sources.json: its SHA-256 is {sha256(part)}")
    part.rename(kept)
    return kept


def unpack(library, cache):
    """The library's source tree, with its patches applied."""
    key = digest_of(library["archive"]["sha256"], library.get("patches", {}).get("sha256", ""))
    tree = cache / "trees" / f"{library['name']}-{library['version']}-{key}"
    if tree.exists():
        return tree
    work = tree.with_name(tree.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # Not by tarfile, which takes a minute for Boost.
    subprocess.run(["tar", "-xf", fetch(library["archive"], cache), "-C", work, "--strip-components=1", "--no-same-owner"], check=True)
    if "patches" in library:
        with tarfile.open(fetch(library["patches"], cache)) as patches:
            def text(name):
                return patches.extractfile("debian/patches/" + name).read()
            series = [line.split()[0] for line in text("series").decode().splitlines() if line.strip() and not line.startswith("#")]
            for name in series:
                done = subprocess.run(["patch", "-p1", "--batch", "--silent", "-d", work], input=text(name), capture_output=True, check=False)
                if done.returncode != 0:
                    fail(f"{name} does not fit {library['name']} {library['version']}:\n{done.stdout.decode()}{done.stderr.decode()}")
    work.rename(tree)
    return tree


class Zig:
    """The wrappers by which build systems call zig for one target, and the environment that they need."""

    def __init__(self, target, cache):
        self.target, self.cache = target, cache
        program = os.environ.get("COLIMA_LIKE_ZIG") or self._installed()
        self.program = program
        self.version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.strip()
        wanted = pinned()["tools"]["zig"]
        if self.version != wanted:
            fail(f"releases are built by zig {wanted}, and {program} is {self.version}\n  try scripts/setup")
        self.tools = cache / "tools"
        self.tools.mkdir(parents=True, exist_ok=True)
        name = target + ".13.0" if target.endswith("macos") else target
        # zig compiles by its clang, which is called itself here: it then takes precompiled headers, and ccache knows it. Where the
        # sources lie is in no program: RELEASE_MAPS replaces it wherever a compiler would write it down.
        # zig compiles musl and libc++ for each kind of link: this one is that of the guest's agent, whose are there.
        link = "-Os -s -static -pie" if target.endswith("musl") else "-Os -s"
        for language, source in (("cc", "empty.c"), ("c++", "empty.cpp")):
            system = " ".join(f"'{word}'" for word in self._system_options(language, name, source))
            self._write(f"{target}-{language}", f"""# zig {self.version}
for word in "$@"; do
  case $word in -c | -E | -S) exec "{program}" clang {system} $RELEASE_MAPS "$@" ;; esac
done
exec "{program}" {language} -target {name} "$@" {link}""")
        for tool in ("ar", "ranlib"):
            self._write(f"zig-{tool}", f'exec "{program}" {tool} "$@"')

    @staticmethod
    def _installed():
        folder = pathlib.Path(os.path.expanduser("~/.cache/colima-like-zig/lib"))
        found = sorted(folder.glob("python3*/site-packages/ziglang/zig"))
        if not found:
            fail("there is no zig\n  try scripts/setup")
        return str(found[-1])

    def _system_options(self, language, name, source):
        """The target, headers and definitions with which zig calls its clang, as it tells itself."""
        kept = self.tools / f"{self.target}-{language}.options"
        key = f"{self.program} {self.version}"
        if kept.exists():
            before, *words = kept.read_text().splitlines()
            if before == key:
                return words
        (self.tools / source).write_text("")
        told = subprocess.run([self.program, language, "-target", name, "-c", source, "-o", "empty.o"], cwd=self.tools, capture_output=True,
                              text=True, env={**os.environ, "ZIG_VERBOSE_CC": "1"}, check=False)
        line = next((line for line in told.stderr.splitlines() if " clang " in line), None)
        if told.returncode != 0 or line is None:
            fail(f"zig does not tell how it compiles:\n{told.stderr}")
        words = shlex.split(line)
        chosen = [word for word in words if word.startswith(("-nostdinc", "-D", "-mmacos", "--no-default", "-fasync", "-Wno-overriding"))
                  and not word.startswith(("-D_LIBCPP_HARDENING_MODE", "-DNDEBUG"))]
        for flag, value in zip(words, words[1:]):
            if flag in ("-isystem", "-target"):
                chosen += [flag, value]
        chosen += ["-D_LIBCPP_HARDENING_MODE=_LIBCPP_HARDENING_MODE_FAST"]  # as cmake/hardening.cmake has it, for libraries, too
        if self.target.startswith("aarch64-linux"):
            chosen.append("-mno-outline-atomics")
        kept.write_text("\n".join([key, *chosen]) + "\n")
        return chosen

    def _write(self, name, line):
        text = f"#!/bin/sh\n{line}\n"
        path = self.tools / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o755)

    def environment(self, **maps):
        environment = {key: value for key, value in os.environ.items() if key not in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")}
        environment["PATH"] = f"{self.tools}:{environment['PATH']}"
        environment["ZIG_LOCAL_CACHE_DIR"] = str(self.cache / "zig")
        environment["RELEASE_MAPS"] = " ".join(f"-ffile-prefix-map={place}=/{name}" for name, place in maps.items())
        environment["SOURCE_DATE_EPOCH"] = "0"
        return environment

    def cmake_options(self):
        return [f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'toolchain.cmake'}", f"-DRELEASE_TARGET={self.target}", f"-DRELEASE_TOOLS={self.tools}",
                f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja')}"]


class Build:
    """One library's build: its source tree, a folder to work in, and where it is installed."""

    def __init__(self, zig, tree, work, place, others):
        self.zig, self.tree, self.work, self.place, self.others = zig, tree, work, place, others
        self.environment = zig.environment(source=tree, build=work, libraries=zig.cache / "libraries")

    def run(self, *command, folder=None):
        done = subprocess.run([str(word) for word in command], cwd=folder or self.work, env=self.environment, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            fail(f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}")

    def cmake(self, *options):
        self.run("cmake", "-S", self.tree, "-B", self.work, "-G", "Ninja", *self.zig.cmake_options(), "-DCMAKE_BUILD_TYPE=Release",
                 "-DCMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG -ffunction-sections -fdata-sections",
                 "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG -ffunction-sections -fdata-sections",
                 f"-DCMAKE_INSTALL_PREFIX={self.place}", "-DCMAKE_INSTALL_LIBDIR=lib", "-DBUILD_SHARED_LIBS=OFF",
                 "-DCMAKE_POLICY_VERSION_MINIMUM=3.5", f"-DCMAKE_PREFIX_PATH={';'.join(map(str, self.others))}", *options)
        self.run("ninja", "install")


def openssl(build):
    build.run(build.tree / "Configure", OPENSSL_NAMES[build.zig.target], f"CC={build.zig.target}-cc", "AR=zig-ar", "RANLIB=zig-ranlib",
              "--prefix=/usr", "--libdir=lib", "--openssldir=/etc/ssl", *["no-" + name for name in OPENSSL_WITHOUT],
              *(["no-secure-memory"] if "musl" in build.zig.target else []), "-O2", "-fPIC", "-ffunction-sections", "-fdata-sections")
    build.run("make", f"-j{os.cpu_count()}", "build_libs")
    build.run("make", "install_dev", f"DESTDIR={build.work}/made")
    shutil.move(f"{build.work}/made/usr", build.place)
    shutil.rmtree(build.place / "lib/pkgconfig")  # it names /usr; CMake's own module finds the library
    shutil.rmtree(build.place / "lib/cmake", ignore_errors=True)


def libssh2(build):
    build.cmake("-DCRYPTO_BACKEND=OpenSSL", "-DBUILD_EXAMPLES=OFF", "-DBUILD_TESTING=OFF", "-DENABLE_ZLIB_COMPRESSION=OFF",
                "-DBUILD_STATIC_LIBS=ON", "-DLINT=OFF", f"-DOPENSSL_ROOT_DIR={build.others[0]}", "-DOPENSSL_USE_STATIC_LIBS=TRUE")
    # Its own names the folder that it was installed in, and asks for OpenSSL's, which there are none of.
    (build.place / "lib/pkgconfig/libssh2.pc").write_text(
        f"Name: libssh2\nDescription: SSH\nVersion: {build.version}\n"
        "Cflags: -I${pcfiledir}/../../include\nLibs: -L${pcfiledir}/.. -lssh2\n")


def boost(build):
    """Headers of all libraries, and Boost.JSON from its one source."""
    include = build.place / "include"
    include.mkdir(parents=True)
    for folder in sorted([*build.tree.glob("libs/*/include/boost"), *build.tree.glob("libs/*/*/include/boost")]):
        build.run("cp", "-r", folder, include)
    (build.place / "lib/cmake/Boost").mkdir(parents=True)
    build.run(f"{build.zig.target}-c++", "-std=c++20", "-O2", "-DNDEBUG", "-fPIC", "-DBOOST_JSON_STATIC_LINK", "-ffunction-sections",
              "-fdata-sections", "-isystem", include, "-c", build.tree / "libs/json/src/src.cpp", "-o", "json.o")
    build.run("zig-ar", "rcs", build.place / "lib/libboost_json.a", "json.o")
    (build.place / "lib/cmake/Boost/BoostConfig.cmake").write_text(f"""set(Boost_VERSION {build.version})
get_filename_component(place ${{CMAKE_CURRENT_LIST_DIR}}/../../.. ABSOLUTE)
foreach(name headers filesystem)
  if(NOT TARGET Boost::${{name}})
    add_library(Boost::${{name}} INTERFACE IMPORTED)
    set_target_properties(Boost::${{name}} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${{place}}/include)
  endif()
endforeach()
if(NOT TARGET Boost::json)
  add_library(Boost::json STATIC IMPORTED)
  set_target_properties(Boost::json PROPERTIES IMPORTED_LOCATION ${{place}}/lib/libboost_json.a INTERFACE_INCLUDE_DIRECTORIES ${{place}}/include)
endif()
""")
    (build.place / "lib/cmake/Boost/BoostConfigVersion.cmake").write_text(
        f"set(PACKAGE_VERSION {build.version})\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n")


def fmt(build):
    # It calls malloc() and includes no header that promises it; libc++ 22 keeps to that.
    build.cmake("-DFMT_TEST=OFF", "-DFMT_DOC=OFF", "-DCMAKE_CXX_FLAGS=-include stdlib.h")
    header = build.place / "include/fmt/format.h"
    header.write_text("#include <stdlib.h>\n" + header.read_text())


def spdlog(build):
    build.cmake("-DSPDLOG_FMT_EXTERNAL=ON", "-DSPDLOG_BUILD_EXAMPLE=OFF")


def yaml_cpp(build):
    build.cmake("-DYAML_CPP_BUILD_TESTS=OFF", "-DYAML_CPP_BUILD_TOOLS=OFF", "-DYAML_BUILD_SHARED_LIBS=OFF")


def cli11(build):
    build.cmake("-DCLI11_BUILD_TESTS=OFF", "-DCLI11_BUILD_EXAMPLES=OFF", "-DCLI11_BUILD_DOCS=OFF", "-DCLI11_SINGLE_FILE=OFF",
                "-DCLI11_PRECOMPILED=OFF")


# In this order: each may use those that its entry names.
RECIPES = {"openssl": (openssl, []), "libssh2": (libssh2, ["openssl"]), "boost": (boost, []), "fmt": (fmt, []),
           "spdlog": (spdlog, ["fmt"]), "yaml-cpp": (yaml_cpp, []), "cli11": (cli11, [])}


def build_all(zig):
    """{name: where it is installed}, for this target."""
    places = {}
    by_cmake = inspect.getsource(Build.cmake) + (HERE / "toolchain.cmake").read_text()
    for library in pinned()["libraries"]:
        recipe, uses = RECIPES[library["name"]]
        others = [places[name] for name in uses]
        text = inspect.getsource(recipe)
        words = [zig.version, zig.target, json.dumps(library, sort_keys=True), text, *OPENSSL_WITHOUT, *(place.name for place in others)]
        if "build.cmake(" in text:
            words.append(by_cmake)
        place = zig.cache / "libraries" / zig.target / f"{library['name']}-{library['version']}-{digest_of(*words)}"
        places[library["name"]] = place
        if place.exists():
            continue
        print(f"building {library['name']} {library['version']} for {zig.target}", flush=True)
        tree = unpack(library, zig.cache)
        work = zig.cache / "work" / zig.target / library["name"]
        made = place.with_name(place.name + ".part")
        for folder in (work, made):
            shutil.rmtree(folder, ignore_errors=True)
        work.mkdir(parents=True)
        made.parent.mkdir(parents=True, exist_ok=True)
        build = Build(zig, tree, work, made, others)
        build.version = library["version"]
        recipe(build)
        made.rename(place)
        shutil.rmtree(work)
    return places
