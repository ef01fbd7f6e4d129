#!/usr/bin/env bash
# The credentials of Amazon ECR against moto, which plays STS and ECR: keys, profiles, roles by keys and by an identity token. What moto does not
# check, the signatures, is checked against published values in the unit tests.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
. tests/services/lib/moto.sh
work=$(mktemp -d)
start_moto "$work" || { echo "0 passed, 1 failed"; exit 1; }
trap 'stop_moto; rm -rf "$work"' EXIT

passed=0 failed=0
host=123456789012.dkr.ecr.eu-west-1.amazonaws.com
check() { # NAME HOST EXPECTED VARIABLE=VALUE...: what `auth` says of the host with these variables only
  local name=$1 host=$2 expected=$3 said
  shift 3
  said=$(env -i PATH="$PATH" HOME="$work" AWS_ENDPOINT_URL="$MOTO" AWS_EC2_METADATA_DISABLED=true "$@" "$longshore" auth "$host" 2>&1)
  if grep -qF -- "$expected" <<<"$said" && ! grep -qE 'canary|auth-token' <<<"$said"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf '%s: nothing of "%s" in:\n%s\n' "$name" "$expected" "$said"
  fi
}
mkdir "$work/.aws"
cat >"$work/.aws/credentials" <<'END'
[base]
aws_access_key_id = AKIDFILE
aws_secret_access_key = canary-key
[role]
role_arn = arn:aws:iam::123456789012:role/push
source_profile = base
END
# An identity token: moto reads its claims and no signature.
part() { printf '%s' "$1" | base64 -w0 | tr '+/' '-_' | tr -d '='; }
printf '%s.%s.%s' "$(part '{"alg":"RS256"}')" "$(part '{"sub":"repo:canary","aud":"sts.amazonaws.com","iss":"https://issuer.example"}')" "$(part x)" >"$work/token"

check keys $host '* Amazon ECR: user name and password of Amazon ECR with AWS_ACCESS_KEY_ID' AWS_ACCESS_KEY_ID=AKID AWS_SECRET_ACCESS_KEY=canary-key
check profile $host '* Amazon ECR: user name and password of Amazon ECR with profile base' AWS_PROFILE=base
check role $host '* Amazon ECR: user name and password of Amazon ECR with role arn:aws:iam::123456789012:role/push' AWS_PROFILE=role
check irsa $host '* Amazon ECR: user name and password of Amazon ECR with AWS_WEB_IDENTITY_TOKEN_FILE' \
  AWS_ROLE_ARN=arn:aws:iam::123456789012:role/push AWS_WEB_IDENTITY_TOKEN_FILE="$work/token"
check job $host '* Amazon ECR: user name and password of Amazon ECR with the identity token of OCI_ID_TOKEN' \
  LONGSHORE_AWS_ROLE=arn:aws:iam::123456789012:role/push OCI_ID_TOKEN="$(cat "$work/token")"
check nobody $host 'Amazon ECR: no identity: AWS_ACCESS_KEY_ID is not set'
echo "$passed passed, $failed failed"
[ $failed = 0 ]
