#!/usr/bin/env bash
# Git contexts against git's own server, over smart HTTP and over SSH: the same files from a directory and from a repository make the same image; what is
# private, moved, broken, large or hostile.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
for program in git python3 openssl ssh-agent /usr/sbin/sshd; do
  command -v "$program" >/dev/null || { echo "$program is missing: tests/env/install.sh brings it"; echo "0 passed, 1 failed"; exit 1; }
done
work=$(mktemp -d)
passed=0 failed=0
result() { # NAME CONDITION...
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$name failed:" && cat "$work/log"; fi
}

# Repositories, by a git that reads no configuration of this machine.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.test GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.test
export GIT_AUTHOR_DATE='@1700000000 +0100' GIT_COMMITTER_DATE='@1700000000 +0100'
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
served=$work/served
mkdir -p "$served" "$work/home" "$work/state"
make() { # NAME: an empty repository that is served, and a checkout of it
  git init -q --bare -b main "$served/$1.git"
  git init -q -b main "$work/$1"
}
publish() { # NAME: commits everything and sends it
  git -C "$work/$1" add -A && git -C "$work/$1" commit -q --allow-empty -m "of $1" && git -C "$work/$1" push -q "$served/$1.git" main
}
make app
cd "$work/app" || exit 1
for number in $(seq 200); do
  head -c 20000 /dev/urandom >noise
  git add noise
  git -c commit.gpgsign=false commit -q -m "$number"
done
git branch side
git tag -a -m tagged v1
mkdir -p sub/deep
printf 'FROM scratch\nCOPY . /\n' | tee Dockerfile >sub/Dockerfile
echo text >sub/file
echo 'echo hi' >'run me' && chmod 700 'run me'
ln -s sub/file link
ln -s /etc/passwd sub/deep/outside
cd - >/dev/null || exit 1
publish app
commit=$(git -C "$work/app" rev-parse main)
earlier=$(git -C "$work/app" rev-parse side~5)
git -C "$work/app" push -q "$served/app.git" side v1
git -C "$served/app.git" update-ref refs/pull/7/head "$commit"

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=our authority' -keyout "$work/authority.key" -out "$work/authority" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/key" -out "$work/request" 2>/dev/null
openssl x509 -req -in "$work/request" -CA "$work/authority" -CAkey "$work/authority.key" -CAcreateserial -days 2 -out "$work/certificate" \
  -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) 2>/dev/null
