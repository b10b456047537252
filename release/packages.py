"""What a release consists of: archives, Debian packages, the list of what is in them, their digests and the signature."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import time

import build
import libraries
from libraries import fail

NAMESPACE = "colima-like-release"  # of the signature: it is valid for nothing else
SIGNER = "release@colima-like"
DEBIAN = {"x86_64-linux-musl": ("amd64", "qemu-system-x86"), "aarch64-linux-musl": ("arm64", "qemu-system-arm")}
# What zig brings along and links in.
OF_ZIG = {"musl": ("musl", "MIT", "1.2.5"), "libc++": ("libcxx", "Apache-2.0 WITH LLVM-exception", "22.1.8")}


def public_name(target):
    """x86_64-linux-musl -> linux-x86_64"""
    words = target.split("-")
    return f"{words[1]}-{words[0]}"


def commit_time():
    return int(build.git("log", "-1", "--format=%ct"))


def linked_in(target):
    """(name, version, licence, pinned entry or None) of all that is in the program."""
    all_of_it = [(one["name"], one["version"], one["licence"], one) for one in libraries.pinned()["libraries"]]
    for name, (_, licence, version) in OF_ZIG.items():
        if name != "musl" or target.endswith("musl"):
            all_of_it.append((name, version, licence, None))
    return all_of_it


def sbom(target, program):
    """SPDX 2.3, of one program."""
    zig = libraries.pinned()["tools"]["zig"]
    name = f"colima-like-{build.version()}-{public_name(target)}"
    digest = libraries.sha256(program)
    root = {"SPDXID": "SPDXRef-colima-like", "name": "colima-like", "versionInfo": build.version(), "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "Apache-2.0", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION",
            "primaryPackagePurpose": "APPLICATION", "checksums": [{"algorithm": "SHA256", "checksumValue": digest}]}
    packages, relations = [root], [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": root["SPDXID"]}]
    for part, version, licence, entry in linked_in(target):
        package = {"SPDXID": "SPDXRef-" + part.replace("+", "x"), "name": part, "versionInfo": version, "filesAnalyzed": False,
                   "licenseConcluded": licence, "licenseDeclared": licence, "copyrightText": "NOASSERTION", "primaryPackagePurpose": "LIBRARY"}
        if entry is None:
            package |= {"downloadLocation": f"https://pypi.org/project/ziglang/{zig}/", "comment": f"as zig {zig} brings it along",
                        "externalRefs": [purl(f"pkg:generic/{part.replace('+', '%2B')}@{version}")]}
        else:
            package |= {"downloadLocation": "https://deb.debian.org/debian/" + entry["archive"]["path"].replace("+", "%2B"),
                        "checksums": [{"algorithm": "SHA256", "checksumValue": entry["archive"]["sha256"]}],
                        "externalRefs": [purl(f"pkg:generic/{part}@{version}")]}
            if "patches" in entry:
                patches = entry["patches"]
                package["comment"] = f"with Debian's patches of {patches['version']}, SHA-256 {patches['sha256']}" + (
                    f", which fix {patches['fixes']}" if "fixes" in patches else "")
        packages.append(package)
        relations.append({"spdxElementId": root["SPDXID"], "relationshipType": "STATIC_LINK", "relatedSpdxElement": package["SPDXID"]})
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(commit_time()))
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
            "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{digest[:32]}",
            "creationInfo": {"created": created, "creators": ["Tool: colima-like scripts/release"]},
            "packages": packages, "relationships": relations}


def purl(locator):
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}


def licences(zig, target):
    """The text of every licence of what is linked in."""
    text = ["colima-like is under the Apache License 2.0 (LICENSE). Linked into it are:\n"]
    for name, version, licence, entry in linked_in(target):
        if entry is None:
            place = pathlib.Path(zig.program).parent / "lib" / OF_ZIG[name][0]
            found = next((place / file for file in ("COPYRIGHT", "LICENSE.TXT", "LICENSE") if (place / file).exists()), None)
        else:
            found = libraries.unpack(entry, zig.cache) / entry["licence_file"]
        words = found.read_text(errors="replace") if found else f"(its text is at https://spdx.org/licenses/{licence.split()[0]}.html)\n"
        text.append(f"==== {name} {version}, {licence}\n\n{words}")
    return "\n".join(text)


def complete(stage, zig):
    """Adds what is the same in every kind of package: licences and the list of what is in the program."""
    doc = stage / "share/doc/colima-like"
    doc.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(build.ROOT / "LICENSE", doc / "LICENSE")
    (doc / "THIRD-PARTY-LICENSES").write_text(licences(zig, zig.target))
    (doc / "sbom.spdx.json").write_text(json.dumps(sbom(zig.target, stage / "bin/colima-like"), indent=1) + "\n")


def tar_bytes(folder, inside, when):
    """An archive whose bytes depend on nothing but the files: sorted, of root, of one time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in [folder, *sorted(folder.rglob("*"))]:
            info = archive.gettarinfo(str(path), arcname=str(pathlib.PurePosixPath(inside) / path.relative_to(folder).as_posix()))
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mtime = when
            info.mode = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
            if path.is_file():
                with path.open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)
    return out.getvalue()


