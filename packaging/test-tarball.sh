#!/usr/bin/env bash
# Unpacks an archive on a host that has a shell and nothing else, and runs a job there: packaging/test-tarball.sh ARCHIVE
# Takes root and busybox-static.
set -euo pipefail

# Inside, in namespaces of its own: that folder, the kernel's list of processes and /dev/null are all that there is. The shell
# starts the demo's agent.
if [ "${1:-}" = inside ]; then
  host=$2 log=$3
  mount --make-rprivate /
  ip link set lo up
  mkdir "$host/proc" "$host/dev" "$host/tmp" "$host/etc" "$host/data"
  install -m 0755 "$(command -v busybox)" "$host/bin/sh"
  chown 65000:65000 "$host/tmp" "$host/data"
  mount -t proc proc "$host/proc"
  touch "$host/dev/null"
  mount --bind /dev/null "$host/dev/null"
  echo '127.0.0.1 orch.example' >"$host/etc/hosts"
  there=(chroot --userspec=65000:65000 "$host" /bin/orch)
  export HOME=/data
  for program in ingest scheduler console runner; do chroot "$host" "/bin/orch-$program" --version; done
  "${there[@]}" dev --demo --data-dir /data/demo >"$log" 2>&1 &
  dev=$!
  for _ in $(seq 300); do
    # By a name, which is looked up as every name is.
    counts=$(ORCH_ALLOW_PLAINTEXT=true "${there[@]}" queue --json --scheduler-url http://orch.example:7070 2>"$log.queue") || counts=
    done_jobs=$(sed -n 's/.*"done": \([0-9]*\).*/\1/p' <<<"$counts" | head -1)
    if [ "${done_jobs:-0}" -gt 0 ]; then
      echo "unpacked on a host without a C library; $done_jobs jobs of the demo are done"
      exit 0
    fi
    kill -0 "$dev" || break
    sleep 0.2
  done
  tail -n 40 "$log" "$log.queue" >&2
  exit 1
fi

archive=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
(cd "$(dirname "$archive")" && sha256sum -c --quiet SHA256SUMS)
mkdir "$work/host"
chmod 0755 "$work"
tar -C "$work/host" --strip-components=1 -xf "$archive"
unshare --mount --net --pid --fork --kill-child "$0" inside "$work/host" "$work/dev.log"
