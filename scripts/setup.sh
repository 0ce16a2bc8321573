#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the project's tools: .venv from requirements.txt, and the few packages that come from the
# system. `make` runs it when needed; it may be run again at any time.
# PYTHON3 names the Python to use (3.11 or later); default: the newest found.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "error: $*" >&2
  exit 2
}

missing=()  # Debian/Ubuntu packages that the build cannot do without
wanted=()   # packages that make it faster or add waveforms
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need make make
need g++ g++
need perl perl
need iverilog iverilog
command -v ccache >/dev/null || wanted+=(ccache)
# Verilator's FST writer includes these.
for header in lz4.h:liblz4-dev zlib.h:zlib1g-dev; do
  echo "#include <${header%%:*}>" | g++ -E -x c++ - >/dev/null 2>&1 || wanted+=("${header##*:}")
done

if [ -n "${PYTHON3:-}" ]; then
  candidates=("$PYTHON3")
else
  candidates=(python3 python3.14 python3.13 python3.12 python3.11)
fi
python=
for candidate in "${candidates[@]}"; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] ||
  fail "no Python 3.11 or later (tried: ${candidates[*]}). Install one, or name it: make setup PYTHON3=/path/to/python3"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if [ ! -x .venv/bin/python ]; then
  # A Debian Python without its venv package has venv, but not ensurepip.
  "$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=("python$version-venv")
fi
# cocotb embeds Python in the simulator and needs it as a shared library.
"$python" - <<'PY' || missing+=("libpython$version")
import ctypes, os, sys, sysconfig
v = sysconfig.get_config_vars()
names = [os.path.join(v.get("LIBDIR") or "", v.get("INSTSONAME") or "?"),
         "libpython%d.%d.so.1.0" % sys.version_info[:2]]
for name in names:
    if name.endswith(".a"):
        continue
    try:
        ctypes.CDLL(name)
        sys.exit(0)
    except OSError:
        pass
sys.exit(1)
PY

if [ ${#missing[@]} -gt 0 ] || [ ${#wanted[@]} -gt 0 ]; then
  root=()
  can_install=yes
  command -v apt-get >/dev/null || can_install=
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then root=(sudo -n); else can_install=; fi
  fi
  if [ -n "$can_install" ]; then
    echo "installing system packages: ${missing[*]} ${wanted[*]}"
    export DEBIAN_FRONTEND=noninteractive
    "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" "${wanted[@]}" >/dev/null 2>&1 || {
      "${root[@]}" apt-get update -qq || true
      if [ ${#missing[@]} -gt 0 ]; then
        "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
          fail "apt-get could not install: ${missing[*]}. Install them by hand and run make again."
      fi
      for package in "${wanted[@]}"; do
        "${root[@]}" apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
          echo "note: optional package $package could not be installed"
      done
    }
  elif [ ${#missing[@]} -gt 0 ]; then
    fail "system packages are missing and this user may not install them. Ask for: sudo apt-get install ${missing[*]} ${wanted[*]}"
  else
    echo "note: optional packages are missing: ${wanted[*]} (ccache: faster builds; the others: WAVES=1 on Verilator)"
  fi
fi

if [ ! -x .venv/bin/python ]; then
  echo "making .venv with Python $version"
  rm -rf .venv
  "$python" -m venv .venv
fi
echo "installing Python packages (a minute or two the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt ||
  fail "pip could not install requirements.txt, see above"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
  --editable . || fail "pip could not install the package itself, see above"
echo "set-up is done"
