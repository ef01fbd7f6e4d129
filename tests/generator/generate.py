"""A random Dockerfile with its context, out of a seed: the same on every machine and with every Python.

    generate.py SEED DIRECTORY     lays the seed out in DIRECTORY: Dockerfile, args, context/

What it writes mostly builds: sources exist, and destinations are mostly new. Bounded: at most four stages of at most eight instructions each,
a context of at most some 25 small files. The base images are those of tests/env. URL stands for the server of run.py, PLACE for the directory that
the seed is laid out in, AGENT for the socket of an SSH agent.
"""
import collections, gzip, hashlib, io, os, re, sys, tarfile, zlib

# Every file of the seed has a time of its own seed: a reference builder that keeps contexts asks only for what differs in size or time.
TIME = 981173106
# Of the commit: files that ADD takes from it have that time here and that of the checkout in the reference. Times after 2020 are not compared.
COMMIT_TIME = 1700000000
MASK = (1 << 64) - 1


class Random:
    """splitmix64: no library's generator, whose numbers may change. It begins at a hash, since neighbouring seeds would else share their numbers."""

    def __init__(self, seed):
        self.state = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "big")

    def below(self, end):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % end

    def pick(self, options):
        return options[self.below(len(options))]

    def some(self, options, most):
        rest, taken = list(options), []
        for _ in range(1 + self.below(most)):
            if rest:
                taken.append(rest.pop(self.below(len(rest))))
        return taken

    def percent(self, share):
        return self.below(100) < share


FILES = ["a.txt", "b.md", "c file", "run.sh", "dir/one.txt", "dir/two.md", "dir/sub/deep.txt", "dir/sub/x.o", "other/z.txt", "other/sub/y.md", "[odd].txt"]
EXTRA = ["extra1.txt", "extra2.o", "dir/extra.md", "dir/sub/extra.txt", "other/skip", "deep/er/and/deeper.txt", ".hidden", "dir/.dot", "$dollar"]
DIRECTORIES = ["dir", "dir/sub", "other", "other/sub"]
IGNORED = [["*.o"], ["**/*.o", "extra*"], ["dir/sub/extra.txt", "**/skip"], ["deep", "!deep/er/and"], ["**/extra*", "!dir/extra.md"], ["# nothing", ".hidden"],
           ["other/skip/", "/extra1.txt"], ["d??p/**"]]
EXCLUDED = ["*.txt", "**/*.md", "sub", "sub/*", "!sub/deep.txt", "one.txt", "**/x.o", "y*", "dir/sub", "**/sub", "!**/extra.txt", "o[mn]e.*"]
WORDS = ["plain", "two words", "with=equals", "ümlaut", "", "tab\tinside", "$HOME", "a,b", "x" * 40, "quo'te", "back\\slash"]
MODIFIERS = ["${%s}", "$%s", "${%s:-default}", "${%s-default}", "${%s:+alternative}", "${%s+alternative}", "${%s#p}", "${%s##*a}", "${%s%%n}", "${%s%%%%a*}",
             "${%s/a/b}", "${%s//a/b}", "pre${%s}post", "\\$%s", "${%s:-${NONE:-nested}}"]
# What the language has; RUN --device is not among it, which longshore refuses.
LANGUAGE = {"FROM": ["platform"], "RUN": ["mount", "mount=type=bind", "mount=type=cache", "mount=type=tmpfs", "mount=type=secret", "mount=type=ssh", "network", "security"],
            "COPY": ["from", "chown", "chmod", "link", "parents", "exclude"], "ADD": ["chown", "chmod", "link", "exclude", "keep-git-dir", "checksum", "unpack"],
            "HEALTHCHECK": ["interval", "timeout", "start-period", "start-interval", "retries"],
            **{name: [] for name in "ARG CMD ENTRYPOINT ENV EXPOSE LABEL MAINTAINER ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR".split()}}
SIGNALS = ["SIGTERM", "9", "SIGRTMIN+3", "HUP", "KILL"]


def stored(data):
    """A gzip file without compression: its bytes do not depend on the version of a library."""
    packed = bytearray(gzip.compress(data, 0, mtime=0))
    packed[8:10] = b"\0\xff"
    return bytes(packed)


