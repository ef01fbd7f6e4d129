#!/usr/bin/env python3
"""Writes archives with every tar that is here, and compares what each reader makes of them with what ADD makes of them.

    archives.py LONGSHORE

Writers: GNU tar in its five formats, bsdtar in four, Python's tarfile in three; readers: GNU tar, bsdtar, Python. The tree has what a format can hold:
lengths of names around every limit, names that are not text, both kinds of links, large and odd owners, old times, sparse files, FIFOs and devices.
Needs root. The last line is `N passed, N failed`.
"""
import os, shutil, stat, subprocess, sys, tarfile, tempfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import describe

LONG = 100  # The longest name and link of a v7 header.
SPLIT = 255  # The longest path of a ustar header, in two pieces.


def entries():
    """Path, what makes it, and the longest path and link that it needs a format for; `extra` is what only some formats have."""
    for mode in (0o755, 0o700, 0o1777, 0o2750, 0o555):
        yield f"modes/dir-{mode:o}", ("dir", mode), ""
    for mode in (0o644, 0o600, 0o4755, 0o2755, 0o6711, 0o000):
        yield f"modes/file-{mode:o}", ("file", b"mode", mode), ""
    for size in (0, 1, 511, 512, 513, 10_239, 10_240, 70_001):
        yield f"sizes/{size}", ("file", bytes(number % 251 for number in range(size)), 0o644), ""
    for length in (99, 100, 101, 154, 155, 156, 255):
        name = f"n/{'x' * (length - 2)}" if length <= 257 else ""
        yield name, ("file", str(length).encode(), 0o644), ""
    for depth in (10, 13, 26, 40):
        yield "/".join(["deep-name"] * depth) + f"/{depth}", ("file", b"deep", 0o644), ""
    for name in ("-leading", "with space", "new\nline", "back\\slash", "über", "*?[a]", "quote'\"", "trailing.", "~"):
        yield f"odd/{name}", ("file", name.encode(), 0o644), ""
    yield os.fsdecode(b"odd/\xff\xfe not text"), ("file", b"bytes", 0o644), "bytes"
    for length in (1, 99, 100, 101, 300, 1000):
        yield f"links/symbolic-{length}", ("symlink", "t" * length), ""
    yield "links/dangling", ("symlink", "../../../nowhere"), ""
    yield "links/one", ("file", b"linked", 0o640), ""
    yield "links/two", ("link", "links/one"), ""
    yield "links/zz-three", ("link", "links/one"), ""
    for uid, gid in ((1, 2), (1000, 65534), (2_097_151, 2_097_151)):
        yield f"owners/{uid}-{gid}", ("file", b"", 0o644, (uid, gid)), ""
    yield "owners/large", ("file", b"", 0o644, (3_000_000, 4_000_000_000)), "large"
    for time in (0, 1, 981_173_106, 1_500_000_000):
        yield f"times/{time}", ("file", b"", 0o644, (0, 0), time), ""
    yield "nodes/fifo", ("fifo",), "nodes"
    yield "nodes/char", ("char", 1, 3), "nodes"
    yield "nodes/block", ("block", 7, 0), "nodes"
    yield "sparse", ("sparse",), ""


def make(root, path, what):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    kind = what[0]
    if kind == "dir":
        os.makedirs(full)
        os.chmod(full, what[1])
    elif kind == "file":
        with open(full, "wb") as file:
            file.write(what[1])
        if len(what) > 3:
            os.chown(full, *what[3])
        os.chmod(full, what[2])
        os.utime(full, (what[4],) * 2 if len(what) > 4 else (1_000_000_000,) * 2)
    elif kind == "symlink":
        os.symlink(what[1], full)
    elif kind == "link":
        os.link(os.path.join(root, what[1]), full)
    elif kind == "sparse":
        with open(full, "wb") as file:
            for offset in (0, 300_000, 1_000_000):
                file.seek(offset)
                file.write(b"data" * 1000)
            file.truncate(2_000_000)
    else:
        modes = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}
        os.mknod(full, modes[kind] | 0o640, os.makedev(*what[1:]) if len(what) > 1 else 0)


def tree(root, path_max, link_max, holds):
    """Makes what a format can hold below `root`."""
    # An own umask would show in the directories above.
    os.umask(0o022)
    for path, what, extra in entries():
        length = len(os.fsencode(path))
        # A directory has a slash more, and the members begin with `./`.
        if length + 3 > path_max or (path_max == SPLIT and length > 150 and "deep" not in path):
            continue
        if what[0] == "symlink" and len(what[1]) > link_max or extra and extra not in holds:
            continue
        make(root, path, what)
    # What stands around is as old as can be told.
    for directory, _, _ in os.walk(root, topdown=False):
        os.utime(directory, (900_000_000,) * 2)


