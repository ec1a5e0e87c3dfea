#!/bin/sh
# Installs the one Rust of workflows and releases, with the options of `rustup toolchain install`.
set -eu

channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$(dirname "$0")/../rust-toolchain.toml")
rustup toolchain install "${channel:?rust-toolchain.toml names no channel}" --profile minimal "$@"
rustup default "$channel"
