#!/usr/bin/env python3
"""Builds the cases with longshore in one place and compares the images with what the reference builder made.

    compare.py LONGSHORE PLACE [CASE...]

LONGSHORE is the binary (for the places in docker the image LONGSHORE_TEST_IMAGE has it). PLACE is one of
    namespace   on this machine, as root
    rootless    on this machine, as the ordinary user longshore-test with subordinate ids
    identity    in docker with an unconfined seccomp profile: a user namespace with an identity map
    inplace     in docker with Docker's default profile and capabilities; every case in the same container, one after the other
Needs tests/env/up.sh. Known differences are in `deviations`, each with its reason; one that no longer shows is a failure too.
The last line is `N passed, N failed`.
"""
import concurrent.futures, fnmatch, functools, glob, json, os, pwd, re, shlex, shutil, stat, subprocess, sys, tempfile

import cases, describe

ISOLATION = {"namespace": "namespace", "rootless": "namespace", "identity": "namespace", "inplace": "inplace"}
USER_XATTR = re.compile(r" user\.\S+=[0-9a-f]*")
# Where the cases and the images are in a container: below a directory that no image has, since in place a build meets what is mounted.
IN_CONTAINER = ("/longshore/cases", "/longshore/images")
# Per build, in seconds: far more than any case needs, so that only a hang meets it.
TIME_LIMIT = 180


def command(binary, place, name, directory, output):
    registry = os.environ["LONGSHORE_TEST_REGISTRY"]
    return [binary, "build", f"--isolation={ISOLATION[place]}", "-f", f"{directory}/{name}/Dockerfile", "-c", f"{directory}/{name}/context",
            "--no-push", "--oci-layout-path", f"{output}/{name}/image", "--insecure-registry", registry,
            "--build-arg", f"REGISTRY={registry}", *cases.flags(name, f"{directory}/{name}")]


def script(place, wanted):
    """A script for busybox's shell that builds every case, and keeps each one's log and exit code."""
    lines = ["cd /"]
    cases_directory, out = IN_CONTAINER
    for name in wanted:
        words = shlex.join(["timeout", str(TIME_LIMIT), *command("/longshore/longshore", place, name, cases_directory, out)])
        lines.append(f"{words} >{out}/{name}/log 2>&1 </dev/null; echo $? >{out}/{name}/code")
    return "\n".join(lines) + "\n"


def give(directory):
    """Makes the ordinary user the owner of everything below; what a change of owner takes away comes back."""
    user = pwd.getpwnam("longshore-test")
    for root, directories, files in os.walk(os.fsencode(directory), topdown=False):
        for path in [root] + [os.path.join(root, name) for name in files + directories]:
            before = os.lstat(path)
            if before.st_uid == user.pw_uid:
                continue
            xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
            os.lchown(path, user.pw_uid, user.pw_gid)
            if not stat.S_ISLNK(before.st_mode):
                os.chmod(path, stat.S_IMODE(before.st_mode))
            for name, value in xattrs.items():
                os.setxattr(path, name, value, follow_symlinks=False)


