#!/usr/bin/env bash
# Builds the shipped Dockerfile, starts the shipped docker-compose.yml and gives the stack work: packaging/test-compose.sh
# Takes root, docker.io, docker-compose, debootstrap and dpkg-dev.
#
# The engine is one of its own, in a network namespace of its own: nothing of this machine's network is touched, and no
# registry is reached. Base images of the names in the Dockerfile are made here (packaging/compose-bases.sh). Without more,
# `cargo ship` and `npm install` put the programs of $PROGRAMS (target/debug) and the fake agent where they belong; with
# --build both are done for real, in release mode from what this machine has fetched of crates and packages, and the fake
# agent is mounted over the real one.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=$(realpath "${PROGRAMS:-$root/target/debug}")
# shellcheck source=packaging/compose-bases.sh
source "$root/packaging/compose-bases.sh"
case "${1:-}" in
  "") build=false ;;
  --build) build=true ;;
  *) echo "usage: packaging/test-compose.sh [--build]" >&2; exit 2 ;;
esac

if [ -z "${ORCH_COMPOSE_INSIDE:-}" ]; then
  [ "$(id -u)" = 0 ] || { echo "takes root" >&2; exit 2; }
  for tool in dockerd docker docker-compose debootstrap dpkg-scanpackages unshare ip curl openssl; do
    command -v $tool >/dev/null || { echo "$tool is missing: apt-get install docker.io docker-compose debootstrap dpkg-dev" >&2; exit 2; }
  done
  folder=$(mktemp -d /tmp/orch-compose-XXXXXX)
  trap 'rm -rf --one-file-system "$folder"' EXIT
  fetch_bases "$folder" $build
  ORCH_COMPOSE_INSIDE="$folder" unshare --net --mount "$0" "$@"
  exit
fi

folder=$ORCH_COMPOSE_INSIDE
export DOCKER_HOST="unix://$folder/docker.sock" DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0 COMPOSE_PROJECT_NAME=orch
ip link set lo up
dockerd --data-root "$folder/data" --exec-root "$folder/exec" -H "$DOCKER_HOST" --pidfile "$folder/docker.pid" >"$folder/dockerd.log" 2>&1 &
engine=$!
finish() {
  (cd "$folder/src" 2>/dev/null && docker-compose --profile postgres --profile observability down -v -t 5 >/dev/null 2>&1) || true
  kill $engine 2>/dev/null || true
  wait $engine 2>/dev/null || true
}
trap finish EXIT
for _ in $(seq 100); do docker info >/dev/null 2>&1 && break; sleep 0.2; done
docker info >/dev/null || { tail -20 "$folder/dockerd.log" >&2; exit 1; }

say() { echo "[$SECONDS s] $*"; }
bytes() { docker image inspect -f '{{.Size}}' "$1"; }
mb() { echo "$((($1 + 500000) / 1000000)) MB"; }
make_debian "$folder"
if $build; then make_toolchain "$folder" "$root"; else make_finished "$folder" "$programs"; fi
make_postgres "$folder"
make_prometheus "$folder"
say "base images are made; what every image has of Debian: $(mb "$(bytes debian:bookworm-slim)")"

mkdir "$folder/src"
git -C "$root" -c safe.directory="$root" archive HEAD | tar -C "$folder/src" -x
cd "$folder/src"
mkdir config secrets
for name in gitea_webhook plane_webhook console_token anthropic_api_key postgres_password grafana_admin; do openssl rand -hex 32 >secrets/$name; done
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
if $build; then
  # The shipped file and, over it, an agent that costs nothing.
  install -m 0755 -s "$programs/fake-claude" "$folder/fake-claude"
  printf 'services:\n  runner:\n    volumes: ["%s:/usr/local/bin/claude:ro"]\n' "$folder/fake-claude" >"$folder/agent.yml"
  export COMPOSE_FILE="docker-compose.yml:$folder/agent.yml"
fi
build_images() { docker-compose build >"$1" 2>&1 || { tail -30 "$1" >&2; exit 1; }; }
build_images "$folder/build.log"
say "the images are built"

# The commands that a build ran and did not have from the one before.
ran() { awk '/^Step /{step = $0} /^ ---> Running in/ && step ~ /: RUN /{sub(/^[^:]*: /, "", step); print step}' "$1"; }
echo '// Changed.' >>shared/domain/src/lib.rs
build_images "$folder/again.log"
say "and again with a changed source"
[ "$(ran "$folder/again.log" | grep -c 'cargo ship')" = 1 ] || { echo "it did not build once:" >&2; ran "$folder/again.log" >&2; exit 1; }
if ran "$folder/again.log" | grep -E 'cargo clean|npm|apt-get' >&2; then echo "this was done a second time" >&2; exit 1; fi
say "which built no dependency and installed no package; on that Debian the images have:"
for service in ingest scheduler console runner; do
  echo "  $service $(mb $(($(bytes orch_$service) - $(bytes debian:bookworm-slim))))"
done

