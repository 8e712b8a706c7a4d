#!/usr/bin/env bash
# Makes orch_VERSION_ARCH.deb, its SBOM and SHA256SUMS of built programs: packaging/deb.sh FOLDER-OF-PROGRAMS OUT-FOLDER
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
architecture=$(dpkg --print-architecture)

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"
for program in orch orch-ingest orch-scheduler orch-console orch-runner; do
  install -D -m 0755 -s "$programs/$program" "$tree/usr/bin/$program"
done
for unit in "$root"/packaging/systemd/*.service; do
  install -D -m 0644 -t "$tree/lib/systemd/system" "$unit"
done
install -D -m 0644 -t "$tree/usr/share/doc/orch/examples" "$root/packaging/systemd/agent-users.conf"
install -D -m 0644 "$root/LICENSE" "$tree/usr/share/doc/orch/copyright"
install -D -m 0644 "$root/CHANGELOG.md" "$tree/usr/share/doc/orch/CHANGELOG.md"
install -d -m 0755 "$tree/usr/share/man/man1" "$tree/etc/orch"
"$programs/orch" man "$tree/usr/share/man/man1" >/dev/null
gzip -9n "$tree"/usr/share/man/man1/*
install -D -m 0644 /dev/stdin "$tree/usr/share/bash-completion/completions/orch" < <("$programs/orch" completions bash)

install -d -m 0755 "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<TEXT
Package: orch
Version: $version
Architecture: $architecture
Maintainer: Orch <orch@localhost>
Section: devel
Priority: optional
Installed-Size: $(du -ks --exclude=DEBIAN "$tree" | cut -f1)
Depends: libc6 (>= 2.36), libgcc-s1, adduser, ca-certificates
Recommends: git, procps
Description: durable scheduler for coding agents
 Turns webhooks of an issue tracker and a forge into durable jobs, and starts
 the claude command line for each on one of its runner hosts. This package has
 all services; none is started before it is enabled.
TEXT
cat >"$tree/DEBIAN/postinst" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  # Two users: what agents may read is not what the scheduler knows.
  for name in orch orch-runner; do
    getent passwd $name >/dev/null || adduser --system --group --quiet --home /var/lib/$name --shell /usr/sbin/nologin $name
    install -d -o $name -g $name -m 0750 /var/lib/$name
  done
  chmod 0700 /var/lib/orch-runner
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # An upgrade takes the place of what runs; agents live on.
    for unit in orch-ingest orch-scheduler orch-console orch-runner; do
      systemctl try-restart $unit.service || true
    done
  fi
fi
TEXT
cat >"$tree/DEBIAN/prerm" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl disable --now orch-ingest orch-scheduler orch-console orch-runner || true
fi
TEXT
chmod 0755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
find "$tree" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +

package="orch_${version}_$architecture.deb"
# A package that is only tested need not be small.
dpkg-deb --root-owner-group "-Z${ORCH_DEB_COMPRESSION:-xz}" -z${ORCH_DEB_LEVEL:-6} --build "$tree" "$out/$package" >/dev/null
finish "$package"
