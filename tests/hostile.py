#!/usr/bin/env python3
"""Archives that want out, lie, or are too much: as a context and by ADD, through the real program, as root and as an ordinary user.

    hostile.py LONGSHORE

A row is a name, what is in the archive, and what has to come of it: E, the build fails with one error; C, it succeeds and what is listed is in
the image; X, either, and only that nothing got out counts. After every build a directory outside is as it was, and
the program took at most 256 MiB. Run by an ordinary user, it tests as that one alone. The last line is `N passed, N failed`.
"""
import gzip, json, os, pwd, shutil, subprocess, sys, tarfile, tempfile, time

MEMORY_MAX_KIB = 256 * 1024
SECONDS_MAX = 120
USER = "longshore-test"


def number(value, width):
    return b"%0*o\0" % (width - 1, value)


def block(name, kind=b"0", size=0, link=b"", mode=0o644, uid=0, gid=0, mtime=1000, magic=b"ustar\x0000", device=(0, 0), raw=None, checksum=None):
    """A header; `raw` replaces fields by their offset."""
    header = bytearray(512)
    def put(at, value):
        header[at:at + len(value)] = value
    put(0, name[:100])
    put(100, number(mode, 8)); put(108, number(uid, 8)); put(116, number(gid, 8))
    put(124, number(size, 12)); put(136, number(mtime, 12))
    put(156, kind); put(157, link[:100]); put(257, magic)
    put(329, number(device[0], 8)); put(337, number(device[1], 8))
    for at, value in (raw or {}).items():
        put(at, value)
    put(148, b" " * 8)
    total = sum(header) if checksum is None else checksum(header)
    put(148, b"%06o\0 " % total)
    return bytes(header)


def padded(body):
    return body + b"\0" * (-len(body) % 512)


def F(name, body=b"evil", **more):
    return block(name, b"0", len(body), **more) + padded(body)


def D(name, mode=0o755, **more):
    return block(name, b"5", mode=mode, **more)


def S(name, target):
    return (K(target) if len(target) > 100 else b"") + block(name, b"2", link=target, mode=0o777)


def H(name, target, **more):
    return block(name, b"1", link=target, **more)


def L(name):
    return block(b"././@LongLink", b"L", len(name) + 1, magic=b"ustar  \0") + padded(name + b"\0")


def K(target):
    return block(b"././@LongLink", b"K", len(target) + 1, magic=b"ustar  \0") + padded(target + b"\0")


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while length != len(str(length).encode() + body):
        length = len(str(length).encode() + body)
    return str(length).encode() + body


def X(*pairs, kind=b"x", body=None):
    body = b"".join(record(key, value) for key, value in pairs) if body is None else body
    return block(b"PaxHeaders/x", kind, len(body)) + padded(body)


END = b"\0" * 1024


def signed(header):
    return sum(byte - 256 if byte > 127 else byte for byte in header)


