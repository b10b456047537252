#!/usr/bin/env python3
"""What scripts/release makes, without a build: the list of pinned sources, packages of a made-up program, and the install script, which has to
refuse whatever is not what was signed.

    release.py ROOT      exit code 77 without ssh-keygen
"""
import contextlib
import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else __file__).resolve()
sys.path.insert(0, str(ROOT / "release"))
import build  # noqa: E402
import libraries  # noqa: E402
import packages  # noqa: E402

OWN = next((target for target in build.TARGETS if packages.public_name(target) == "{}-{}".format(
    "macos" if sys.platform == "darwin" else "linux", {"arm64": "aarch64"}.get(os.uname().machine, os.uname().machine))), None)
packages.commit_time = lambda: 1_700_000_000


class Pinned(unittest.TestCase):
    def test_every_library_has_a_digest_a_licence_and_a_recipe(self):
        entries = libraries.pinned()["libraries"]
        self.assertEqual([one["name"] for one in entries], list(libraries.RECIPES), "in the order of the recipes")
        for one in entries:
            for file in (one["archive"], one.get("patches")):
                if file:
                    self.assertRegex(file["sha256"], "^[0-9a-f]{64}$", one["name"])
                    self.assertIn(one["version"], file["path"])
            self.assertTrue(one["licence"] and one["licence_file"])

    def test_zig_is_the_one_that_setup_installs(self):
        self.assertIn(f"ziglang=={libraries.pinned()['tools']['zig']}", (ROOT / "scripts/setup").read_text())

    def test_what_is_not_the_pinned_file_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            cache = pathlib.Path(folder)
            (cache / "sources").mkdir()
            mirror = cache / "mirror/pool"
            mirror.mkdir(parents=True)
            (mirror / "a.tar").write_text("changed")
            os.environ["COLIMA_LIKE_MIRROR"] = f"file://{cache}/mirror"
            with contextlib.redirect_stdout(None), self.assertRaises(SystemExit):
                libraries.fetch({"path": "pool/a.tar", "sha256": "0" * 64}, cache)
            self.assertFalse((cache / "sources/a.tar").exists())

    def test_frameworks_are_stubs_of_both_architectures(self):
        for stub in (ROOT / "release/frameworks").glob("*.tbd"):
            self.assertIn("[ x86_64-macos, arm64-macos ]", stub.read_text())


