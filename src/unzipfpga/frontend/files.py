# SPDX-License-Identifier: Apache-2.0
"""Reading and writing ONNX files: every failure is one clear line, every write all or nothing."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from unzipfpga.errors import ModelError


def first_line(error: Exception) -> str:
    """Return the first line of an exception's text, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def load_onnx(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file, external weights included. Nothing is checked beyond that it has nodes.

    Raises
    ------
    ModelError
        If the file is missing, is no complete ONNX file, or lacks external data.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file, or a truncated one ({error})") from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: cannot be read: {first_line(error)}") from error
    if not model.graph.node:
        raise ModelError(f"{path}: not an ONNX model: it holds no graph with nodes")
    return model


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata properties of a model."""
    return {prop.key: prop.value for prop in model.metadata_props}


def check_onnx(model: onnx.ModelProto, where: str) -> None:
    """Run ONNX's own checker.

    Raises
    ------
    ModelError
        With the first line of what the checker says.
    """
    for output in model.graph.output:
        # The checker wants the output's shape to be there, runtimes do not.
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"{where}: not a valid ONNX model: {first_line(error)}") from error


def infer_shapes(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return a model with the shapes that ONNX infers.

    Raises
    ------
    ModelError
        Names every node whose inference fails.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        found = re.findall(r"\(op_type:(\w+), node name: (.*?)\): (?:\[\w+\] )?(.*)", str(error))
        lines = [f"node '{name}' ({kind}): shapes do not fit: {text}" for kind, name, text in found]
        raise ModelError(
            several(where, lines or [f"shapes do not fit: {first_line(error)}"])
        ) from error


def several(where: str, problems: Sequence[str]) -> str:
    """Return one message for all problems of a file: on one line, or on one line each."""
    unique = list(dict.fromkeys(problems))
    if len(unique) == 1:
        return f"{where}: {unique[0]}"
    return f"{where}: {len(unique)} problems:" + "".join(f"\n  {line}" for line in unique)


def check_writable(path: Path) -> None:
    """Refuse an output path early, before long work.

    Raises
    ------
    ModelError
        If the directory does not exist or the path is a directory.
    """
    if not path.parent.is_dir():
        raise ModelError(f"{path}: cannot be written: there is no directory {path.parent}")
    if path.is_dir():
        raise ModelError(f"{path}: cannot be written: it is a directory")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name next to it, then rename: it is whole or not there.

    Raises
    ------
    ModelError
        If the directory cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from error
