#!/usr/bin/env python3
"""Measures the whole program against the limits that it promises. Needs tests/env/up.sh and, for builds in place, tests/env/image.sh.

    measure.py LONGSHORE [steps calls big-file many-files threads start]

    steps       twelve RUN steps of one small file each on a base of 80,000 more files: time
    calls       the same in place: statx calls an entry and step
    big-file    COPY of one file of 512 MiB: peak resident memory
    many-files  COPY of 80,000 files: peak resident memory
    threads     the same tree with the same times gives the same layers for any number of threads
    start       FROM scratch and one COPY to an OCI layout: the whole process, median of 20

Peers for ratios, where they are to be had: BUILDKITD and BUILDCTL (as built by tests/reference/record.sh).
`calls`, `big-file`, `many-files` and `threads` have no limit on time: they hold on any machine and for any build. For the others use a release
build and a machine that does nothing else. Prints one line a measurement, and `N passed, N failed`. Tools: /usr/bin/time, strace, docker.
"""
import contextlib, json, os, re, shutil, statistics, subprocess, sys, tarfile, tempfile, time

# More files than the biggest base images in common use have.
FILES = 80_000
MIB = 1024 * 1024
REGISTRY = os.environ.get("LONGSHORE_TEST_REGISTRY") or sys.exit('the test environment is not up: . "$(tests/env/up.sh)"')
IMAGE = os.environ.get("LONGSHORE_TEST_IMAGE", "longshore:test")
verdicts = []


def report(name, value, unit, limit=None, peer=None):
    good = limit is None or value <= limit
    if limit is not None:
        verdicts.append(good)
    text = f"{'ok  ' if good else 'FAIL'} {name:<58} {value:10.3f} {unit}"
    text += f"  (limit {limit})" if limit is not None else ""
    text += f"  peer {peer:.3f} {unit}, ratio {value / peer:.2f}" if peer else ""
    print(text, flush=True)


def run(words, **options):
    result = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(words)}\nended with {result.returncode}:\n{result.stdout[-3000:]}")
    return result.stdout


class Bench:
    """The binary, a scratch directory and, if there is one, a running peer."""

    def __init__(self, binary, directory):
        self.binary, self.directory, self.peer, self.number = os.path.abspath(binary), directory, None, 0

    def fresh(self, kind):
        self.number += 1
        path = os.path.join(self.directory, f"{kind}-{self.number}")
        os.makedirs(path)
        return path

    def context(self, dockerfile):
        path = self.fresh("context")
        with open(os.path.join(path, "Dockerfile"), "w", encoding="utf-8") as file:
            file.write(dockerfile)
        return path

    def words(self, context, state, output, *more):
        return [self.binary, "build", "--isolation=namespace", "-c", context, "-f", f"{context}/Dockerfile", "--state-dir", state, "--no-push",
                "--oci-layout-path", output, "--insecure-registry", REGISTRY, *more]

    def build(self, context, *more, state=None):
        """Builds on this machine: (seconds, peak resident memory in MiB, layout)."""
        output = os.path.join(self.fresh("image"), "layout")
        state = state or self.fresh("state")
        begin = time.monotonic()
        text = run(["/usr/bin/time", "-v", *self.words(context, state, output, *more)])
        seconds = time.monotonic() - begin
        return seconds, int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", text)[1]) / 1024, output

    def build_in_place(self, context, traced=False):
        """Builds in docker with the default profile: (seconds, statx calls or None)."""
        shared = self.fresh("shared")
        inside = ["/longshore/longshore", "build", "--isolation=inplace", "-c", "/context", "-f", "/context/Dockerfile", "--no-push",
                  "--oci-layout-path", "/shared/layout", "--insecure-registry", REGISTRY]
        script = f"while [ ! -e /shared/go ]; do sleep 0.05; done; {' '.join(inside)} >/shared/log 2>&1; echo $? >/shared/code; exit 0"
        name = run(["docker", "run", "--detach", "--network=host", "--volume", f"{context}:/context:ro", "--volume", f"{shared}:/shared",
                    "--volume", f"{self.binary}:/longshore/longshore:ro", "--entrypoint", "/busybox/sh", IMAGE, "-c", script]).strip()
        try:
            calls = None
            if traced:
                shell = run(["docker", "inspect", "--format", "{{.State.Pid}}", name]).strip()
                tracer = subprocess.Popen(["strace", "-f", "-c", "-o", f"{shared}/strace", "-p", shell], stderr=subprocess.PIPE, text=True)
                tracer.stderr.readline()
            begin = time.monotonic()
            open(f"{shared}/go", "w", encoding="utf-8").close()
            run(["docker", "wait", name])
            seconds = time.monotonic() - begin
            if open(f"{shared}/code", encoding="utf-8").read().strip() != "0":
                sys.exit("the build in place failed:\n" + open(f"{shared}/log", encoding="utf-8").read()[-3000:])
            if traced:
                tracer.wait()
                table = open(f"{shared}/strace", encoding="utf-8").read()
                calls = sum(int(row.split()[3]) for row in table.splitlines() if row.split()[-1:] and row.split()[-1] in ("statx", "newfstatat", "lstat", "stat"))
            return seconds, calls
        finally:
            run(["docker", "rm", "--force", "--volumes", name])

    def build_with_peer(self, context):
        if not self.peer:
            return None
        output = os.path.join(self.fresh("image"), "peer")
        begin = time.monotonic()
        run([os.environ["BUILDCTL"], "--addr", self.peer, "build", "--no-cache", "--frontend", "dockerfile.v0", "--local", f"context={context}",
             "--local", f"dockerfile={context}", "--output", f"type=oci,tar=false,dest={output}"])
        return time.monotonic() - begin


