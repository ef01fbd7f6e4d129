#!/usr/bin/env python3
"""Builds every case twice with a cache, the second time on a fresh machine, and compares the images to the byte.

    cached.py LONGSHORE PLACE CACHE [CASE...]

PLACE is one of compare.py's; CACHE is `directory` or `registry`. The second build must find everything: it carries out no step and
unpacks no layer. Cases that cannot be built are left out. The last line is `N passed, N failed`.
"""
import json, os, re, shlex, subprocess, sys, tempfile, time

import cases, compare


def words(binary, place, name, directory, output, cache, round):
    base = compare.command(binary, place, name, directory, output)
    at = base.index("--oci-layout-path") + 1
    base[at] = f"{output}/{name}/{round}"
    if cache == "directory":
        repository = f"oci:{output}/{name}/cache"
    else:
        repository = f"{os.environ['LONGSHORE_TEST_REGISTRY']}/cached-{RUN}/{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
    return base + ["--cache", "--cache-repo", repository]


RUN = f"{os.getpid()}-{int(time.time())}"


def build_on_host(binary, place, wanted, directory, output, cache):
    for name in wanted:
        for round in ("first", "second"):
            with tempfile.TemporaryDirectory(prefix="longshore-state.") as state, open(f"{output}/{name}/{round}.log", "w") as log:
                command = words(binary, place, name, directory, output, cache, round) + ["--state-dir", state]
                code = subprocess.run(["timeout", str(compare.TIME_LIMIT), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
            with open(f"{output}/{name}/{round}.code", "w") as file:
                file.write(str(code))
            if code != 0:
                break


def build_in_docker(place, wanted, directory, output, cache):
    cases_directory, out = compare.IN_CONTAINER
    lines = ["cd /"]
    for name in wanted:
        for round in ("first", "second"):
            command = shlex.join(["timeout", str(compare.TIME_LIMIT), *words("/longshore/longshore", place, name, cases_directory, out, cache, round)])
            lines.append(f"{command} >{out}/{name}/{round}.log 2>&1 </dev/null; echo $? >{out}/{name}/{round}.code")
    with open(f"{directory}/.script", "w") as file:
        file.write("\n".join(lines) + "\n")
    options = ["--security-opt", "seccomp=unconfined"] if place == "identity" else []
    image = os.environ.get("LONGSHORE_TEST_IMAGE", "longshore:test")
    subprocess.run(["docker", "run", "--rm", "--network=host", *options, "--volume", f"{directory}:{cases_directory}:ro",
                    "--volume", f"{output}:{out}", "--entrypoint", "/busybox/sh", image, f"{cases_directory}/.script"], check=True)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def judge(output, name):
    """What is wrong with a case; `None` if it cannot be built at all."""
    if not os.path.exists(f"{output}/{name}/first.code"):
        return "was not built"
    if read(f"{output}/{name}/first.code").strip() != "0":
        return None
    if read(f"{output}/{name}/second.code").strip() != "0":
        return "the second build failed: " + read(f"{output}/{name}/second.log")[-1500:]
    digests = [json.loads(read(f"{output}/{name}/{round}/index.json"))["manifests"][0]["digest"] for round in ("first", "second")]
    log = read(f"{output}/{name}/second.log")
    if digests[0] != digests[1]:
        return f"another image: {digests}\n{log}"
    done = [line for line in log.splitlines() if "unpacked in" in line or " reused" in line or "warning: cache" in line]
    return f"not all of it was cached: {done}\n{log}" if done else ""


def main():
    if "LONGSHORE_TEST_REGISTRY" not in os.environ:
        raise SystemExit('the test environment is not up: . "$(tests/env/up.sh)"')
    binary, place, cache, wanted = sys.argv[1], sys.argv[2], sys.argv[3], cases.names(sys.argv[4:])
    passed = failed = left = 0
    with tempfile.TemporaryDirectory(prefix="longshore-compare.") as directory, tempfile.TemporaryDirectory(prefix="longshore-images.") as output:
        for name in wanted:
            cases.prepare(name, directory)
            os.makedirs(f"{output}/{name}")
        if place == "namespace":
            build_on_host(os.path.abspath(binary), place, wanted, directory, output, cache)
        else:
            build_in_docker(place, wanted, directory, output, cache)
        for name in wanted:
            wrong = judge(output, name)
            if wrong is None:
                left += 1
            elif wrong:
                failed += 1
                print(f"FAIL {place} {cache} {name}: {wrong}")
            else:
                passed += 1
    print(f"{left} cases cannot be built and were left out")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
