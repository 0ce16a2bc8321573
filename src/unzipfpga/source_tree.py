# SPDX-License-Identifier: Apache-2.0
"""The parts of the repository that are not in the package: golden model, runner, testbenches."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from unzipfpga.errors import UnzipError

ROOT = Path(__file__).resolve().parents[2]


def import_from_tree(name: str) -> ModuleType:
    """Import a module of the source tree that the package is part of.

    Parameters
    ----------
    name : str
        Such as ``verif.refmodel.model``.

    Raises
    ------
    UnzipError
        If this is not run from a source tree.
    """
    if not (ROOT / (name.replace(".", "/") + ".py")).is_file():
        raise UnzipError(
            f"{name} is not part of the installed package; "
            "run from a checkout of the repository (pip install -e .)"
        )
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return importlib.import_module(name)
