#!/usr/bin/env python3
"""Measures the whole program against the limits that it promises, and against peers.

    measure.py [--assert] LONGSHORE [NAME...]

    start       FROM scratch and one COPY to an OCI layout: the whole process, median of 20
    parse       Dockerfiles of 8 MiB, the largest that are read: peak resident memory, how it grows, processor time
    big-file    COPY of one file of 512 MiB: peak resident memory, time, with gzip and zstd
    slope       COPY of 100 MiB and of 2 GiB: how much the peak resident memory grows
    many-files  COPY of 80,000 files: peak resident memory, time
    syscalls    system calls a file of a COPY of many files
    threads     the same tree with the same times gives the same layers for any number of threads
    pack        COPY of a Debian root: time, beside `tar | gzip -6`
    apply       unpacking a Debian base image: time, beside `tar -x` and `umoci unpack`
    runs        twelve RUN steps on a small base that is unpacked already: time a step
    steps       twelve RUN steps of one small file each on a base of 80,000 more files: time a step, in a namespace and in place
    transfer    a layer of 1 GiB to a registry, and from there to another repository: peak resident memory, time, beside skopeo
    calls       RUN steps in place under strace: stat calls an entry and step
    cached      twenty steps on a base of 500 MB out of a cache in a registry, on a fresh machine: requests, layers downloaded, time
    changed     one file changed after four cached RUN steps on a base of 500 MB, then one RUN, on a fresh machine: time, beside
                `curl | tar -x` of the same layers
    context     a context of 500 MiB out of an S3 bucket: peak resident memory, time, beside `curl | tar -x` from the same server

With --assert only what does not depend on the machine's speed is measured and judged (parse, big-file, many-files, syscalls, calls,
threads, transfer, context), in less than two minutes; what needs docker or a registry and finds none is skipped loudly, or fails with LONGSHORE_TEST_STRICT set.

Needs root, and for apply, pack, runs, steps and calls the environment of tests/env/up.sh; in place also tests/env/image.sh.
Peers for ratios, where the variables name them: BUILDKITD and BUILDCTL, KANIKO_EXECUTOR (run in a container of its own).
LONGSHORE_BENCH_DIR: where to work (a temporary directory). Tools: /usr/bin/time, strace, tar, umoci, docker.
Prints one line a measurement, and `N passed, N failed`. Use a release build on a quiet machine for times.
"""
import contextlib, hashlib, http.server, io, json, os, re, resource, shutil, statistics, subprocess, sys, tarfile, tempfile, threading, time

import cached

# More files than the biggest base images in common use have.
FILES = 80_000
# Enough for a count that does not depend on the number, and quick under strace.
FILES_TRACED = 5_000
MIB = 1024 * 1024
IMAGE = os.environ.get("LONGSHORE_TEST_IMAGE", "longshore:test")
STAT_CALLS = ("statx", "newfstatat", "fstat", "lstat", "stat")
verdicts = []
asserts_only = False


class Skip(Exception):
    """Something that a measurement needs is not there."""


def report(name, value, unit, limit=None, peers=(), timed=False):
    """Prints one figure; `timed` ones are not judged when only stable ones are asked for."""
    judged = limit is not None and not (timed and asserts_only)
    good = not judged or value <= limit
    if judged:
        verdicts.append(good)
    text = f"{'    ' if not judged else 'ok  ' if good else 'FAIL'} {name:<62} {value:9.3f} {unit}"
    text += f"  (limit {limit})" if limit is not None else ""
    for peer, figure in peers:
        if figure:
            text += f"  {peer} {figure:.3f}, ratio {value / figure:.2f}"
    print(text, flush=True)


def run(words, **options):
    result = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(words)}\nended with {result.returncode}:\n{result.stdout[-3000:]}")
    return result.stdout


def timed(words, **options):
    begin = time.monotonic()
    run(words, **options)
    return time.monotonic() - begin


def registry():
    name = os.environ.get("LONGSHORE_TEST_REGISTRY")
    if not name:
        raise Skip('the test environment is not up: . "$(tests/env/up.sh)"')
    return name