def build_on_host(binary, place, wanted, directory, output):
    prefix = ["timeout", str(TIME_LIMIT)]
    if place == "rootless":
        # Nothing of root's is to be needed: the program is copied to where that user can run it, and the environment is empty.
        shutil.copy(binary, f"{directory}/.longshore")
        os.chmod(directory, 0o755)
        os.makedirs(f"{directory}/.state")
        give(directory)
        give(output)
        binary = f"{directory}/.longshore"
        prefix += ["runuser", "-u", "longshore-test", "--", "env", "-i", "HOME=/nonexistent", f"PATH={os.environ['PATH']}"]
    for name in wanted:
        with open(f"{output}/{name}/log", "w", encoding="utf-8") as log:
            words = command(binary, place, name, directory, output) + ["--state-dir", f"{directory}/.state"]
            code = subprocess.run([*prefix, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
        with open(f"{output}/{name}/code", "w", encoding="utf-8") as file:
            file.write(str(code))


def build_in_docker(place, wanted, directory, output):
    with open(f"{directory}/.script", "w", encoding="utf-8") as file:
        file.write(script(place, wanted))
    options = ["--security-opt", "seccomp=unconfined"] if place == "identity" else []
    image = os.environ.get("LONGSHORE_TEST_IMAGE", "longshore:test")
    result = subprocess.run(["docker", "run", "--rm", "--network=host", *options, "--volume", f"{directory}:{IN_CONTAINER[0]}:ro",
                             "--volume", f"{output}:{IN_CONTAINER[1]}", "--entrypoint", "/busybox/sh", image, f"{IN_CONTAINER[0]}/.script"])
    if result.returncode != 0:
        print(f"the container's shell ended with {result.returncode}", file=sys.stderr)


def differences(expected, actual):
    """Pairs of a key (what a deviation names) and a text."""
    if expected is None:
        return [("expected", "was never recorded: run record.sh")]
    if expected.get("fails") or actual.get("fails"):
        return [] if expected.get("fails") == actual.get("fails") else [("fails", "should have failed" if expected.get("fails") else "failed")]
    found = []
    for part in ("config", "tree"):
        for key in sorted(expected[part].keys() | actual[part].keys()):
            want, have = expected[part].get(key, "(as in the base)"), actual[part].get(key, "(as in the base)")
            if want != have:
                # Files that differ by extended attributes of users alone have a key of their own: a deviation there is to cover nothing else.
                kind = "xattr" if part == "tree" and want and have and USER_XATTR.sub("", want) == USER_XATTR.sub("", have) else part
                found.append((f"{kind}:{key}", f"\n      reference {json.dumps(want, ensure_ascii=False)}\n      longshore {json.dumps(have, ensure_ascii=False)}"))
    if expected["history"] != actual["history"]:
        found.append(("history", f"\n      reference {json.dumps(expected['history'])}\n      longshore {json.dumps(actual['history'])}"))
    if len(expected["layers"]) != len(actual["layers"]):
        return found + [("layers", f"{len(expected['layers'])} in the reference, {len(actual['layers'])} in longshore")]
    for number, (want, have) in enumerate(zip(expected["layers"], actual["layers"])):
        found += [(f"layer:{entry}", f"layer {number}: only in the reference") for entry in want if entry not in have]
        found += [(f"layer:{entry}", f"layer {number}: only in longshore") for entry in have if entry not in want]
    return found


class Deviations:
    """Lines `CASE PLACE KEY # reason`, each word a glob; every one that applies to this run must show."""

    def __init__(self, place, wanted):
        self.rules = []
        with open(os.path.join(cases.HERE, "deviations"), encoding="utf-8") as file:
            for line in file:
                rule, _, reason = line.rstrip("\n").partition(" # ")
                if not rule or rule.startswith("#"):
                    continue
                case, where, key = rule.split(None, 2)
                if not reason:
                    raise SystemExit(f"a deviation has no reason: {line}")
                if fnmatch.fnmatchcase(place, where) and fnmatch.filter(wanted, case):
                    self.rules.append([case, key.strip(), False])

    def allow(self, case, key):
        matching = [rule for rule in self.rules if fnmatch.fnmatchcase(case, rule[0]) and fnmatch.fnmatchcase(key, rule[1])]
        for rule in matching:
            rule[2] = True
        return bool(matching)


@functools.cache
def describer():
    return describe.Describer(sorted(glob.glob(os.path.join(os.environ["LONGSHORE_TEST_BASES"], "*/"))))


def judge(task):
    """Describes one built image; a process of its own, because hashing and unpacking take most of the time."""
    name, output = task
    try:
        with open(f"{output}/{name}/code", encoding="utf-8") as file:
            code = file.read().strip()
    except FileNotFoundError:
        return name, "was not built", None
    if code != "0":
        return name, code, {"fails": True}
    try:
        return name, code, cases.comparable(name, describer().describe(f"{output}/{name}/image"))
    except (Exception, SystemExit) as error:
        return name, f"the image cannot be read: {error!r}", None


def main():
    if "LONGSHORE_TEST_REGISTRY" not in os.environ:
        raise SystemExit('the test environment is not up: . "$(tests/env/up.sh)"')
    binary, place, wanted = sys.argv[1], sys.argv[2], cases.names(sys.argv[3:])
    deviations = Deviations(place, wanted)
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="longshore-compare.") as directory, tempfile.TemporaryDirectory(prefix="longshore-images.") as output:
        for name in wanted:
            cases.prepare(name, directory)
            os.makedirs(f"{output}/{name}")
        if place in ("namespace", "rootless"):
            build_on_host(os.path.abspath(binary), place, wanted, directory, output)
        else:
            build_in_docker(place, wanted, directory, output)
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            for name, code, actual in pool.map(judge, [(name, output) for name in wanted]):
                found = [("image", code)] if actual is None else differences(cases.expected(name), actual)
                found = [(key, text) for key, text in found if not deviations.allow(name, key)]
                # A build that a signal or the time limit ended is never the failure that a case expects.
                if actual == {"fails": True} and (int(code) < 0 or int(code) >= 124):
                    found.append(("exit", f"ended with {code}"))
                passed, failed = (passed, failed + 1) if found else (passed + 1, failed)
                if found:
                    print(f"FAIL {place} {name}")
                    for key, text in found[:20]:
                        print(f"    {key}: {text}")
                    if actual is None or ("fails", "failed") in found:
                        with open(f"{output}/{name}/log", encoding="utf-8", errors="replace") as log:
                            print("".join(f"    | {line}" for line in log.readlines()[-15:]))
    for case, key, shown in deviations.rules:
        if not shown and not sys.argv[3:]:
            print(f"FAIL {place}: the deviation `{case} {key}` no longer shows: remove it")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
