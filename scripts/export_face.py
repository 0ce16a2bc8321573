#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the face-recognition ResNet of npm's @vladmandic/face-api as an ONNX file.

Needs npm, once, to fetch the package. `unzipfpga.data.models` says what the network is.

Example: python scripts/export_face.py -o build/face.onnx
"""

import argparse
import sys
from pathlib import Path

from unzipfpga.data import write_face
from unzipfpga.errors import UnzipError


def main() -> None:
    """Write the model; exit status 2 if it cannot be fetched."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    output = parser.parse_args().output
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        path = write_face(output)
    except (UnzipError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"wrote {path} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