def need_image():
    if not shutil.which("docker") or subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
        raise Skip(f"there is no docker, or no image {IMAGE} in it: tests/env/image.sh")


class Bench:
    """The binary, a scratch directory, and the peers that there are."""

    def __init__(self, binary, directory):
        self.binary, self.directory, self.number = os.path.abspath(binary), directory, 0
        self.buildkit, self.bases = None, {}

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
        insecure = ["--insecure-registry", os.environ["LONGSHORE_TEST_REGISTRY"]] if "LONGSHORE_TEST_REGISTRY" in os.environ else []
        return [self.binary, "build", "--isolation=namespace", "-c", context, "-f", f"{context}/Dockerfile", "--state-dir", state, "--no-push",
                "--oci-layout-path", output, *insecure, *more]

    def build(self, context, *more, state=None, around=()):
        """Builds on this machine: (seconds, peak resident memory of any process in MiB, layout)."""
        output = os.path.join(self.fresh("image"), "layout")
        state = state or self.fresh("state")
        begin = time.monotonic()
        text = run(["/usr/bin/time", "-v", *around, *self.words(context, state, output, *more)], env={**os.environ, "SOURCE_DATE_EPOCH": "981173106"})
        seconds = time.monotonic() - begin
        return seconds, int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", text)[1]) / 1024, output

    def build_in_place(self, context, traced=False):
        """Builds in docker with the default profile: (seconds, median seconds of a step after the first, stat calls or None)."""
        shared = self.fresh("shared")
        inside = ["/longshore/longshore", "build", "--isolation=inplace", "-c", "/context", "-f", "/context/Dockerfile", "--no-push",
                  "--oci-layout-path", "/shared/layout", "--insecure-registry", registry(), "--log-format=json"]
        script = f"while [ ! -e /shared/go ]; do sleep 0.05; done; {' '.join(inside)} >/shared/log 2>&1; echo $? >/shared/code; exit 0"
        name = run(["docker", "run", "--detach", "--network=host", "--volume", f"{context}:/context:ro", "--volume", f"{shared}:/shared",
                    "--volume", f"{self.binary}:/longshore/longshore:ro", "--entrypoint", "/busybox/sh", IMAGE, "-c", script]).strip()
        try:
            calls, tracer = None, None
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
            if tracer:
                tracer.wait()
                calls = count_calls(f"{shared}/strace", STAT_CALLS)
            told = [json.loads(line) for line in open(f"{shared}/log", encoding="utf-8") if line.startswith("{")]
            # The first step also makes the first index of the tree.
            taken = [line["seconds"] for line in told if "step" in line and "seconds" in line and line["step"] > 1]
            return seconds, statistics.median(taken), calls
        finally:
            run(["docker", "rm", "--force", "--volumes", name])

    def peers(self, context, only_buildkit=False):
        """The same build by each peer: [(name, seconds)]."""
        found = []
        if self.buildkit:
            output = os.path.join(self.fresh("image"), "peer")
            found.append(("buildkit", timed([
                os.environ["BUILDCTL"], "--addr", self.buildkit, "build", "--no-cache", "--frontend", "dockerfile.v0", "--local", f"context={context}",
                "--local", f"dockerfile={context}", "--output", f"type=oci,tar=false,dest={output}"])))
        if "KANIKO_EXECUTOR" in os.environ and not only_buildkit:
            need_image()
            # Its own container, for it takes the container's root apart.
            found.append(("kaniko", timed([
                "docker", "run", "--rm", "--network=host", "--volume", f"{context}:/context:ro",
                "--volume", f"{os.path.abspath(os.environ['KANIKO_EXECUTOR'])}:/kaniko/executor:ro", "--entrypoint", "/kaniko/executor", IMAGE,
                "--context", "dir:///context", "--dockerfile", "/context/Dockerfile", "--no-push", "--insecure", "--insecure-pull"])))
        return found

    def base_of(self, files):
        """Pushes busybox with so many more files to the test registry, once."""
        if files not in self.bases:
            context = self.context(f"FROM {registry()}/base/busybox:1\nCOPY many /many\n")
            many(os.path.join(context, "many"), files)
            name = f"{registry()}/bench/many-{files}:1"
            run([self.binary, "build", "--isolation=namespace", "-c", context, "-f", f"{context}/Dockerfile", "--state-dir", self.fresh("state"),
                 "--insecure-registry", registry(), "--destination", name])
            self.bases[files] = name
        return self.bases[files]


