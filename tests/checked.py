"""What the checks of sources share: which files a source consists of, and what has passed before, in any checkout."""
import hashlib
import os
import pathlib
import re
import time

KEPT_DAYS = 60  # for which one that was not asked for any more is kept
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


class Sources:
    """Files below `root`. Every include of ours is a full path from there (include_rules.py sees to it)."""

    def __init__(self, root):
        self.root, self._includes, self._contents = pathlib.Path(root), {}, {}

    def closure(self, path):
        """The file and all headers of ours that it includes, however far away."""
        seen, left = {path}, [path]
        while left:
            new = self._included(left.pop()) - seen
            seen |= new
            left.extend(new)
        return seen

    def digest(self, path, *with_what):
        """Of the file, everything of ours that it includes, and what else decides about the check."""
        return self._digest(self.closure(path), with_what)

    def digest_alone(self, path, *with_what):
        return self._digest([path], with_what)

    def _digest(self, paths, with_what):
        digest = hashlib.sha256(" ".join(with_what).encode())
        for path in sorted(paths):
            digest.update(path.encode() + b"\0" + self._content(path))
        return digest.hexdigest()

    def _content(self, path):
        if path not in self._contents:
            self._contents[path] = (self.root / path).read_bytes()
        return self._contents[path]

    def _included(self, path):
        if path not in self._includes:
            names = set(INCLUDE.findall(self._content(path).decode(errors="replace")))
            self._includes[path] = {name for name in names if (self.root / name).is_file()}
        return self._includes[path]


class Passed:
    """An empty file for each digest that has passed a check."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)

    def __contains__(self, digest):
        try:
            os.utime(self.directory / digest)
            return True
        except FileNotFoundError:
            return False

    def add(self, digest):
        (self.directory / digest).touch()

    def forget_old(self):
        for stamp in self.directory.iterdir():
            if stamp.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
                stamp.unlink(missing_ok=True)
