#!/usr/bin/env python3
"""Describes an image as JSON that two builders can be compared by.

    describe.py IMAGE [BASE_LAYOUT...]

IMAGE is an OCI layout directory, or a tar of one, or a docker archive. Of an image on one of the bases only what differs from the base is
described. Every blob and every diff id is verified on the way. The description:

    tree     path -> one line: type, mode, owner, size, start of the sha256, link target, first name of a hard-link group, xattrs, and the time
             where it is one that a context or a command has set (before 2020); `null` for a path of the base that is gone
    layers   per new layer its paths, `+` written and `-` deleted; a directory listed only because something below it changed is left out,
             and an opaque directory is written out as deletions
    config   what an image's user sees; history  created_by of the new entries, `(empty)` first where there is no layer
"""
import datetime, gzip, hashlib, io, json, os, subprocess, sys, tarfile, tempfile

OLD = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc).timestamp()
KINDS = {tarfile.SYMTYPE: "symlink", tarfile.DIRTYPE: "dir", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}


class Node:
    """One inode; hard links are several paths to the same Node."""

    def __init__(self, member, content):
        self.kind = KINDS.get(member.type, "file")
        self.mode, self.owner, self.mtime = member.mode & 0o7777, f"{member.uid}:{member.gid}", member.mtime
        self.detail = ""
        if self.kind == "file":
            self.detail = f" size={len(content)} sha256={hashlib.sha256(content).hexdigest()[:16]}"
        elif self.kind == "symlink":
            self.mode, self.detail = 0o777, f" -> {printable(member.linkname)}"
        elif self.kind in ("char", "block"):
            self.detail = f" {member.devmajor}:{member.devminor}"
        prefix = "SCHILY.xattr."
        self.xattrs = {k[len(prefix):]: v.encode("utf-8", "surrogateescape").hex()
                       for k, v in member.pax_headers.items() if k.startswith(prefix)}

    def same_directory(self, other):
        return other is not None and self.kind == other.kind == "dir" and \
            (self.mode, self.owner, self.xattrs) == (other.mode, other.owner, other.xattrs)

    def line(self, group, with_time):
        text = f"{self.kind} {self.mode:04o} {self.owner}{self.detail}"
        if group:
            text += f" hard={group}"
        for name in sorted(self.xattrs):
            text += f" {name}={self.xattrs[name]}"
        if with_time and self.mtime < OLD:
            text += f" mtime={int(self.mtime)}"
        return text


def printable(name):
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def clean(name):
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SystemExit(f"a layer names {name}")
    return "/".join(parts)


def below(tree, path):
    return [name for name in tree if name.startswith(path + "/")]


def remove(tree, path):
    for name in below(tree, path):
        del tree[name]
    tree.pop(path, None)


def children(tree, path):
    prefix = path + "/" if path else ""
    return {prefix + name[len(prefix):].split("/", 1)[0] for name in tree if name.startswith(prefix) and name != path}


def apply(tree, archive):
    """Applies a layer to the tree and returns what it did."""
    before, deleted, written, opaque, listed = dict(tree), set(), {}, [], []
    for member in archive:
        path = clean(member.name)
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            opaque.append(parent)
        elif name.startswith(".wh."):
            deleted.add(f"{parent}/{name[4:]}".lstrip("/"))
        elif member.islnk():
            target = clean(member.linkname)
            written[path] = written.get(target) or before[target]
        else:
            content = archive.extractfile(member).read() if member.isreg() else b""
            written[path] = Node(member, content)
    while opaque:
        for child in children(before, opaque.pop()):
            if child not in written:
                deleted.add(child)
            elif written[child].kind == before[child].kind == "dir":
                opaque.append(child)
    for path in deleted:
        listed.append(f"- {printable(path)}" + ("" if path in before else " (was not there)"))
        remove(tree, path)
    for path, node in written.items():
        old = before.get(path)
        if not node.same_directory(old):
            listed.append(f"+ {printable(path)}")
        if node.kind != "dir" or (old is not None and old.kind != "dir"):
            remove(tree, path)
        tree[path] = node
    return sorted(entry for entry in listed if entry != "+ ")


def lines(tree, base):
    groups = {}
    for path in sorted(tree):
        groups.setdefault(id(tree[path]), []).append(path)
    described = {}
    for path, node in tree.items():
        group = groups[id(node)]
        with_time = not (node.kind == "dir" and path in base)
        described[printable(path)] = node.line(printable(group[0]) if len(group) > 1 else "", with_time)
    described.pop("", None)
    return described