def tarball(stage, target, out):
    name = f"colima-like-{build.version()}-{public_name(target)}"
    data = tar_bytes(stage, name, commit_time())
    file = out / f"{name}.tar.gz"
    file.write_bytes(gzip.compress(data, 9, mtime=0))
    shutil.copyfile(stage / "share/doc/colima-like/sbom.spdx.json", out / f"{name}.spdx.json")
    return file


def control(target, kilobytes):
    architecture, qemu = DEBIAN[target]
    return f"""Package: colima-like
Version: {build.version()}
Architecture: {architecture}
Maintainer: colima-like <{SIGNER}>
Installed-Size: {kilobytes}
Depends: {qemu} (>= 1:8), qemu-utils (>= 1:8), openssh-client, tar
Recommends: docker-cli | docker.io | docker-ce-cli, mmdebstrap, arch-test, uidmap, e2fsprogs, debian-archive-keyring, ca-certificates, virtiofsd, openssh-sftp-server, bubblewrap
Suggests: qemu-user-binfmt | qemu-user-static, {'qemu-system-arm' if architecture == 'amd64' else 'qemu-system-x86'}
Section: admin
Priority: optional
Description: Docker in a Linux machine of its own, with one command
 One command boots a small Debian under QEMU, with KVM where that works and by
 emulation elsewhere, sets Docker up in it, and offers the engine's socket on
 this computer: plain "docker run" works, ports and folders included.
 .
 The program is statically linked and needs no daemon of the system.
"""


def deb(stage, target, out, work):
    """A Debian package of the same files, where Debian has them."""
    tree = work / "deb"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(stage, tree / "usr")
    doc, when = tree / "usr/share/doc/colima-like", commit_time()
    (doc / "LICENSE").unlink()
    third = (doc / "THIRD-PARTY-LICENSES").read_text()
    (doc / "THIRD-PARTY-LICENSES").unlink()
    (doc / "copyright").write_text("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: colima-like\n\n"
                                   "Files: *\nCopyright: the authors of colima-like\nLicense: Apache-2.0\n"
                                   " On Debian systems its text is in /usr/share/common-licenses/Apache-2.0.\n\n"
                                   "Comment: what is linked into the program is under the licences that follow.\n "
                                   + third.replace("\n", "\n ").replace("\n \n", "\n .\n").rstrip() + "\n")
    version, stamp = build.version(), time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(when))
    changes = f"colima-like ({version}) unstable; urgency=medium\n\n  * Release {version}; see CHANGELOG.md.\n\n -- colima-like <{SIGNER}>  {stamp}\n"
    (doc / "changelog.gz").write_bytes(gzip.compress(changes.encode(), 9, mtime=0))
    page = tree / "usr/share/man/man1/colima-like.1"
    page.with_suffix(".1.gz").write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))
    page.unlink()
    (tree / "usr/share/zsh/site-functions").rename(tree / "usr/share/zsh/vendor-completions")
    overrides = tree / "usr/share/lintian/overrides"
    overrides.mkdir(parents=True)
    (overrides / "colima-like").write_text("# One program for every release of every distribution.\ncolima-like: statically-linked-binary\n"
                                           "colima-like: embedded-library *\n")
    files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    sums = "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files)  # the format's digest
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/md5sums").write_text(sums)
    (tree / "DEBIAN/control").write_text(control(target, sum(path.stat().st_size for path in files) // 1024))
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    file = out / f"colima-like_{version}_{DEBIAN[target][0]}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(file)], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "SOURCE_DATE_EPOCH": str(when)})
    return file


def install_script(out, public_key):
    """release/install.sh with the version and the key that it trusts."""
    text = (libraries.HERE / "install.sh").read_text()
    for word, value in (("@VERSION@", build.version()), ("@KEY@", public_key), ("@SIGNER@", SIGNER), ("@NAMESPACE@", NAMESPACE)):
        text = text.replace(word, value)
    file = out / "install.sh"
    file.write_text(text)
    file.chmod(0o755)


def sums(out):
    names = sorted(path.name for path in out.iterdir() if path.name not in ("SHA256SUMS", "SHA256SUMS.sig"))
    (out / "SHA256SUMS").write_text("".join(f"{libraries.sha256(out / name)}  {name}\n" for name in names))


def sign(out, key):
    (out / "SHA256SUMS.sig").unlink(missing_ok=True)
    done = subprocess.run(["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(out / "SHA256SUMS")], check=False)
    if done.returncode != 0:
        fail(f"SHA256SUMS is not signed\n  is {key} a private key of OpenSSH?")
