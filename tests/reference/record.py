#!/usr/bin/env python3
"""record.py BUILDKITD BUILDCTL [CASE...]: builds the cases with the reference builder and writes what it made. Called by record.sh.

Every case gets a daemon with an empty state. A daemon that has built another case keeps its context and asks only for files whose size or
time differ, and it takes a layer of another case where only times differ; what a failed build used cannot even be pruned.
"""
import glob, json, os, subprocess, sys, tempfile

import cases, describe
from reference_daemon import daemon

OPTIONS = {"--build-arg": "build-arg:", "--label": "label:", "--target": "target="}
# What buildctl calls the same.
SAME = {"--secret"}


def options(name, place):
    """The flags of the case in buildctl's words."""
    words, flags = cases.flags(name, place), []
    while words:
        flag, value = words.pop(0), None
        if "=" in flag:
            flag, value = flag.split("=", 1)
        value = words.pop(0) if value is None else value
        if flag == "--build-context":
            flags += build_context(*value.split("=", 1))
        else:
            flags += [flag, value] if flag in SAME else ["--opt", OPTIONS[flag] + value]
    return flags


def build_context(key, value):
    """A named context, as buildx hands it to the builder."""
    if value.startswith("oci-layout://"):
        layout = value.removeprefix("oci-layout://")
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as index:
            digest = json.load(index)["manifests"][0]["digest"]
        return ["--oci-layout", f"{key}={layout}", "--opt", f"context:{key}=oci-layout://{key}@{digest}"]
    if "://" in value:
        return ["--opt", f"context:{key}={value}"]
    return ["--local", f"{key}={value}", "--opt", f"context:{key}=local:{key}"]


def build(address, name, place, output):
    registry = os.environ["LONGSHORE_TEST_REGISTRY"]
    command = [sys.argv[2], "--addr", address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
               "--local", f"context={place}/context", "--local", f"dockerfile={place}",
               "--opt", f"build-arg:REGISTRY={registry}", *options(name, place), "--output", f"type=oci,tar=false,dest={output}"]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def main():
    describer = describe.Describer(sorted(glob.glob(os.path.join(os.environ["LONGSHORE_TEST_BASES"], "*/"))))
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        for name in cases.names(sys.argv[3:]):
            place, output = cases.prepare(name, directory), os.path.join(directory, name, "image")
            with daemon() as address:
                result = build(address, name, place, output)
            should_fail = os.path.exists(os.path.join(cases.CASES, name, "fails"))
            if (result.returncode != 0) != should_fail:
                print(f"{name}: the reference {'built' if should_fail else 'failed'}\n{result.stdout[-1500:]}", file=sys.stderr)
                failed += 1
                continue
            description = {"fails": True} if should_fail else cases.comparable(name, describer.describe(output))
            with open(os.path.join(cases.CASES, name, "expected.json"), "w", encoding="utf-8") as file:
                json.dump(description, file, indent=1, sort_keys=True, ensure_ascii=False)
                file.write("\n")
            print(f"{name}: recorded", file=sys.stderr)
    sys.exit(1 if failed else 0)


main()