class Packages(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.work)
        self.out = self.work / "out"
        self.out.mkdir()
        self.stage = self.make_stage("stage")

    def make_stage(self, name):
        stage = self.work / name
        for file, text in {"bin/colima-like": "#!/bin/sh\necho colima-like here\n", "share/man/man1/colima-like.1": ".TH x\n",
                           "share/zsh/site-functions/_colima-like": "#compdef\n", "share/doc/colima-like/LICENSE": "Apache\n",
                           "share/doc/colima-like/THIRD-PARTY-LICENSES": "Linked:\n\nMIT\n", "share/doc/colima-like/sbom.spdx.json": "{}\n"}.items():
            (stage / file).parent.mkdir(parents=True, exist_ok=True)
            (stage / file).write_text(text)
        (stage / "bin/colima-like").chmod(0o755)
        return stage

    def release(self, signed=True):
        key = self.work / "key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        packages.tarball(self.stage, OWN, self.out)
        packages.install_script(self.out, pathlib.Path(f"{key}.pub").read_text().strip() if signed else "")
        packages.sums(self.out)
        if signed:
            packages.sign(self.out, key)

    def install(self):
        prefix = self.work / "prefix"
        done = subprocess.run(["sh", self.out / "install.sh", self.out, prefix], capture_output=True, text=True, check=False)
        self.assertEqual((prefix / "bin/colima-like").exists(), done.returncode == 0, done.stderr)
        return done

    def refused(self, why):
        done = self.install()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(why, done.stderr)

    def archive(self):
        return next(self.out.glob("*.tar.gz"))

    def test_a_release_is_installed(self):
        self.release()
        done = self.install()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("prefix/bin/colima-like doctor", done.stdout)
        self.assertTrue((self.work / "prefix/share/man/man1/colima-like.1").exists())
        self.assertEqual(self.install().returncode, 0, "over itself")

    def test_an_archive_that_was_changed_or_cut_is_refused(self):
        self.release()
        whole = self.archive().read_bytes()
        for data in (whole[:-1], whole[:100], b"", gzip.compress(b"other")):
            self.archive().write_bytes(data)
            self.refused("is cut or was changed")

    def test_digests_that_nobody_signed_are_refused(self):
        self.release()
        self.archive().write_bytes(gzip.compress(b"other"))
        packages.sums(self.out)
        self.refused("does not have the signature")

    def test_the_signature_of_another_key_or_for_another_purpose_is_refused(self):
        self.release()
        for key, purpose in (("other", packages.NAMESPACE), ("key", "file")):
            (self.out / "SHA256SUMS.sig").unlink()
            if not (self.work / key).exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.work / key], check=True)
            subprocess.run(["ssh-keygen", "-Y", "sign", "-q", "-f", self.work / key, "-n", purpose, self.out / "SHA256SUMS"], check=True)
            self.refused("does not have the signature")

    def test_a_release_without_signature_is_refused(self):
        self.release(signed=False)
        self.refused("the release was not signed")

    def test_an_archive_that_the_digests_do_not_name_is_refused(self):
        self.release()
        (self.out / "SHA256SUMS").write_text("")
        packages.sign(self.out, self.work / "key")
        self.refused("does not name")

    def test_a_program_that_does_not_run_here_is_not_installed(self):
        (self.stage / "bin/colima-like").write_text("#!/bin/sh\nexit 1\n")
        self.release()
        self.refused("does not run on this computer")

    def test_an_archive_depends_on_nothing_but_the_files(self):
        first = packages.tarball(self.stage, OWN, self.out).read_bytes()
        other = self.make_stage("elsewhere")
        os.utime(other / "bin/colima-like", (1, 1))
        (other / "share/man/man1/colima-like.1").chmod(0o600)
        self.assertEqual(packages.tarball(other, OWN, self.out).read_bytes(), first)
        with tarfile.open(self.archive()) as archive:
            names = archive.getnames()
        self.assertTrue(all(name.split("/")[0] == f"colima-like-{build.version()}-{packages.public_name(OWN)}" for name in names))

    def test_the_list_of_what_is_in_it_names_every_library(self):
        for target in build.TARGETS:
            text = packages.sbom(target, self.stage / "bin/colima-like")
            by_name = {one["name"]: one for one in text["packages"]}
            for one in libraries.pinned()["libraries"]:
                self.assertEqual(by_name[one["name"]]["versionInfo"], one["version"])
                self.assertEqual(by_name[one["name"]]["checksums"][0]["checksumValue"], one["archive"]["sha256"])
            self.assertEqual("musl" in by_name, target.endswith("musl"))
            self.assertIn("CVE-", by_name["libssh2"]["comment"])
            ids = [one["SPDXID"] for one in text["packages"]]
            self.assertEqual(len(ids), len(set(ids)))
            for one in ids:
                self.assertRegex(one, r"^SPDXRef-[a-zA-Z0-9.-]+$")
            self.assertEqual({one["relatedSpdxElement"] for one in text["relationships"]}, set(ids))
            json.dumps(text)

    @unittest.skipUnless(shutil.which("dpkg-deb"), "no dpkg-deb")
    def test_a_debian_package_has_the_files_where_debian_has_them(self):
        for target, (architecture, qemu) in packages.DEBIAN.items():
            file = packages.deb(self.stage, target, self.out, self.work)
            said = subprocess.run(["dpkg-deb", "-I", file], capture_output=True, text=True, check=True).stdout
            self.assertIn(f"Architecture: {architecture}", said)
            self.assertRegex(said, rf"Depends: {qemu} \(>= 1:8\)")
            listed = subprocess.run(["dpkg-deb", "-c", file], capture_output=True, text=True, check=True).stdout
            for name in ("usr/bin/colima-like", "usr/share/man/man1/colima-like.1.gz", "usr/share/zsh/vendor-completions/_colima-like",
                         "usr/share/doc/colima-like/copyright", "usr/share/doc/colima-like/changelog.gz"):
                self.assertRegex(listed, rf"-rw?x?\S* root/root .* \./{re.escape(name)}\n")
            self.assertEqual(file.read_bytes(), packages.deb(self.stage, target, self.out, self.work).read_bytes(), "twice the same bytes")


class Version(unittest.TestCase):
    def test_is_said_in_one_place(self):
        self.assertRegex(build.version(), r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    if not shutil.which("ssh-keygen"):
        print("skipped: there is no ssh-keygen")
        sys.exit(77)
    unittest.main(verbosity=0)
