#!/usr/bin/env bash
# Makes orch-VERSION-ARCH.tar.xz, its SBOM and SHA256SUMS of statically linked programs: packaging/tarball.sh FOLDER-OF-PROGRAMS OUT
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name="orch-$version-$(uname -m)"
tree="$work/$name"
for program in orch orch-ingest orch-scheduler orch-console orch-runner; do
  if readelf -l "$programs/$program" | grep -q INTERP; then echo "$program needs libraries of its host" >&2; exit 1; fi
  install -D -m 0755 -s "$programs/$program" "$tree/bin/$program"
done
install -D -m 0644 -t "$tree/systemd" "$root"/packaging/systemd/*
install -m 0644 "$root/LICENSE" "$root/CHANGELOG.md" "$tree/"
"$programs/orch" man "$tree/man/man1" >/dev/null
for shell in bash zsh fish; do
  install -D -m 0644 /dev/stdin "$tree/completions/orch.$shell" < <("$programs/orch" completions $shell)
done

# An archive that is only tested need not be small.
tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -c "$name" |
  xz -T1 "-${ORCH_TARBALL_LEVEL:-6}" >"$out/$name.tar.xz"
finish "$name.tar.xz"
