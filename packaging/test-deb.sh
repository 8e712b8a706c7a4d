#!/usr/bin/env bash
# Installs a package in a fresh Debian, runs a job there, then boots it and runs the units: packaging/test-deb.sh PACKAGE AGENT
# AGENT is a program that plays the agent. Takes root, debootstrap and systemd-nspawn.
# ORCH_TEST_ROOTFS names a Debian that debootstrap made before; it is copied and not touched.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=$(realpath "$1")
agent=$(realpath "$2")
work=$(mktemp -d)
chroot_dir="$work/debian"
dev=
end_dev() {
  [ -z "$dev" ] || { kill "$dev" 2>/dev/null || true; wait "$dev" 2>/dev/null || true; }
  dev=
}
finish() {
  end_dev
  umount "$chroot_dir/proc" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT

if [ -n "${ORCH_TEST_ROOTFS:-}" ]; then
  cp -a "$ORCH_TEST_ROOTFS" "$chroot_dir"
else
  debootstrap --variant=minbase bookworm "$chroot_dir" >"$work/debootstrap.log"
fi
cp /etc/resolv.conf "$chroot_dir/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$chroot_dir/usr/sbin/policy-rc.d"
chmod 0755 "$chroot_dir/usr/sbin/policy-rc.d"
mount -t proc proc "$chroot_dir/proc"
cp "$package" "$chroot_dir/orch.deb"
chroot "$chroot_dir" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends /orch.deb' >"$work/apt.log" 2>&1 ||
  { tail -20 "$work/apt.log" >&2; exit 1; }
chroot "$chroot_dir" sh -c 'getent passwd orch orch-runner >/dev/null && test -e /lib/systemd/system/orch-runner.service'

# Words and not a function: of a function in the background only a shell around it would be known, and ended.
as_orch=(chroot --userspec=orch:orch "$chroot_dir" env -i PATH=/usr/bin:/bin HOME=/var/lib/orch)
port=$((20000 + RANDOM % 9000))
settings=(ORCH_INGEST_ADDR=127.0.0.1:$port ORCH_SCHEDULER_ADDR=127.0.0.1:$((port + 1))
  ORCH_RUNNER_ADDR=127.0.0.1:$((port + 2)) ORCH_CONSOLE_ADDR=127.0.0.1:$((port + 3)))
"${as_orch[@]}" "${settings[@]}" orch dev --demo --data-dir /var/lib/orch/demo >"$work/dev.log" 2>&1 &
dev=$!
for _ in $(seq 300); do
  done_jobs=$("${as_orch[@]}" "${settings[@]}" orch queue --json 2>/dev/null | sed -n 's/.*"done": \([0-9]*\).*/\1/p' | head -1) || true
  if [ "${done_jobs:-0}" -gt 0 ]; then
    echo "installed in a fresh Debian; $done_jobs jobs of the demo are done"
    end_dev
    umount "$chroot_dir/proc"
    "$here/test-units.sh" "$chroot_dir" "$agent"
    ! test -e "$chroot_dir/usr/bin/orch"
    exit
  fi
  kill -0 "$dev" || break
  sleep 0.2
done
tail -40 "$work/dev.log" >&2
exit 1