@contextlib.contextmanager
def buildkit(directory, *more):
    """A private buildkitd, if there is one to start; `more` are registries without TLS beside the test registry."""
    if "BUILDKITD" not in os.environ or asserts_only:
        yield None
        return
    names = {os.environ.get("LONGSHORE_TEST_REGISTRY", "localhost:5000"), *more}
    with open(f"{directory}/buildkitd.toml", "w", encoding="utf-8") as file:
        file.write(f'root = "{directory}/buildkit"\n[worker.oci]\nnetworkMode = "host"\n[worker.containerd]\nenabled = false\n')
        for name in names:
            file.write(f'[registry."{name}"]\nhttp = true\n')
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


def many(root, files):
    """So many small files in directories of a hundred."""
    for directory in range(files // 100):
        path = os.path.join(root, f"d{directory // 50}", f"d{directory % 50}")
        os.makedirs(path)
        for number in range(100):
            with open(os.path.join(path, f"file{number}"), "w", encoding="utf-8") as file:
                file.write(f"{directory} {number}\n" * 10)
    for path, directories, names in os.walk(root, topdown=False):
        for name in directories + names:
            os.utime(os.path.join(path, name), (981173106, 981173106))


def big(bench, mebibytes):
    """A context with one file, half of which cannot be compressed."""
    context = bench.context("FROM scratch\nCOPY big /big\n")
    with open(f"{context}/big", "wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MIB // 2) + bytes(MIB // 2))
    return context


def count_calls(table, names=None):
    """Adds up the calls in the table that `strace -c` writes."""
    calls = 0
    for row in open(table, encoding="utf-8").read().splitlines()[2:]:
        cells = row.split() or [""]
        # A debug build checks every descriptor that it closes, with fcntl.
        wanted = cells[-1] in names if names else cells[-1] not in ("total", "fcntl")
        if len(cells) >= 5 and cells[3].isdigit() and wanted:
            calls += int(cells[3])
    return calls


def debian(bench):
    """The layers of the Debian base, and its root unpacked: ([path], directory)."""
    registry()
    layout = os.path.join(os.environ["LONGSHORE_TEST_BASES"], "debian")
    if not os.path.exists(layout):
        found = [name for name in os.listdir(os.environ["LONGSHORE_TEST_BASES"]) if name.startswith("debian")]
        layout = os.path.join(os.environ["LONGSHORE_TEST_BASES"], found[0])
    read = lambda digest: json.load(open(f"{layout}/blobs/{digest.replace(':', '/')}", encoding="utf-8"))
    manifest = json.load(open(f"{layout}/index.json", encoding="utf-8"))["manifests"][0]
    while "layers" not in (manifest := read(manifest["digest"])):
        manifest = manifest["manifests"][0]
    return layout, [f"{layout}/blobs/{layer['digest'].replace(':', '/')}" for layer in manifest["layers"]]


def start(bench):
    context = bench.context("FROM scratch\nCOPY hello /hello\n")
    with open(f"{context}/hello", "w", encoding="utf-8") as file:
        file.write("hello\n")
    state, times = bench.fresh("state"), []
    for _ in range(20):
        times.append(timed(bench.words(context, state, os.path.join(bench.fresh("image"), "layout"))) * 1000)
    peers = [bench.peers(context) for _ in range(5)]
    medians = [(name, statistics.median(one[at][1] for one in peers) * 1000) for at, (name, _) in enumerate(peers[0])]
    report("start: scratch and one COPY, median of 20", statistics.median(times), "ms", 50, medians, timed=True)


def big_file(bench):
    context = big(bench, 512)
    peers = bench.peers(context)
    for compression in ("zstd",) if asserts_only else ("gzip", "zstd"):
        seconds, memory, _ = bench.build(context, "--compression", compression)
        report(f"big-file: COPY of 512 MiB, {compression}, peak resident memory", memory, "MiB", 128)
        report(f"big-file: COPY of 512 MiB, {compression}", seconds, "s", peers=peers if compression == "gzip" else ())


def cost(words, env):
    """Runs a command: its largest resident set while it runs in MiB, seconds, seconds of processor time."""
    begin, peak = time.monotonic(), 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                peak = max([peak] + [int(line.split()[1]) for line in status if line.startswith("VmHWM")])
        except (FileNotFoundError, ProcessLookupError):
            pass  # It has just ended.
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(words)}\nended with {process.returncode}:\n{process.stderr.read()[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return peak / 1024, time.monotonic() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def layout_of(directory, mebibytes):
    """An OCI layout with one image of one layer that does not compress."""
    blobs = os.path.join(directory, "layout", "blobs", "sha256")
    os.makedirs(blobs)

    def put(content):
        name = hashlib.sha256(content).hexdigest()
        with open(os.path.join(blobs, name), "wb") as file:
            file.write(content)
        return {"digest": f"sha256:{name}", "size": len(content)}

    digest, block = hashlib.sha256(), os.urandom(MIB - 8)
    with open(os.path.join(directory, "layer"), "wb") as file:
        for number in range(mebibytes):
            piece = number.to_bytes(8, "big") + block
            file.write(piece)
            digest.update(piece)
    os.rename(os.path.join(directory, "layer"), os.path.join(blobs, digest.hexdigest()))
    kind, layer = "application/vnd.oci.image", {"digest": f"sha256:{digest.hexdigest()}", "size": mebibytes * MIB}
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode())
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": {"mediaType": f"{kind}.config.v1+json", **config},
                               "layers": [{"mediaType": f"{kind}.layer.v1.tar+gzip", **layer}]}).encode())
    for name, content in ("index.json", {"schemaVersion": 2, "manifests": [{"mediaType": f"{kind}.manifest.v1+json", **manifest}]}), \
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}):
        with open(os.path.join(directory, "layout", name), "w") as file:
            json.dump(content, file)
    return os.path.join(directory, "layout")


