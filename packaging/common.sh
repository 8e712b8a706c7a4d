# What deb.sh and tarball.sh have in common: sourced with their arguments, the folder of the programs and that of the result.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
# The same programs make the same file, byte for byte: times are those of the last commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

# Writes the SBOM and the sums beside a file of the result, and prints where that is.
finish() {
  "$root/packaging/sbom.sh" >"$out/orch_$version.cdx.json"
  (cd "$out" && sha256sum "$1" "orch_$version.cdx.json" >SHA256SUMS)
  echo "$out/$1"
}
