#!/usr/bin/env python3
"""Builds random Dockerfiles (generate.py) with longshore and compares the images with those of the reference builder.

    run.py LONGSHORE FIRST COUNT    against the reference builder, which BUILDKITD and BUILDCTL name (record.sh of tests/reference makes them)
    run.py LONGSHORE SEED...        the same for these seeds, keeping what was made in ./seed-N (give --keep)
    run.py LONGSHORE --record N...  writes recorded/N.json, what the reference makes of these seeds
    run.py LONGSHORE --recorded     against what is recorded, without the reference builder
    run.py --count FIRST COUNT      how many of these seeds have each instruction and each flag; one that less than LEAST have is a failure

With --inplace longshore builds in containers of LONGSHORE_TEST_IMAGE, at `/`; seeds with RUN --security=insecure, which is refused there, are left out.

Needs tests/env/up.sh and git. Compared are tree, history, configuration and the paths of each layer; not the times of directories, which a reference
builder that keeps contexts does not restore. DEVIATIONS are differences that we know and want. The last line is `N passed, N failed`.
"""
import collections, concurrent.futures, glob, gzip, http.server, json, os, re, shutil, socket, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reference")]
import describe, generate
from compare import differences

RECORDED = os.path.join(HERE, "recorded")
# At the same time: the reference builder spends most of its time waiting.
WORKERS = int(os.environ.get("GENERATOR_WORKERS", "3"))
TIME_LIMIT = 300
LEAST = 50
# (key of a difference, text in the Dockerfile, reason)
DEVIATIONS = [
    (r"xattr:.*fixture/xattr", "/fixture", "user.* attributes are kept by COPY --from, as in tests/reference/deviations"),
]
IN_PLACE = [
    (r"tree:r\d+", "stat -c %a:%u:%g /c ", "in place a cache mount is a link to its directory"),
]
CONFIGURATION = """
root = "{directory}/root"
insecure-entitlements = ["network.host", "security.insecure"]
[grpc]
  address = ["unix://{directory}/sock"]
[worker.oci]
  enabled = true
  gc = false
  networkMode = "host"
[worker.containerd]
  enabled = false
[registry."{registry}"]
  http = true
"""