def transfer(bench):
    host, size = registry(), 128 if asserts_only else 1024
    # By another name the same registry is another one: nothing is mounted.
    other = "localhost:" + host.rsplit(":", 1)[1]
    directory = bench.fresh("transfer")
    mark = f"bench/{os.getpid()}"
    env = {"PATH": os.environ["PATH"], "HOME": directory, "LONGSHORE_STATE_DIR": directory}
    skopeo = shutil.which("skopeo")
    copy = ["skopeo", "copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
    rounds = 1 if asserts_only else 3
    pushes, copies = {"ours": [], "skopeo": []}, {"ours": [], "skopeo": []}
    for number in range(rounds):
        # Another layer each time: skopeo remembers which repository has it. The peer first: what the registry or the page cache gains
        # by the first is the other's loss.
        layout = layout_of(os.path.join(directory, str(number)), size)
        peer, ours = f"{host}/{mark}/peer{number}:v1", f"{host}/{mark}/ours{number}:v1"
        if skopeo:
            pushes["skopeo"].append(cost([*copy, f"oci:{layout}", f"docker://{peer}"], env))
        pushes["ours"].append(cost([bench.binary, "push", layout, ours], env))
        if skopeo:
            copies["skopeo"].append(cost([*copy, f"docker://{peer}", f"docker://{other}/{mark}/peer-copy{number}:v1"], env))
        words = [bench.binary, "index", "create", f"{other}/{mark}/copy{number}:v1", "--image", ours]
        copies["ours"].append(cost(words, env))
        shutil.rmtree(layout)
    for what, costs in ("push of {} MiB", pushes), ("{} MiB from registry to registry", copies):
        middle = lambda who, at: statistics.median(one[at] for one in costs[who]) if costs[who] else 0
        name = "transfer: " + what.format(size)
        most = max(one[0] for one in costs["ours"])
        report(f"{name}, peak resident memory", most, "MiB", 96, (("skopeo", middle("skopeo", 0)),))
        report(f"{name}, median of {rounds}", middle("ours", 1), "s", peers=(("skopeo", middle("skopeo", 1)),))
        # On a busy machine this is the figure to compare.
        report(f"{name}, processor time", middle("ours", 2), "s", peers=(("skopeo", middle("skopeo", 2)),))


class Ranges(http.server.BaseHTTPRequestHandler):
    """One file as whatever object is asked for, whole or in ranges, as quickly as the kernel can."""
    protocol_version, path_of_file = "HTTP/1.1", None

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, has_body):
        with open(self.path_of_file, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start, end = (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - start + 1))
            self.send_header("ETag", '"1"')
            self.end_headers()
            while has_body and start <= end:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, end - start + 1)


