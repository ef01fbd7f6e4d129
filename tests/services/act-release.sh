#!/usr/bin/env bash
# The release workflow as it stands through act, in a copy of the repository: programs, images and index in a registry with a password, the tag in a
# bare repository, the release in a gh that notes what it is told. Stand-ins: cargo hands out the program under test for both architectures, and a
# directory keeps the jobs' artifacts.
set -euo pipefail
. "$(dirname "$0")/../docker/check.sh"
cd "$root"
tools=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}/tools
. tests/services/lib/go.sh
[ -x "$tools/bin/act" ] || { need_go "$tools" && GOBIN=$tools/bin go install github.com/nektos/act@v0.2.82; }
copy=$work/copy
mkdir -p "$copy" "$work/bin" "$work/home" "$work/artifacts" "$work/target"
git ls-files -z | tar --null -T - -c | tar -C "$copy" -x
cat >"$work/bin/cargo" <<END
#!/bin/bash
echo "\$*" >>$work/cargo
while [ \$# -gt 0 ]; do [ "\$1" = --target ] && target=\$2; shift; done
install -D -m 755 "$LONGSHORE" "\$CARGO_TARGET_DIR/\$target/release/longshore"
END
printf '#!/bin/sh\necho "$@" >>%s\ncp dist/SHA256SUMS dist/digest %s/ 2>/dev/null || true\n' "$work/gh" "$work" >"$work/bin/gh"
chmod +x "$work/bin"/*
# Stand-ins of the actions that keep files between jobs; all else of the workflow is what GitHub would run.
artifact() { # DIRECTION COMMAND
  mkdir -p "$copy/.stand-in/$1"
  printf 'name: %s\ndescription: x\ninputs: {name: {description: x}, path: {description: x}, merge-multiple: {description: x}}\nruns:\n  using: composite\n  steps:\n    - shell: bash\n      run: %s\n' \
    "$1" "$2" >"$copy/.stand-in/$1/action.yml"
}
artifact upload 'mkdir "'"$work"'/artifacts/${{ inputs.name }}" && cp -r "${{ inputs.path }}." "'"$work"'/artifacts/${{ inputs.name }}/"'
# An artifact has no modes.
artifact download 'mkdir -p "${{ inputs.path }}" && cp -r "'"$work"'/artifacts/"*/. "${{ inputs.path }}/" && chmod 644 "${{ inputs.path }}"/*'
sed -i -E 's#actions/(upload|download)-artifact@[0-9a-f]+#./.stand-in/\1#' "$copy/.github/workflows/release.yml"
git init -q --bare -b main "$work/remote.git"
git -C "$copy" init -q -b main && git -C "$copy" add -A && git -C "$copy" -c user.name=a -c user.email=a@b.test commit -qm one
git -C "$copy" remote add origin "$work/remote.git" && git -C "$copy" push -q origin main
released=$LONGSHORE_TEST_REGISTRY_TLS/release-act-$$/longshore
workflow() {
  # GitHub's machines have an ordinary user with a sudo that asks for nothing; act's host is this machine.
  cd "$copy" && HOME=$work/home PATH=$work/bin:$PATH timeout 300 "$tools/bin/act" workflow_dispatch --input version=9.8.7 \
    -P ubuntu-24.04=-self-hosted -P ubuntu-24.04-arm=-self-hosted -W .github/workflows/release.yml -s GITHUB_TOKEN=planted-token --action-offline-mode --concurrent-jobs 1 \
    --env "CARGO_TARGET_DIR=$work/target" --env "LONGSHORE_RELEASE_IMAGE=$released" --env "SSL_CERT_FILE=$LONGSHORE_TEST_REGISTRY_CA" --env "LONGSHORE_STATE_DIR=$work/state" \
    --env "LONGSHORE_REGISTRY_AUTH=$LONGSHORE_TEST_REGISTRY_TLS=$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD" 2>&1 | tee "$work/act.log"
}
raw() {
  SSL_CERT_FILE=$LONGSHORE_TEST_REGISTRY_CA skopeo inspect --creds "$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD" --raw "docker://$released:$1"
}
check "the workflow succeeds" workflow
check "each architecture was compiled, locked" test "$(sort "$work/cargo")" = "build --release --locked --target aarch64-unknown-linux-gnu
build --release --locked --target x86_64-unknown-linux-gnu"
digest=sha256:$(raw 9.8.7 | sha256sum | cut -d' ' -f1)
check "the index has both platforms" test "$(raw 9.8.7 | jq -r '[.manifests[].platform | .os + "/" + .architecture] | sort | join(" ")')" = "linux/amd64 linux/arm64"
check "its digest is what the job found" test "$(cat "$work/digest")" = "$digest"
check "the checksums are of the artifacts" bash -c "cd '$work/artifacts' && cat '$work/SHA256SUMS' | while read -r sum name; do echo \"\$sum  \$(echo */\$name)\"; done | sha256sum --check"
at() { git --git-dir="$work/remote.git" show "v9.8.7:$1"; }
check "the tag's action downloads that version" bash -c "git --git-dir='$work/remote.git' show v9.8.7:.github/release | grep -qx version=9.8.7"
check "with that checksum" test "$(at .github/release | sed -n 's/^sha256_amd64=//p')" = "$(sed -n 's/  longshore-linux-amd64$//p' "$work/SHA256SUMS")"
. .ci/release/names
for file in docker/action.yml gitlab/templates/longshore.yml tekton/task/longshore/0.1/longshore.yaml tekton/stepaction/longshore/0.1/longshore.yaml jenkins/resources/pods/longshore.yaml; do
  check "the tag's $file names version and digest" test "$(at "$file" | grep -o "$image:[^ \"]*" | sort -u)" = "$image:9.8.7@$digest"
done
check "v9 is the same commit" test "$(git --git-dir="$work/remote.git" rev-parse v9)" = "$(git --git-dir="$work/remote.git" rev-parse v9.8.7)"
check "the branch did not move" test "$(git --git-dir="$work/remote.git" rev-parse main)" = "$(git -C "$copy" rev-parse HEAD)"
check "the release has programs and checksums" grep -q "^release create v9.8.7 .*dist/longshore-linux-amd64 dist/longshore-linux-arm64 dist/SHA256SUMS" "$work/gh"
check "no password is in the log" bash -c "grep -q 'Job succeeded' '$work/act.log' && ! grep -qF -e '$LONGSHORE_TEST_REGISTRY_PASSWORD' -e planted-token '$work/act.log'"

# A program that needs the machine's libraries is refused before anything is pushed.
cp "$(command -v git)" "$work/dynamic"
dynamic() { cd "$copy" && PATH=$work/dynamic-bin:$PATH CARGO_TARGET_DIR=$work/target .ci/release/program amd64; }
mkdir "$work/dynamic-bin" && sed "s#\"$LONGSHORE\"#$work/dynamic#" "$work/bin/cargo" >"$work/dynamic-bin/cargo" && chmod +x "$work/dynamic-bin/cargo"
check "a program that is not static is refused" bash -c "$(declare -f dynamic refuses); copy='$copy' work='$work'; refuses dynamic 2>&1 | grep 'is not static'"
finish