@contextlib.contextmanager
def peer(directory):
    """A private buildkitd, if there is one to start."""
    if "BUILDKITD" not in os.environ:
        yield None
        return
    with open(f"{directory}/buildkitd.toml", "w", encoding="utf-8") as file:
        file.write(f'root = "{directory}/buildkit"\n[worker.oci]\nnetworkMode = "host"\n[worker.containerd]\nenabled = false\n'
                   f'[registry."{REGISTRY}"]\nhttp = true\n')
    with open(f"{directory}/buildkitd.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen([os.environ["BUILDKITD"], "--config", f"{directory}/buildkitd.toml", "--addr", f"unix://{directory}/sock"],
                                   stdout=log, stderr=log)
    try:
        while not os.path.exists(f"{directory}/sock"):
            if process.poll() is not None:
                sys.exit("buildkitd did not start: " + open(f"{directory}/buildkitd.log", encoding="utf-8").read()[-2000:])
            time.sleep(0.1)
        yield f"unix://{directory}/sock"
    finally:
        process.terminate()
        process.wait()


def many(root):
    """FILES small files in directories of a hundred."""
    for directory in range(FILES // 100):
        path = os.path.join(root, f"d{directory // 50}", f"d{directory % 50}")
        os.makedirs(path)
        for number in range(100):
            with open(os.path.join(path, f"file{number}"), "w", encoding="utf-8") as file:
                file.write(f"{directory} {number}\n" * 10)
    for path, directories, files in os.walk(root, topdown=False):
        for name in directories + files:
            os.utime(os.path.join(path, name), (981173106, 981173106))


def many_base(bench):
    """Pushes busybox with FILES more files to the test registry."""
    tree = bench.fresh("tree")
    many(os.path.join(tree, "many"))
    os.makedirs(f"{tree}/bin")
    shutil.copy(shutil.which("busybox"), f"{tree}/bin/busybox")
    os.symlink("busybox", f"{tree}/bin/sh")
    name = f"{REGISTRY}/bench/many:1"
    archive = f"{tree}.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tree, "")
    run(["docker", "import", archive, name])
    run(["docker", "push", name])
    os.remove(archive)
    shutil.rmtree(tree)
    return name


def step_contexts(bench):
    """By number of steps: a first build apart, what is left is the steps."""
    base = many_base(bench)
    return {n: bench.context(f"FROM {base}\n" + "".join(f"RUN echo {i} > /small-{i}\n" for i in range(n))) for n in (2, 12)}


def steps(bench):
    files = step_contexts(bench)
    peer_seconds = None
    if bench.peer:
        bench.build_with_peer(files[2])
        peer_seconds = (bench.build_with_peer(files[12]) - bench.build_with_peer(files[2])) / 10
    state = bench.fresh("state")
    bench.build(files[2], state=state)
    seconds = {n: bench.build(context, state=state)[0] for n, context in files.items()}
    report("steps, namespace: a RUN step on 80,000 files", (seconds[12] - seconds[2]) / 10, "s", 0.3, peer_seconds)
    in_place = {n: bench.build_in_place(context)[0] for n, context in files.items()}
    report("steps, in place: a RUN step on 80,000 files", (in_place[12] - in_place[2]) / 10, "s", 0.3, peer_seconds)
    report("steps, in place: the whole build of twelve", in_place[12], "s")


def calls(bench):
    files = step_contexts(bench)
    made = {n: bench.build_in_place(context, traced=True)[1] for n, context in files.items()}
    entries = FILES + FILES // 100 + FILES // 5000
    report("calls, in place: stat calls an entry and step", (made[12] - made[2]) / 10 / entries, "", 1.1)


def big_file(bench):
    context = bench.context("FROM scratch\nCOPY big /big\n")
    with open(f"{context}/big", "wb") as file:
        block = os.urandom(MIB // 2) + bytes(MIB // 2)
        for _ in range(512):
            file.write(block)
    peer_seconds = bench.build_with_peer(context)
    seconds, memory, _ = bench.build(context)
    report("big-file: COPY of 512 MiB, peak resident memory", memory, "MiB", 128)
    report("big-file: COPY of 512 MiB", seconds, "s", peer=peer_seconds)


def many_files(bench):
    context = bench.context("FROM scratch\nCOPY many /many\n")
    many(os.path.join(context, "many"))
    peer_seconds = bench.build_with_peer(context)
    seconds, memory, _ = bench.build(context)
    report("many-files: COPY of 80,000 files, peak resident memory", memory, "MiB", 128)
    report("many-files: COPY of 80,000 files", seconds, "s", peer=peer_seconds)


def layers_of(layout):
    index = json.load(open(f"{layout}/index.json", encoding="utf-8"))
    digest = index["manifests"][0]["digest"].split(":")[1]
    return [layer["digest"] for layer in json.load(open(f"{layout}/blobs/sha256/{digest}", encoding="utf-8"))["layers"]]


def threads(bench):
    context = bench.context("FROM scratch\nCOPY tree /tree\n")
    os.makedirs(f"{context}/tree")
    for number in range(64):
        with open(f"{context}/tree/{number}", "wb") as file:
            file.write((b"%d " % number) * (number * 20_000))
    for compression in ("gzip", "zstd"):
        digests = {tuple(layers_of(bench.build(context, "--jobs", str(jobs), "--compression", compression)[2])) for jobs in (1, 2, 3, 8)}
        report(f"threads: different {compression} layers for 1, 2, 3 and 8 threads", len(digests), "", 1)


def start(bench):
    context = bench.context("FROM scratch\nCOPY hello /hello\n")
    with open(f"{context}/hello", "w", encoding="utf-8") as file:
        file.write("hello\n")
    state, times = bench.fresh("state"), []
    for _ in range(20):
        output = os.path.join(bench.fresh("image"), "layout")
        begin = time.monotonic()
        run(bench.words(context, state, output))
        times.append((time.monotonic() - begin) * 1000)
    peers = [bench.build_with_peer(context) * 1000 for _ in range(5)] if bench.peer else None
    report("start: scratch and one COPY, median of 20", statistics.median(times), "ms", 50, peers and statistics.median(peers))


BENCHES = {"steps": steps, "calls": calls, "big-file": big_file, "many-files": many_files, "threads": threads, "start": start}


def main():
    wanted = sys.argv[2:] or list(BENCHES)
    with tempfile.TemporaryDirectory(prefix="longshore-bench.") as directory, peer(directory) as address:
        bench = Bench(sys.argv[1], directory)
        bench.peer = address
        for name in wanted:
            BENCHES[name](bench)
    print(f"{verdicts.count(True)} passed, {verdicts.count(False)} failed")
    sys.exit(0 if all(verdicts) else 1)


main()
