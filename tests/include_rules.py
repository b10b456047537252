#!/usr/bin/env python3
"""Checks who may include whom: the arrow between the folders and the fences around third-party headers.

    include_rules.py ROOT       prints file:line for each forbidden include; exit code 1 when there is one
    include_rules.py --self-test  runs itself on a made-up tree and checks what it finds

The rules are those of the README's map: left may be included by right, never back.

    src/base <- profiles <- vm ---------------------------------+
            \\           <- provision <- src/forward <- docker --+- src/app <- src/daemon <- src/main.cpp
            |\\                      <- src/shares (also vm) ----+         <- src/cli (also rpc, profiles)
            | <- src/egress -----------------------------------+
              <- src/rpc
"""
import pathlib
import re
import sys
import tempfile

# Longest prefix wins. A part may always include itself.
PARTS = {
    "src/base/": set(),
    "src/rpc/": {"src/base/"},
    "profiles/": {"src/base/"},
    "vm/": {"src/base/", "profiles/"},
    "provision/": {"src/base/", "profiles/"},
    "src/forward/": {"src/base/", "provision/"},
    "src/shares/": {"src/base/", "profiles/", "provision/", "vm/"},
    "src/egress/": {"src/base/", "profiles/"},
    "docker/": {"src/base/", "profiles/", "provision/", "src/forward/"},
    "src/app/": {"src/base/", "src/rpc/", "profiles/", "vm/", "provision/", "docker/"},
    "src/daemon/": {"src/base/", "src/rpc/", "profiles/", "vm/", "provision/", "docker/", "src/forward/", "src/shares/",
                    "src/egress/", "src/app/"},
    "src/cli/": {"src/base/", "src/rpc/", "profiles/", "src/app/"},
    "src/": {"src/base/", "src/rpc/", "src/daemon/", "src/cli/", "profiles/", "provision/"},
}
# Finer arrows inside parts: what others see of a part is its front, not its insides.
PRIVATE = {
    "vm/qemu/": ["vm/", "src/app/", "src/daemon/", "src/shares/"],
    "vm/vz/": ["vm/", "src/daemon/"],
    "vm/host/": ["vm/", "src/daemon/"],
    "provision/agent/": ["provision/", "src/app/"],  # the programs as bytes; their sources are not of this program
    "provision/channel/": ["provision/", "src/daemon/", "src/shares/"],
    "provision/ssh/": ["provision/", "src/daemon/", "src/app/about.cpp", "src/app/doctor.cpp", "src/main.cpp"],
}
# Third-party headers: where they may appear. fmt and Boost.Asio may appear anywhere. Beast, whose templates take long to
# compile, only to parse HTTP: of the engine's API, and of downloads and vfkit's REST interface.
FENCES = [
    (r"boost/process", ["src/base/child.cpp"]),
    (r"libssh2", ["provision/ssh/"]),
    (r"yaml-cpp/", ["profiles/parse.cpp"]),
    (r"boost/beast", ["docker/api.", "vm/http_response.cpp"]),
    (r"CLI/|CLI11", ["src/cli/"]),
    (r"spdlog/(?!fmt/)", ["src/base/log.cpp"]),
    (r"openssl/", ["vm/hash.cpp"]),
    # TLS of downloads: Asio's wrapper, whose OpenSSL calls for names and verdicts have no other place.
    (r"boost/asio/ssl", ["vm/image/http.cpp"]),
    (r"gtest/|gmock/|benchmark/", ["tests/"]),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SUFFIXES = {".hpp", ".cpp", ".h", ".mm"}
TOP = ["src", "vm", "docker", "provision", "profiles", "tests"]


def part_of(path):
    return max((part for part in PARTS if path.startswith(part)), key=len, default=None)


def problems_of(path, included, quoted):
    """Why the file `path` may not include `included`; both relative to the root."""
    for pattern, allowed in FENCES:
        if re.match(pattern, included) and not path.startswith("tests/"):
            if not any(path.startswith(place) for place in allowed):
                yield f"{included} belongs behind {' or '.join(allowed)}"
    if included.startswith("boost/json") and path.startswith("src/base/") and path.endswith(".hpp"):
        yield f"{included} does not belong into the headers of src/base"
    target = part_of(included) if quoted else None
    if included.startswith("tests/") and not path.startswith("tests/"):
        yield "product code does not include tests"
    elif quoted and target is None and not included.startswith("tests/"):
        yield f'"{included}" is not a full path from the root'
    here = part_of(path)
    if target is None or here is None:
        return
    if target != here and target not in PARTS[here]:
        yield f"{here} may not include {target}"
    for inside, friends in PRIVATE.items():
        if included.startswith(inside) and not any(path.startswith(friend) for friend in friends):
            yield f"{inside} is private to {' and '.join(friends)}"


def check(root):
    found = []
    for top in TOP:
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            path = file.relative_to(root).as_posix()
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                match = INCLUDE.match(line)
                if match:
                    for problem in problems_of(path, match[2], match[1] == '"'):
                        found.append(f"{path}:{number}: {problem}")
    return found


def self_test():
    """A tree with one line per rule: lines marked BAD, and only those, must be found."""
    tree = {
        "src/base/child.cpp": ["#include <boost/process/v2/process.hpp>", '#include "src/base/file.hpp"'],
        "src/base/file.cpp": ["#include <boost/process/v2/process.hpp> BAD", '#include "profiles/paths.hpp" BAD'],
        "src/base/log.cpp": ["#include <spdlog/spdlog.h>", "#include <fmt/format.h>", "#include <boost/json.hpp>"],
        "src/base/log.hpp": ["#include <fmt/format.h>", "#include <boost/json.hpp> BAD"],
        "src/rpc/codec.cpp": ["#include <boost/json.hpp>", '#include "vm/driver.hpp" BAD'],
        "src/cli/start.cpp": ["#include <CLI/CLI.hpp>", '#include "profiles/store.hpp"', '#include "src/daemon/daemon.hpp" BAD'],
        "src/daemon/daemon.cpp": ['#include "vm/qemu/driver.hpp"', '#include "src/base/net/relay.hpp"', '# include "src/cli/table.hpp" BAD'],
        "src/main.cpp": ['#include "src/cli/table.hpp"', '#include "src/daemon/daemon.hpp"', "#include <spdlog/spdlog.h> BAD"],
        "profiles/parse.cpp": ["#include <yaml-cpp/yaml.h>", '#include "src/base/file.hpp"'],
        "profiles/store.cpp": ["#include <yaml-cpp/yaml.h> BAD", '#include "src/rpc/codec.hpp" BAD'],
        "vm/hash.cpp": ["#include <openssl/sha.h>", "#include <boost/asio/ssl.hpp> BAD"],
        "vm/image/http.cpp": ["#include <boost/asio/ssl.hpp>", "#include <boost/asio/ip/tcp.hpp>"],
        "vm/http_response.cpp": ["#include <boost/beast/http/parser.hpp>", "#include <boost/asio/ssl.hpp> BAD"],
        "vm/image/image.cpp": ["#include <boost/beast/http.hpp> BAD", '#include "profiles/profile.hpp"'],
        "vm/vz/rest.cpp": ["#include <boost/beast/http.hpp> BAD"],
        "vm/vz/machine.cpp": ["#include <boost/beast/http.hpp> BAD", '#include "vm/vz/rest.hpp"'],
        "vm/disk.cpp": ["#include <openssl/sha.h> BAD", '#include "provision/guest.hpp" BAD', '#include "disk.hpp" BAD'],
        "provision/steps.cpp": ["#include <libssh2.h> BAD", '#include "vm/driver.hpp" BAD', '#include "provision/ssh/session.hpp"'],
        "provision/ssh/pump.cpp": ["#include <libssh2.h>", "#include <sys/socket.h>"],
        "docker/api.cpp": ["#include <boost/beast/http.hpp>", '#include "provision/guest.hpp"'],
        "docker/ports.cpp": ['#include "provision/ssh/pump.hpp" BAD', '#include "vm/driver.hpp" BAD', '#include "tests/fakes/x.hpp" BAD'],
        "src/shares/transport.cpp": ['#include "provision/channel/port_stream.hpp"', '#include "docker/api.hpp" BAD'],
        "tests/unit/vm/x_test.cpp": ["#include <gtest/gtest.h>", '#include "vm/qemu/driver.hpp"'],
    }
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        expected = set()
        for path, lines in tree.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(line.removesuffix(" BAD") + "\n" for line in lines))
            expected |= {f"{path}:{n}" for n, line in enumerate(lines, 1) if line.endswith(" BAD")}
        found = {":".join(problem.split(":")[:2]) for problem in check(root)}
    for place in sorted(expected - found):
        print(f"self-test: {place} was not found")
    for place in sorted(found - expected):
        print(f"self-test: {place} was found though it is allowed")
    return found == expected


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--self-test":
        sys.exit(0 if self_test() else 1)
    problems = check(pathlib.Path(sys.argv[1]))
    print("\n".join(problems) or "every include follows the rules")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
