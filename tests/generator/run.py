#!/usr/bin/env python3
"""Builds random Dockerfiles (generate.py) with longshore and compares the images with those of the reference builder.

    run.py LONGSHORE FIRST COUNT    against the reference builder, which BUILDKITD and BUILDCTL name (record.sh of tests/reference makes them)
    run.py LONGSHORE SEED...        the same for these seeds, keeping what was made in ./seed-N (give --keep)
    run.py LONGSHORE --record N...  writes recorded/N.json, what the reference makes of these seeds
    run.py LONGSHORE --recorded     against what is recorded, without the reference builder

Needs tests/env/up.sh. Compared are tree, history, configuration and the paths of each layer; not the times of directories, which a reference
builder that keeps contexts does not restore. DEVIATIONS are differences that we know and want. The last line is `N passed, N failed`.
"""
import collections, concurrent.futures, glob, http.server, json, os, re, shutil, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reference")]
import describe, generate
from compare import differences

RECORDED = os.path.join(HERE, "recorded")
# At the same time: the reference builder spends most of its time waiting.
WORKERS = int(os.environ.get("GENERATOR_WORKERS", "3"))
TIME_LIMIT = 300
# (key of a difference, text in the Dockerfile, reason)
DEVIATIONS = [
    (r"xattr:.*fixture/xattr", "/fixture", "user.* attributes are kept by COPY --from, as in tests/reference/deviations"),
]
CONFIGURATION = """
root = "{directory}/root"
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
    """/SEED/NAME is the file NAME of the seed's context."""

    def do_GET(self):
        number, name = self.path.split("?")[0][1:].split("/", 1)
        seed = generate.Seed(int(number))
        content = seed.archive() if name == "arch.tar" else seed.files[name][0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", self.date_time_string(generate.TIME))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Bench:
    """The builders, and where they work."""

    def __init__(self, longshore, directory, with_reference):
        self.longshore, self.directory, self.registry = os.path.abspath(longshore), directory, os.environ["LONGSHORE_TEST_REGISTRY"]
        self.describer = describe.Describer(sorted(glob.glob(os.path.join(os.environ["LONGSHORE_TEST_BASES"], "*/"))))
        self.describer.describe_lock = threading.Lock()
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
        description["tree"] = {path: re.sub(r" mtime=\d+$", "", line) if line and line.startswith("dir ") else line for path, line in description["tree"].items()}
        return description

    def ours(self, seed, place):
        return self.build(seed, place, [self.longshore, "build", "--isolation=namespace", "-f", f"{place}/Dockerfile", "-c", f"{place}/context", "--no-push",
                                        "--oci-layout-path", f"{place}/ours", "--insecure-registry", self.registry, "--state-dir", f"{self.directory}/state",
                                        "--build-arg", f"REGISTRY={self.registry}", *seed.args], "ours")

    def reference(self, seed, place):
        options = []
        for flag, value in zip(seed.args[::2], seed.args[1::2]):
            options += ["--opt", {"--build-arg": "build-arg:", "--label": "label:", "--target": "target="}[flag] + value]
        return self.build(seed, place, [os.environ["BUILDCTL"], "--addr", f"unix://{self.directory}/sock", "build", "--no-cache", "--progress", "plain",
                                        "--frontend", "dockerfile.v0", "--local", f"context={place}/context", "--local", f"dockerfile={place}",
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
    known = lambda key: any(re.fullmatch(pattern, key) and word in text for pattern, word, _ in DEVIATIONS)
    found = [(key, line) for key, line in differences(expected, actual) if not known(key)]
    if found or mode == "keep":
        shutil.rmtree(f"seed-{number}", ignore_errors=True)
        shutil.copytree(place, f"seed-{number}", symlinks=True)
    shutil.rmtree(place)
    return number, seed.features, bool(expected.get("fails")), found


def main():
    longshore, words = sys.argv[1], sys.argv[2:]
    mode = "compare"
    for flag in ("--record", "--recorded", "--keep"):
        if flag in words:
            words.remove(flag)
            mode = flag[2:]
    numbers = [int(word) for word in words]
    if mode == "recorded" and not numbers:
        numbers = sorted(int(name[:-5]) for name in os.listdir(RECORDED) if name.endswith(".json"))
    elif mode == "compare" and len(numbers) == 2:
        numbers = list(range(numbers[0], numbers[0] + numbers[1]))
    os.makedirs(RECORDED, exist_ok=True)
    counts, failed, unbuilt = collections.Counter(), [], 0
    # The kept state directory has overlays of root.
    with tempfile.TemporaryDirectory(prefix="longshore-generator.", ignore_cleanup_errors=True) as directory:
        bench = Bench(longshore, directory, mode != "recorded")
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
