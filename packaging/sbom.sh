#!/usr/bin/env bash
# What is in the shipped programs, as CycloneDX 1.5 on standard output: every crate they are built of, its version, licence
# and the digest of its source as Cargo.lock has it. The same commit makes the same text.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
at=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" +%Y-%m-%dT%H:%M:%SZ)

digests() {
  awk -F'"' '/^name = /{name=$2} /^version = /{version=$2} /^checksum = /{print name "|" version "|" $2}' Cargo.lock
}

crates() {
  local program
  for program in ctl ingest scheduler runner console; do
    # The path of a crate of ours stands behind its version, the mark of a macro behind any.
    cargo tree --locked -p "$program@$version" -e normal --prefix none --no-dedupe --format '{p}|{l}' |
      sed -E 's/ \([^)]*\)//g; s/^([^ ]+) v([^|]+)/\1|\2/'
  done | sed 's/ *$//' | sort -u
}

awk -F'|' -v version="$version" -v at="$at" '
  function quoted(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
  NR == FNR { digest[$1 "|" $2] = $3; next }
  FNR == 1 {
    printf "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n"
    printf "  \"metadata\": {\"timestamp\": %s, \"component\": {\"type\": \"application\", \"name\": \"orch\", \"version\": %s}},\n", quoted(at), quoted(version)
    printf "  \"components\": ["
  }
  {
    purl = "pkg:cargo/" $1 "@" $2
    printf "%s\n    {\"type\": \"library\", \"bom-ref\": %s, \"name\": %s, \"version\": %s, \"purl\": %s", (FNR == 1 ? "" : ","), quoted(purl), quoted($1), quoted($2), quoted(purl)
    # The old way to write a choice of licences is a slash.
    gsub(/ *\/ */, " OR ", $3)
    if ($3 != "") printf ", \"licenses\": [{\"expression\": %s}]", quoted($3)
    if (digest[$1 "|" $2] != "") printf ", \"hashes\": [{\"alg\": \"SHA-256\", \"content\": %s}]", quoted(digest[$1 "|" $2])
    printf "}"
  }
  END { printf "\n  ]\n}\n" }
' <(digests) <(crates)
