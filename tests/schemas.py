#!/usr/bin/env python3
"""Checks what --json prints against docs/schemas, both ways: each output fits its schema, and each property that a schema
describes is in some output.

    schemas.py ROOT             checks the files of tests/golden
    schemas.py ROOT PROGRAM     checks what the program prints in an empty home
    schemas.py --self-test ROOT checks that a wrong output is found

NAME.CASE.json of tests/golden belongs to docs/schemas/NAME.json. Exit code 77: python3-jsonschema is not there.
"""
import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import jsonschema
except ImportError:
    print("skipped: python3-jsonschema is not installed")
    sys.exit(77)

# What the program can be asked for without a machine.
COMMANDS = {
    "version": ["version"],
    "list": ["list"],
    "status": ["status"],
    "image_list": ["image", "list"],
    "image_prune": ["image", "prune"],
    "config_show": ["config", "show", "--effective"],
    "config_diff": ["config", "diff"],
    "share_list": ["share", "list"],
    "forward_list": ["forward", "list"],
    "autostart_status": ["autostart", "status"],
    "doctor": ["doctor"],
}


class Schemas:
    def __init__(self, root):
        self.folder = root / "docs" / "schemas"
        self.all = {file.stem: json.loads(file.read_text()) for file in sorted(self.folder.glob("*.json"))}

    def problems_of(self, name, value):
        check = self.validator({"$ref": self.uri(name)})
        return [f"{'/'.join(map(str, error.absolute_path)) or 'it'}: {error.message}" for error in check.iter_errors(value)]

    def uri(self, name):
        return (self.folder / f"{name}.json").as_uri()

    def validator(self, schema):
        """With the other schemas, which it may refer to; jsonschema has two ways, and none is in all of its versions."""
        try:
            import referencing
        except ImportError:
            store = {self.uri(name): content for name, content in self.all.items()}
            return jsonschema.Draft202012Validator(schema, resolver=jsonschema.RefResolver("", schema, store=store))
        registry = referencing.Registry().with_contents((self.uri(name), content) for name, content in self.all.items())
        return jsonschema.Draft202012Validator(schema, registry=registry)

    def described(self):
        """(schema, property) of all that is described, and what is wrong with the schemas themselves."""
        found, problems = set(), []

        def walk(name, node):
            if isinstance(node, list):
                for one in node:
                    walk(name, one)
            if not isinstance(node, dict):
                return
            if isinstance(node.get("properties"), dict):
                for key, rule in node["properties"].items():
                    found.add((name, key))
                    if "description" not in rule:
                        problems.append(f"{name}.json: '{key}' has no description")
            for one in node.values():
                walk(name, one)

        for name, schema in self.all.items():
            try:
                jsonschema.Draft202012Validator.check_schema(schema)
            except jsonschema.SchemaError as error:
                problems.append(f"{name}.json: {error.message}")
            walk(name, schema)
        return found, problems


def keys_in(value):
    if isinstance(value, list):
        return set().union(*map(keys_in, value)) if value else set()
    if isinstance(value, dict):
        return set(value) | set().union(*map(keys_in, value.values())) if value else set()
    return set()


def check_golden(root):
    schemas = Schemas(root)
    described, problems = schemas.described()
    seen = {}
    for file in sorted((root / "tests" / "golden").glob("*.json")):
        name = file.name.split(".")[0]
        if name not in schemas.all:
            problems.append(f"{file.name}: there is no docs/schemas/{name}.json")
            continue
        value = json.loads(file.read_text())
        problems += [f"{file.name}: {problem}" for problem in schemas.problems_of(name, value)]
        seen[name] = seen.get(name, set()) | keys_in(value)
    for name, key in sorted(described):
        if name != "doctor" and key not in seen.get(name, set()):
            problems.append(f"{name}.json describes '{key}', which no file of tests/golden has")
    return problems


def check_program(root, program):
    schemas = Schemas(root)
    problems = []
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "COLIMA_LIKE_HOME": home, "COLIMA_LIKE_CACHE": home + "/cache"}
        subprocess.run([program, "config", "set", "shares", '["/:ro"]'], env=environment, check=True)
        for name, words in COMMANDS.items():
            done = subprocess.run([program, *words, "--json"], env=environment, stdout=subprocess.PIPE, text=True, timeout=90)
            found = schemas.problems_of(name, json.loads(done.stdout))
            problems += [f"{' '.join(words)}: {problem}" for problem in found]
    return problems


def self_test(root):
    """Damages each golden file in all places; each damage has to be found."""
    schemas = Schemas(root)
    missed, tried = [], 0

    def places(value, path=()):
        yield path
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
        for key, child in children:
            yield from places(child, path + (key,))

    for file in sorted((root / "tests" / "golden").glob("*.json")):
        name = file.name.split(".")[0]
        sound = json.loads(file.read_text())
        for path in places(sound):
            damaged = copy.deepcopy(sound)
            at = damaged
            for key in path:
                at = at[key]
            if not isinstance(at, dict) or "value" in path:  # a setting may be any map
                continue
            at["unheard-of"] = True
            tried += 1
            if not schemas.problems_of(name, damaged):
                missed.append(f"{file.name}: an unheard-of key at {path} is not found")
    if tried < 10:
        missed.append(f"only {tried} places were tried")
    return missed


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--self-test":
        problems = self_test(pathlib.Path(sys.argv[2]).resolve())
    elif len(sys.argv) == 3:
        problems = check_program(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2])
    elif len(sys.argv) == 2:
        problems = check_golden(pathlib.Path(sys.argv[1]).resolve())
    else:
        sys.exit(__doc__)
    print("\n".join(problems) or "every output fits its schema")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
