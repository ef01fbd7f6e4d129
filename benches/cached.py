"""Builds with a cache in a registry on fresh machines: all of it cached, and one source file changed. Called by measure.py.

Nothing is removed before all is measured: for minutes after many files were removed, ext4 looks for inodes that were not in use of late
whenever it makes a file, which takes several times as long as the rest and would fall on whoever comes next.
"""
import contextlib, json, os, random, re, resource, shutil, socket, statistics, subprocess, time, urllib.request

BASE_LAYERS, LAYER_BYTES, FILE_BYTES = 5, 100_000_000, 40_000
SEED = 6
# What a build may ask for beside one question a step.
REQUESTS_BESIDE = 12


class Registry:
    """A registry of our own, whose log counts the requests."""

    def __init__(self, directory, port, log):
        self.directory, self.host, self.log = directory, f"127.0.0.1:{port}", log

    def requests(self, since=0):
        """What was asked for: [(method, path)]."""
        with open(self.log, encoding="utf-8") as file:
            file.seek(since)
            found = re.findall(r'"([A-Z]+) (/v2/\S*) HTTP/1\.1"', file.read())
        return found

    def mark(self):
        return os.path.getsize(self.log)


@contextlib.contextmanager
def registry(directory, port):
    """Starts one on loopback, with an access log."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    with open(f"{directory}/registry.yml", "w", encoding="utf-8") as file:
        file.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/store}}}}\n"
                   f"http: {{addr: '127.0.0.1:{port}', secret: x}}\n")
    with open(f"{directory}/registry.log", "wb") as log:
        process = subprocess.Popen([program, "serve", f"{directory}/registry.yml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env={**os.environ, "OTEL_TRACES_EXPORTER": "none"})
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield Registry(directory, port, f"{directory}/registry.log")
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def processor_seconds():
    """What the processes that have ended used; those of a daemon count when it has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fill(directory, size, generator):
    """Files like those of an image: words and numbers, of which a compressor makes less than half."""
    words = [generator.randbytes(generator.randrange(3, 12)) for _ in range(4000)]
    block = b"".join(generator.choice(words) for _ in range(200_000))
    written, number = 0, 0
    while written < size:
        length = min(int(generator.expovariate(1 / FILE_BYTES)) + 1, 20 * FILE_BYTES)
        start = generator.randrange(len(block) - length)
        path = os.path.join(directory, f"d{number // 60}")
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, f"f{number}"), "wb") as file:
            file.write(block[start:start + length])
        written, number = written + length, number + 1


class Bench:
    """A base of 500 MB in a registry, and how the builders are called."""

    def __init__(self, bench, tools, registry):
        self.bench, self.tools, self.registry = bench, tools, registry
        self.busybox = f"{os.environ['LONGSHORE_TEST_REGISTRY']}/base/busybox:1"

    def ours(self, context, *more):
        """Builds with a new state directory, and pushes."""
        self.tools.run([self.bench.binary, "build", "--isolation=namespace", "-c", context, "-f", f"{context}/Dockerfile", "--state-dir",
                        self.bench.fresh("state"), "--insecure-registry", self.registry.host, "--insecure-registry",
                        os.environ["LONGSHORE_TEST_REGISTRY"], *more])

    def base(self, layers, size):
        """Pushes the base; gives its name."""
        lines = [f"FROM {self.busybox}"] + [f"COPY part{number} /data/part{number}" for number in range(layers)]
        context, generator = self.bench.context("\n".join(lines) + "\n"), random.Random(SEED)
        for number in range(layers):
            fill(os.path.join(context, f"part{number}"), size, generator)
        name = f"{self.registry.host}/base:1"
        self.ours(context, "-d", name)
        return name

    def peer(self, context, name, *more):
        """The same by BuildKit with a new state: seconds, its daemon's start left out."""
        directory = self.bench.fresh("peer")
        with self.tools.buildkit(directory, self.registry.host) as address:
            seconds = self.tools.timed([
                os.environ["BUILDCTL"], "--addr", address, "build", "--frontend", "dockerfile.v0", "--local", f"context={context}", "--local",
                f"dockerfile={context}", "--output", f"type=image,name={name},push=true,registry.insecure=true", *more])
        return seconds

    def both(self, context, what, rounds, limits):
        """Builds on fresh machines with what the caches have, by turns; the peer first, for the page cache's sake."""
        host, times, peers, used, peers_used = self.registry.host, [], [], [], []
        for number in range(rounds):
            before = processor_seconds()
            if self.bench.buildkit:
                peers.append(self.peer(context, f"{host}/peer:{what}{number}", "--import-cache", f"type=registry,ref={host}/peer:cache,registry.insecure=true"))
                peers_used.append(processor_seconds() - before)
            begin, mark, before = time.monotonic(), self.registry.mark(), processor_seconds()
            self.ours(context, "--cache", "--cache-repo", f"{host}/ours/cache", "-d", f"{host}/ours:{what}{number}", *(["--no-push-cache"] if limits else []))
            times.append(time.monotonic() - begin)
            used.append(processor_seconds() - before)
        of_peers = lambda values: [("buildkit", statistics.median(values))] if values else []
        return statistics.median(times), of_peers(peers), mark, (statistics.median(used), of_peers(peers_used))

    def populate(self, context):
        """The first build, by both, each into its own cache."""
        host = self.registry.host
        self.ours(context, "--cache", "--cache-repo", f"{host}/ours/cache", "-d", f"{host}/ours:first")
        if self.bench.buildkit:
            self.peer(context, f"{host}/peer:first", "--export-cache", f"type=registry,ref={host}/peer:cache,mode=max,registry.insecure=true")

    def layers(self, name, tag):
        accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        request = urllib.request.Request(f"http://{self.registry.host}/v2/{name}/manifests/{tag}", headers={"Accept": accept})
        with urllib.request.urlopen(request) as answer:
            return [layer["digest"] for layer in json.load(answer)["layers"]]