def context(bench):
    size, directory = 500, bench.fresh("bucket")
    Ranges.path_of_file = os.path.join(directory, "context.tar")
    with tarfile.open(Ranges.path_of_file, "w") as tar:
        for name, content in [("Dockerfile", b"FROM scratch\nCOPY small /\n"), ("small", b"small")] + \
                [(f"large{number}", os.urandom(2 * MIB)) for number in range(size // 2)]:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    env = {"PATH": os.environ["PATH"], "HOME": directory, "S3_ENDPOINT": url, "S3_FORCE_PATH_STYLE": "true", "AWS_ACCESS_KEY_ID": "a",
           "AWS_SECRET_ACCESS_KEY": "b"}
    ratios = []
    for _ in range(1 if asserts_only else 3):
        # The peer first: what the page cache gains by the first is the other's loss.
        other = bench.fresh("curl")
        peer = timed(["sh", "-c", f"curl -sf {url}/bucket/context.tar | tar -x -C {other}"])
        words = [bench.binary, "build", "--isolation=namespace", "-c", "s3://bucket/context.tar", "--state-dir", bench.fresh("state"), "--no-push"]
        begin = time.monotonic()
        text = run(["/usr/bin/time", "-v", *words], env=env)
        seconds = time.monotonic() - begin
        memory = int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", text)[1]) / 1024
        report(f"context: {size} MiB from a bucket, peak resident memory", memory, "MiB", 96)
        report(f"context: {size} MiB from a bucket", seconds, "s", peers=(("curl | tar", peer),))
        ratios.append(seconds / peer)
    report(f"context: {size} MiB from a bucket, time over that of curl | tar, median", statistics.median(ratios), "", 1.3, timed=True)
    server.shutdown()


PARSED = {"commands": "RUN --mount=type=cache,target=/c echo something && \\\n  # a comment\n  echo else\n", "short lines": "CMD a\n", "variables": 'ENV a=${b:-c} d="e f"\n'}


def parse(bench):
    directory = bench.fresh("parse")
    for name, unit in PARSED.items():
        peaks = []
        for mebibytes in (2, 8):
            begin, end = "FROM scratch\n", "\nBADLY\n"
            count, pad = divmod(mebibytes * MIB - len(begin + end) - 1, len(unit))
            # All of it is read, and what is printed is one mistake: printing the tree would cost more than to read the file.
            with open(f"{directory}/Dockerfile", "w", encoding="utf-8") as file:
                file.write(f"{begin}{unit * count}#{'x' * pad}{end}")
            assert os.path.getsize(f"{directory}/Dockerfile") == mebibytes * MIB
            with open(f"{directory}/answer", "w", encoding="utf-8") as answer:
                # Not a child of this process: until it calls exec, a child is as large as its parent.
                words = ["/usr/bin/time", "-f", "%M %U %S", bench.binary, "debug", "parse", f"{directory}/Dockerfile"]
                told = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.PIPE, text=True, check=False).stderr
            peak, user, system = map(float, told.split("\n")[-2].split())
            with open(f"{directory}/answer", encoding="utf-8") as answer:
                messages = [error["message"] for error in json.load(answer)["errors"]]
            assert messages == ["unknown instruction: BADLY"], messages
            peaks.append(peak / 1024)
        report(f"parse: 8 MiB of {name}, peak resident memory", peaks[1], "MiB", 1024)
        report(f"parse: 8 MiB of {name}, that peak over the one of 2 MiB", peaks[1] / peaks[0], "", 4.4)
        report(f"parse: 8 MiB of {name}, processor time of the process", user + system, "s", 1.6, timed=True)