def rows(out, is_root):
    """Name, bytes behind the context's own entries (or a function that writes them), verdict, paths of the image with their content."""
    up = b"../" * 40 + out.lstrip(b"/")
    E, C, EITHER = "E", "C", "X"
    yield "1 a name that goes up", F(b"../evil"), E, {}
    yield "2 a name that goes up further", F(b"a/../../evil"), E, {}
    yield "3 an absolute name", F(b"/etc/abs"), C, {"etc/abs": b"evil"}
    yield "4 names with too many slashes", F(b"//etc//abs2") + F(b"./a/./b"), C, {"etc/abs2": b"evil", "a/b": b"evil"}
    yield "5 up and down again", F(b"a/../b"), C, {"b": b"evil"}
    yield "6 a directory called ..", D(b".."), E, {}
    yield "6 a link called ..", S(b"..", b"/etc"), E, {}
    yield "6 a hard link called ..", F(b"x") + H(b"..", b"x"), E, {}
    yield "7 the root with attributes", D(b"./", mode=0o700, uid=5), C, {}
    yield "8 the root as a link", S(b".", out) + F(b"evil"), E, {}
    yield "9 no name", F(b""), E, {}
    yield "9 nothing but a slash", F(b"/"), E, {}
    yield "10 a zero in a name", X((b"path", b"a\0b")) + F(b"x"), E, {}
    yield "11 a name that speaks to terminals", F(b"x\n\x1b[2J::set-output name=x::y"), C, {"x\n\x1b[2J::set-output name=x::y": b"evil"}
    yield "12 a name that is not text", F(b"n\xff\xfe\x80"), C, {os.fsdecode(b"n\xff\xfe\x80"): b"evil"}
    yield "13 255 bytes", L(b"n" * 255) + F(b"x"), C, {"n" * 255: b"evil"}
    yield "13 256 bytes", L(b"n" * 256) + F(b"x"), E, {}
    yield "14 a long path", L(b"/".join([b"d" * 250] * 20) + b"/f") + F(b"x"), EITHER, {}
    yield "15 5,000 directories deep", L(b"a/" * 5000 + b"f") + F(b"x"), E, {}
    yield "16 a file with a slash behind", block(b"d/"), C, {"d": None}
    yield "17 names of another system", F(b"a\\..\\..\\b") + F(b"C:\\x"), C, {"a\\..\\..\\b": b"evil", "C:\\x": b"evil"}
    yield "18 names that differ in case", F(b"Foo", b"1") + F(b"foo", b"2"), C, {"Foo": b"1", "foo": b"2"}
    yield "19 long names and links", L(b"p/" * 100 + b"f") + F(b"x") + S(b"long", b"t" * 4095), C, {"p/" * 100 + "f": b"evil", "long": None}
    yield "20 through a link to the outside", S(b"e", out) + F(b"e/evil"), EITHER, {}
    yield "21 through a link that goes up", S(b"a", b"b") + S(b"b", up) + F(b"a/evil"), EITHER, {}
    yield "22 through two links", S(b"l1", b"l2") + S(b"l2", b"/") + F(b"l1/tmp/x"), C, {"tmp/x": b"evil"}
    yield "23 a loop", S(b"loop", b"loop") + F(b"loop/x"), E, {}
    yield "23 300 links in a chain", b"".join(S(b"c%d" % n, b"c%d" % (n + 1)) for n in range(300)) + D(b"c300") + F(b"c0/x"), E, {}
    yield "24 a link that becomes a file", S(b"f", out + b"/secret") + F(b"f", b"new"), C, {"f": b"new"}
    yield "25 a link that becomes a directory", S(b"d", out) + D(b"d", mode=0o777), C, {"d": None}
    yield "28 a directory that becomes a link", D(b"foo") + F(b"foo/x") + S(b"foo", b"/") + F(b"foo/tmp/y"), C, {"tmp/y": b"evil"}
    yield "29 back and forth", b"".join(
        (D(b"foo") if n % 2 == 0 else S(b"foo", b"/")) + F(b"foo/tmp/f", b"%d" % n) for n in range(3)), C, {"foo/tmp/f": b"2"}
    yield "30 links that lead out, kept as they are", S(b"l", b"/etc/passwd") + S(b"m", b"../../../../x"), C, {"l": None, "m": None}
    yield "31 a link to nothing", S(b"l", b""), E, {}
    yield "31 a link that is too long", S(b"l", b"t" * 5000), E, {}
    yield "31 a link with a zero", X((b"linkpath", b"a\0b")) + S(b"l", b"x"), E, {}
    yield "33 times for what is a link by then", D(b"d", mtime=1) + S(b"d", out), C, {"d": None}
    yield "34 a directory that may not be written", D(b"d", mode=0o555) + F(b"d/x"), C, {"d/x": b"evil"}
    yield "35 links to the kernel's directories", S(b"kernel", b"/proc") + F(b"kernel/sys/kernel/hostname"), EITHER, {}
    yield "36 magic links", S(b"p", b"/proc/self/root") + F(b"p/evil") + S(b"q", b"/proc/1/cwd") + F(b"q/evil"), EITHER, {}
    yield "37 a hard link to the outside", H(b"h", out + b"/secret"), E, {}
    yield "38 a hard link that goes up", H(b"h", up + b"/secret"), E, {}
    yield "39 a hard link through a link", S(b"d", out) + H(b"h", b"d/secret"), E, {}
    yield "40 a hard link to a link", S(b"s", out + b"/secret") + H(b"h", b"s") + F(b"h", b"new"), C, {"h": b"new"}
    yield "41 a hard link to nothing", H(b"h", b"missing"), E, {}
    yield "41 a hard link to a directory", D(b"dir") + H(b"h", b"dir"), E, {}
    yield "41 a hard link to itself", F(b"h") + H(b"h", b"h"), E, {}
    yield "42 a hard link ahead of its file", H(b"b", b"a") + F(b"a"), E, {}
    yield "43 a hard link to the working directory's file", H(b"h", b"secret"), E, {}
    yield "46 a hard link with content", F(b"a") + H(b"b", b"a", raw={124: number(1024, 12)}) + F(b"smuggled", b"x" * 512), E, {}
    yield "46 a directory with content", D(b"d", raw={124: number(1024, 12)}) + F(b"smuggled", b"x" * 512), E, {}
    yield "47 70,000 links to one file", lambda file: many_links(file), EITHER, {}
    yield "49 a whiteout is a file here", F(b"a/.wh.x"), EITHER, {}
    yield "67 a device", block(b"null", b"3", device=(1, 3)) + F(b"after"), C, {"after": b"evil"}
    yield "68 a pipe", block(b"fifo", b"6") + F(b"after"), C, {"after": b"evil"}
    for kind in (b"Z", b"V", b"M", b"N"):
        yield f"69 an entry of type {kind.decode()}", block(b"x", kind), E, {}
    yield "69 an entry of type 7", block(b"x", b"7", 4) + padded(b"evil"), C, {"x": b"evil"}
    yield "70 global headers", X((b"path", b"/etc/passwd"), (b"size", b"9"), kind=b"g") + F(b"x", b"mine"), C, {"x": b"mine"}
    yield "72 all bits of a mode", F(b"x", raw={100: b"7777777\0"}), C, {"x": b"evil"}
    yield "72 a negative mode", F(b"x", raw={100: b"\xff" * 8}), E, {}
    # Who may not give files away can only say so.
    yield "73 a large owner", X((b"uid", b"2147483648")) + F(b"x"), "CC" if is_root else "CX", {"x": b"evil"}
    yield "74 an owner that is nobody's", X((b"uid", b"4294967295")) + F(b"x"), E, {}
    yield "74 a negative owner", X((b"uid", b"-1")) + F(b"x"), E, {}
    yield "75 times before all and after all", F(b"x", raw={136: b"\xff" * 12}) + F(b"y", raw={136: b"\x80\0\0\0" + b"\x7f" + b"\xff" * 7}), C, {"x": b"evil", "y": b"evil"}
    yield "76 a time with a fraction", X((b"mtime", b"1.5")) + F(b"x"), C, {"x": b"evil"}
    for text in (b"nan", b"1e9", b"0x1", b""):
        yield f"76 the time {text.decode()!r}", X((b"mtime", text)) + F(b"x"), E if text else EITHER, {}
    yield "77 capabilities", X((b"SCHILY.xattr.security.capability", b"\1\0\0\2\0\4" + b"\0" * 14)) + F(b"x"), C, {"x": b"evil"}
    yield "77 capabilities that are garbage", X((b"SCHILY.xattr.security.capability", b"abc")) + F(b"x"), EITHER, {}
    yield "78 attributes of the machine", X((b"SCHILY.xattr.trusted.overlay.opaque", b"y"), (b"SCHILY.xattr.security.selinux", b"a")) + D(b"d") + F(b"d/x"), C, {"d/x": b"evil"}
    yield "79 an attribute of 70 KiB", X((b"SCHILY.xattr.user.a", b"v" * 70_000)) + F(b"x"), E, {}
    yield "79 5,000 attributes", X(*((b"SCHILY.xattr.user.%d" % n, b"v") for n in range(5000))) + F(b"x"), E, {}
    yield "80 owners' names without an end", F(b"x", raw={265: b"\x1b[2J" + b"u" * 28, 297: b"g" * 32}), C, {"x": b"evil"}
    inner = F(b"smuggled", b"x")
    yield "81 a size that is in the extended header alone", X((b"size", b"%d" % len(inner))) + block(b"x", b"0", 0) + inner, C, {"x": inner, "smuggled": False}
    yield "82 two sizes", X((b"size", b"4")) + block(b"x", b"0", 512) + padded(b"evil"), C, {"x": b"evil"}
    yield "83 an extended header for the file behind a long name", X((b"size", b"4")) + L(b"long") + block(b"x", b"0", 0) + padded(b"evil"), C, {"long": b"evil"}
    yield "84 two extended headers", X((b"path", b"a")) + X((b"path", b"b")) + F(b"x"), E, {}
    yield "84 an extended header at the end", F(b"x") + X((b"path", b"a")), E, {}
    for what, body in (("length", b"99 path=a\n"), ("equals sign", b"7 path\n"), ("line feed", b"9 path=abc"), ("zero", b"0 path=a\n"), ("digits", b"1" * 20 + b" path=a\n")):
        yield f"85 a record with a wrong {what}", X(body=body) + F(b"x"), E, {}
    yield "87 a long name of 1 GiB", block(b"././@LongLink", b"L", 1 << 30, magic=b"ustar  \0") + b"\0" * 4096, E, {}
    yield "88 a wrong checksum", F(b"x", checksum=lambda header: sum(header) + 1), E, {}
    yield "88 a checksum of signed bytes", F(b"n\xe9", checksum=signed), C, {os.fsdecode(b"n\xe9"): b"evil"}
    for what, field in (("letters", b"77x\0"), ("a sign", b"\xff" * 12), ("2 to the 63", b"\x80\0\0\0" + b"\x7f" + b"\xff" * 7)):
        yield f"89 a size of {what}", block(b"x", raw={124: field}), E, {}
    yield "90 cut in a header", ("cut", F(b"x") + block(b"y")[:300]), E, {}
    yield "90 cut in a file", ("cut", block(b"x", b"0", 10_000) + b"x" * 5000), E, {}
    yield "90 no end", ("cut", F(b"x")), C, {"x": b"evil"}
    yield "91 another archive behind the end", F(b"x") + END + F(b"late"), C, {"x": b"evil", "late": False}
    sparse = {386: number(0, 12), 398: number(512, 12), 483: number(1 << 33, 12)[-12:]}
    yield "92 a sparse file with a wrong map", block(b"x", b"S", 1024, magic=b"ustar  \0", raw={**sparse, 386: number(5000, 12), 398: number(1024, 12), 410: number(100, 12), 422: number(1024, 12)}) + b"x" * 1024, E, {}
    yield "93 a name twice", F(b"a", b"1") + F(b"a", b"2") + D(b"b") + F(b"b") + D(b"b"), C, {"a": b"2", "b": None}
    yield "94 1,000,000 files", lambda file: many_files(file, 1_000_000), C, {"last": b"evil"}
    good = F(b"x") + END
    yield "95 gzip with a wrong sum", ("raw", damaged(-8)), E, {}
    yield "95 gzip with a wrong length", ("raw", damaged(-4)), E, {}
    yield "95 gzip that is cut", ("raw", lambda start: gzip.compress(start + good)[:-20]), E, {}
    yield "95 gzip in three pieces", ("raw", lambda start: b"".join(gzip.compress(piece) for piece in (start, good[:512], good[512:]))), C, {"x": b"evil"}
    # ADD copies what it cannot unpack, as any file.
    yield "97 zstd with a window of 2 GiB", ("raw", lambda start: b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\0\0"), "EC", {}


def damaged(at):
    def make(start):
        packed = bytearray(gzip.compress(start + F(b"x") + END))
        packed[at] ^= 1
        return bytes(packed)
    return make


def many_links(file):
    file.write(F(b"one"))
    for n in range(70_000):
        file.write(H(b"l/%d" % n, b"one"))


def many_files(file, count):
    # The ignore rules hide them, so that all are read and the disk is spared.
    header = bytearray(block(b"many/0000000"))
    without = int(header[148:154], 8) - 7 * ord("0")
    for n in range(count):
        header[5:12] = digits = b"%07d" % n
        header[148:154] = b"%06o" % (without + sum(digits))
        file.write(header)
    file.write(F(b"last"))


class Bench:
    def __init__(self, binary, place, user):
        self.binary, self.place, self.user = binary, place, user
        self.outside = os.path.join(place, "outside")
        os.makedirs(self.outside)
        with open(os.path.join(self.outside, "secret"), "w") as file:
            file.write("secret")
        self.before = self.fingerprint()

    def fingerprint(self):
        found = []
        for path in (self.outside, os.path.join(self.outside, "secret")):
            is_ = os.lstat(path)
            found.append((is_.st_ino, is_.st_mode, is_.st_uid, is_.st_gid, is_.st_nlink, is_.st_mtime_ns, is_.st_size))
        return found, sorted(os.listdir(self.outside)), open(os.path.join(self.outside, "secret")).read()

    def archive(self, path, content, start):
        with open(path, "wb") as file:
            if isinstance(content, tuple) and content[0] == "raw":
                return file.write(content[1](start))
            file.write(start)
            if callable(content):
                content(file)
            else:
                file.write(content[1] if isinstance(content, tuple) else content)
            if not isinstance(content, tuple):
                file.write(END)

    def run(self, name, content, verdict, expected, by_add):
        work = tempfile.mkdtemp(dir=self.place)
        os.chmod(work, 0o777)
        state, layout, tar = (os.path.join(work, part) for part in ("state", "layout", "archive.tar"))
        if by_add:
            os.mkdir(os.path.join(work, "context"))
            tar = os.path.join(work, "context", "archive.tar")
            with open(os.path.join(work, "context", "Dockerfile"), "w") as file:
                file.write("FROM scratch\nADD archive.tar /dst/\n")
            start, source, root = F(b"small", b""), os.path.join(work, "context"), "dst/"
        else:
            start = F(b".dockerignore", b"many\n") + F(b"Dockerfile", b"FROM scratch\nCOPY . /dst/\n")
            source, root = f"tar://{tar}", "dst/"
        self.archive(tar, content, start)
        if self.user:
            subprocess.run(["chown", "-R", self.user, work], check=True)
        words = [self.binary, "build", "--isolation=namespace", "--state-dir", state, "--oci-layout-path", layout, "-c", source]
        become = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}
        begin = time.monotonic()
        with open(os.path.join(work, "log"), "wb") as log:
            # The secret's directory is where it works: a name alone must not find it.
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.outside, env={"HOME": work, "PATH": os.environ["PATH"]}, **become)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        with open(os.path.join(work, "log"), "rb") as file:
            log = file.read()
        try:
            return self.judge(child.returncode, log, usage.ru_maxrss, seconds, verdict, expected, layout, root)
        finally:
            shutil.rmtree(work)

    def judge(self, code, log, memory, seconds, verdict, expected, layout, root):
        text = log.decode(errors="replace")
        if self.fingerprint() != self.before:
            return "something outside was touched"
        if memory > MEMORY_MAX_KIB:
            return f"it took {memory} KiB"
        if seconds > SECONDS_MAX:
            return f"it took {seconds:.0f} s"
        if code < 0 or code == 101 or "panicked" in text:
            return f"it broke down with {code}: {text[-500:]}"
        if any(byte < 32 and byte not in b"\n\t" for byte in log):
            return f"its log speaks to the terminal: {log[-300:]!r}"
        if code != 0:
            if verdict == "C":
                return f"refused: {text[-500:]}"
            errors = sum(line.startswith("error") for line in text.splitlines())
            return None if errors == 1 else f"{errors} errors: {text[-500:]}"
        if verdict == "E":
            return f"accepted: {text[-300:]}"
        found = files(layout)
        if any("secret" in str(content) for content in found.values()):
            return "the secret is in the image"
        for path, content in expected.items():
            # Links lead to the root of the image, of which ADD's destination is a part.
            path = path if content and root + path not in found and path in found else root + path
            if content is False:
                if path in found:
                    return f"{path} is in the image"
            elif path not in found:
                return f"{path} is not in the image: {sorted(found)[:20]}"
            elif content is not None and found[path] != content:
                return f"{path} holds {found[path]!r}"
        return None


