"""The cases: where they are, their contexts laid out the same way everywhere, and what of a description is not to be compared.

A case is a directory cases/NAME with
    Dockerfile          bases are named ${REGISTRY}/base/..., REGISTRY being a build argument; where no variable is expanded, as in
                        --from, @REGISTRY@ stands for it
    context/            the context, if there is one; make.sh then makes in it what git cannot hold
    args                flags of `longshore build`, one word a line; @CASE@ stands for the directory that the case was laid out in,
                        @REGISTRY@ for the registry
    ignore              `content GLOB`: size and hash of these files vary; `path GLOB`: these paths do
    expected.json       what the reference builder made of it, or `{"fails": true}`; written by record.sh
"""
import fnmatch, json, os, re, shutil, subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "cases")
# Every file of a context gets this time unless make.sh sets an older one: a checkout has the time of the checkout.
CONTEXT_TIME = 981173106
OLD = 1577836800


def names(wanted):
    found = sorted(name for name in os.listdir(CASES) if os.path.exists(os.path.join(CASES, name, "Dockerfile")))
    unknown = set(wanted) - set(found)
    if unknown:
        raise SystemExit(f"no such case: {' '.join(sorted(unknown))}")
    return [name for name in found if not wanted or name in wanted]


def read(name, file):
    path = os.path.join(CASES, name, file)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines if line.strip() and not line.startswith("#")]


def flags(name, place):
    """The flags of the case, which was laid out in this directory."""
    words = [word.replace("@CASE@", place) for word in read(name, "args")]
    return [word.replace("@REGISTRY@", os.environ["LONGSHORE_TEST_REGISTRY"]) for word in words]


def expected(name):
    """What record.sh wrote, or None for a case that was never recorded."""
    path = os.path.join(CASES, name, "expected.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def prepare(name, directory):
    """Lays the case out in directory/NAME: the Dockerfile (and an ignore file of its own) beside `context`."""
    case, place = os.path.join(CASES, name), os.path.join(directory, name)
    os.makedirs(place)
    context = os.path.join(place, "context")
    if os.path.isdir(os.path.join(case, "context")):
        shutil.copytree(os.path.join(case, "context"), context, symlinks=True)
    else:
        os.makedirs(context)
    for file in ("Dockerfile", "Dockerfile.dockerignore"):
        if os.path.exists(os.path.join(case, file)):
            # As bytes: what a Dockerfile may hold is not UTF-8 everywhere.
            with open(os.path.join(case, file), "rb") as source, open(os.path.join(place, file), "wb") as copy:
                copy.write(source.read().replace(b"@REGISTRY@", os.environ["LONGSHORE_TEST_REGISTRY"].encode()))
    # git keeps no mode but the executable bit, and the checkout's umask takes from that.
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", context], check=True)
    script = os.path.join(case, "make.sh")
    if os.path.exists(script):
        subprocess.run(["bash", "-euo", "pipefail", script], cwd=context, check=True)
    for root, directories, files in os.walk(os.fsencode(place), topdown=False):
        for entry in files + directories:
            path = os.path.join(root, entry)
            if os.lstat(path).st_mtime > OLD:
                os.utime(path, (CONTEXT_TIME, CONTEXT_TIME), follow_symlinks=False)
    os.utime(context, (CONTEXT_TIME, CONTEXT_TIME))
    return place


def comparable(name, description):
    """The description without what the case ignores and without the registry's address, which differs from run to run."""
    description = json.loads(json.dumps(description).replace(os.environ["LONGSHORE_TEST_REGISTRY"], "@REGISTRY@"))
    for line in read(name, "ignore"):
        what, pattern = line.split(None, 1)
        for path in [path for path in description.get("tree", {}) if fnmatch.fnmatchcase(path, pattern)]:
            if what == "path":
                del description["tree"][path]
            elif description["tree"][path]:
                description["tree"][path] = re.sub(r" size=\d+ sha256=\w+", "", description["tree"][path])
        if what == "path":
            description["layers"] = [[entry for entry in layer if not fnmatch.fnmatchcase(entry[2:], pattern)]
                                     for layer in description.get("layers", [])]
    return description