docker-compose up -d >"$folder/up.log" 2>&1 || { tail -30 "$folder/up.log" >&2; docker-compose logs --tail 20 >&2; exit 1; }
orch() { docker-compose exec -T scheduler orch "$@"; }
until_true() { # what, command…
  local what=$1 last=$((SECONDS + 120))
  shift
  while [ $SECONDS -lt $last ]; do "$@" >/dev/null 2>&1 && { say "$what"; return; }; sleep 0.3; done
  echo "not within two minutes: $what" >&2
  docker-compose ps >&2
  docker-compose logs --tail 25 >&2
  exit 1
}
ready_runners() { [ "$(orch runners --json | grep -c '"state": "ready"')" = "$1" ]; }
healthy() { [ "$(docker ps --filter health=healthy --format x | wc -l)" = "$1" ]; }
is_done() { orch job "$1" --json | grep -q '"status": "done"'; }
runs() { orch job "$1" --json | grep -c '"offered_at"'; }
deliver() { # number of a pull request, its title; prints the job
  local body signature sha
  sha=$(printf %040d "$1")
  body='{"action":"opened","pull_request":{"number":'$1',"title":"'${2:-A change}'","body":"","base":{"ref":"main","sha":"'$sha'"},"head":{"ref":"change'$1'","sha":"'$sha'"}},"repository":{"full_name":"acme/shop"}}'
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

# A container of the service; of the runners the one with an agent.
victim() {
  local container
  [ "$1" = runner ] || { docker ps -q --filter "name=orch_$1"; return; }
  for container in $(docker ps -q --filter name=orch_runner); do
    ! docker top "$container" -eo pid,args | grep -q "[/ ]claude " || echo "$container"
  done
}
has_agent() { [ -n "$(victim runner)" ]; }

# An agent works while a service is killed. It is the one run of its job, except where it ended with its container.
number=2
for service in ingest scheduler console runner; do
  job=$(deliver $number "fake:sleep=5")
  until_true "an agent works on job $job" has_agent
  docker kill "$(victim $service)" >/dev/null
  docker-compose up -d --scale runner=5 >>"$folder/up.log" 2>&1
  next=$(deliver $((number + 1)))
  until_true "after a kill of $service its job is done" is_done "$job"
  until_true "and so is the next one" is_done "$next"
  [ $service = runner ] && expected=2 || expected=1
  [ "$(runs "$job")" = $expected ] || { echo "job $job has $(runs "$job") runs and not $expected" >&2; orch job "$job" >&2; exit 1; }
  number=$((number + 2))
done
docker-compose restart -t 10 >>"$folder/up.log" 2>&1
job=$(deliver $number)
until_true "after a restart of everything a job is done" is_done "$job"
for job in $(seq "$job"); do is_done "$job"; done
orch doctor >/dev/null
say "no invariant is broken"

# From the start of a container to the first answer to /readyz, the median of five.
start_time() { # service, port
  local container address i begun
  container=$(docker-compose ps -q "$1" | head -1)
  for i in $(seq 5); do
    docker stop -t 10 "$container" >/dev/null
    begun=$(date +%s%N)
    docker start "$container" >/dev/null
    address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$container")
    until curl -fsk -m 1 "https://$address:$2/readyz" >/dev/null || curl -fs -m 1 "http://$address:$2/readyz" >/dev/null; do sleep 0.01; done
    echo $((($(date +%s%N) - begun) / 1000000))
  done | sort -n | sed -n 3p
}
say "from docker start to ready, ms: ingest $(start_time ingest 8080), scheduler $(start_time scheduler 7070)," \
  "console $(start_time console 8081), runner $(start_time runner 7071)"

# Every target is scraped, those of gRPC with the certificate made for it; each replica of the runner is found by its name.
docker-compose --profile observability up -d --scale runner=5 prometheus >>"$folder/up.log" 2>&1
targets_up() {
  local address
  address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$(docker-compose --profile observability ps -q prometheus)")
  [ "$(curl -fsS "http://$address:9090/api/v1/targets?state=active" | grep -o '"health":"up"' | wc -l)" = 8 ]
}
until_true "Prometheus reads the metrics of ingest, console, scheduler and five runners" targets_up

# Another stack, on PostgreSQL.
docker-compose --profile observability down -v -t 10 >>"$folder/up.log" 2>&1
export ORCH_DATABASE_URL="postgres://orch:$(cat secrets/postgres_password)@postgres/orch"
docker-compose --profile postgres up -d >>"$folder/up.log" 2>&1
until_true "with the profile postgres two runners are ready" ready_runners 2
job=$(deliver 1)
until_true "a webhook's job $job is done" is_done "$job"
docker kill "$(docker-compose --profile postgres ps -q postgres)" >/dev/null
docker-compose --profile postgres up -d >>"$folder/up.log" 2>&1
job=$(deliver 2)
until_true "after a kill of postgres a job is done" is_done "$job"
orch doctor >/dev/null
say "no invariant is broken"
