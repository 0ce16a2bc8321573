# SPDX-License-Identifier: Apache-2.0
"""The ONNX operators that the front end reads, and what would help with some that it does not."""

# Attributes that are read, per operator. One outside this table is refused, not ignored.
ATTRIBUTES: dict[str, frozenset[str]] = {
    "Add": frozenset(),
    "AveragePool": frozenset(
        {
            *("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape"),
            *("pads", "strides"),
        }
    ),
    "BatchNormalization": frozenset({"epsilon", "momentum", "training_mode"}),
    "Clip": frozenset(),
    "Concat": frozenset({"axis"}),
    "Conv": frozenset({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}),
    "Div": frozenset(),
    "Dropout": frozenset({"ratio", "seed"}),
    "Flatten": frozenset({"axis"}),
    "Gemm": frozenset({"alpha", "beta", "transA", "transB"}),
    "GlobalAveragePool": frozenset(),
    "Identity": frozenset(),
    "MatMul": frozenset(),
    "MaxPool": frozenset(
        {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"}
    ),
    "Mul": frozenset(),
    "Pad": frozenset({"mode"}),
    "ReduceMean": frozenset({"keepdims", "noop_with_empty_axes"}),
    "Relu": frozenset(),
    "Reshape": frozenset({"allowzero"}),
    "Squeeze": frozenset(),
    "Sub": frozenset(),
    "Transpose": frozenset({"perm"}),
    "Unsqueeze": frozenset(),
}
# Operators that do nothing at inference.
PASSING = ("Identity", "Dropout")
AT_THE_END = "only at the end, where the host computes it"
HINTS = {
    "ArgMax": "cut it off: the largest logit is the class",
    "GlobalMaxPool": "write it as MaxPools of windows of at most 3x3",
    "HardSwish": "train with Relu or Clip(0, 6)",
    "LeakyRelu": "train with Relu",
    "LogSoftmax": AT_THE_END,
    "PRelu": "train with Relu",
    "Sigmoid": AT_THE_END,
    "Softmax": AT_THE_END,
}
LISTED = ", ".join(sorted([*ATTRIBUTES, "Sum"]))
LISTED += "; at the end LogSoftmax, Sigmoid, Softmax, Transpose"


def not_supported(operator: str, domain: str) -> str:
    """Return why a node of this operator is refused, and what is supported."""
    where = f" of domain {domain}" if domain not in ("", "ai.onnx") else ""
    hint = f" ({HINTS[operator]})" if operator in HINTS and not where else ""
    return f"this operator{where} is not supported here{hint}; supported: {LISTED}"
