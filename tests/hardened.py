#!/usr/bin/env python3
"""Looks whether what users get is hardened as cmake/hardening.cmake and provision/agent/CMakeLists.txt say.

    hardened.py PROGRAM              a release's program, by its ELF headers, symbols and code
    hardened.py --agents PROGRAM...  the guest's agents, which are static and have no symbols
    hardened.py ROOT WORK COMPILER [CMAKE_OPTION...]
                                     configures a release in WORK, without building it: all of its units are compiled and it is linked
                                     with all of the flags that COMPILER knows, and a small program made with its very flags is hardened
    hardened.py --self-test WORK COMPILER
                                     the small program without one of the flags, each in its turn, is found not to be hardened

Where programs are no ELF files (macOS) only flags are looked at. Exit code 77: no readelf.
"""
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys

# What units are compiled with, each where the compiler knows it, and what undoes it.
COMPILED = {
    "-fstack-protector-strong": "-fno-stack-protector",
    "-fstack-clash-protection": "-fno-stack-clash-protection",
    "-fcf-protection=full": "-fcf-protection=none",
    "-mbranch-protection=standard": "-mbranch-protection=none",
    "-fPIE": "-fno-PIE",
    "-D_FORTIFY_SOURCE=3": "-U_FORTIFY_SOURCE",
    "-D_GLIBCXX_ASSERTIONS": "-U_GLIBCXX_ASSERTIONS",
    "-D_LIBCPP_HARDENING_MODE=_LIBCPP_HARDENING_MODE_FAST": None,  # nothing is to be seen of it with libstdc++
}
LINKED = {
    "-pie": "-no-pie",
    "-Wl,-z,relro": "-Wl,-z,norelro",
    "-Wl,-z,now": "-Wl,-z,lazy",
    "-Wl,-z,noexecstack": "-Wl,-z,execstack",
}
# Nothing in a program's headers or symbols tells of these: only the command line does.
UNSEEN = {"-fstack-clash-protection"}
SMALL = """
#include <cstdio>
#include <cstring>
#include <unistd.h>
#include <vector>
#ifdef WRITABLE_CODE
asm(".section .both,\\"awx\\"\\n.byte 0\\n.previous");
#endif
int main(int count, char** words) {
  char space[64];
  std::memcpy(space, words[0], static_cast<std::size_t>(count));
  const std::vector<int> numbers(static_cast<std::size_t>(count));
  return static_cast<int>(read(0, space, static_cast<std::size_t>(count))) + numbers[static_cast<std::size_t>(space[1])] + std::puts(space);
}
"""
ELF = not sys.platform == "darwin"
# What a function begins with that may be called by a pointer: endbr64; paciasp, bti c.
LANDINGS = {"x86-64": [bytes.fromhex("f30f1efa")], "aarch64": [bytes.fromhex("3f2303d5"), bytes.fromhex("5f2403d5")]}
FEWEST_LANDINGS = 20  # of a program without symbols; the C library's own begin brings one or two


def find_readelf():
    for name in ("readelf", "llvm-readelf", "llvm-readelf-19"):
        if shutil.which(name):
            return name
    print("skipped: there is no readelf")
    sys.exit(77)


def read(option, program):
    done = subprocess.run([find_readelf(), option, "-W", str(program)], capture_output=True, text=True, check=False)
    if done.returncode != 0 or "not an ELF file" in done.stderr:
        sys.exit(f"{program} cannot be read: {done.stderr.strip()}")
    return done.stdout


def machine_of(headers):
    return next((name for word, name in (("X86-64", "x86-64"), ("AArch64", "aarch64")) if word in headers), "")


