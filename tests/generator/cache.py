#!/usr/bin/env python3
"""What one build keeps, the next one finds: random Dockerfiles (generate.py) built on fresh machines with a cache between them.

    cache.py LONGSHORE FIRST COUNT    COUNT seeds, from FIRST on

Needs tests/env/up.sh. The first build of a seed keeps its layers in a directory and in a registry at once. Then a build with a new state directory
has only the one, and another only the other. Their images must be that of the first, to the byte. Seeds that add what a URL has are passed over: without a
checksum that cannot be told before, so their steps have no keys and their images the times of their own builds. The last line is `N passed, N failed`.
"""
import collections, concurrent.futures, itertools, os, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import generate, run

WORKERS = int(os.environ.get("GENERATOR_WORKERS", "3"))


def build(bench, seed, place, words):
    """The digest of the image, and the log; no digest if it does not build."""
    state, layout = os.path.join(place, "state"), os.path.join(place, "image")
    call = [bench.longshore, "build", "--isolation=namespace", "-f", f"{place}/Dockerfile", "-c", f"{place}/context", "--no-push", "--oci-layout-path", layout,
            "--insecure-registry", bench.registry, "--state-dir", state, "--build-arg", f"REGISTRY={bench.registry}", *seed.args, *words]
    done = subprocess.run(["timeout", "300", *call], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    for made in state, layout:
        shutil.rmtree(made, ignore_errors=True)
    return done.stdout.strip() if done.returncode == 0 else None, done.stderr


def judge(bench, number):
    """What came of a seed, and what is wrong."""
    seed, place = bench.lay_out(number)
    directory, repository = f"{place}/layers", f"{bench.registry}/seeds:{number}-{os.getpid()}"
    first, log = build(bench, seed, place, ["--cache-to", f"type=local,dest={directory}", "--cache-to", f"type=registry,ref={repository}"])
    if first is None:
        shutil.rmtree(place, ignore_errors=True)
        return number, "does not build", []
    errors = []
    if "warning: cache" in log:
        errors.append(log)
    for cache in f"type=local,src={directory}", f"type=registry,ref={repository}":
        digest, log = build(bench, seed, place, ["--cache-from", cache])
        if digest != first or "warning: cache" in log or "begins again" in log:
            errors.append(f"{cache}: {digest} instead of {first}\n{log}")
    shutil.rmtree(place, ignore_errors=True)
    return number, "the same" if not errors else "different", errors


def main():
    longshore, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    seeds = (number for number in itertools.count(first) if "http" not in generate.Seed(number).text("", "http:"))
    kinds, failed = collections.Counter(), 0
    # The state directories have overlays of root.
    with tempfile.TemporaryDirectory(prefix="longshore-generator.", ignore_cleanup_errors=True) as directory:
        bench = run.Bench(longshore, directory, False)
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for number, kind, errors in pool.map(lambda number: judge(bench, number), itertools.islice(seeds, count)):
                kinds[kind] += 1
                failed += bool(errors)
                for error in errors:
                    print(f"seed {number}: {error[-3000:]}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    print(f"{sum(kinds.values()) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
