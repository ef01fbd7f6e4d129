# longshore's own image. The context is laid out by tests/env/image.sh: `longshore` (the static binary) and `system/`:
#   busybox/            a static busybox and its applets, for CI systems that need a shell
#   kaniko/             executor -> /longshore/longshore, the name that kaniko's users call; ssl/certs/ the CA certificates
#   bin/sh etc/ tmp/    what a shell looks for
#   longshore/          image-marker: tells longshore that `/` is its own image, where building in place is allowed
FROM scratch
COPY system/ /
COPY longshore /longshore/longshore
ENV HOME=/root USER=root PATH=/usr/local/bin:/kaniko:/longshore:/busybox \
    DOCKER_CONFIG=/kaniko/.docker SSL_CERT_DIR=/kaniko/ssl/certs
# State on a volume, because overlayfs cannot have its upper directory on a container's own root; the shell on one, because a mount stays
# where it is while a build in place sets the rest of `/` aside.
VOLUME /longshore/state /busybox
WORKDIR /workspace
# Called by this name the program takes the build's flags at once (`docker run IMAGE --context ...`); its subcommands are there too.
ENTRYPOINT ["/kaniko/executor"]
