#!/usr/bin/env python3
"""`--cache-explain` with a cache that is not on this machine: a build keeps, something changes, and the next one on a fresh machine says what.

    explaining.py LONGSHORE CACHE...    each CACHE as --cache-to takes it, with {seed} for what tells tests apart

Needs tests/env/up.sh. Each step of each build is looked at: that all that changed is named, and nothing else. The last line is `N passed, N failed`.
"""
import concurrent.futures, os, shutil, subprocess, sys, tempfile

DOCKERFILE = """FROM {base}
ARG VERSION=1
RUN echo $VERSION > /version
COPY src /src
RUN cat /src/a > /copied
COPY --chmod=644 last /last
"""
FILES = {"src/a": "1", "src/deep/b": "1", "last": "1"}
STEPS = ["RUN echo", "COPY src", "RUN cat", "COPY --chmod"]
HIT, BELOW = "in the cache", "only what is below it changed"
MARK = ": not in the cache: "
# A name; files and flags that differ; what is replaced in the Dockerfile; what is said of each step.
CASES = [
    ("nothing", {}, [], ("", ""), [HIT] * 4),
    ("a file", {"src/deep/b": "2"}, [], ("", ""), [HIT, "file deep/b changed", BELOW, BELOW]),
    ("an argument", {"last": "2"}, ["--build-arg=VERSION=topsecret"], ("", ""), ["variable VERSION changed", BELOW, "variable VERSION changed", "file last changed"]),
    ("a command", {"src/new": "1"}, [], ("cat /src/a", "cat /src/a /src/a"), [HIT, "file new is new", "the command changed", BELOW]),
    ("a flag", {}, [], ("=644", "=600"), [HIT, HIT, HIT, "--chmod changed"]),
]


class Builds:
    def __init__(self, longshore, directory, cache):
        self.longshore, self.directory, self.cache = longshore, directory, cache
        self.registry = os.environ["LONGSHORE_TEST_REGISTRY"]

    def build(self, files, flags, replaced):
        """What is said of each of the steps, on a machine that has nothing; and the log."""
        shutil.rmtree(self.directory, ignore_errors=True)
        text = DOCKERFILE.format(base=f"{self.registry}/base/busybox:1").replace(*replaced)
        for name, content in {"Dockerfile": text, **FILES, **files}.items():
            path = os.path.join(self.directory, "context", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
        call = [self.longshore, "build", "-c", f"{self.directory}/context", "--state-dir", f"{self.directory}/state", "--insecure-registry", self.registry]
        call += ["--no-push", "--cache-explain", f"--cache-from={self.cache}", *flags]
        done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        return [self.told(done.stderr, step) for step in STEPS], done.returncode, done.stderr

    @staticmethod
    def told(log, step):
        lines = [line for line in log.splitlines() if step in line and HIT in line]
        return (lines[0].split(MARK, 1)[1] if MARK in lines[0] else HIT) if len(lines) == 1 else f"{len(lines)} lines"


def judge(longshore, directory, cache):
    """What is wrong with each of the builds, or nothing."""
    cache = cache.replace("{seed}", f"explaining-{os.getpid()}")
    builds = Builds(os.path.abspath(longshore), directory, cache)
    unknown = "the cache knows no earlier build of this image, Dockerfile, target and platform"
    wrong = []
    for name, files, flags, replaced, expected in [("first", {}, [f"--cache-to={cache}"], ("", ""), [unknown] * 4), *CASES]:
        told, code, log = builds.build(files, flags, replaced)
        is_right = code == 0 and told == expected and "topsecret" not in "".join(told) and "warning" not in log
        wrong.append(None if is_right else f"{cache.split(',')[0]}, {name}: exit code {code}, {told} instead of {expected}\n{log}")
    return wrong


def main():
    longshore, caches = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="longshore-explaining.", ignore_cleanup_errors=True) as directory:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            tasks = [pool.submit(judge, longshore, f"{directory}/{number}", cache) for number, cache in enumerate(caches)]
            results = [result for task in tasks for result in task.result()]
    errors = [error for error in results if error]
    print("\n".join([*errors, f"{len(results) - len(errors)} passed, {len(errors)} failed"]))
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
