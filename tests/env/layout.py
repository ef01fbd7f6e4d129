#!/usr/bin/env python3
"""layout.py BASES WORK: writes the base images as OCI layouts from the layer tars that bases.sh made in WORK."""
import gzip, hashlib, json, os, subprocess, sys

bases, work = sys.argv[1:]
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "2001-01-02T03:04:05Z"
OCI = {"manifest": "application/vnd.oci.image.manifest.v1+json", "index": "application/vnd.oci.image.index.v1+json",
       "config": "application/vnd.oci.image.config.v1+json", "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
       "zstd": "application/vnd.oci.image.layer.v1.tar+zstd"}
DOCKER = {"manifest": "application/vnd.docker.distribution.manifest.v2+json",
          "config": "application/vnd.docker.container.image.v1+json", "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip"}


class Layout:
    def __init__(self, name, tag, types=OCI):
        self.directory, self.types = os.path.join(bases, name), types
        os.makedirs(os.path.join(self.directory, "blobs/sha256"))
        with open(os.path.join(self.directory, "tag"), "w") as file:
            file.write(tag)
        with open(os.path.join(self.directory, "oci-layout"), "w") as file:
            json.dump({"imageLayoutVersion": "1.0.0"}, file)

    def blob(self, media_type, content):
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(self.directory, "blobs/sha256", digest), "wb") as file:
            file.write(content)
        return {"mediaType": self.types[media_type], "digest": f"sha256:{digest}", "size": len(content)}

    def image(self, tars, config, compression="gzip", arch="amd64"):
        layers, diff_ids = [], []
        for tar in tars:
            with open(os.path.join(work, tar), "rb") as file:
                content = file.read()
            diff_ids.append("sha256:" + hashlib.sha256(content).hexdigest())
            packed = gzip.compress(content, 4, mtime=0) if compression == "gzip" else \
                subprocess.run(["zstd", "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
            layers.append(self.blob(compression, packed))
        history = [{"created": CREATED, "created_by": f"layer {tar}"} for tar in tars]
        history.append({"created": CREATED, "created_by": "config", "empty_layer": True})
        body = {"created": CREATED, "architecture": arch, "os": "linux", "config": config,
                "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history}
        manifest = {"schemaVersion": 2, "mediaType": self.types["manifest"],
                    "config": self.blob("config", json.dumps(body).encode()), "layers": layers}
        return self.blob("manifest", json.dumps(manifest).encode()) | {"platform": {"os": "linux", "architecture": arch}}

    def write(self, *manifests):
        if len(manifests) > 1:
            index = {"schemaVersion": 2, "mediaType": self.types["index"], "manifests": manifests}
            manifests = [self.blob("index", json.dumps(index).encode())]
        with open(os.path.join(self.directory, "index.json"), "w") as file:
            json.dump({"schemaVersion": 2, "manifests": manifests}, file)


busybox = ["busybox.tar", "second.tar"]
layout = Layout("busybox", "1")
layout.write(layout.image(busybox, {"Env": [PATH], "Cmd": ["sh"]}),
             layout.image(["arm.tar"], {"Env": [PATH], "Cmd": ["arm"]}, arch="arm64"))
layout = Layout("debian", "12")
layout.write(layout.image(["debian.tar", "extra.tar"], {"Env": [PATH], "Cmd": ["bash"]}))
layout = Layout("zstd", "1")
layout.write(layout.image(busybox, {"Env": [PATH]}, compression="zstd"))
layout = Layout("rich", "1", DOCKER)
layout.write(layout.image(busybox, {
    "User": "app", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Env": [PATH, "BASE=of rich"], "Entrypoint": ["/bin/env"],
    "Cmd": ["base-cmd"], "Volumes": {"/data": {}}, "WorkingDir": "/base/dir", "Labels": {"base": "yes", "both": "base"},
    "StopSignal": "SIGQUIT", "Healthcheck": {"Test": ["CMD", "true"], "Interval": 7000000000, "Retries": 2},
    "Shell": ["/bin/sh", "-ec"], "OnBuild": ["ENV TRIGGERED=yes", "COPY trigger /trigger", "RUN echo triggered > /tmp/triggered"]}))