def loose(kind, data):
    """A git object: its name, and the bytes of its file."""
    whole = b"%s %d\0" % (kind.encode(), len(data)) + data
    return hashlib.sha1(whole).hexdigest(), zlib.compress(whole)


def repository():
    """The files of a bare git repository with one commit, and that commit's name: the same for all seeds."""
    objects = dict([loose("blob", b"read me\n"), loose("blob", b"#!/bin/sh\n"), loose("blob", b"deep\n"), loose("blob", b"../README")])
    readme, script, deep, up = objects
    entry = lambda mode, name, digest: b"%s %s\0" % (mode.encode(), name.encode()) + bytes.fromhex(digest)
    below = loose("tree", entry("100644", "deep.txt", deep) + entry("120000", "up", up))
    top = loose("tree", entry("100644", "README", readme) + entry("100755", "run.sh", script) + entry("40000", "sub", below[0]))
    who = f"Some One <some@one.example> {COMMIT_TIME} +0000"
    commit = loose("commit", f"tree {top[0]}\nauthor {who}\ncommitter {who}\n\nmessage\n".encode())
    objects.update([below, top, commit])
    files = {"HEAD": b"ref: refs/heads/main\n", "config": b"[core]\n\tbare = true\n\trepositoryformatversion = 0\n", "refs/heads/main": commit[0].encode() + b"\n",
             "refs/tags/v1": commit[0].encode() + b"\n"}
    files |= {f"objects/{name[:2]}/{name[2:]}": data for name, data in objects.items()}
    return files, commit[0]


REPOSITORY, COMMIT = repository()


def occurrences(text):
    """Which instructions and flags a Dockerfile of ours has: read from its text, whatever was meant by it."""
    found, end = set(), None
    for line in text.replace("\\\n", " ").split("\n"):
        if end is not None:
            end = None if line.strip() == end else end
            continue
        words = line.split()
        if words and words[0].upper() == "ONBUILD":
            found.add("ONBUILD")
            words = words[1:]
        if not words or words[0].upper() not in LANGUAGE:
            continue
        name = words[0].upper()
        found.add(name)
        for word in words[1:]:
            if not word.startswith("--"):
                break
            found.update(f"{name} --{flag}" for flag in LANGUAGE[name] if re.match(rf"--{flag}(?![\w-])", word))
        heredoc = re.search(r"<<-?'?(\w+)", line)
        end = heredoc[1] if heredoc else None
    return found


def frequencies(numbers):
    """How many of these seeds have each instruction and each flag."""
    counts = collections.Counter({name: 0 for name in LANGUAGE} | {f"{name} --{flag}": 0 for name, flags in LANGUAGE.items() for flag in flags})
    for number in numbers:
        counts.update(occurrences(Seed(number).text("", "")))
    return counts


