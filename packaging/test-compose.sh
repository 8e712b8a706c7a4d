#!/usr/bin/env bash
# Builds the shipped Dockerfile, starts the shipped docker-compose.yml and gives the stack work: packaging/test-compose.sh
# Takes root, docker.io, docker-compose and debootstrap.
#
# The engine is one of its own, in a network namespace of its own: nothing of this machine's network is touched, and no
# registry is reached. Base images of the names in the Dockerfile are made here: Debian by debootstrap; for Rust and Node
# stand-ins that put the programs of $PROGRAMS (target/debug) where a build would, and the fake agent in claude's place.
# What is tested is therefore everything but `cargo build` and `npm install`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=$(realpath "${PROGRAMS:-$root/target/debug}")

if [ -z "${ORCH_COMPOSE_INSIDE:-}" ]; then
  [ "$(id -u)" = 0 ] || { echo "takes root" >&2; exit 2; }
  for tool in dockerd docker docker-compose debootstrap unshare ip curl openssl; do
    command -v $tool >/dev/null || { echo "$tool is missing: apt-get install docker.io docker-compose debootstrap" >&2; exit 2; }
  done
  rootfs=${ORCH_TEST_ROOTFS:-}
  folder=$(mktemp -d /tmp/orch-compose-XXXXXX)
  if [ -z "$rootfs" ]; then
    rootfs="$folder/rootfs"
    debootstrap --variant=minbase bookworm "$rootfs" >"$folder/debootstrap.log"
  fi
  # What the Dockerfile installs is there already: inside, nothing can be downloaded.
  cp -a "$rootfs" "$folder/base"
  cp /etc/resolv.conf "$folder/base/etc/resolv.conf"
  chroot "$folder/base" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    ca-certificates curl tini git git-lfs openssh-client procps && apt-get clean' >"$folder/apt.log" 2>&1
  code=0
  ORCH_COMPOSE_INSIDE="$folder" unshare --net --mount "$0" || code=$?
  rm -rf --one-file-system "$folder"
  exit $code
fi

folder=$ORCH_COMPOSE_INSIDE
export DOCKER_HOST="unix://$folder/docker.sock" DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0 COMPOSE_PROJECT_NAME=orch
ip link set lo up
dockerd --data-root "$folder/data" --exec-root "$folder/exec" -H "$DOCKER_HOST" --pidfile "$folder/docker.pid" >"$folder/dockerd.log" 2>&1 &
engine=$!
finish() {
  (cd "$folder/src" 2>/dev/null && docker-compose down -v -t 5 >/dev/null 2>&1) || true
  kill $engine 2>/dev/null || true
  wait $engine 2>/dev/null || true
}
trap finish EXIT
for _ in $(seq 100); do docker info >/dev/null 2>&1 && break; sleep 0.2; done
docker info >/dev/null || { tail -20 "$folder/dockerd.log" >&2; exit 1; }

say() { echo "[$SECONDS s] $*"; }
tar -C "$folder/base" -c . | docker import - debian:bookworm-slim >/dev/null
mkdir -p "$folder/stand-in/programs"
for program in orch orch-ingest orch-scheduler orch-console orch-runner fake-claude; do
  install -m 0755 -s "$programs/$program" "$folder/stand-in/programs/"
done
cat >"$folder/stand-in/cargo" <<'SH'
#!/bin/sh -e
[ "$1" = build ]
mkdir -p target/release && cp /programs/* target/release/
SH
cat >"$folder/stand-in/npm" <<'SH'
#!/bin/sh -e
[ "$1" = install ]
install -D -m 0755 /programs/fake-claude /cli/node_modules/@anthropic-ai/claude-code/bin/claude.exe
SH
printf 'FROM debian:bookworm-slim\nCOPY programs /programs\nCOPY --chmod=0755 cargo npm /usr/local/bin/\n' |
  sed 's/--chmod=0755 //' >"$folder/stand-in/Dockerfile"
chmod 0755 "$folder/stand-in/cargo" "$folder/stand-in/npm"
docker build -q -t rust:1.95-bookworm "$folder/stand-in" >/dev/null
docker tag rust:1.95-bookworm node:22-bookworm-slim
say "base images are made"

mkdir "$folder/src"
git -C "$root" -c safe.directory="$root" archive HEAD | tar -C "$folder/src" -x
cd "$folder/src"
mkdir config secrets
for name in gitea_webhook plane_webhook console_token anthropic_api_key postgres_password; do openssl rand -hex 32 >secrets/$name; done
chmod 0444 secrets/*
cat >config/orch.toml <<'TOML'
[[project]]
name = "shop"
gitea_repo = "acme/shop"
[[stage]]
name = "look"
role = "reviewer"
prompt = "look.md"
[[trigger]]
on = "gitea.pull_request"
stage = "look"
TOML
echo '{{ title }}' >config/look.md
docker-compose build >"$folder/build.log" 2>&1 || { tail -30 "$folder/build.log" >&2; exit 1; }
say "the images are built: $(docker images --format '{{.Repository}} {{.Size}}' | grep ^orch_ | tr '\n' ';')"

docker-compose up -d >"$folder/up.log" 2>&1 || { tail -30 "$folder/up.log" >&2; docker-compose logs --tail 20 >&2; exit 1; }
orch() { docker-compose exec -T scheduler orch "$@"; }
until_true() { # what, command…
  local what=$1 i
  shift
  for i in $(seq 150); do "$@" >/dev/null 2>&1 && { say "$what"; return; }; sleep 0.4; done
  echo "not within a minute: $what" >&2
  docker-compose ps >&2
  docker-compose logs --tail 25 >&2
  exit 1
}
ready_runners() { [ "$(orch runners --json | grep -c '"state": "ready"')" = "$1" ]; }
healthy() { [ "$(docker ps --filter health=healthy --format x | wc -l)" = "$1" ]; }
is_done() { orch job "$1" --json | grep -q '"status": "done"'; }
deliver() { # number of a pull request; prints the job
  local body signature sha
  sha=$(printf %040d "$1")
  body='{"action":"opened","pull_request":{"number":'$1',"title":"A change","body":"","base":{"ref":"main","sha":"'$sha'"},"head":{"ref":"change'$1'","sha":"'$sha'"}},"repository":{"full_name":"acme/shop"}}'
  signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$(cat secrets/gitea_webhook)" -r | cut -d' ' -f1)
  curl -fsS --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/webhooks/gitea -H 'Content-Type: application/json' -H 'X-Gitea-Event: pull_request' \
    -H "X-Gitea-Delivery: $(cat /proc/sys/kernel/random/uuid)" -H "X-Gitea-Signature: $signature" --data-raw "$body" |
    sed -n 's/.*"job_ids":\[\([0-9]*\)\].*/\1/p'
}
until_true "two runners are ready" ready_runners 2
until_true "all five say that they are healthy" healthy 5
job=$(deliver 1)
until_true "a webhook's job $job is done" is_done "$job"

docker-compose up -d --scale runner=5 >>"$folder/up.log" 2>&1
until_true "five runners are ready" ready_runners 5

number=2
for service in ingest scheduler console runner; do
  docker kill "$(docker-compose ps -q $service | head -1)" >/dev/null
  docker-compose up -d --scale runner=5 >>"$folder/up.log" 2>&1
  job=$(deliver $number)
  until_true "after a kill of $service a job is done" is_done "$job"
  number=$((number + 1))
done
docker-compose restart -t 10 >>"$folder/up.log" 2>&1
job=$(deliver $number)
until_true "after a restart of everything a job is done" is_done "$job"
is_done 1
orch doctor >/dev/null
say "no invariant is broken"