def cached(bench, tools):
    """Twenty steps on a base of 500 MB, all of them in the cache."""
    steps = 20
    with registry(bench.fresh("registry"), free_port()) as place:
        here = Bench(bench, tools, place)
        base = here.base(BASE_LAYERS, LAYER_BYTES)
        lines = [f"FROM {base}", "COPY source /source"] + [f"RUN head -c 100000 /dev/urandom > /made{number}" for number in range(steps - 1)]
        context = bench.context("\n".join(lines) + "\n")
        with open(f"{context}/source", "w", encoding="utf-8") as file:
            file.write("one")
        here.populate(context)
        seconds, peers, mark, _ = here.both(context, "cached", 5, False)
        asked, blobs = place.requests(mark), here.layers("ours", "first")
        fetched = [path for method, path in asked if method == "GET" and any(path.endswith(blob) for blob in blobs)]
        tools.report("cached: 20 steps on 500 MB, all cached: requests", len(asked), "", steps + REQUESTS_BESIDE)
        tools.report("cached: 20 steps on 500 MB, all cached: layers downloaded", len(fetched), "", 0)
        tools.report("cached: 20 steps on 500 MB, all cached, median of 5", seconds, "s", 1, peers, timed=True)
        if peers:
            tools.report("cached: the same, over BuildKit's time", seconds / peers[0][1], "", 1, timed=True)


def changed(bench, tools):
    """One file changed after four cached RUN steps on a base of 500 MB, then one RUN."""
    with registry(bench.fresh("registry"), free_port()) as place:
        here = Bench(bench, tools, place)
        base = here.base(BASE_LAYERS, LAYER_BYTES)
        lines = [f"FROM {base}"] + [f"RUN head -c 1000000 /dev/urandom > /made{number}" for number in range(4)]
        context = bench.context("\n".join([*lines, "COPY source /source", "RUN wc -c /source /data/part*/d1/f60 > /result"]) + "\n")
        source = f"{context}/source"
        with open(source, "w", encoding="utf-8") as file:
            file.write("one")
        here.populate(context)
        with open(source, "w", encoding="utf-8") as file:
            file.write("another")
        floors, floors_used = [], []
        for _ in range(3):
            into, urls = bench.fresh("floor"), [f"http://{place.host}/v2/ours/blobs/{layer}" for layer in here.layers("ours", "first")[:-2]]
            script = "; ".join(f"mkdir {into}/{at}; curl -sf {url} | tar -xz -C {into}/{at}" for at, url in enumerate(urls))
            before = processor_seconds()
            floors.append(tools.timed(["sh", "-c", f"set -e; {script}"]))
            floors_used.append(processor_seconds() - before)
        seconds, peers, _, (used, peers_used) = here.both(context, "changed", 3, True)
        peers.append(("curl | tar", statistics.median(floors)))
        tools.report("changed: a file after 4 cached steps on 500 MB, median of 3", seconds, "s", None, peers)
        peers_used.append(("curl | tar", statistics.median(floors_used)))
        tools.report("changed: the same, seconds of processors, the registry's left out", used, "s", None, peers_used)
        tools.report("changed: the same, over the time of curl | tar", seconds / peers[-1][1], "", 1, timed=True)
        if len(peers) > 1:
            tools.report("changed: the same, over BuildKit's time", seconds / peers[0][1], "", 0.333, timed=True)