class Image:
    """An image in an OCI layout or a docker archive, unpacked into a directory when it is a tar."""

    def __init__(self, path):
        self.directory = path
        if not os.path.isdir(path):
            self.unpacked = tempfile.TemporaryDirectory()
            self.directory = self.unpacked.name
            with tarfile.open(path) as archive:
                archive.extractall(self.directory)
        if os.path.exists(self.file("index.json")):
            manifest = self.manifest(self.json("index.json"))
            self.config = json.loads(self.blob(manifest["config"]))
            self.layers = [lambda d=d: (d["mediaType"], self.blob(d)) for d in manifest["layers"] or []]
        else:
            manifest = self.json("manifest.json")[0]
            self.config = self.json(manifest["Config"])
            self.layers = [lambda name=name: ("", open(self.file(name), "rb").read()) for name in manifest["Layers"]]
        self.diff_ids = self.config["rootfs"].get("diff_ids") or []
        with_layer = sum(1 for entry in self.config.get("history", []) if not entry.get("empty_layer"))
        if not len(self.diff_ids) == len(self.layers) == with_layer:
            raise SystemExit(f"{len(self.diff_ids)} diff ids, {len(self.layers)} layers, {with_layer} history entries with a layer")

    def manifest(self, index):
        for descriptor in index["manifests"]:
            platform = descriptor.get("platform", {"os": "linux", "architecture": "amd64"})
            if len(index["manifests"]) > 1 and (platform["os"], platform["architecture"]) != ("linux", "amd64"):
                continue
            body = json.loads(self.blob(descriptor))
            return self.manifest(body) if "manifests" in body else body
        raise SystemExit("no manifest for linux/amd64")

    def file(self, *names):
        return os.path.join(self.directory, *names)

    def json(self, name):
        with open(self.file(name), encoding="utf-8") as file:
            return json.load(file)

    def blob(self, descriptor):
        algorithm, value = descriptor["digest"].split(":")
        with open(self.file("blobs", algorithm, value), "rb") as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != value or len(content) != descriptor["size"]:
            raise SystemExit(f"blob {descriptor['digest']} is not what its descriptor says")
        return content

    def layer(self, number):
        media_type, content = self.layers[number]()
        if content[:4] == b"\x28\xb5\x2f\xfd":
            content = subprocess.run(["zstd", "-dcq"], input=content, stdout=subprocess.PIPE, check=True).stdout
        elif content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        diff_id = "sha256:" + hashlib.sha256(content).hexdigest()
        if diff_id != self.diff_ids[number]:
            raise SystemExit(f"layer {number} is {diff_id}, the config says {self.diff_ids[number]}")
        return tarfile.open(fileobj=io.BytesIO(content), errorlevel=2)


class Describer:
    def __init__(self, base_layouts):
        self.bases = [(image.diff_ids, image) for image in map(Image, base_layouts)]
        self.trees = {}

    def base(self, image):
        """The base whose layers the image begins with, its flattened tree, and the number of its layers and history entries."""
        for diff_ids, base in self.bases:
            if image.diff_ids[:len(diff_ids)] == diff_ids and image.config["history"][:len(base.config["history"])] == base.config["history"]:
                key = tuple(diff_ids)
                if key not in self.trees:
                    self.trees[key] = {}
                    for number in range(len(diff_ids)):
                        apply(self.trees[key], base.layer(number))
                return self.trees[key], len(diff_ids), len(base.config["history"])
        return {}, 0, 0

    def describe(self, path):
        image = Image(path)
        base, skipped_layers, skipped_history = self.base(image)
        tree = dict(base)
        layers = [apply(tree, image.layer(number)) for number in range(skipped_layers, len(image.diff_ids))]
        described, before = lines(tree, base), lines(base, base)
        changed = {name: described.get(name) for name in sorted(described.keys() | before.keys()) if described.get(name) != before.get(name)}
        config = {key: value for key, value in image.config.get("config", {}).items() if value not in (None, "", [], {}, False)}
        for key in ("author", "os", "architecture", "variant"):
            if image.config.get(key):
                config[key] = image.config[key]
        history = [("(empty) " if entry.get("empty_layer") else "") + entry.get("created_by", "")
                   for entry in image.config.get("history", [])[skipped_history:]]
        return {"config": config, "history": history, "layers": layers, "tree": changed}


if __name__ == "__main__":
    json.dump(Describer(sys.argv[2:]).describe(sys.argv[1]), sys.stdout, indent=1, sort_keys=True)
    print()
