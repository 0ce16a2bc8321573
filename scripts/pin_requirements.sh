#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs requirements.in into a fresh environment and writes what that made to requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON3:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.in
{
  echo "# SPDX-License-Identifier: Apache-2.0"
  echo "# Exact versions of requirements.in and all that it needs; written by \`make requirements\`."
  "$scratch/venv/bin/pip" freeze --all | grep -v '^pip=='
} >"$scratch/requirements.txt"
cp "$scratch/requirements.txt" requirements.txt