def landing_problems(program, headers):
    landings = LANDINGS.get(machine_of(headers))
    if landings is None:
        return []
    section = re.search(r" \.text +PROGBITS +([0-9a-f]+) +([0-9a-f]+) +([0-9a-f]+)", read("-S", program))
    address, offset, size = (int(word, 16) for word in section.groups())
    code = pathlib.Path(program).read_bytes()[offset:offset + size]
    main = re.search(r"^ *\d+: ([0-9a-f]+) +\d+ FUNC .* main$", read("-s", program), re.MULTILINE)
    if main:
        begin = int(main[1], 16) - address
        found = any(code[begin:begin + len(landing)] == landing for landing in landings)
    else:
        found = sum(code.count(landing) for landing in landings) >= FEWEST_LANDINGS
    return [] if found else ["its functions do not begin where a jump may land (-fcf-protection, -mbranch-protection)"]


def problems_of(program, static=False):
    headers, segments, dynamic = read("-h", program), read("-l", program), read("-d", program)
    found = []
    if not re.search(r"\(FLAGS_1\).*\bPIE\b", dynamic):
        found.append("it is not position-independent (-fPIE, -pie)")
    if "GNU_RELRO" not in segments:
        found.append("no table of pointers becomes read-only (-z relro)")
    if not re.search(r"\(FLAGS\).*BIND_NOW|\(FLAGS_1\).*\bNOW\b", dynamic) and not static:
        found.append("its pointers are filled in when they are used (-z now)")
    stack = re.search(r"^ *GNU_STACK +(.*)$", segments, re.MULTILINE)
    if not stack or "E" in stack[1].split()[-2]:
        found.append("its stack is executable (-z noexecstack)")
    for load in re.findall(r"^ *LOAD +(.*)$", segments, re.MULTILINE):
        flags = "".join(re.findall(r"\b[RWE]\b|\b[RWE]{2,3}\b", load))
        if "W" in flags and "E" in flags:
            found.append("a part of it is writable and executable")
    found += landing_problems(program, headers)
    if static:
        return found
    imported = set(re.findall(r" UND (\w+)", read("--dyn-syms", program)))
    if "__stack_chk_fail" not in imported:
        found.append("overflows on the stack go unnoticed (-fstack-protector-strong)")
    if not any(re.fullmatch(r"__\w+_chk", name) for name in imported):
        found.append("no call of the C library is checked (-D_FORTIFY_SOURCE)")
    libcxx = "libc++" in dynamic
    if not libcxx and not any("glibcxx_assert_fail" in name for name in imported):
        found.append("no index into a container is checked (-D_GLIBCXX_ASSERTIONS)")
    return found


def known(compiler, flag, work):
    empty = work / "empty.cpp"
    empty.write_text("int main() {}\n")
    done = subprocess.run([compiler, "-Werror", flag, "-c", str(empty), "-o", str(work / "empty.o")], capture_output=True, check=False)
    return done.returncode == 0


def expected_flags(compiler, work):
    compiled = [flag for flag in COMPILED if known(compiler, flag, work)]
    if not ELF and "-mbranch-protection=standard" in compiled:
        compiled.remove("-mbranch-protection=standard")  # cmake/hardening.cmake says why
    return compiled, list(LINKED) if ELF else []


def make_small(compiler, work, compile_flags, link_flags):
    source, program = work / "small.cpp", work / "small"
    source.write_text(SMALL)
    for command in ([compiler, *compile_flags, "-c", source, "-o", work / "small.o"],
                    [compiler, work / "small.o", *link_flags, "-o", program]):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stderr}")
    return program


def missing(expected, words):
    return [flag for flag in expected if flag not in words]