mkfifo "$work/ports"
python3 tests/services/lib/git_server.py "$served" "$work/requests" "$work/certificate" "$work/key" >"$work/ports" 2>/dev/null &
tls_pid=$!
read -r port <"$work/ports"
python3 tests/services/lib/git_server.py "$served" "$work/requests" >"$work/ports" 2>/dev/null &
plain_pid=$!
read -r plain <"$work/ports"
finish() {
  kill "$tls_pid" "$plain_pid" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
host=localhost:$port

build() { # ARGUMENTS...: the digest of the image
  env HOME="$work/home" LONGSHORE_STATE_DIR="$work/state" SOURCE_DATE_EPOCH=1 SSL_CERT_FILE="${trusted-$work/authority}" \
    "$longshore" build --verbosity=trace --no-push "$@" 2>"$work/log"
}
at() { # COMMIT [DIR]: a directory with what it holds, as a context has it
  local directory=$work/at/$1/${2-}
  if [ ! -d "$directory" ]; then
    mkdir -p "$work/at/$1"
    git -C "$work/app" archive "$1" | tar -C "$work/at/$1" -x
    find "$work/at/$1" -type f -perm -u+x -exec chmod 755 {} + -o -type f -exec chmod 644 {} + -o -type d -exec chmod 755 {} +
    find "$work/at/$1" -exec touch -h -d @1700000000 {} +
  fi
  echo "$directory"
}
expected() { # COMMIT [DIR]
  build -c "$(at "$@")" --label "org.opencontainers.image.revision=$1"
}
same() { # EXPECTED FOUND: and nobody saw a password
  [ -n "$1" ] && [ "$1" = "$2" ] && ! grep -qE 'canary|let me in|bGV0IG1l' "$work/log"
}
says() { # WORDS ARGUMENTS...: the build fails and says so
  local words=$1 code=0
  shift
  build "$@" >/dev/null || code=$?
  [ "$code" != 0 ] && grep -qF -- "$words" "$work/log" && ! grep -qE 'canary|let me in' "$work/log"
}

all=$(expected "$commit")
below=$(expected "$commit" sub)
# An image of what an earlier commit holds takes a Dockerfile from elsewhere.
printf 'FROM scratch\nCOPY . /\n' >"$work/Dockerfile"
before=$(build -c "$(at "$earlier")" --label "org.opencontainers.image.revision=$earlier" -f "$work/Dockerfile")
past=$(build -c "$(at "v1^{commit}")" --label "org.opencontainers.image.revision=$(git -C "$work/app" rev-parse 'v1^{commit}')" -f "$work/Dockerfile")

for form in "git://$host/app.git" "git://$host/app" "git://$host/app.git#refs/heads/main" "git://$host/app.git#main" "git://$host/app.git#$commit" \
  "git://$host/app.git#refs/pull/7/head" "git://$host/app.git##$commit" \
  "https://$host/app.git" "https://$host/app.git#main" "https://$host/app.git#$commit" "https://$host/app.git?branch=main" \
  "https://$host/app.git?ref=main&checksum=${commit:0:12}" "https://$host/moved/app.git" "git://$host/old/app.git" "git://$host/old/app.git#main" \
  "git://$host/broken/app.git"; do
  result "$form" same "$all" "$(build -c "$form")"
done
result 'a directory' same "$below" "$(build -c "https://$host/app.git#main:sub")"
result 'a directory by query' same "$below" "$(build -c "https://$host/app.git?subdir=sub")"
result '--context-sub-path' same "$below" "$(build -c "git://$host/app.git" --context-sub-path=sub)"
result '--git branch' same "$all" "$(build -c "git://$host/app.git#refs/heads/side" --git branch=main --git single-branch=true)"
result '--git branch of a tag' same "$past" "$(build -c "git://$host/app.git" --git branch=v1 -f "$work/Dockerfile")"
result 'a tag' same "$past" "$(build -c "git://$host/app.git#refs/tags/v1" -f "$work/Dockerfile")"
result 'an earlier commit' same "$before" "$(build -c "git://$host/app.git#$earlier" -f "$work/Dockerfile")"
result 'an earlier commit of a branch' same "$before" "$(build -c "git://$host/app.git#refs/heads/side#$earlier" -f "$work/Dockerfile")"
result 'an earlier commit from an old server' same "$before" "$(build -c "git://$host/old/app.git#$earlier" -f "$work/Dockerfile")"
result 'without encryption' same "$all" "$(GIT_PULL_METHOD=http build -c "git://localhost:$plain/app.git")"
result '--git insecure-skip-tls' same "$all" "$(trusted=/dev/null build -c "git://$host/app.git" --git insecure-skip-tls=true)"

# Who we are.
private=git://$host/private/app.git
result 'a user and password' same "$all" "$(GIT_USERNAME=reader GIT_PASSWORD='let me in' build -c "$private")"
result 'a token' same "$all" "$(GIT_TOKEN=canary-token GIT_USERNAME=x GIT_PASSWORD=y build -c "$private")"
result 'a token in the URL' same "$all" "$(build -c "git://canary-token@$host/private/app.git")"
result 'a user and password in the URL' same "$all" "$(build -c "https://reader:let%20me%20in@$host/private/app.git")"
result "GitLab's job token" same "$all" "$(CI_SERVER_URL=https://$host CI_JOB_TOKEN=x GIT_TOKEN=canary-token build -c "$private")"
result 'no credential' says 'GIT_TOKEN is not set, GIT_USERNAME and GIT_PASSWORD is not set' -c "$private"
GIT_TOKEN=canary-wrong result 'a refused token' says 'GIT_TOKEN was refused' -c "$private"

# What is not there.
result 'no reference' says 'no branch or tag nope; its branches are main, side' -c "git://$host/app.git#nope"
result 'no full reference' says 'no reference refs/heads/nope' -c "git://$host/app.git#refs/heads/nope"
result 'no commit' says 'no commit' -c "git://$host/app.git#$(printf '0%.0s' $(seq 40))"
result 'no directory' says 'has no directory nope' -c "https://$host/app.git#main:nope"
result 'a directory that is a link' says 'a link stands there' -c "https://$host/app.git#main:link"
result 'no sub-path' says 'has no directory nope' -c "git://$host/app.git" --context-sub-path=nope
result 'no repository' says 'no repository' -c "git://$host/nope.git"
result 'no git server' says 'does not answer as a git server' -c "https://$host/web/page.git"
result 'another commit than it has to be' says "is the commit $commit, not 0123456789" -c "https://$host/app.git?ref=main&checksum=0123456789"
trusted=/dev/null result 'a foreign certificate' says 'no trusted TLS connection' -c "git://$host/app.git"
make empty
result 'an empty repository' says 'is empty' -c "git://$host/empty.git"

# One commit of a long history, in bytes as the server counts them.
sent() { awk -v path="$1" 'index($5, path) { n += $2 } END { print n + 0 }' "$work/requests"; }
: >"$work/requests"
git clone -q "http://localhost:$plain/app.git" "$work/clone"
whole=$(sent /app.git)
: >"$work/requests"
build -c "git://$host/app.git#$earlier" -f "$work/Dockerfile" >/dev/null
one=$(sent /app.git)
result "one commit takes $one bytes of $whole" test $((one * 10)) -lt "$whole"

# The history stays out, unless it is asked for.
build -c "git://$host/app.git" --oci-layout-path "$work/layout" >/dev/null
result 'no .git' bash -c "! tar -tzf '$work/layout/blobs/sha256/'* 2>/dev/null | grep -q '^.git/'"
GIT_TOKEN=canary-token build -c "$private" --git keep-git-dir=true --oci-layout-path "$work/kept" >/dev/null
mkdir "$work/unpacked"
for blob in "$work"/kept/blobs/sha256/*; do tar -C "$work/unpacked" -xzf "$blob" 2>/dev/null; done
result '.git where it is asked for' test "$(git -C "$work/unpacked" rev-parse HEAD)" = "$commit"
result 'which is in order' git -C "$work/unpacked" fsck --no-dangling
result 'with nothing changed' test -z "$(git -C "$work/unpacked" status --porcelain 2>&1)"
result 'and no credential' bash -c "! grep -rq canary '$work/unpacked' '$work/kept' '$work/state'"

# What the commit says of itself.
printf 'FROM scratch\nLABEL org.opencontainers.image.revision=mine\n' >"$work/app/Dockerfile"
publish app
label() { # ARGUMENTS...: the revision of the image
  rm -rf "$work/labelled"
  build --oci-layout-path "$work/labelled" "$@" >/dev/null
  local manifest config
  manifest=$(sed -E 's/.*"digest": ?"sha256:([0-9a-f]+)".*/\1/' <(tr -d '\n' <"$work/labelled/index.json"))
  config=$(tr -d '\n' <"$work/labelled/blobs/sha256/$manifest" | sed -E 's/.*"config": ?\{[^}]*"digest": ?"sha256:([0-9a-f]+)".*/\1/')
  grep -oE '"org.opencontainers.image.revision": ?"[^"]*"' "$work/labelled/blobs/sha256/$config" | sed -E 's/.*"([^"]*)"$/\1/'
}
result 'the commit is a label' test "$(label -c "git://$host/app.git#$commit")" = "$commit"
result "the Dockerfile's own label stands" test "$(label -c "git://$host/app.git")" = mine
result 'one that is given stands' test "$(label -c "git://$host/app.git#$commit" --label org.opencontainers.image.revision=given)" = given
result 'there is none if none is wanted' test -z "$(label -c "git://$host/app.git#$commit" --ci-labels=false)"

