#!/usr/bin/env bash
# The tests under another Python, e.g. `bash tests/on_python.sh 3.13`: in an environment of their own,
# with whatever releases of jax and flax that Python resolves to.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "python$1") || { echo "python$1 is not on the PATH"; exit 1; }
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"$python" -m venv "$venv"
"$venv/bin/pip" install -q '.[test]'
"$venv/bin/pip" list 2>/dev/null | grep -E '^(jax|flax|optax|numpy) '
"$venv/bin/python" -m pytest -n 2 "${@:2}"