def files(layout):
    """The paths of an image's layers, with the content of files."""
    def blob(digest):
        return os.path.join(layout, "blobs", *digest.split(":"))
    with open(os.path.join(layout, "index.json")) as file:
        manifest = json.load(file)["manifests"][0]["digest"]
    with open(blob(manifest)) as file:
        layers = json.load(file)["layers"]
    found = {}
    for layer in layers:
        with tarfile.open(blob(layer["digest"]), "r|*", errors="surrogateescape") as tar:
            for entry in tar:
                name = entry.name.rstrip("/")
                if name.startswith("dst/many/"):
                    continue
                found[name] = tar.extractfile(entry).read() if entry.isreg() else None
    return found


def main():
    binary = os.path.abspath(sys.argv[1])
    only = sys.argv[2:]
    users = [None]
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(USER)
            users.append(USER)
        except KeyError:
            sys.exit(f"there is no user {USER}: tests/env/install.sh makes it\n0 passed, 1 failed")
    passed = failed = 0
    for user in users:
        place = tempfile.mkdtemp(prefix="longshore-hostile.", dir=os.environ.get("TMPDIR", "/var/tmp"))
        os.chmod(place, 0o755)
        try:
            copied = os.path.join(place, "longshore")
            shutil.copy(binary, copied)
            os.chmod(copied, 0o755)
            bench = Bench(copied, place, user)
            for name, content, verdict, expected in rows(os.fsencode(bench.outside), user is None and os.geteuid() == 0):
                if only and not any(name.split()[0] == word for word in only):
                    continue
                for by_add in (False, True):
                    # ADD would write them, which takes longer than all the rest.
                    if by_add and name.startswith("94"):
                        continue
                    wrong = bench.run(name, content, verdict[by_add % len(verdict)], expected, by_add)
                    if wrong is None:
                        passed += 1
                    else:
                        failed += 1
                        print(f"{name}, {'ADD' if by_add else 'context'}, {user or 'root'}: {wrong}")
        finally:
            shutil.rmtree(place, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0 or passed == 0)


main()