def writers():
    """Name, limits of the format, and what writes a directory to a file."""
    def gnu(*options):
        return lambda root, archive: subprocess.run(["tar", *options, "--numeric-owner", "-C", root, "-cf", archive, "."], check=True, capture_output=True)

    def bsd(form):
        return lambda root, archive: subprocess.run(["bsdtar", f"--format={form}", "--numeric-owner", "-C", root, "-cf", archive, "."], check=True, capture_output=True, env=TEXT)

    def python(form):
        def write(root, archive):
            with tarfile.open(archive, "w", format=form, encoding="utf-8", errors="surrogateescape") as file:
                file.add(root, ".")
        return write

    every, all_of = 4000, {"bytes", "large", "nodes"}
    yield "gnu-v7", LONG, LONG - 1, {"bytes"}, gnu("--format=v7")
    yield "gnu-ustar", SPLIT, LONG, {"bytes", "nodes"}, gnu("--format=ustar")
    yield "gnu-oldgnu", every, every, all_of, gnu("--format=oldgnu")
    yield "gnu-gnu", every, every, all_of, gnu("--format=gnu")
    yield "gnu-gnu-sparse", every, every, all_of, gnu("--format=gnu", "--sparse")
    yield "gnu-posix", every, every, all_of, gnu("--format=posix")
    for version in ("0.0", "0.1", "1.0"):
        yield f"gnu-posix-sparse-{version}", every, every, {"large", "nodes"}, gnu("--format=posix", "--sparse", f"--sparse-version={version}")
    yield "bsd-ustar", SPLIT, LONG, {"bytes", "nodes"}, bsd("ustar")
    yield "bsd-gnutar", every, every, all_of, bsd("gnutar")
    # It cannot say bytes that are not text.
    yield "bsd-pax", every, every, {"large", "nodes"}, bsd("pax")
    yield "python-ustar", SPLIT, LONG, {"bytes", "nodes"}, python(tarfile.USTAR_FORMAT)
    yield "python-gnu", every, every, all_of, python(tarfile.GNU_FORMAT)
    yield "python-pax", every, every, all_of, python(tarfile.PAX_FORMAT)


def with_python(archive, into):
    with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as file:
        file.extractall(into, numeric_owner=True, **({"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}))


# bsdtar converts names, and refuses what it cannot.
TEXT = {**os.environ, "LC_ALL": "C.UTF-8"}
READERS = {
    # Directories that come again later would keep the time of the extraction.
    "tar": lambda archive, into: subprocess.run(["tar", "--delay-directory-restore", "-xpf", archive, "--numeric-owner", "--same-owner", "-C", into], check=True, capture_output=True),
    "bsdtar": lambda archive, into: subprocess.run(["bsdtar", "-xpf", archive, "--numeric-owner", "-C", into], check=True, capture_output=True, env=TEXT),
    "python": with_python,
}


def of_directory(root):
    """The description of a directory, by the same code as that of an image."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
            archive.add(root, ".")
        file.seek(0)
        described = {}
        with tarfile.open(fileobj=file, encoding="utf-8", errors="surrogateescape") as archive:
            describe.apply(described, archive)
            return describe.lines(described, {})


def of_build(longshore, archive, directory):
    context = os.path.join(directory, "context")
    os.makedirs(context)
    shutil.copy(archive, os.path.join(context, "a.tar"))
    with open(os.path.join(context, "Dockerfile"), "w", encoding="utf-8") as file:
        file.write("FROM scratch\nADD a.tar /\n")
    layout = os.path.join(directory, "layout")
    subprocess.run([longshore, "build", "--state-dir", os.path.join(directory, "state"), "--no-push", "--oci-layout-path", layout, context],
                   check=True, capture_output=True)
    return describe.Describer([]).describe(layout)["tree"]


def main():
    longshore, passed, failed = os.path.abspath(sys.argv[1]), 0, 0
    for name, path_max, link_max, holds, write in writers():
        with tempfile.TemporaryDirectory(prefix="longshore-archives.") as directory:
            root, archive = os.path.join(directory, "tree"), os.path.join(directory, "a.tar")
            os.makedirs(root)
            tree(root, path_max, link_max, holds)
            try:
                write(root, archive)
                ours = of_build(longshore, archive, directory)
            except subprocess.CalledProcessError as error:
                failed += 1
                print(f"FAIL {name}: {error}\n{error.stderr.decode(errors='replace')[-1500:]}")
                continue
            for reader, read in READERS.items():
                # Bytes that are not text stand in this format as they are, against its rules; bsdtar refuses them.
                if (name, reader) == ("gnu-posix", "bsdtar"):
                    continue
                into = os.path.join(directory, reader)
                os.makedirs(into)
                try:
                    read(archive, into)
                except (subprocess.CalledProcessError, OSError, tarfile.TarError) as error:
                    failed += 1
                    print(f"FAIL {name}, read by {reader}: {error} {getattr(error, 'stderr', b'')!r}")
                    continue
                theirs = of_directory(into)
                wrong = [path for path in sorted(ours.keys() | theirs.keys()) if ours.get(path) != theirs.get(path)]
                if wrong or len(ours) < 40:
                    failed += 1
                    print(f"FAIL {name}, read by {reader}: {len(ours)} entries, {len(wrong)} differ")
                    for path in wrong[:6]:
                        print(f"    {path!r}\n      ours   {ours.get(path)}\n      theirs {theirs.get(path)}")
                else:
                    passed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