def slope(bench):
    peaks = [bench.build(big(bench, size))[1] for size in (100, 2048)]
    report("slope: peak resident memory at 2 GiB over that at 100 MiB", peaks[1] / peaks[0], "", 1.1)


def many_files(bench):
    context = bench.context("FROM scratch\nCOPY many /many\n")
    many(os.path.join(context, "many"), FILES)
    peers = bench.peers(context)
    seconds, memory, _ = bench.build(context)
    report("many-files: COPY of 80,000 files, peak resident memory", memory, "MiB", 128)
    report("many-files: COPY of 80,000 files", seconds, "s", peers=peers)


def syscalls(bench):
    counts = []
    for files in (1000, 3000):
        context = bench.context("FROM scratch\nCOPY many /many\n")
        many(os.path.join(context, "many"), files)
        table = os.path.join(bench.directory, f"syscalls-{files}")
        bench.build(context, around=["strace", "-f", "-c", "-o", table])
        counts.append(count_calls(table))
    # To copy it, find it in the upper directory, pack it, and remove the upper directory.
    report("syscalls: system calls a file, from COPY to layer", (counts[1] - counts[0]) / 2000, "", 24)


def layers_of(layout):
    read = lambda path: json.load(open(f"{layout}/{path}", encoding="utf-8"))
    digest = read("index.json")["manifests"][0]["digest"]
    return [layer["digest"] for layer in read(f"blobs/{digest.replace(':', '/')}")["layers"]]


def threads(bench):
    context = bench.context("FROM scratch\nCOPY tree /tree\n")
    os.makedirs(f"{context}/tree")
    for number in range(64):
        with open(f"{context}/tree/{number}", "wb") as file:
            file.write((b"%d " % number) * (number * 20_000))
    for compression in ("gzip", "zstd"):
        digests = {tuple(layers_of(bench.build(context, "--jobs", str(jobs), "--compression", compression)[2])) for jobs in range(1, 9)}
        report(f"threads: different {compression} layers for 1 to 8 threads", len(digests), "", 1)


def pack(bench):
    _, layers = debian(bench)
    context = bench.context("FROM scratch\nCOPY root /\n")
    os.makedirs(f"{context}/root")
    for layer in layers:
        run(["tar", "-C", f"{context}/root", "-xf", layer])
    mebibytes = int(run(["du", "-sm", f"{context}/root"]).split()[0])
    peers = bench.peers(context) + [("tar|gzip -6", timed(["sh", "-c", f"tar -C {context}/root -c . | gzip -6 >{context}.tar.gz"]))]
    report(f"pack: COPY of a Debian root of {mebibytes} MiB, gzip", bench.build(context)[0], "s", peers=peers)
    report(f"pack: COPY of a Debian root of {mebibytes} MiB, zstd", bench.build(context, "--compression", "zstd")[0], "s")


def apply(bench):
    layout, layers = debian(bench)
    context = bench.context(f"FROM {registry()}/base/debian:12\nCOPY Dockerfile /x\n")
    state, peers = bench.fresh("state"), []
    cold = bench.build(context, state=state)[0]
    warm = bench.build(context, state=state)[0]
    into = bench.fresh("tar")
    peers.append(("tar -x", sum(timed(["tar", "-C", into, "-xf", layer]) for layer in layers)))
    if shutil.which("umoci"):
        tag = json.load(open(f"{layout}/index.json", encoding="utf-8"))["manifests"][0].get("annotations", {}).get("org.opencontainers.image.ref.name")
        if tag:
            peers.append(("umoci", timed(["umoci", "unpack", "--image", f"{layout}:{tag}", os.path.join(bench.fresh("umoci"), "bundle")])))
    report("apply: a build on a Debian base that is unpacked already", warm, "s")
    report("apply: fetching and unpacking a Debian base", cold - warm, "s", peers=peers)


