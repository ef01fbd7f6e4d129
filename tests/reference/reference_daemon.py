"""A buildkitd of one's own with an empty state; sys.argv[1] is the program."""
import contextlib, os, subprocess, sys, tempfile, time

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


@contextlib.contextmanager
def daemon():
    """The address of a buildkitd of its own."""
    with tempfile.TemporaryDirectory(prefix="longshore-reference.") as directory:
        with open(f"{directory}/buildkitd.toml", "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(directory=directory, registry=os.environ["LONGSHORE_TEST_REGISTRY"]))
        with open(f"{directory}/log", "w+", encoding="utf-8") as log:
            process = subprocess.Popen([sys.argv[1], "--config", f"{directory}/buildkitd.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                while not os.path.exists(f"{directory}/sock"):
                    if process.poll() is not None:
                        log.seek(0)
                        raise SystemExit(f"the reference builder did not start:\n{log.read()[-2000:]}")
                    time.sleep(0.05)
                yield f"unix://{directory}/sock"
            finally:
                process.terminate()
                process.wait()
