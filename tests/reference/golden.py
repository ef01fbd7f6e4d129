#!/usr/bin/env python3
"""golden.py BUILDKITD BUILDCTL [TABLE...]: fills in what the reference builder says to each row of the tables in tests/fixtures/dockerfile.
Called by golden.sh.

A table is a file of JSON objects, one a line; what is asked stands in front, what the reference answers comes last and is rewritten here:
  parse   text -> error, line      whether the front end takes a Dockerfile, and the line that it names if not
  expand  word -> value, error     a word, in the scope that the first line of the table gives
  ignore  rules, paths -> kept     the paths of a context that COPY . takes
  plan    text, args -> config, history
  lint    text, args -> warnings   [rule, first line of the place]...
"""
import json, os, re, subprocess, sys, tarfile, tempfile

import reference_daemon

# No row names an image.
os.environ.setdefault("LONGSHORE_TEST_REGISTRY", "127.0.0.1:1")

TABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../fixtures/dockerfile")


def call(address, place, *options, output=None):
    command = [sys.argv[2], "--addr", address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
               "--local", f"context={place}/context", "--local", f"dockerfile={place}"]
    for option in options:
        command += ["--opt", option]
    if output:
        command += ["--output", output]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")


def place_for(directory, text):
    place = tempfile.mkdtemp(dir=directory)
    os.mkdir(f"{place}/context")
    with open(f"{place}/Dockerfile", "wb") as file:
        file.write(text.encode("utf-8"))
    return place


def arguments_of(row):
    return [f"build-arg:{name}={value}" for name, value in row.get("args", {}).items()]


def config_of(address, place, row, directory):
    """The image's config, or the error."""
    path = os.path.join(directory, "image.tar")
    result = call(address, place, *arguments_of(row), output=f"type=oci,dest={path}")
    if result.returncode != 0:
        return None, result.stderr
    with tarfile.open(path) as archive:
        read = lambda name: json.load(archive.extractfile(name))
        blob = lambda digest: read("blobs/" + digest.replace(":", "/"))
        manifest = blob(read("index.json")["manifests"][0]["digest"])
        return blob(manifest["config"]["digest"]), None


def parse(address, rows, directory):
    for row in rows:
        place = place_for(directory, row["text"])
        result = call(address, place, "requestid=frontend.outline")
        row["error"] = result.returncode != 0
        row.pop("line", None)
        named = re.search(r"(?:parse error on line |Dockerfile:)(\d+)", result.stderr)
        if row["error"] and named:
            row["line"] = int(named.group(1))


def expand(address, rows, directory):
    scope, rows = rows[0], rows[1:]
    head = "FROM scratch\n" + "".join(f"ENV {name}={value}\n" for name, value in scope["scope"].items())
    good = []
    for row in rows:
        row.pop("value", None)
        place = place_for(directory, head + "USER " + row["word"] + "\n")
        row["error"] = call(address, place, "requestid=frontend.outline").returncode != 0
        good += [] if row["error"] else [row]
    place = place_for(directory, head + "".join(f"USER {row['word']}\n" for row in good))
    config, error = config_of(address, place, {}, directory)
    if error:
        raise SystemExit(error)
    users = [entry["created_by"].removeprefix("USER ") for entry in (config.get("history") or []) if entry["created_by"].startswith("USER")]
    assert len(users) == len(good), (len(users), len(good))
    for row, user in zip(good, users):
        row["value"] = user


def ignore(address, rows, directory):
    for row in rows:
        place = place_for(directory, "FROM scratch\nCOPY . /\n")
        for path in row["paths"]:
            full = os.path.join(place, "context", path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            open(full, "w").close()
        with open(f"{place}/context/.dockerignore", "w", encoding="utf-8") as file:
            file.write(row["rules"])
        path = os.path.join(directory, "tree.tar")
        result = call(address, place, output=f"type=tar,dest={path}")
        row["error"] = result.returncode != 0
        row.pop("kept", None)
        if not row["error"]:
            with tarfile.open(path) as archive:
                names = {member.name.removeprefix("./") for member in archive if not member.isdir()}
            row["kept"] = sorted(names & set(row["paths"]))


def plan(address, rows, directory):
    for row in rows:
        config, error = config_of(address, place_for(directory, row["text"]), row, directory)
        row["error"] = error is not None
        for key in ("config", "history"):
            row.pop(key, None)
        if config:
            row["config"] = config["config"]
            row["history"] = [entry["created_by"] for entry in config.get("history") or []]


def lint(address, rows, directory):
    for row in rows:
        place = place_for(directory, row["text"])
        for path in row.get("paths", []):
            full = os.path.join(place, "context", path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            open(full, "w").close()
        if "rules" in row:
            with open(f"{place}/context/.dockerignore", "w", encoding="utf-8") as file:
                file.write(row["rules"])
        result = call(address, place, "requestid=frontend.lint", *arguments_of(row))
        row.pop("warnings", None)
        row["error"] = result.returncode != 0
        if row["error"]:
            continue
        # The text says `WARNING: RULE - URL`, what is meant, and `FILE:LINE`.
        found = re.findall(r"^WARNING: (\w+).*?^Dockerfile:(\d+)", result.stdout, re.MULTILINE | re.DOTALL)
        row["warnings"] = sorted([rule, int(line)] for rule, line in found)
        assert len(found) == result.stdout.count("WARNING: "), result.stdout


def main():
    with tempfile.TemporaryDirectory() as directory, reference_daemon.daemon() as address:
        for name in sys.argv[3:] or ["parse", "expand", "ignore", "plan", "lint"]:
            path = os.path.join(TABLES, f"{name}.jsonl")
            with open(path, encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
            globals()[name](address, rows, directory)
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            print(f"{name}: {len(rows)} rows recorded", file=sys.stderr)


main()
