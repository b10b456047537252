#!/usr/bin/env python3
"""Runs ctest and adds to its summary the slowest tests and every test that was skipped, with the reason.

    run.py BUILD NAME [CTEST_OPTION...]      a run of tests/CMakeLists.txt: quick, default, all, long
    run.py BUILD -R REGEX [CTEST_OPTION...]  the tests whose name matches
    run.py BUILD --targets REGEX             the programs of these tests, for ninja; none when it is not known which have such tests
    run.py BUILD --count                     how many tests there are, by suite and run
    run.py --self-test

Exit code 1 when a test fails, when one is skipped that tests/expected_skips does not expect on this machine, or when none ran.
A test inside a group of e2e has the group's name in front: e2e.docker.Ports.CarryDatagrams.
"""
import collections
import ctypes
import dataclasses
import fnmatch
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

SLOWEST = 20
EXPECTED = pathlib.Path(__file__).with_name("expected_skips")
RUNS = ("quick", "default", "all", "long")
GTEST_END = re.compile(r"\[ +(OK|SKIPPED|FAILED) +\] (\S+?)(?:, where .*)? \((\d+) ms\)")
GTEST_SKIP = re.compile(r":\d+: Skipped\n(.*)")
SUMMARY = re.compile(r"\d+% tests passed")


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None


def answers(*command):
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def first_free_port():
    try:
        return int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 0


def has_virtiofsd():
    cache = os.environ.get("COLIMA_LIKE_CACHE") or os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")) + "/colima-like"
    places = ["/usr/libexec", "/usr/lib/qemu", f"{cache}/tools/bin"]
    return program("virtiofsd") or any(os.access(f"{place}/virtiofsd", os.X_OK) for place in places)


def can_mount():
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return answers("unshare", "--mount", *user, "mount", "-t", "tmpfs", "none", "/mnt")


def has_landlock():
    """Its third ABI at least; the number of the system call is the same on every architecture."""
    create_ruleset, version = 444, 1
    return sys.platform == "darwin" or ctypes.CDLL(None, use_errno=True).syscall(create_ruleset, None, ctypes.c_size_t(0), version) >= 3


# What may be true of a machine. `unset:NAME` is one more: the environment has no such variable.
CONDITIONS = {
    "always": lambda: True,
    "linux": lambda: sys.platform.startswith("linux"),
    "macos": lambda: sys.platform == "darwin",
    "not-x86_64": lambda: platform.machine() not in ("x86_64", "amd64"),
    "not-root": lambda: os.geteuid() != 0,
    "no-fuse": lambda: not os.path.exists("/dev/fuse"),
    "no-mounts": lambda: not can_mount(),
    "no-landlock": lambda: not has_landlock(),
    "no-bubblewrap": lambda: not answers("bwrap", "--ro-bind", "/", "/", "true"),
    "no-virtiofsd": lambda: not has_virtiofsd(),
    "no-systemd": lambda: not os.access("/usr/lib/systemd/systemd", os.X_OK),
    "no-zig": lambda: not os.path.exists(os.path.expanduser("~/.cache/colima-like-zig/version")),
    "no-registries": lambda: not answers(sys.executable, "-m", "pip", "index", "versions", "docker"),
    "low-ports-are-free": lambda: first_free_port() <= 81,
}


def holds(condition, known={}):
    if condition.startswith("unset:"):
        return condition.removeprefix("unset:") not in os.environ
    if condition not in CONDITIONS:
        sys.exit(f"{EXPECTED}: '{condition}' is no condition; there are {', '.join(CONDITIONS)} and unset:NAME")
    if condition not in known:
        known[condition] = CONDITIONS[condition]()
    return known[condition]


@dataclasses.dataclass
class Test:
    name: str
    seconds: float
    skipped: str | None = None  # why


def reason_in(output, otherwise):
    found = GTEST_SKIP.search(output)
    lines = output.strip().splitlines() or [otherwise]
    return (found[1] if found else lines[-1]).strip()


def tests_of(case):
    """What one entry of ctest's report ran: itself, or the tests of its group and what they share."""
    name, seconds = case.get("name"), float(case.get("time", 0))
    output = case.findtext("system-out") or ""
    if case.get("status") == "disabled":
        return [Test(name, 0, "disabled")]
    skipped = case.find("skipped")
    if skipped is not None:
        return [Test(name, seconds, reason_in(output, skipped.get("message", "")))]
    ends = list(GTEST_END.finditer(output))
    if len(ends) == 1 and name.endswith(ends[0][2]) or not ends or "[ RUN      ]" not in output:
        return [Test(name, seconds)]
    tests, begin = [], 0
    for end in ends:
        why = reason_in(output[begin:end.start()], "") if end[1] == "SKIPPED" else None
        tests.append(Test(f"{name}.{end[2]}", int(end[3]) / 1000, why))
        begin = end.end()
    rest = seconds - sum(test.seconds for test in tests)
    return tests + [Test(f"{name} (set-up)", max(rest, 0))]


