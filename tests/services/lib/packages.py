#!/usr/bin/env python3
"""A Python index, an npm registry and a sparse index of cargo on loopback, each with one package; counts the bytes of packages that it serves.

    packages.py PORTFILE        GET /count says how many bytes of packages went out so far
"""
import base64, gzip, hashlib, http.server, io, json, os, random, sys, tarfile, zipfile

SIZE = 300_000
noise = random.Random(7).randbytes(SIZE)
served = 0


def wheel():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = "parcel-1.0.dist-info"
        archive.writestr("parcel/data", noise)
        archive.writestr("parcel/__init__.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"parcel/data,,\nparcel/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return file.getvalue()


def tarball(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(file.getvalue(), mtime=0)


npm_manifest = {"name": "parcel-of-noise", "version": "1.0.0"}
manifest = b'[package]\nname = "parcel"\nversion = "1.0.0"\nedition = "2021"\n'
files = {
    "/files/parcel-1.0-py3-none-any.whl": wheel(),
    "/files/parcel.tgz": tarball([("package/package.json", json.dumps(npm_manifest).encode()), ("package/data", noise)]),
    "/files/parcel.crate": tarball([("parcel-1.0.0/Cargo.toml", manifest), ("parcel-1.0.0/src/lib.rs", b""), ("parcel-1.0.0/data", noise)]),
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global served
        path = self.path.split("?")[0]
        base = f"http://{self.headers['host']}"
        kind, body = "application/json", None
        if path in files:
            kind, body = "application/octet-stream", files[path]
            served += len(body)
        elif path == "/count":
            body = str(served).encode()
        elif path.rstrip("/") == "/simple/parcel":
            name = "parcel-1.0-py3-none-any.whl"
            digest = hashlib.sha256(files[f"/files/{name}"]).hexdigest()
            kind, body = "text/html", f'<a href="{base}/files/{name}#sha256={digest}">{name}</a>'.encode()
        elif path == "/npm/parcel-of-noise":
            tgz = files["/files/parcel.tgz"]
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(tgz).digest()).decode()
            version = dict(npm_manifest, dist={"tarball": f"{base}/files/parcel.tgz", "integrity": integrity})
            body = json.dumps({"name": "parcel-of-noise", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}).encode()
        elif path == "/cargo/config.json":
            body = json.dumps({"dl": f"{base}/files/{{crate}}.crate"}).encode()
        elif path == "/cargo/pa/rc/parcel":
            digest = hashlib.sha256(files["/files/parcel.crate"]).hexdigest()
            entry = {"name": "parcel", "vers": "1.0.0", "deps": [], "cksum": digest, "features": {}, "yanked": False}
            body = json.dumps(entry).encode() + b"\n"
        self.send_response(200 if body is not None else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body or b"")))
        self.send_header("cache-control", "max-age=86400")
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(server.server_address[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
