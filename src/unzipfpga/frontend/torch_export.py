# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch module to ONNX. PyTorch is optional: nothing else of the package needs it."""

import tempfile
from pathlib import Path
from typing import Any

import onnx

from unzipfpga.errors import ModelError
from unzipfpga.frontend.files import first_line, load_onnx
from unzipfpga.frontend.prepare import OPSET

INSTALL = (
    "install it (`pip install torch onnxscript`), or export the module where it is installed: "
    "torch.onnx.export(module, (example,), 'model.onnx')"
)


def import_torch(module: Any, example_input: Any) -> onnx.ModelProto:
    """Export a PyTorch module through `torch.onnx.export`.

    Parameters
    ----------
    module : torch.nn.Module
        Exported as it is at inference; the mode that it is in stays.
    example_input : torch.Tensor [N, C, H, W] or [N, features]
        Any values; its first image is used, and fixes the size of all later ones.

    Returns
    -------
    onnx.ModelProto
        One input `input`, one output `output`, batch 1; for `import_model`, or for a file that
        `read_float` and `unzipfpga convert` take.

    Raises
    ------
    ModelError
        If PyTorch or what its exporter needs is missing, or it cannot export the module; says what
        PyTorch says.
    """
    try:
        import torch
    except ImportError as error:
        raise ModelError(f"PyTorch is not installed; {INSTALL}") from error
    training = bool(module.training)
    module.eval()
    try:
        with tempfile.TemporaryDirectory() as directory, torch.no_grad():
            path = Path(directory) / "model.onnx"
            torch.onnx.export(
                module,
                (example_input[:1],),
                str(path),
                input_names=["input"],
                output_names=["output"],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            return load_onnx(path)
    except ImportError as error:
        raise ModelError(f"PyTorch's exporter lacks {error.name or error}; {INSTALL}") from error
    except ModelError:
        raise
    except Exception as error:  # the exporter raises whatever tracing the module does
        reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        raise ModelError(f"{type(module).__name__}: PyTorch cannot export it: {reason}") from error
    finally:
        module.train(training)
