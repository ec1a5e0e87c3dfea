#!/bin/sh
# Checks that a tag, the versions of all packages, the image that the manifests name and the newest heading of the
# changelog agree; with GITHUB_REPOSITORY, also that the repository is the one that the project names.
#
#   .github/scripts/check-version.sh TAG
set -eu

tag=${1:?pass the tag}
version=${tag#v}
cd "$(dirname "$0")/../.."

reject() {
  echo "The release $tag is rejected: $1" >&2
  exit 1
}

for manifest in Cargo.toml benches/Cargo.toml devkit/Cargo.toml models/Cargo.toml; do
  found=$(sed -n '1,/^version/ s/^version = "\(.*\)"$/\1/p' "$manifest")
  [ "$found" = "$version" ] || reject "$manifest has the version $found."
done
for file in deploy/kubernetes/*/kustomization.yaml; do
  [ -f "$file" ] || continue
  found=$(sed -n 's/^ *newTag: *//p' "$file")
  [ "${found:-$version}" = "$version" ] || reject "$file names the image $found."
done
if [ -n "${GITHUB_REPOSITORY:-}" ]; then
  source=https://github.com/$GITHUB_REPOSITORY
  image=ghcr.io/$(printf '%s' "$GITHUB_REPOSITORY" | tr '[:upper:]' '[:lower:]')
  found=$(sed -n 's/^repository = "\(.*\)"$/\1/p' Cargo.toml)
  [ "$found" = "$source" ] || reject "Cargo.toml names the repository $found, not $source."
  found=$(sed -n 's/.*org.opencontainers.image.source="\([^"]*\)".*/\1/p' Dockerfile)
  [ "$found" = "$source" ] || reject "the Dockerfile names the repository $found, not $source."
  found=$(grep -rhoE 'ghcr\.io/[A-Za-z0-9._/-]+' deploy/kubernetes | sort -u)
  [ "$found" = "$image" ] || reject "deploy/kubernetes names the image $found, not $image."
fi
heading=$(sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
[ "$heading" = "$version" ] || reject "the newest heading of CHANGELOG.md is '$heading'; write ## [$version] above its changes."