def read_report(file):
    root = xml.etree.ElementTree.fromstring(file.read_text(errors="replace"))
    return [test for case in root.iter("testcase") for test in tests_of(case)]


def read_expected(file):
    """(pattern, conditions, reason) per line."""
    lines = [line.split(None, 2) for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    for words in lines:
        if len(words) != 3:
            sys.exit(f"{file}: '{' '.join(words)}' is no pattern, condition and reason")
    return [(pattern, conditions.split(","), reason) for pattern, conditions, reason in lines]


def compare(tests, expected):
    """The skipped tests that nothing expects here, and the expected ones that ran."""
    here = [pattern for pattern, conditions, _ in expected if all(map(holds, conditions))]
    awaited = [test for test in tests if any(fnmatch.fnmatchcase(test.name, pattern) for pattern in here)]
    return ([test for test in tests if test.skipped is not None and test not in awaited],
            [test for test in awaited if test.skipped is None])


def report(tests, expected):
    """Prints it; returns whether every skip was expected."""
    print(f"\nThe slowest {SLOWEST}:")
    for test in sorted(tests, key=lambda test: -test.seconds)[:SLOWEST]:
        print(f"{test.seconds:8.2f} s  {test.name}")
    skipped = [test for test in tests if test.skipped is not None]
    unexpected, ran = compare(tests, expected)
    print(f"\n{len(skipped)} skipped, {len(unexpected)} of them unexpectedly:" if skipped else "\n0 skipped")
    for test in skipped:
        print(f"  {'UNEXPECTED ' if test in unexpected else ''}{test.name}: {test.skipped}")
    for test in ran:
        print(f"  {test.name} was expected to be skipped here, and ran")
    return not unexpected


def run(build, selection, options, expected):
    """Runs ctest; what it says is passed on line by line, the report comes before its closing lines."""
    file = build / "tests.xml"
    file.unlink(missing_ok=True)
    # Some unit tests wait and take no CPU.
    jobs = 3 if "^quick$" in selection else 2
    command = ["ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error", f"-j{jobs}", *selection, *options,
               "--output-junit", str(file), "--test-output-size-passed", str(1 << 20), "--test-output-size-failed", str(1 << 20)]
    closing, fine = [], True
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as ctest:
        for line in ctest.stdout:
            if closing or SUMMARY.match(line):
                closing.append(line)
            else:
                print(line, end="", flush=True)
    if closing and file.exists():
        fine = report(read_report(file), expected)
        print()
    print("".join(closing), end="", flush=True)
    if not fine:
        print("error: tests were skipped that should run on a machine like this\n"
              "  because they are not in tests/expected_skips, or their condition does not hold here\n"
              "  try scripts/setup --tests, or add them with their reason", file=sys.stderr)
    return ctest.returncode or (0 if fine else 1)


def known_tests(build, *selection):
    shown = subprocess.run(["ctest", "--test-dir", str(build), "--show-only=json-v1", *selection], capture_output=True, text=True, check=False)
    return json.loads(shown.stdout[shown.stdout.index("{"):])["tests"] if "{" in shown.stdout else []


def select(build, pattern):
    """ctest's options for it, and the environment's; a test inside a group is chosen by a filter of gtest."""
    if not known_tests(build, "-R", pattern):
        for test in known_tests(build):
            if pattern.startswith(test["name"] + "."):
                os.environ["GTEST_FILTER"] = pattern[len(test["name"]) + 1:]
                return ["-R", f"^{re.escape(test['name'])}$"]
    return ["-R", pattern]


def targets(build, pattern):
    """What the tests of that name need; found by its tests that are known, or by the program's name in it."""
    names = {test["name"] for test in known_tests(build, *select(build, pattern))}
    plain = pattern.replace("\\", "")
    programs = [line.split() for line in (build / "test_programs").read_text().splitlines()]
    return sorted({target for begin, target in programs
                   if begin in plain or re.search(pattern, begin) or any(name.startswith(begin) for name in names)})


def count(build):
    table = collections.Counter()
    for test in known_tests(build):
        labels = next((entry["value"] for entry in test["properties"] if entry["name"] == "LABELS"), [])
        suite = next((label for label in labels if label not in RUNS), "none")
        inside = 1
        if suite == "e2e" and len(test.get("command", [])) and pathlib.Path(test["command"][0]).name.startswith("e2e_"):
            # A test is not indented further than by two spaces, a suite not at all.
            listed = subprocess.run([*test["command"], "--gtest_list_tests"], capture_output=True, text=True, check=True).stdout
            inside = sum(line.startswith("  ") and "DISABLED_" not in line for line in listed.splitlines()) or 1
        for label in [label for label in RUNS if label in labels]:
            table[suite, label] += inside
    print("| suite | " + " | ".join(RUNS) + " |\n" + "|---" * (len(RUNS) + 1) + "|")
    for suite in sorted({suite for suite, _ in table}, key=["unit", "integration", "e2e"].index):
        print(f"| {suite} | " + " | ".join(str(table[suite, label]) for label in RUNS) + " |")
    print("| all | " + " | ".join(str(sum(n for (_, of), n in table.items() if of == label)) for label in RUNS) + " |")


SELF_TEST_PROJECT = """
add_test(unit.fine {shell} "true")
add_test(unit.skipped {shell} "echo 'x.cpp:3: Skipped'; echo no engine here; exit 77")
set_tests_properties(unit.fine PROPERTIES LABELS "unit;quick")
set_tests_properties(unit.skipped PROPERTIES LABELS "unit;quick" SKIP_RETURN_CODE 77)
add_test(e2e.group {shell} "cat '{output}'")
set_tests_properties(e2e.group PROPERTIES LABELS "e2e;default")
add_test(unit.fails {shell} "exit 1")
set_tests_properties(unit.fails PROPERTIES LABELS "unit;long")
"""
SELF_TEST_OUTPUT = """[==========] Running 2 tests from 1 test suite.
[ RUN      ] Group.Runs
[       OK ] Group.Runs (1500 ms)
[ RUN      ] Group.Skips
a_test.cpp:7: Skipped
there is no <mount> here
[  SKIPPED ] Group.Skips (3 ms)
[  PASSED  ] 1 test.
"""


def self_test():
    """Runs of a made-up project: an expected skip is fine, any other fails, wherever it is."""
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        build = pathlib.Path(name)
        (build / "output").write_text(SELF_TEST_OUTPUT)
        project = SELF_TEST_PROJECT.format(shell="/bin/sh -c", output=build / "output")
        (build / "CTestTestfile.cmake").write_text(project.replace("/bin/sh -c", '"/bin/sh" "-c"'))

        def check(what, selection, expected, code, *texts):
            program = f"import pathlib, run; raise SystemExit(run.run(pathlib.Path({name!r}), {selection}, [], {expected}))"
            done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=False,
                                  cwd=pathlib.Path(__file__).parent)
            said = done.stdout + done.stderr
            if done.returncode != code or any(text not in said for text in texts):
                wrong.append(f"--- {what}: exit code {done.returncode}, expected {code} and {texts}\n{said}")

        quick, group = ["-L", "^quick$"], ["-L", "^default$"]
        check("a skip that is not expected", quick, [], 1, "UNEXPECTED unit.skipped: no engine here", "100% tests passed")
        check("an expected skip", quick, [("unit.skip*", ["always"], "so")], 0, "1 skipped, 0 of them unexpectedly")
        check("one expected elsewhere", quick, [("unit.skipped", ["always", "unset:PATH"], "so")], 1, "UNEXPECTED unit.skipped")
        check("an expected skip that ran", quick, [("unit.*", ["always"], "so")], 0, "unit.fine was expected to be skipped here, and ran")
        check("a skip in a group", group, [], 1, "UNEXPECTED e2e.group.Group.Skips: there is no <mount> here", "1.50 s  e2e.group.Group.Runs")
        check("an expected one in a group", group, [("e2e.group.Group.Skips", ["always"], "so")], 0)
        check("a failure", ["-L", "^long$"], [], 8, "0% tests passed")
        check("no test at all", ["-L", "^none$"], [], 8)
    print("\n".join(wrong) or "runs fail when they should")
    return not wrong


def main():
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        sys.exit(0 if self_test() else 1)
    if len(arguments) < 2:
        sys.exit(__doc__)
    build, what, rest = pathlib.Path(arguments[0]).resolve(), arguments[1], arguments[2:]
    if what == "--count":
        count(build)
    elif what == "--targets":
        print("\n".join(targets(build, rest[0])))
    elif what == "-R":
        sys.exit(run(build, select(build, rest[0]), rest[1:], read_expected(EXPECTED)))
    elif what in RUNS:
        sys.exit(run(build, ["-L", f"^{what}$"], rest, read_expected(EXPECTED)))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
