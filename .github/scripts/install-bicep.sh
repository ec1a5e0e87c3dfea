#!/bin/sh
# Installs one version of the Bicep compiler into a folder, which is the only argument. The checksum is that of GitHub's
# release; `cargo dev check-infra` takes the compiler from the path.
set -eu

version=0.48.1
sha256=b09ec25a9d376c1f8e33ede6ed22b587f915ad68488d5db77a6f9541748c7f6e

folder=${1:?pass the folder}
mkdir -p "$folder"
curl --fail --silent --show-error --location --proto '=https' --output "$folder/bicep" \
  "https://github.com/Azure/bicep/releases/download/v$version/bicep-linux-x64"
echo "$sha256  $folder/bicep" | sha256sum --check --quiet
chmod 755 "$folder/bicep"
"$folder/bicep" --version
