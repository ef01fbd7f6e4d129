#!/usr/bin/env bash
# The step of action.yml: finds the program and runs `longshore action`, by sudo where RUN steps need it. Inputs stay in variables.
set -euo pipefail

fail() {
  echo "::error title=longshore::$1" >&2
  exit 1
}

# The program of the release that this version of the action belongs to. It is kept where the runner keeps tools, and its checksum is
# compared before every use: whatever else writes there, only these bytes run.
released() { # ACTION_PATH: sets program
  local version='' downloads='' sha256_amd64='' sha256_arm64='' name value architecture checksum directory
  while IFS='=' read -r name value; do
    case $name in version | downloads | sha256_amd64 | sha256_arm64) printf -v "$name" %s "$value" ;; esac
  done <"$1/.github/release"
  [ -n "$version" ] || fail 'there is no program: install longshore or name it by the input "binary"'
  case $(uname -m) in
    x86_64) architecture=amd64 checksum=$sha256_amd64 ;;
    aarch64) architecture=arm64 checksum=$sha256_arm64 ;;
    *) fail "there is no program for $(uname -m): name one by the input \"binary\"" ;;
  esac
  directory=${RUNNER_TOOL_CACHE:-${RUNNER_TEMP:?}}/longshore/$version/$architecture
  program=$directory/longshore
  if ! sha256sum --status --check <<<"$checksum  $program" 2>/dev/null; then
    mkdir -p "$directory"
    curl --fail --silent --show-error --location --retry 3 --output "$program.$$" "$downloads/v$version/longshore-linux-$architecture" ||
      fail "longshore $version could not be downloaded from $downloads"
    if ! sha256sum --status --check <<<"$checksum  $program.$$"; then
      rm -f "$program.$$"
      fail "what was downloaded as longshore $version has another checksum: it is not used"
    fi
    chmod 755 "$program.$$"
    mv "$program.$$" "$program"
  fi
}

program=${INPUT_BINARY:-$(command -v longshore || true)}
[ -n "$program" ] || released "${ACTION_PATH:?}"
[ -x "$program" ] || fail "the input \"binary\" names no program"

use_sudo=${INPUT_SUDO:-auto}
if [ "$use_sudo" = auto ]; then
  use_sudo=false
  # As an ordinary user it works where user namespaces and subordinate ids do; otherwise sudo, if it asks for no password.
  if [ "$(id -u)" != 0 ] && ! "$program" doctor >/dev/null 2>&1 && sudo -n true 2>/dev/null; then use_sudo=true; fi
fi
[ "$use_sudo" = true ] || exec "$program" action

# sudo drops the environment, except what is named: the step's inputs, what the runner says, the identity token's variables, what
# registries and proxies take. Names only: no value is an argument.
names=
while IFS= read -r -d '' pair; do
  name=${pair%%=*}
  case $name in
    INPUT_* | GITHUB_* | RUNNER_* | LONGSHORE_* | KANIKO_* | DOCKER_* | SSL_CERT_* | CI | HOME | PATH | SOURCE_DATE_EPOCH | NO_COLOR | \
      ACTIONS_ID_TOKEN_REQUEST_URL | ACTIONS_ID_TOKEN_REQUEST_TOKEN | ACTIONS_RESULTS_URL | ACTIONS_RUNTIME_TOKEN | AWS_* | AZURE_* | GOOGLE_* | CLOUDSDK_* | \
      SSH_AUTH_SOCK | GIT_TOKEN | GIT_USERNAME | GIT_PASSWORD | OCI_ID_TOKEN | HARBOR_* | S3_* | XDG_RUNTIME_DIR | \
      http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | REGISTRY_AUTH_FILE)
      names+=${names:+,}$name ;;
  esac
done < <(env -0)
# The variables that secrets are taken from.
while IFS= read -r name; do
  if [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then names+=${names:+,}$name; fi
done < <(tr ', ' '\n\n' <<<"${INPUT_SECRET_ENVS:-}" | sed -n 's/^[^=]*=//p')
code=0
sudo -n --preserve-env="$names" "$program" action || code=$?
# What was written belongs to the job's user, so that later steps can change and remove it.
{
  printf '%s\n' "${INPUT_TAR_PATH:-}" "${INPUT_OCI_LAYOUT_PATH:-}"
  tr ',' '\n' <<<"${INPUT_OUTPUTS:-}" | sed -n 's/^ *"\{0,1\}dest=\([^"]*\).*/\1/p'
} | while IFS= read -r path; do
  if [ -n "$path" ] && [ -e "$path" ]; then sudo -n chown -R "$(id -u):$(id -g)" -- "$path"; fi
done
exit "$code"