class Files(http.server.BaseHTTPRequestHandler):
    """/SEED/NAME is the file NAME of the seed's context; /git/ is a repository, served by git itself."""

    repository = None

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/git/repository.git/info/refs" and query == "service=git-upload-pack":
            protocol = self.headers.get("Git-Protocol", "")
            start = b"" if "version=2" in protocol else b"001e# service=git-upload-pack\n0000"
            self.answer(start + self.git("--advertise-refs"), "application/x-git-upload-pack-advertisement")
        elif path.startswith("/git/"):
            self.send_error(404)
        else:
            number, name = path[1:].split("/", 1)
            seed = generate.Seed(int(number))
            content = seed.archive() if name == "arch.tar" else seed.files[name][0].encode()
            self.answer(content, "application/octet-stream")

    do_HEAD = do_GET

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.answer(self.git(given=body), "application/x-git-upload-pack-result")

    def git(self, *words, given=b""):
        environment = {**os.environ, "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        # Single commits are asked for by name.
        settings = ["-c", "safe.directory=*", "-c", "uploadpack.allowAnySHA1InWant=true"]
        return subprocess.run(["git", *settings, "upload-pack", "--stateless-rpc", *words, self.repository], input=given, stdout=subprocess.PIPE, env=environment).stdout

    def answer(self, content, kind):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", kind)
        self.send_header("Last-Modified", self.date_time_string(generate.TIME))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


class Bench:
    """The builders, and where they work."""

    def __init__(self, longshore, directory, with_reference, is_in_place):
        self.is_in_place, self.image = is_in_place, os.environ.get("LONGSHORE_TEST_IMAGE", "longshore:test")
        self.longshore, self.directory, self.registry = os.path.abspath(longshore), directory, os.environ["LONGSHORE_TEST_REGISTRY"]
        self.describer = describe.Describer(sorted(glob.glob(os.path.join(os.environ["LONGSHORE_TEST_BASES"], "*/"))))
        self.describer.describe_lock = threading.Lock()
        Files.repository = f"{directory}/repository.git"
        for name, data in generate.REPOSITORY.items():
            os.makedirs(os.path.dirname(f"{Files.repository}/{name}"), exist_ok=True)
            with open(f"{Files.repository}/{name}", "wb") as file:
                file.write(data)
        # Nobody asks the agent anything: what matters is its socket.
        self.agent = socket.socket(socket.AF_UNIX)
        self.agent.bind(f"{directory}/agent")
        self.agent.listen()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.process = self.start() if with_reference else None

    def start(self):
        with open(f"{self.directory}/buildkitd.toml", "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(directory=self.directory, registry=self.registry))
        with open(f"{self.directory}/log", "w", encoding="utf-8") as log:
            process = subprocess.Popen([os.environ["BUILDKITD"], "--config", f"{self.directory}/buildkitd.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not os.path.exists(f"{self.directory}/sock"):
            if process.poll() is not None:
                raise SystemExit("the reference builder did not start")
            time.sleep(0.05)
        return process

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def build(self, seed, place, words, name):
        image = os.path.join(place, name)
        with open(f"{image}.log", "w", encoding="utf-8") as log:
            code = subprocess.run(["timeout", str(TIME_LIMIT), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
        if code != 0:
            return {"fails": True}
        with self.describer.describe_lock:
            text = json.dumps(self.describer.describe(image))
        shutil.rmtree(image)
        text = text.replace(self.url, "@URL@").replace(self.registry, "@REGISTRY@")
        description = json.loads(text)
        # What git keeps for itself, every version of it differently.
        description["tree"] = {path: line for path, line in description["tree"].items() if "/.git/" not in f"/{path}"}
        description["layers"] = [[entry for entry in layer if "/.git/" not in entry] for layer in description["layers"]]
        description["tree"] = {path: re.sub(r" mtime=\d+$", "", line) if line and line.startswith("dir ") else line for path, line in description["tree"].items()}
        return description

    def ours(self, seed, place):
        arguments = self.arguments(seed, place)
        if self.is_in_place:
            # Below a directory that no image has: in place a build meets what is mounted.
            inside = f"/longshore/seeds/{os.path.basename(place)}"
            program = ["docker", "run", "--rm", "--network=host", "-v", f"{self.directory}:/longshore/seeds", "--entrypoint", "/longshore/longshore", self.image]
            arguments, state, isolation = [word.replace(self.directory, "/longshore/seeds") for word in arguments], [], "inplace"
        else:
            inside, program, state, isolation = place, [self.longshore], ["--state-dir", f"{self.directory}/state"], "namespace"
        return self.build(seed, place, [*program, "build", f"--isolation={isolation}", "-f", f"{inside}/Dockerfile", "-c", f"{inside}/context", "--no-push",
                                        "--oci-layout-path", f"{inside}/ours", "--insecure-registry", self.registry, *state,
                                        "--build-arg", f"REGISTRY={self.registry}", *arguments], "ours")

    def arguments(self, seed, place):
        return [word.replace("@PLACE@", place).replace("@AGENT@", f"{self.directory}/agent") for word in seed.args]

    def reference(self, seed, place):
        options, arguments = [], self.arguments(seed, place)
        for flag, value in zip(arguments[::2], arguments[1::2]):
            if flag in ("--secret", "--ssh", "--allow"):
                options += [flag, value]
            elif flag == "--build-context":
                name, _, directory = value.partition("=")
                options += ["--local", f"{name}={directory}", "--opt", f"context:{name}=local:{name}"]
            else:
                options += ["--opt", {"--build-arg": "build-arg:", "--label": "label:", "--target": "target=", "--platform": "platform="}[flag] + value]
        return self.build(seed, place, [os.environ["BUILDCTL"], "--addr", f"unix://{self.directory}/sock", "build", "--no-cache", "--progress", "plain",
                                        "--allow", "network.host", "--frontend", "dockerfile.v0", "--local", f"context={place}/context", "--local", f"dockerfile={place}",
                                        "--opt", f"build-arg:REGISTRY={self.registry}", *options, "--output", f"type=oci,tar=false,dest={place}/reference"], "reference")

    def lay_out(self, number):
        seed, place = generate.Seed(number), os.path.join(self.directory, f"seed-{number}")
        os.makedirs(place)
        seed.write_to(place, self.registry, self.url)
        return seed, place


def recorded(number):
    with open(os.path.join(RECORDED, f"{number}.json"), encoding="utf-8") as file:
        return json.load(file)


def judge(bench, number, mode):
    seed, place = bench.lay_out(number)
    expected = recorded(number) if mode == "recorded" else bench.reference(seed, place)
    if mode == "record":
        with open(os.path.join(RECORDED, f"{number}.json"), "w", encoding="utf-8") as file:
            json.dump(expected, file, indent=1, sort_keys=True, ensure_ascii=False)
            file.write("\n")
    actual = bench.ours(seed, place)
    text = seed.text("", "")
    deviations = DEVIATIONS + IN_PLACE if bench.is_in_place else DEVIATIONS
    known = lambda key: any(re.fullmatch(pattern, key) and word in text for pattern, word, _ in deviations)
    found = [(key, line) for key, line in differences(expected, actual) if not known(key)]
    if found or mode == "keep":
        shutil.rmtree(f"seed-{number}", ignore_errors=True)
        shutil.copytree(place, f"seed-{number}", symlinks=True)
    shutil.rmtree(place)
    return number, seed.features, bool(expected.get("fails")), found


def main():
    longshore, words = sys.argv[1], sys.argv[2:]
    if longshore == "--count":
        first, count = map(int, words)
        counts = generate.frequencies(range(first, first + count))
        for name, occurrences in counts.most_common():
            print(f"{occurrences:6d} {name}")
        failed = sum(occurrences < LEAST for occurrences in counts.values())
        print(f"{len(counts) - failed} passed, {failed} failed")
        sys.exit(1 if failed else 0)
    mode, is_in_place = "compare", "--inplace" in words
    if is_in_place:
        words.remove("--inplace")
    for flag in ("--record", "--recorded", "--keep"):
        if flag in words:
            words.remove(flag)
            mode = flag[2:]
    numbers = [int(word) for word in words]
    if mode == "recorded" and not numbers:
        numbers = sorted(int(name[:-5]) for name in os.listdir(RECORDED) if name.endswith(".json"))
    elif mode == "compare" and len(numbers) == 2:
        numbers = list(range(numbers[0], numbers[0] + numbers[1]))
    if is_in_place:
        numbers = [number for number in numbers if "--allow" not in generate.Seed(number).args]
    os.makedirs(RECORDED, exist_ok=True)
    counts, failed, unbuilt = collections.Counter(), [], 0
    # The kept state directory has overlays of root.
    with tempfile.TemporaryDirectory(prefix="longshore-generator.", ignore_cleanup_errors=True) as directory:
        bench = Bench(longshore, directory, mode != "recorded", is_in_place)
        try:
            with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
                for number, features, fails, found in pool.map(lambda number: judge(bench, number, mode), numbers):
                    counts.update(features)
                    unbuilt += fails
                    if found:
                        failed.append(number)
                        print(f"seed {number}:", flush=True)
                        for key, text in found[:12]:
                            print(f"   {key} {text}", flush=True)
        finally:
            bench.stop()
    if mode != "recorded":
        for feature, count in sorted(counts.items()):
            print(f"{count:6d} {feature}")
    print(f"{len(numbers)} seeds, {len(numbers) - unbuilt} build; different: {failed}")
    print(f"{len(numbers) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