def check_release(root, work, compiler, options):
    work.mkdir(parents=True, exist_ok=True)
    build = work / "release"
    shutil.rmtree(build, ignore_errors=True)
    configured = subprocess.run(["cmake", "-S", str(root), "-B", str(build), "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={compiler}",
                                 "-DCMAKE_BUILD_TYPE=Release", "-DCOLIMA_LIKE_TESTS=OFF", *options],
                                capture_output=True, text=True, check=False)
    if configured.returncode != 0:
        sys.exit(f"a release cannot be configured:\n{configured.stdout}{configured.stderr}")
    compiled, linked = expected_flags(compiler, work)
    units = [(unit["file"], shlex.split(unit["command"])) for unit in json.loads((build / "compile_commands.json").read_text())]
    names = [os.path.relpath(file, root) for file, _ in units]
    if len(units) < 100 or "src/main.cpp" not in names:
        sys.exit(f"only {len(units)} units were found")
    found = [f"{name} is compiled without {flag}" for name, (_, words) in zip(names, units) for flag in missing(compiled, words)]
    commands = subprocess.run(["ninja", "-C", str(build), "-t", "commands", "src/colima-like"], capture_output=True, text=True, check=True)
    links = [words for words in map(shlex.split, commands.stdout.splitlines()) if "-o" in words and words[words.index("-o") + 1] == "src/colima-like"]
    if len(links) != 1:
        sys.exit(f"the program is linked by {len(links)} commands")
    found += [f"the program is linked without {flag}" for flag in missing(linked, links[0])]
    if not found and ELF:
        own = dict(zip(names, (words for _, words in units)))["src/main.cpp"]
        flags = [word for before, word in zip([""] + own, own) if word.startswith(("-O", "-f", "-m", "-D_", "-U_", "-std")) and before != "-Xclang"]
        small = make_small(compiler, work, flags, [word for word in links[0] if word.startswith(("-Wl,-z", "-pie", "-no-pie", "-fuse-ld"))])
        found += [f"a program with these flags: {problem}" for problem in problems_of(small)]
    print(f"{len(units)} units, each with {' '.join(compiled)}; linked with {' '.join(linked) or 'nothing besides'}")
    return found


def self_test(work, compiler):
    work.mkdir(parents=True, exist_ok=True)
    compiled, linked = expected_flags(compiler, work)
    wrong = []
    for every in (compiled, linked):
        for flag in every:
            if missing(every, [other for other in every if other != flag]) != [flag]:
                wrong.append(f"a command without {flag} is not noticed")
    if not ELF:
        return wrong
    compile_flags = ["-std=c++20", "-O2", "-U_FORTIFY_SOURCE", *compiled]
    sound = problems_of(make_small(compiler, work, compile_flags, linked))
    if sound:
        return [f"a program with all of the flags: {problem}" for problem in sound]
    tried = []
    for flag in [*compiled, *linked]:
        undo = {**COMPILED, **LINKED}[flag]
        if undo is None or flag in UNSEEN:
            continue
        # A program that is to lie at one address takes both, whichever of the two is missing.
        more = ["-fno-PIE"] if flag == "-pie" else []
        less = ["-no-pie"] if flag == "-fPIE" else []
        at_compile, at_link = ([*more], [undo]) if flag in LINKED else ([undo], less)
        program = make_small(compiler, work, [*compile_flags, *at_compile], [*linked, *at_link])
        tried.append(flag)
        if not any(flag.removeprefix("-Wl,").replace(",", " ").split("=")[0] in problem for problem in problems_of(program)):
            wrong.append(f"a program made with {undo} passes as hardened")
    writable = make_small(compiler, work, [*compile_flags, "-DWRITABLE_CODE"], linked)
    if "a part of it is writable and executable" not in problems_of(writable):
        wrong.append("a program with a part that is writable and executable passes as hardened")
    if len(tried) < 8 and platform.machine() in ("x86_64", "aarch64"):
        wrong.append(f"only {' '.join(tried)} could be tried")
    print(f"tried without {', '.join(tried)}")
    return wrong


def main():
    words = sys.argv[1:]
    if words[:1] == ["--self-test"] and len(words) == 3:
        problems = self_test(pathlib.Path(words[1]).resolve(), words[2])
    elif words[:1] == ["--agents"] and len(words) > 1:
        problems = [f"{program}: {problem}" for program in words[1:] for problem in problems_of(program, static=True)]
    elif len(words) == 1 and not words[0].startswith("-"):
        problems = [f"{words[0]}: {problem}" for problem in problems_of(words[0])] if ELF else []
    elif len(words) >= 3 and not words[0].startswith("-"):
        problems = check_release(pathlib.Path(words[0]).resolve(), pathlib.Path(words[1]).resolve(), words[2], words[3:])
    else:
        sys.exit(__doc__)
    print("\n".join(problems) or "hardened")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