def runs(bench):
    files = {n: bench.context(f"FROM {registry()}/base/busybox:1\n" + "".join(f"RUN echo {i} > /small-{i}\n" for i in range(n))) for n in (2, 12)}
    state = bench.fresh("state")
    bench.build(files[2], state=state)
    times = {n: statistics.median(bench.build(context, state=state)[0] for _ in range(5)) for n, context in files.items()}
    peers = a_step_by_peers(bench, files)
    report("runs: a RUN step on a small base", (times[12] - times[2]) / 10 * 1000, "ms", peers=[(name, seconds * 1000) for name, seconds in peers])


def a_step_by_peers(bench, files):
    for context in files.values():
        bench.peers(context)
    fewer, more = bench.peers(files[2]), bench.peers(files[12])
    return [(name, (more[at][1] - fewer[at][1]) / 10) for at, (name, _) in enumerate(more)]


def many_steps(bench, files):
    base = bench.base_of(files)
    return {n: bench.context(f"FROM {base}\n" + "".join(f"RUN echo {i} > /small-{i}\n" for i in range(n))) for n in (2, 12)}


def steps(bench):
    files = many_steps(bench, FILES)
    peers = a_step_by_peers(bench, files)
    state = bench.fresh("state")
    bench.build(files[2], state=state)
    seconds = {n: statistics.median(bench.build(context, state=state)[0] for _ in range(3)) for n, context in files.items()}
    report("steps, namespace: a RUN step on 80,000 files", (seconds[12] - seconds[2]) / 10, "s", 0.3, peers, timed=True)
    need_image()
    # By the program's own clock: unpacking the base takes longer, and more or less long, than all steps together.
    seconds, step, _ = bench.build_in_place(files[12])
    report("steps, in place: a RUN step on 80,000 files", step, "s", 0.3, peers, timed=True)
    report("steps, in place: the whole build of twelve", seconds, "s")


def calls(bench):
    need_image()
    registry()
    files = many_steps(bench, FILES_TRACED)
    counts = {n: bench.build_in_place(context, traced=True)[2] for n, context in files.items()}
    entries = FILES_TRACED + FILES_TRACED // 100 + FILES_TRACED // 5000 + 400
    report("calls, in place: stat calls an entry and RUN step", (counts[12] - counts[2]) / 10 / entries, "", 1.1)


def need_registry(measure):
    def with_tools(bench):
        registry()
        measure(bench, sys.modules[__name__])
    return with_tools


BENCHES = {"start": start, "big-file": big_file, "parse": parse, "slope": slope, "many-files": many_files, "syscalls": syscalls, "threads": threads, "pack": pack,
           "apply": apply, "runs": runs, "steps": steps, "calls": calls, "transfer": transfer, "context": context,
           "cached": need_registry(cached.cached), "changed": need_registry(cached.changed)}
STABLE = ["parse", "big-file", "many-files", "syscalls", "calls", "threads", "transfer", "context"]


def main():
    global asserts_only
    words = [word for word in sys.argv[1:] if word != "--assert"]
    asserts_only = len(words) < len(sys.argv) - 1
    if not words or any(name not in BENCHES for name in words[1:]):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="longshore-bench.", dir=os.environ.get("LONGSHORE_BENCH_DIR")) as directory, buildkit(directory) as address:
        bench = Bench(words[0], directory)
        bench.buildkit = address
        for name in words[1:] or (STABLE if asserts_only else BENCHES):
            try:
                BENCHES[name](bench)
            except Skip as reason:
                print(f"SKIP {name}: {reason}", flush=True)
                if os.environ.get("LONGSHORE_TEST_STRICT"):
                    verdicts.append(False)
    print(f"{verdicts.count(True)} passed, {verdicts.count(False)} failed")
    sys.exit(0 if all(verdicts) else 1)


main()
