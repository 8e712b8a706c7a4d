#!/usr/bin/env bash
# Boots a Debian in which the package is installed, with its own systemd, and runs the units: packaging/test-units.sh FOLDER AGENT
# AGENT is the program that plays the agent. Takes root, systemd-nspawn and a mounted cgroup v2.
#
# Nothing of this host is touched: namespaces of its own for processes, mounts, names and network, and a cgroup that is removed.
set -euo pipefail

# Inside those namespaces: this host looks as if it had cgroup v2 alone, of which one folder is all that there is.
if [ "${1:-}" = boot ]; then
  mount --make-rprivate /
  mount -t proc proc /proc
  mount -t tmpfs tmpfs /run
  umount -lR /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  ip link set lo up
  # The system calls that nspawn 252 lets through are of before Landlock.
  export SYSTEMD_SECCOMP=0
  exec systemd-nspawn --directory="$2" --boot --register=no --keep-unit --console=pipe </dev/null
fi

debian=$(realpath "$1")
agent=$(realpath "$2")
cgroup="$(findmnt -t cgroup2 -n -o TARGET | head -1)/orch-units-$$"
work=$(mktemp -d)
host=
finish() {
  [ -z "$host" ] || { kill -KILL "$host" 2>/dev/null || true; wait "$host" 2>/dev/null || true; }
  for _ in $(seq 50); do
    [ ! -e "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || { sleep 0.1; continue; }
    break
  done
  rm -rf "$work"
}
trap finish EXIT

DEBIAN_FRONTEND=noninteractive chroot "$debian" \
  apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus procps curl openssl >"$work/apt.log" 2>&1 ||
  { tail -20 "$work/apt.log" >&2; exit 1; }
rm -f "$debian/usr/sbin/policy-rc.d"
install -m 0755 -s "$agent" "$debian/usr/local/bin/claude"

mkdir "$cgroup"
(
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec unshare --mount --cgroup --pid --fork --kill-child --net --uts --ipc "$0" boot "$debian"
) >"$work/boot.log" 2>&1 &
host=$!

say() { echo "[$SECONDS s] $*"; }
fail() {
  echo "$*" >&2
  tail -5 "$work/boot.log" >&2
  inside journalctl --no-pager -n 60 -u 'orch-*' >&2 || true
  exit 1
}
until_true() { # what, command…
  local what=$1 last=$((SECONDS + 90))
  shift
  while [ $SECONDS -lt $last ]; do "$@" >/dev/null 2>&1 && { say "$what"; return; }; sleep 0.2; done
  fail "not within a minute and a half: $what"
}

# The first process in there: a child of nspawn, which is the child of unshare.
child() { awk '{print $1}' "/proc/$1/task/$1/children"; }
inside() { nsenter --all --root --wd --target "$(child "$(child "$host")")" -- "$@"; }
booted() { [ "$(inside cat /proc/1/comm)" = systemd ] && inside systemctl is-system-running | grep -qE 'running|degraded'; }
until_true "systemd has booted" booted

# What docs/INSTALL.md says, on one host.
as_orch=(inside runuser -u orch --)
"${as_orch[@]}" orch ca init --ca-dir /var/lib/orch/ca >/dev/null
append() { inside tee -a "/etc/orch/$1" >/dev/null; }
printf '%s\n' ORCH_CA_DIR=/var/lib/orch/ca ORCH_SCHEDULER_ADDR=0.0.0.0:7070 | append scheduler.env
for service in ingest console; do
  {
    "${as_orch[@]}" orch ca issue service/$service --ca-dir /var/lib/orch/ca --out /var/lib/orch/certs/$service
    echo ORCH_SCHEDULER_URL=https://127.0.0.1:7070
  } | append $service.env
done
secret=$(openssl rand -hex 32)
echo "ORCH_GITEA_WEBHOOK_SECRET=$secret" | append ingest.env
append orch.toml <<'TOML'
[[project]]
name = "shop"
gitea_repo = "acme/shop"
[[project]]
name = "vault"
gitea_repo = "acme/vault"
containment = "sealed"
[[stage]]
name = "look"
role = "reviewer"
prompt = "look.md"
[[trigger]]
on = "gitea.pull_request"
stage = "look"
TOML
echo '{{ title }}' | append look.md
inside systemctl enable --now orch-scheduler orch-ingest orch-console
token=$("${as_orch[@]}" orch join-token --ca-dir /var/lib/orch/ca --url https://127.0.0.1:7070)
printf 'ORCH_JOIN_TOKEN=%s\nORCH_RUNNER_ADDR=0.0.0.0:7071\nORCH_RUNNER_ADVERTISE_URL=https://127.0.0.1:7071\n' "$token" | append runner.env
inside systemctl enable --now orch-runner

orch() { "${as_orch[@]}" env ORCH_CA_DIR=/var/lib/orch/ca ORCH_SCHEDULER_URL=https://127.0.0.1:7070 orch "$@"; }
ready() { orch runners --json | grep -q '"state": "ready"'; }
until_true "a runner is ready" ready
is_done() { orch job "$1" --json | grep -q '"status": "done"'; }
deliver() { # number of a pull request, its title, its repository; prints the job
  local body signature sha
  sha=$(printf %040d "$1")
  body='{"action":"opened","pull_request":{"number":'$1',"title":"'$2'","body":"","base":{"ref":"main","sha":"'$sha'"},"head":{"ref":"change'$1'","sha":"'$sha'"}},"repository":{"full_name":"acme/'${3:-shop}'"}}'
  signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$secret" -r | cut -d' ' -f1)
  inside curl -fsS http://127.0.0.1:8080/webhooks/gitea -H 'Content-Type: application/json' -H 'X-Gitea-Event: pull_request' \
    -H "X-Gitea-Delivery: $(cat /proc/sys/kernel/random/uuid)" -H "X-Gitea-Signature: $signature" --data-raw "$body" |
    sed -n 's/.*"job_ids":\[\([0-9]*\)\].*/\1/p'
}
job=$(deliver 1 "A change")
until_true "a webhook's job $job is done" is_done "$job"

# 10 is the worst; these are what docs/INSTALL.md names.
for unit in ingest scheduler console runner; do
  [ $unit = runner ] && worst=52 || worst=17
  inside systemd-analyze security --no-pager --threshold=$worst "orch-$unit" >"$work/security.log" || fail "$(tail -1 "$work/security.log")"
  tail -1 "$work/security.log"
done

agents() { inside pgrep -x claude; }
# An agent works; what is done meanwhile neither ends it nor gives its job a second run.
survives() { # number of a pull request, what, command…
  local number=$1 what=$2 job before
  shift 2
  job=$(deliver "$number" "fake:sleep=12")
  until_true "an agent works on job $job" agents
  before=$(agents)
  "$@" >"$work/command.log" 2>&1 || fail "$(cat "$work/command.log")"
  [ "$(agents)" = "$before" ] || fail "$what: the agent of job $job was $before and is $(agents)"
  until_true "$what: the agent lived on, and its job is done" is_done "$job"
  [ "$(orch job "$job" --json | grep -c '"offered_at"')" = 1 ] || fail "job $job had another run"
}
survives 2 "a restart of the runner" inside systemctl restart orch-runner
stop_and_start() { inside systemctl stop orch-runner && inside systemctl start orch-runner; }
survives 3 "a stop and a start of the runner" stop_and_start
survives 4 "a restart of the scheduler" inside systemctl restart orch-scheduler
survives 5 "the package installed once more" inside dpkg -i /orch.deb

# Agents of their own users by a runner that is not root, and with them every tier.
sealed=$(deliver 6 "A secret" vault)
orch why "$sealed" | grep -q containment || fail "job $sealed waits for something else: $(orch why "$sealed")"
inside install -D -m 0644 /usr/share/doc/orch/examples/agent-users.conf /etc/systemd/system/orch-runner.service.d/agent-users.conf
inside systemctl daemon-reload
inside systemctl restart orch-runner
until_true "with agents as users of their own the sealed job $sealed, which waited for that, is done" is_done "$sealed"
job=$(deliver 7 "fake:sleep=3")
until_true "an agent works on job $job" agents
status=$(inside cat "/proc/$(agents)/status")
grep -qE '^Uid:\s+606[0-3][0-9]\s' <<<"$status" || fail "the agent is another user: $status"
[ "$(grep -cE '^Cap(Inh|Prm|Eff|Amb):\s+0+$' <<<"$status")" = 4 ] || fail "the agent has a privilege: $status"
until_true "an agent of a user of its own, without a privilege, has done job $job" is_done "$job"
survives 8 "a restart of that runner" inside systemctl restart orch-runner

# The end: each stops by itself in time.
inside systemctl stop orch-runner orch-ingest orch-console orch-scheduler
for unit in runner ingest console scheduler; do
  result=$(inside systemctl show -p Result --value "orch-$unit")
  [ "$result" = success ] || fail "orch-$unit stopped with $result"
done
inside systemctl start orch-scheduler orch-ingest orch-console orch-runner
inside dpkg --purge orch >"$work/purge.log" 2>&1 || fail "$(cat "$work/purge.log")"
! inside pgrep -l orch || fail "the package is gone, and these are not"
say "removed, and nothing of it runs"