# Git LFS.
make large
printf 'FROM scratch\nCOPY . /\n' >"$work/large/Dockerfile"
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 5\n' 0 >"$work/large/film"
publish large
result 'a pointer of LFS' says 'film is kept in Git LFS' -c "git://$host/large.git"
result 'a pointer that is wanted' test -n "$(GIT_LFS_SKIP_SMUDGE=1 build -c "git://$host/large.git")"

# Submodules: relative, one in another, and what may not be.
make leaf
echo leaf >"$work/leaf/leaf"
publish leaf
make twig
echo twig >"$work/twig/twig"
submodule() { # REPOSITORY PATH URL COMMIT
  printf '[submodule "%s"]\n\tpath = %s\n\turl = %s\n' "$2" "$2" "$3" >>"$work/$1/.gitmodules"
  mkdir -p "$work/$1/$2"
  git -C "$work/$1" update-index --add --cacheinfo "160000,$4,$2"
}
commit_index() { # NAME: what is staged, with the files that are not submodules
  git -C "$work/$1" add .gitmodules $2 && git -C "$work/$1" commit -q -m "of $1" && git -C "$work/$1" push -q -f "$served/$1.git" main
}
submodule twig leaf ../leaf.git "$(git -C "$work/leaf" rev-parse HEAD)"
commit_index twig twig
make tree
printf 'FROM scratch\nCOPY . /\n' >"$work/tree/Dockerfile"
submodule tree lib/twig "https://$host/twig.git" "$(git -C "$work/twig" rev-parse HEAD)"
commit_index tree Dockerfile
content() { # ARGUMENTS...: names in the image
  rm -rf "$work/content"
  build --oci-layout-path "$work/content" "$@" >/dev/null
  for blob in "$work"/content/blobs/sha256/*; do tar -tzf "$blob" 2>/dev/null; done | sort | tr '\n' ' '
}
result 'submodules where they are asked for' test "$(content -c "git://$host/tree.git" --git recurse-submodules=true)" = \
  '.gitmodules Dockerfile lib/ lib/twig/ lib/twig/.gitmodules lib/twig/leaf/ lib/twig/leaf/leaf lib/twig/twig '
result 'submodules of an address as BuildKit has it' test "$(content -c "https://$host/tree.git")" = \
  '.gitmodules Dockerfile lib/ lib/twig/ lib/twig/.gitmodules lib/twig/leaf/ lib/twig/leaf/leaf lib/twig/twig '
result 'none otherwise' test "$(content -c "git://$host/tree.git")" = '.gitmodules Dockerfile lib/ lib/twig/ '
result 'none by query' test "$(content -c "https://$host/tree.git?submodules=false")" = '.gitmodules Dockerfile lib/ lib/twig/ '
for address in "ext::sh -c touch% $work/marker" "file://$served/leaf.git" "$served/leaf.git" --upload-pack=x "http://localhost:$plain/leaf.git"; do
  rm -rf "$work/hostile" "$served/hostile.git"
  make hostile
  printf 'FROM scratch\n' >"$work/hostile/Dockerfile"
  submodule hostile x "$address" "$(git -C "$work/leaf" rev-parse HEAD)"
  commit_index hostile Dockerfile
  result "a submodule at $address" says 'the address of the submodule' -c "https://$host/hostile.git"
done
result 'no program of a repository ran' test ! -e "$work/marker"

# Over SSH.
mkdir -p "$work/ssh" "$work/keyed/.ssh" "$work/agent/.ssh" "$work/hashed/.ssh" "$work/locked/.ssh" "$work/other/.ssh" /run/sshd 2>/dev/null
ssh-keygen -q -t ed25519 -N '' -f "$work/ssh/host" -C host
ssh-keygen -q -t ecdsa -N '' -f "$work/ssh/host-ecdsa" -C host
ssh-keygen -q -t rsa -b 2048 -N '' -f "$work/ssh/host-rsa" -C host
ssh-keygen -q -t ed25519 -N '' -f "$work/keyed/.ssh/id_ed25519" -C keyed
ssh-keygen -q -t ecdsa -N '' -f "$work/ssh/agent" -C "the agent's"
ssh-keygen -q -t rsa -b 2048 -N '' -f "$work/ssh/agent-rsa" -C 'an old one'
ssh-keygen -q -t ed25519 -N passphrase -f "$work/locked/.ssh/id_ed25519" -C locked
ssh-keygen -q -t ed25519 -N '' -f "$work/other/.ssh/id_ed25519" -C unknown
cat "$work/keyed/.ssh/id_ed25519.pub" "$work/ssh/agent.pub" >"$work/ssh/authorized"
cat "$work/ssh/agent-rsa.pub" >"$work/ssh/authorized-old"
serve_ssh() { # NAME KEYS OPTIONS: prints the port
  local free
  free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  cat >"$work/ssh/$1.conf" <<END
Port $free
ListenAddress 127.0.0.1
HostKey $work/ssh/host
HostKey $work/ssh/host-ecdsa
HostKey $work/ssh/host-rsa
AuthorizedKeysFile $work/ssh/$2
PidFile $work/ssh/$1.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
$3
END
  /usr/sbin/sshd -f "$work/ssh/$1.conf" -E "$work/ssh/$1.log" || cat "$work/ssh/$1.log" >&2
  echo "$free"
}
new=$(serve_ssh new authorized 'AcceptEnv GIT_PROTOCOL')
rsa=$(serve_ssh rsa authorized 'HostKeyAlgorithms rsa-sha2-512')
old=$(serve_ssh old authorized-old '')
known() { # PORT KEY: a line of known_hosts
  echo "[localhost]:$1 $(cut -d' ' -f1,2 "$work/ssh/$2.pub")"
}
for home in keyed agent locked other; do known "$new" host >"$work/$home/.ssh/known_hosts"; done
known "$new" host-ecdsa >"$work/hashed/.ssh/known_hosts"
ssh-keygen -q -H -f "$work/hashed/.ssh/known_hosts" >/dev/null 2>&1
eval "$(ssh-agent -s)" >/dev/null
agent_pid=$SSH_AGENT_PID agent_socket=$SSH_AUTH_SOCK
ssh-add -q "$work/ssh/agent" "$work/ssh/agent-rsa" 2>/dev/null
unset SSH_AUTH_SOCK SSH_AGENT_PID
finish_ssh() {
  kill "$agent_pid" "$(cat "$work/ssh/new.pid")" "$(cat "$work/ssh/old.pid")" "$(cat "$work/ssh/rsa.pid")" 2>/dev/null
  finish
}
trap finish_ssh EXIT
me=$(id -un)
over() { # HOME ARGUMENTS...
  local home=$work/$1
  shift
  env HOME="$home" LONGSHORE_STATE_DIR="$work/state" SOURCE_DATE_EPOCH=1 "$longshore" build --verbosity=trace --no-push "$@" 2>"$work/log"
}
refuses() { # WORDS HOME ARGUMENTS...
  local words=$1 code=0
  shift
  over "$@" >/dev/null || code=$?
  [ "$code" != 0 ] && grep -qF -- "$words" "$work/log"
}
repository=ssh://$me@localhost:$new$served/app.git
result 'a key of ~/.ssh' same "$all" "$(over keyed -c "$repository#$commit")"
result 'a branch over SSH' same "$before" "$(over keyed -c "$repository#$earlier" -f "$work/Dockerfile")"
result 'a key of an agent' same "$all" "$(SSH_AUTH_SOCK=$agent_socket over agent -c "$repository#$commit")"
result 'a key in a variable, a hashed host' same "$all" "$(GIT_SSH_KEY=$(cat "$work/ssh/agent") over hashed -c "$repository#$commit")"
result 'a key in a file, a host in a variable' same "$all" \
  "$(GIT_SSH_KEY=$work/ssh/agent GIT_SSH_KNOWN_HOSTS=$(known "$new" host) over home -c "$repository#$commit")"
result 'version 0, a key of RSA in an agent' same "$all" \
  "$(SSH_AUTH_SOCK=$agent_socket GIT_SSH_KNOWN_HOSTS=$(known "$old" host) over agent -c "ssh://$me@localhost:$old$served/app.git#refs/pull/7/head")"
over keyed -c "ssh://$me@localhost:$new$served/twig.git" -f "$work/Dockerfile" --oci-layout-path "$work/twigs" >/dev/null
result 'a relative submodule over SSH' bash -c "for blob in '$work'/twigs/blobs/sha256/*; do tar -tzf \$blob 2>/dev/null; done | grep -q '^leaf/leaf$'"
result 'no key' refuses 'accepts none of our keys: no key file was found, SSH_AUTH_SOCK is not set' agent -c "$repository"
result 'a key that is not known' refuses '.ssh/id_ed25519 was refused' other -c "$repository"
result 'a key with a passphrase' refuses 'it has a passphrase: set GIT_SSH_KEY_PASSPHRASE' locked -c "$repository"
for kind in ed25519 ecdsa; do
  rm -rf "$work/opened" && mkdir -p "$work/opened/.ssh" && cp "$work/keyed/.ssh/known_hosts" "$work/opened/.ssh"
  ssh-keygen -q -t "$kind" -N 'let me in' -f "$work/opened/.ssh/id_$kind" -C opened
  cat "$work/opened/.ssh/id_$kind.pub" >>"$work/ssh/authorized"
  result "a key of $kind with its passphrase" same "$all" "$(GIT_SSH_KEY_PASSPHRASE='let me in' over opened -c "$repository#$commit")"
done
GIT_SSH_KEY_PASSPHRASE='let me out' result 'another passphrase' refuses 'GIT_SSH_KEY_PASSPHRASE does not open it' opened -c "$repository"
result 'which is not told' bash -c "! grep -q 'let me' '$work/log'"
result 'a host that is not known' refuses "the host key of [localhost]:$old is not known, ssh-ed25519 SHA256:" keyed -c "ssh://$me@localhost:$old/x.git"
result 'and how to make it known' grep -qF "$(known "$old" host)" "$work/log"
known "$new" host-rsa >"$work/other/.ssh/known_hosts"
result 'a host that is known by RSA alone' refuses "the host key of [localhost]:$new is not known but by its RSA key, which is not supported, ssh-ed25519" other -c "$repository"
result 'a host that has no other' refuses "localhost:$rsa has neither an ed25519 nor an ECDSA host key" other -c "ssh://$me@localhost:$rsa$served/app.git"
known "$new" agent >"$work/other/.ssh/known_hosts"
result 'a host with another key' refuses 'somebody may be in between' other -c "$repository"
{ known "$new" host && echo "@revoked * $(cut -d' ' -f1,2 "$work/ssh/host.pub")"; } >"$work/other/.ssh/known_hosts"
result 'a host whose key is revoked' refuses 'is revoked' other -c "$repository"
result 'no repository over SSH' refuses 'does not appear to be a git repository' keyed -c "ssh://$me@localhost:$new/nope.git"
result 'nobody there' refuses 'cannot connect to localhost:1' keyed -c "ssh://$me@localhost:1/nope.git"

# ADD: the same layer as COPY of the same files.
mkdir -p "$work/adding"
layers() { # DOCKERFILE ARGUMENTS...: the layers of an image
  rm -rf "$work/added"
  printf "$1" >"$work/adding.Dockerfile"
  shift
  build -c "$work/adding" -f "$work/adding.Dockerfile" --oci-layout-path "$work/added" "$@" >/dev/null || return
  local manifest
  manifest=$(sed -E 's/.*"digest": ?"sha256:([0-9a-f]+)".*/\1/' <(tr -d '\n' <"$work/added/index.json"))
  tr -d '\n' <"$work/added/blobs/sha256/$manifest" | sed -E 's/.*"layers"//' | grep -oE 'sha256:[0-9a-f]+'
}
copied() { # COPY [DIR]: the layer of a copy of what the commit holds
  rm -rf "$work/adding" && cp -a "$(at "$commit")/${2-}" "$work/adding"
  layers "FROM scratch\n$1\n"
}
fails() { # WORDS DOCKERFILE
  printf "$2" >"$work/adding.Dockerfile"
  says "$1" -c "$work/adding" -f "$work/adding.Dockerfile"
}
address=https://$host/app.git
whole_layer=$(copied 'COPY . /dst')
part_layer=$(copied 'COPY . /dst' sub)
mode_layer=$(copied 'COPY --chown=5:6 --chmod=u=rwX,go= . /dst')
less_layer=$(copied 'COPY --exclude=sub . /dst')
rm -rf "$work/adding" && mkdir "$work/adding"
result 'ADD of a commit' same "$whole_layer" "$(layers "FROM scratch\nADD $address#$commit /dst\n")"
result 'ADD of a branch, an empty reference by variable' same "$whole_layer" "$(layers "FROM scratch\nARG X=pull/7/head\nADD $address#refs/\${X} /dst/\n")"
result 'ADD of a directory' same "$part_layer" "$(layers "FROM scratch\nADD $address#$commit:sub /dst\n")"
result 'ADD by query' same "$part_layer" "$(layers "FROM scratch\nADD $address?ref=refs/pull/7/head&subdir=sub&checksum=${commit:0:8} /dst\n")"
result 'ADD with owner and mode into a directory' same "$mode_layer" "$(layers "FROM scratch\nADD --chown=5:6 --chmod=u=rwX,go= $address#$commit /dst/\n")"
# Under a name of its own the repository is a copied directory, which takes all of the mode, as with BuildKit.
named_layer=$(layers "FROM scratch\nADD --chown=5:6 --chmod=u=rwX,go= $address#$commit /dst\n")
result 'ADD with owner and mode to a name' same 'drwx------ 5/6' \
  "$(tar --numeric-owner -tvzf "$work/added/blobs/sha256/${named_layer#sha256:}" | awk '$NF == "dst/" { print $1, $2 }')"
result 'ADD without some' same "$less_layer" "$(layers "FROM scratch\nADD --exclude=sub $address#$commit /dst\n")"
result 'ADD --checksum' same "$whole_layer" "$(layers "FROM scratch\nADD --checksum=$commit $address#refs/pull/7/head /dst\n")"
result 'ADD over SSH' same "$whole_layer" \
  "$(GIT_SSH_KEY=$work/ssh/agent GIT_SSH_KNOWN_HOSTS=$(known "$new" host) layers "FROM scratch\nADD $repository#$commit /dst\n")"
result 'ADD of another commit than it has to be' fails "is the commit $(git -C "$work/app" rev-parse main), not 0123456789" "FROM scratch\nADD --checksum=0123456789 $address#main /dst\n"
result 'ADD of no reference' fails 'no branch or tag nope' "FROM scratch\nADD $address#nope /dst\n"
result 'ADD of what is private' fails 'GIT_TOKEN is not set' "FROM scratch\nADD https://$host/private/app.git /dst\n"
result 'ADD with the token of the server' same "$whole_layer" \
  "$(GITHUB_SERVER_URL=https://$host GITHUB_TOKEN=canary-hub layers "FROM scratch\nADD https://$host/private/app.git#$commit /dst\n")"
result 'ADD with the secret of the host' same "$whole_layer" \
  "$(TOKEN=canary-hub layers "FROM scratch\nADD https://$host/private/app.git#$commit /dst\n" --secret "id=GIT_AUTH_TOKEN.$host,env=TOKEN")"
layers "FROM scratch\nADD --keep-git-dir https://canary-token@$host/private/app.git#$commit /\n" >/dev/null
rm -rf "$work/unpacked" && mkdir "$work/unpacked"
for blob in "$work"/added/blobs/sha256/*; do tar -C "$work/unpacked" -xzf "$blob" 2>/dev/null; done
result 'ADD --keep-git-dir' test "$(git -C "$work/unpacked" log --format=%H)" = "$commit"
result 'which is whole' test -z "$(git -C "$work/unpacked" status --porcelain 2>&1)"
result 'and without the credential' bash -c "! grep -rq canary '$work/unpacked' '$work/added' '$work/state' '$work/log'"
# The cache goes by the commit.
cached=(--cache --cache-repo "oci:$work/cache" --cache-copy-layers)
: >"$work/requests"
line="FROM scratch\nADD $address#side /dst\n"
layers "$line" "${cached[@]}" >/dev/null
fetched=$(sent /app.git)
: >"$work/requests"
again=$(layers "$line" "${cached[@]}")
result "a cached ADD asks for the commit alone, $(sent /app.git) bytes of $fetched" test $(($(sent /app.git) * 10)) -lt "$fetched" -a -n "$again"
git -C "$work/app" push -q "$served/app.git" "$earlier:refs/heads/moving"
old_layers=$(layers "FROM scratch\nADD $address#moving /dst\n" "${cached[@]}")
git -C "$work/app" push -q -f "$served/app.git" "$commit:refs/heads/moving"
result 'and sees that a branch has moved' same "$whole_layer" "$(layers "FROM scratch\nADD $address#moving /dst\n" "${cached[@]}")"
result 'to other files' test "$old_layers" != "$whole_layer"

# Trees that git itself would not make.
object() { git -C "$work/app" hash-object -t "$1" --literally -w --stdin; }
raw() { printf '%s %s\0' "$1" "$2" && printf '%b' "$(sed -E 's/../\\x&/g' <<<"$3")"; }
hostile() { # NAME: the tree on standard input becomes a branch
  local tree
  tree=$(object tree)
  printf 'tree %s\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n' "$tree" | object commit >"$work/commit"
  git -C "$work/app" push -q "$served/app.git" "$(cat "$work/commit"):refs/heads/$1"
}
blob=$(echo evil | object blob)
victim=$(printf '%s' "$work/victim" | object blob)
mkdir "$work/victim"
inner=$(raw 100644 evil "$blob" | object tree)
{ raw 40000 .git "$inner"; raw 100644 Dockerfile "$blob"; } | hostile dot-git
{ raw 40000 .GIT "$inner"; raw 100644 Dockerfile "$blob"; } | hostile dot-GIT
{ raw 100644 ../evil "$blob"; } | hostile slash
{ raw 40000 .. "$inner"; } | hostile dots
{ raw 120000 a "$victim"; raw 40000 a "$inner"; } | hostile twice
{ raw 20666 null "$blob"; } | hostile device
{ raw 120000 Dockerfile "$(printf /etc/hostname | object blob)"; } | hostile dockerfile
for name in dot-git dot-GIT; do result "$name" says 'a repository may not bring a .git of its own' -c "git://$host/app.git#$name"; done
for name in slash dots; do result "$name" says 'it is no name of a file' -c "git://$host/app.git#$name"; done
result 'one name twice' says 'exists' -c "git://$host/app.git#twice"
result 'a device' says 'cannot be read' -c "git://$host/app.git#device"
result 'a Dockerfile that is a link' says 'Dockerfile' -c "git://$host/app.git#dockerfile"
result 'nothing was written elsewhere' test -z "$(ls "$work/victim")" -a ! -e "$work/state/evil"
result 'a Dockerfile is not read elsewhere' bash -c "! grep -qF \"$(cat /etc/hostname)\" '$work/log'"
result 'nothing is left behind' test -z "$(find "$work/state" -name context -o -name git | head -1)"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
