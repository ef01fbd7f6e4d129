#!/usr/bin/env python3
"""What one build keeps, the next one finds: random Dockerfiles (generate.py) built on fresh machines with a cache between them.

    cache.py LONGSHORE FIRST COUNT [PLACE]    COUNT seeds, from FIRST on, in `namespace` (which is meant without) or `inplace`

Needs tests/env/up.sh, and `inplace` tests/env/image.sh. The first build of a seed keeps its layers in all caches at once: a directory, a registry, and
those that CACHES names, one a line, as --cache-to takes them, with {seed} for what tells seeds apart. Then for each of them a build with a new state
directory has only that one. Their images must be that of the first, to the byte. An image that is its own cache is tried apart, since what it remembers
is a part of it. Seeds that add what a URL has are passed over: without a checksum that cannot be told before, so their steps have no keys and their
images the times of their own builds. The last line is `N passed, N failed`.
"""
import collections, concurrent.futures, itertools, os, shlex, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import generate, run

WORKERS = int(os.environ.get("GENERATOR_WORKERS", "3"))
IMAGE = os.environ.get("LONGSHORE_TEST_IMAGE", "longshore:test")


class Builds:
    """The builds of one seed: on this machine, or in a container each."""

    def __init__(self, bench, seed, place, isolation):
        self.bench, self.seed, self.isolation, self.outside = bench, seed, isolation, place
        # Below a directory that no image has: in place a build meets what is mounted.
        self.seeds = "/longshore/seeds" if isolation == "inplace" else bench.directory
        self.place = os.path.join(self.seeds, os.path.basename(place))
        self.container = None
        if isolation == "inplace":
            self.container = subprocess.run(
                ["docker", "run", "--detach", "--network=host", "--volume", f"{bench.directory}:{self.seeds}", "--volume", f"{bench.longshore}:/longshore/longshore:ro", "--env",
                 "STORAGE_EMULATOR_HOST", "--entrypoint", "/busybox/sh", IMAGE, "-c", "sleep 600"], check=True, capture_output=True, text=True).stdout.strip()

    def end(self):
        if self.container:
            subprocess.run(["docker", "rm", "--force", "--volumes", self.container], check=True, capture_output=True)

    def build(self, words):
        """The digest of the image, and the log; no digest if it does not build."""
        state, layout = os.path.join(self.place, "state"), os.path.join(self.place, "image")
        arguments = [word.replace(self.bench.directory, self.seeds) for word in self.bench.arguments(self.seed, self.outside)]
        program = "/longshore/longshore" if self.container else self.bench.longshore
        call = [program, "build", f"--isolation={self.isolation}", "-f", f"{self.place}/Dockerfile", "-c", f"{self.place}/context", "--oci-layout-path", layout,
                "--insecure-registry", self.bench.registry, "--build-arg", f"REGISTRY={self.bench.registry}", *arguments, *words]
        if self.container:
            call = ["docker", "exec", self.container, *call]
        else:
            call += ["--state-dir", state]
        done = subprocess.run(["timeout", "300", *call], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        for made in "state", "image":
            shutil.rmtree(os.path.join(self.outside, made), ignore_errors=True)
        lines = done.stdout.split()
        return lines[0].rsplit("@", 1)[-1] if done.returncode == 0 and lines else None, done.stderr


def judge(bench, number, isolation):
    """What came of a seed, and what is wrong."""
    seed, place = bench.lay_out(number)
    builds = Builds(bench, seed, place, isolation)
    try:
        return number, *compare(builds, f"{number}-{isolation}-{os.getpid()}")
    finally:
        builds.end()
        shutil.rmtree(place, ignore_errors=True)


def compare(builds, name):
    directory, repository = f"{builds.place}/layers", f"{builds.bench.registry}/seeds:{name}"
    caches = [(f"type=local,dest={directory}", f"type=local,src={directory}"), (f"type=registry,ref={repository}",) * 2]
    caches += [(line.replace("{seed}", name),) * 2 for line in os.environ.get("CACHES", "").split("\n") if line]
    first, log = builds.build(["--no-push", *(f"--cache-to={to}" for to, _ in caches)])
    if first is None:
        return "does not build", []
    errors = [log] if "warning: cache" in log else []
    has_layers = "s, layer " in log
    rounds = [(source, ["--no-push", f"--cache-from={source}"], first) for _, source in caches]
    image = f"{builds.bench.registry}/seeds/images:{name}"
    inline = ["--cache-to=type=inline", f"--destination={image}"]
    rounds.append(("inline", [*inline, f"--cache-from={image}"], builds.build(inline)[0]))
    for cache, words, expected in rounds:
        digest, log = builds.build(words)
        if digest != expected or digest is None or "warning: cache" in log or "begins again" in log:
            errors.append(f"{cache}: {digest} instead of {expected}\n{log}")
        elif has_layers and "(cached, layer " not in log:
            errors.append(f"{cache}: nothing was found\n{log}")
    return "the same" if not errors else "different", errors


def main():
    longshore, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    isolation = sys.argv[4] if len(sys.argv) > 4 else "namespace"
    seeds = (number for number in itertools.count(first) if "http" not in generate.Seed(number).text("", "http:"))
    if isolation == "inplace":
        # What is granted beyond that can only be granted in a namespace.
        seeds = (number for number in seeds if "--allow" not in generate.Seed(number).args)
    kinds, failed = collections.Counter(), 0
    # The state directories have overlays of root.
    with tempfile.TemporaryDirectory(prefix="longshore-generator.", ignore_cleanup_errors=True) as directory:
        bench = run.Bench(longshore, directory, False, isolation == "inplace")
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for number, kind, errors in pool.map(lambda number: judge(bench, number, isolation), itertools.islice(seeds, count)):
                kinds[kind] += 1
                if kind == "does not build":
                    print(f"seed {number}, {isolation}: does not build", flush=True)
                failed += bool(errors)
                for error in errors:
                    print(f"seed {number}, {shlex.quote(isolation)}: {error[-3000:]}", flush=True)
    if kinds["the same"] * 2 < count:
        print("most seeds do not build")
        failed = sum(kinds.values())
    print(", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    print(f"{sum(kinds.values()) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