class Seed:
    def __init__(self, number):
        self.random, self.number, self.features = Random(number), number, []
        self.lines, self.args, self.stages, self.names, self.count = [], [], [], ["GLOBAL", "VALUE"], 0
        self.context()
        self.dockerfile()

    def feature(self, name):
        self.features.append(name)

    # The context.
    def context(self):
        random = self.random
        self.files = {name: (f"{name} of {self.number}\n" * (1 + random.below(4)), random.pick([0o644, 0o644, 0o600, 0o755, 0o444, 0o640, 0o4755]))
                      for name in FILES + random.some(EXTRA, 6)}
        self.modes = {name: random.pick([0o755, 0o755, 0o700, 0o711, 0o1777, 0o2755]) for name in DIRECTORIES}
        self.links = {"link": random.pick(["a.txt", "./dir/one.txt"]), "dirlink": random.pick(["dir", "other/sub"]), "dir/up": "../a.txt", "other/dangling": "nowhere"}
        self.named = {"n.txt": "named\n", "sub/n.md": f"of {self.number}\n"}
        self.ignore = random.pick(IGNORED) if random.percent(30) else None
        if self.ignore:
            self.feature(".dockerignore")

    def archive(self):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, kind, mode in [("in", tarfile.DIRTYPE, 0o750), ("in/file", tarfile.REGTYPE, 0o640), ("in/link", tarfile.SYMTYPE, 0o777), ("top", tarfile.REGTYPE, 0o600)]:
                member, content = tarfile.TarInfo(name), f"{name} of {self.number}".encode() if kind == tarfile.REGTYPE else b""
                member.type, member.mode, member.size, member.mtime, member.uid, member.gid = kind, mode, len(content), TIME + self.number, 3, 4
                member.linkname = "file" if kind == tarfile.SYMTYPE else ""
                tar.addfile(member, io.BytesIO(content))
        return data.getvalue()

    # The Dockerfile.
    def dockerfile(self):
        random = self.random
        if random.percent(10):
            self.feature("# escape")
            self.lines.append("# escape=\\")
        if random.percent(10):
            self.feature("# check")
            self.lines.append("# check=skip=all")
        if random.percent(10):
            self.lines.append("# a comment")
        self.lines += ["ARG REGISTRY", "ARG GLOBAL=global VALUE", "ARG BASE=busybox:1"]
        self.feature("ARG before FROM")
        self.target = "linux/amd64"
        if random.percent(7):
            self.feature("--platform")
            self.target = "linux/arm64"
            self.args += ["--platform", self.target]
        if random.percent(50):
            self.args += ["--build-arg", f"VALUE={random.pick(['given', 'a banana', '', 'x=y'])}"]
        for number in range(random.pick([1, 1, 2, 2, 2, 3, 4])):
            self.stage(number)
        if len(self.stages) > 1 and random.percent(20):
            self.feature("--target")
            self.args += ["--target", random.pick(self.stages)["name"]]
        if random.percent(15):
            self.feature("--label")
            self.args += ["--label", "from=outside"]

    def stage(self, number):
        random, name = self.random, f"stage{number}"
        base = random.pick(["image", "image", "scratch", "stage"]) if self.stages else random.pick(["image", "image", "image", "scratch"])
        flag = ""
        platform = self.target
        if random.percent(20 if self.target == "linux/amd64" else 60):
            self.feature("FROM --platform")
            value = random.pick(["$BUILDPLATFORM", "$BUILDPLATFORM", "$TARGETPLATFORM", "linux/amd64", "linux/arm64"])
            platform = {"$BUILDPLATFORM": "linux/amd64", "$TARGETPLATFORM": self.target}.get(value, value)
            flag = f"--platform={value} "
        # Nothing of another processor is run here; its busybox holds one file.
        stage = {"name": name, "has_shell": base == "image" and platform == "linux/amd64", "paths": ["/first"], "directory": "/", "copied": []}
        if base == "stage":
            parent = random.pick(self.stages)
            stage["has_shell"], stage["paths"] = parent["has_shell"], list(parent["paths"])
            word = parent["name"]
        else:
            if base == "image" and stage["has_shell"] and random.percent(12):
                base = "debian"
            word = {"image": "${REGISTRY}/base/$BASE", "debian": "${REGISTRY}/base/debian:12", "scratch": "scratch"}[base]
        self.feature(f"FROM {base}")
        self.lines.append(f"{random.pick(['FROM', 'FROM', 'from'])} {flag}{word} AS {name}")
        self.here = stage
        self.lines.append("COPY a.txt /first")
        self.stages.append(stage)
        makers = [self.copy] * 8 + [self.add] * 6 + [self.env, self.env, self.label, self.arg, self.arg, self.workdir, self.workdir, self.user, self.expose, self.volume, self.cmd,
                                                   self.entrypoint, self.shell, self.stopsignal, self.healthcheck, self.healthcheck, self.onbuild, self.maintainer]
        if stage["has_shell"]:
            makers += [self.run] * 8
        for _ in range(2 + random.below(7)):
            random.pick(makers)()

    def value(self):
        return self.random.pick(MODIFIERS) % self.random.pick(self.names + ["NONE"])

    def quoted(self):
        word = self.random.pick(WORDS)
        if self.random.percent(50):
            return "'" + word.replace("'", "") + "'"
        return '"' + word.replace("\\", "\\\\").replace('"', "") + '"'

    def env(self):
        self.feature("ENV")
        name = self.random.pick(["ONE", "TWO", "PATH_LIKE", "VALUE"])
        if self.random.percent(40):
            self.feature("ENV legacy")
            self.lines.append(f"ENV {name} {self.random.pick(['some words here', self.value()])}")
        else:
            more = f" MORE={self.quoted()}" if self.random.percent(40) else ""
            self.lines.append(f"ENV {name}={self.random.pick([self.value(), self.quoted()])}{more}")
        self.names.append(name)

    def arg(self):
        self.feature("ARG")
        name = self.random.pick(["GLOBAL", "VALUE", "LOCAL", "TARGETARCH", "TARGETSTAGE", "BUILDOS"])
        default = "" if name.isupper() and self.random.percent(50) else f"={self.random.pick(['set', self.value(), self.quoted()])}"
        self.lines.append(f"ARG {name}{default}")
        self.names.append(name)

    def label(self):
        self.feature("LABEL")
        self.lines.append(self.random.pick([f"LABEL one={self.quoted()}", f"LABEL \"two three\"={self.value()} four=5", "LABEL legacy of old", f"LABEL x.$GLOBAL={self.value()}"]))

    def workdir(self):
        self.feature("WORKDIR")
        path = self.random.pick(["/work", "relative", "../up", "/work/$GLOBAL", "/deep/er/place", "."])
        self.lines.append(f"WORKDIR {path}")

    def user(self):
        self.feature("USER")
        self.lines.append(f"USER {self.random.pick(['0', '5:6', '0:0', '1234'])}")
        if self.here["has_shell"] and self.random.percent(80):
            self.lines.append("USER 0")

    def expose(self):
        self.feature("EXPOSE")
        self.lines.append(f"EXPOSE {self.random.pick(['80', '53/udp 80/tcp', '8000-8003', '${PORT:-9000}/tcp', '1/sctp'])}")

    def volume(self):
        self.feature("VOLUME")
        self.lines.append("VOLUME " + self.random.pick(['/data', '[\"/v one\", \"/v2\"]', '/a /b', '/$GLOBAL']))

    def cmd(self):
        self.feature("CMD")
        self.lines.append("CMD " + self.random.pick(['[\"one\", \"$GLOBAL\"]', 'shell $GLOBAL form', '[]', '[\"with \\\\\"quotes\\\\\"\"]']))

    def entrypoint(self):
        self.feature("ENTRYPOINT")
        self.lines.append("ENTRYPOINT " + self.random.pick(['[\"/entry\"]', 'exec top -b', '[\"/bin/sh\", \"-c\"]']))

    def shell(self):
        self.feature("SHELL")
        self.lines.append('SHELL ["/bin/sh", "-ec"]')

    def stopsignal(self):
        self.feature("STOPSIGNAL")
        self.lines.append(f"STOPSIGNAL {self.random.pick(SIGNALS)}")

    def healthcheck(self):
        flags = []
        for flag, values in [("interval", ["5s", "1m30s"]), ("timeout", ["1s", "0s"]), ("start-period", ["10s", "500ms"]), ("start-interval", ["2s", "1500ms"]), ("retries", ["3", "0"])]:
            if self.random.percent(55):
                self.feature(f"HEALTHCHECK --{flag}")
                flags.append(f"--{flag}={self.random.pick(values)}")
        self.feature("HEALTHCHECK")
        command = self.random.pick(['["/check", "it"]', "check $it || exit 1"])
        self.lines.append("HEALTHCHECK NONE" if self.random.percent(10) else " ".join(["HEALTHCHECK", *flags, "CMD", command]))

    def onbuild(self):
        self.feature("ONBUILD")
        self.count += 1
        self.lines.append(f"ONBUILD {self.random.pick(['ENV TRIGGERED=$GLOBAL', f'COPY b.md /triggered{self.count}/', 'LABEL triggered=yes', f'ADD dir /triggered{self.count}', 'WORKDIR /triggered'])}")

    def maintainer(self):
        self.feature("MAINTAINER")
        self.lines.append("MAINTAINER Some One <some@one.example>")

    def destination(self, is_many):
        self.count += 1
        new = f"d{self.count}"
        if self.here["copied"] and self.random.percent(25):
            return self.random.pick(self.here["copied"])
        options = [f"/{new}/", f"/{new}/x/y/", f"{new}/", f"/{new}/$GLOBAL/", f"./{new}/../{new}/"]
        if not is_many:
            options += [f"/{new}", f"{new}", f"/{new}/x/y"]
        picked = self.random.pick(options)
        if picked.startswith("/") and picked.endswith("/"):
            self.here["copied"].append(picked)
        return picked

    def flags(self, instruction, share=18):
        flags, random = [], self.random
        if random.percent(share):
            self.feature(f"{instruction} --chown")
            names = ["app", "app:users", "other", "1234:app"] if self.here["has_shell"] else []
            flags.append(f"--chown={random.pick(['5', '5:6', '0:7', '65534:65534', *names])}")
        if random.percent(share):
            kind = random.pick(["octal", "symbolic"])
            self.feature(f"{instruction} --chmod {kind}")
            flags.append(f"--chmod={random.pick(['600', '0755', '4711', '1777']) if kind == 'octal' else random.pick(['u=rwX,go=rX', '+x', 'g=u', 'go-rwx', 'a+r,u-w'])}")
        if random.percent(share + 7):
            self.feature(f"{instruction} --link")
            flags.append(random.pick(["--link", "--link", "--link=true"]))
        return flags

    def excluded(self, instruction):
        if not self.random.percent(25):
            return []
        self.feature(f"{instruction} --exclude")
        return [f"--exclude={pattern}" for pattern in self.random.some(EXCLUDED, 3)]

    def copy(self):
        random, flags = self.random, self.flags("COPY")
        self.feature("COPY")
        kind = random.pick(["context"] * 4 + ["from", "from", "parents", "parents", "heredoc", "named"])
        if kind == "heredoc":
            self.feature("COPY heredoc")
            word = random.pick(["EOF", "'EOF'", "-EOF"])
            self.lines += [f"COPY {' '.join(flags)} <<{word} {self.destination(False)}", f"\tcontent of {self.number} ${{GLOBAL}}", "EOF"]
            return
        if kind == "named":
            self.feature("COPY --from named context")
            flags.append("--from=named")
            if "--build-context" not in self.args:
                self.args += ["--build-context", "named=@PLACE@/named"]
            sources = random.some(["n.txt", "sub", "/sub/n.md", ".", "n*"], 2)
        elif kind == "from" and len(self.stages) > 1:
            other = random.pick(self.stages[:-1])
            number = self.stages.index(other)
            self.feature("COPY --from stage")
            flags.append(f"--from={random.pick([other['name'], other['name'].upper(), str(number)])}")
            sources = ["/first"] if random.percent(60) or not other["has_shell"] else [random.pick(["/fixture/dir", "/fixture/owned", "/fixture/l*k", "/fixture/hard[12]", "/fixture/sticky"])]
        elif kind == "from":
            self.feature("COPY --from image")
            flags.append("--from=@REGISTRY@/base/busybox:1")
            # Whichever platform's busybox that is.
            sources = ["/ar[m]", "/f*e"] if "--platform" in self.args else random.some(["/fixture/file", "/fixture/dir", "/fixture/setuid", "/fixture/owned.d", "/fixture/dirlink", "/fixture/link", "/fixture/replaced"], 2)
        elif kind == "parents":
            self.feature("COPY --parents")
            flags.append("--parents")
            sources = random.some(["a.txt", "dir/sub", "./dir/one.txt", "dir/./sub/deep.txt", "**/*.md", "dir/**/*.txt", "other/./sub", "*/./one.txt", "link", "nothing/*", "*ir/sub"], 3)
        else:
            sources = self.local()
        flags += self.excluded("COPY")
        self.write("COPY", flags, sources)

    def local(self):
        return self.random.some(["a.txt", "b.md", "dir", "dir/", "/dir/sub", "other", ".", "*.md", "dir/*", "d*", "link", "dirlink", "dirlink/", "run.sh", "dir/sub/../one.txt",
                                 "nothing*", "?.txt", "[ab].*", "[[]odd].txt", "../b.md", "dir/s?b"], 2)

    def write(self, instruction, flags, sources):
        destination = self.destination(len(sources) > 1 or any("*" in source or "?" in source or "[" in source for source in sources))
        if self.random.percent(15) or "c file" in sources:
            words = ", ".join(f'"{word}"' for word in [*sources, destination])
            self.lines.append(f"{instruction} {' '.join(flags)} [{words}]")
        elif self.random.percent(10):
            self.lines += [f"{instruction} {' '.join(flags)} \\", *[f"  {source} \\" for source in sources], f"  {destination}"]
        else:
            self.lines.append(" ".join([instruction, *flags, *sources, destination]))

    def add(self):
        random, flags = self.random, self.flags("ADD")
        self.feature("ADD")
        kind = random.pick(["archive", "archive", "local", "url", "git"])
        if kind == "archive":
            if random.percent(50):
                value = random.pick(["", "=true", "=false"])
                self.feature("ADD --unpack")
                flags.append(f"--unpack{value}")
            self.write("ADD", flags, [random.pick(["arch.tar", "arch.bin"])])
        elif kind == "git":
            self.feature("ADD git")
            if random.percent(60):
                self.feature("ADD --keep-git-dir")
                flags.append(random.pick(["--keep-git-dir", "--keep-git-dir=true", "--keep-git-dir=false"]))
            if random.percent(30):
                self.feature("ADD --checksum")
                flags.append(f"--checksum={COMMIT}")
            flags += self.excluded("ADD")
            url = random.pick(["", "#main", "#v1", f"#{COMMIT}", "#main:sub", "?branch=main&subdir=sub", "?tag=v1", "#:sub"])
            self.lines.append(" ".join(["ADD", *flags, f"@URL@/git/repository.git{url}", self.destination(False)]))
        elif kind == "url":
            self.feature("ADD URL")
            name = random.pick(["a.txt", "arch.tar", "dir/one.txt?query=/x"])
            if random.percent(50):
                self.feature("ADD --checksum")
                content = self.archive() if name == "arch.tar" else self.files[name.split("?")[0]][0].encode()
                flags.append(f"--checksum=sha256:{hashlib.sha256(content).hexdigest()}")
            if name == "arch.tar" and random.percent(60):
                self.feature("ADD --unpack")
                flags.append("--unpack")
            self.lines.append(" ".join(["ADD", *flags, f"@URL@/{self.number}/{name}", self.destination(False)]))
        else:
            flags += self.excluded("ADD")
            self.write("ADD", flags, self.local())

    def run(self):
        random = self.random
        self.feature("RUN")
        self.count += 1
        new = f"/r{self.count}"
        command = random.pick([f"echo $GLOBAL-${{VALUE:-unset}} >{new}", f"mkdir -p {new}/a/b && touch {new}/a/b/c", "rm -f /first", "chmod 640 /fixture/file", "chown 7:8 /fixture/dir",
                               f"ln -s /first {new}", f"env | grep -Ev '^(HOSTNAME|OTEL_|TRACEPARENT)' | sort >{new}", f"cp -a /fixture/dir {new}", "rm -rf /fixture/replaced", f"pwd >{new}; id -u >>{new}",
                               "mv /fixture/dir /fixture/moved", f"ln /fixture/hard1 {new}"])
        command += " || true"
        kind = random.pick(["shell", "shell", "exec", "heredoc", "mount", "mount", "mount", "mount", "security"])
        self.feature(f"RUN {kind}")
        if kind == "exec":
            self.lines.append(f'RUN ["/bin/sh", "-c", "{command}"]')
        elif kind == "heredoc":
            self.lines += ["RUN <<EOF", command, "true", "EOF"]
        elif kind == "mount":
            kinds = [("type=bind,target=/m", "ls -R /m/dir"), ("type=bind,from=@REGISTRY@/base/busybox:1,target=/m", "ls /m/fixture/dir"), ("type=bind,source=dir,target=m", "ls m"),
                     ("type=bind,target=/m,rw", "echo x >/m/x; ls /m"), ("type=bind,from=named,target=/m", "ls /m/sub"), (f"type=bind,from={self.stages[0]['name']},target=/m", "cat /m/first"),
                     (f"type=cache,id=g{self.number},target=/c", "ls /c; echo x >/c/x"), (f"type=cache,id=h{self.number},target=/c,mode=0700,uid=5,gid=6", "stat -c %a:%u:%g /c"),
                     (f"type=cache,id=i{self.number},target=/c,from={self.stages[0]['name']},sharing=private", "cat /c/first"),
                     ("type=tmpfs,target=/t", "ls /t; echo x >/t/x"), ("type=tmpfs,target=/fixture,size=1m", "ls /fixture"),
                     ("type=secret,id=s", "cat /run/secrets/s"), ("type=secret,id=s,target=/s,mode=0444,uid=5,required=true", "stat -c %a:%u:%g /s"), ("type=secret,id=s,env=S", "echo $S"),
                     ("type=secret,id=absent", "ls /run/secrets"),
                     ("type=ssh", "stat -c %F:%a:%u:%g $SSH_AUTH_SOCK"), ("type=ssh,id=absent", "echo ${SSH_AUTH_SOCK-none}"), ("type=ssh,target=/agent,mode=0666,uid=5", "stat -c %a:%u:%g /agent")]
            mount, read = random.pick([entry for entry in kinds if self.stages[0] is not self.here or "from=stage" not in entry[0]])
            for word, arguments in [("type=secret", ["--secret", "id=s,src=@PLACE@/secret"]), ("type=ssh", ["--ssh", "default=@AGENT@"]), ("from=named", ["--build-context", "named=@PLACE@/named"])]:
                if word in mount and arguments[1] not in self.args:
                    self.args += arguments
            self.feature(f"RUN --mount {mount.split(',')[0]}")
            self.lines.append(f"RUN --mount={mount} {read} >{new} 2>&1 || true")
        elif kind == "security":
            self.feature("RUN --security")
            level = random.pick(["sandbox", "sandbox", "insecure"])
            if level == "insecure" and "--allow" not in self.args:
                self.args += ["--allow", "security.insecure"]
            self.lines.append(f"RUN --security={level} {command}")
        elif random.percent(45):
            self.feature("RUN --network")
            self.lines.append(f"RUN --network={random.pick(['none', 'default', 'host'])} {command}")
        else:
            self.lines.append(f"RUN {command}")

    def write_to(self, place, registry, url):
        """Lays the seed out below `place`."""
        context = os.path.join(place, "context")
        os.makedirs(context)
        for name, (content, mode) in self.files.items():
            path = os.path.join(context, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            os.chmod(path, mode)
        for name, content in [("secret", "a secret"), *[(f"named/{name}", content) for name, content in self.named.items()]]:
            os.makedirs(os.path.dirname(os.path.join(place, name)), exist_ok=True)
            with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                file.write(content)
        for name, data in [("arch.tar", self.archive()), ("arch.bin", stored(self.archive()))]:
            with open(os.path.join(context, name), "wb") as file:
                file.write(data)
        for name, target in self.links.items():
            os.symlink(target, os.path.join(context, name))
        for name, mode in self.modes.items():
            os.chmod(os.path.join(context, name), mode)
        if self.ignore:
            with open(os.path.join(context, ".dockerignore"), "w", encoding="utf-8") as file:
                file.write("\n".join(self.ignore) + "\n")
        with open(os.path.join(place, "Dockerfile"), "w", encoding="utf-8") as file:
            file.write(self.text(registry, url))
        for root, directories, files in os.walk(place, topdown=False):
            for name in files + directories:
                os.utime(os.path.join(root, name), (TIME + self.number,) * 2, follow_symlinks=False)

    def text(self, registry, url):
        return "\n".join(self.lines).replace("@REGISTRY@", registry).replace("@URL@", url) + "\n"


if __name__ == "__main__":
    Seed(int(sys.argv[1])).write_to(sys.argv[2], "REGISTRY", "http://URL")
