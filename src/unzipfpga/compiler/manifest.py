# SPDX-License-Identifier: Apache-2.0
"""What the compiler says about a program: ``manifest.json``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from unzipfpga.frontend.graph import Kind


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileInfo(_Part):
    """A file next to the manifest, or the model that was compiled."""

    file: str
    sha256: str
    bytes: int


class Fold(_Part):
    """How an image is stored if a word holds several of its pixels; pairs are (y, x).

    Stored channel ``(c*phases_y + i)*phases_x + j`` at (y, x) is channel c of the image's pixel
    ``(step_y*y + i + offset_y, step_x*x + j + offset_x)``, 0 outside the image.
    """

    phases: tuple[int, int]
    step: tuple[int, int]
    offset: tuple[int, int]


class FoldedFrom(_Part):
    """What a folded layer is in the model."""

    input_map: list[int]
    kernel: list[int]
    stride: list[int]
    pads: list[int]


class TensorInfo(_Part):
    """The image that goes in, or the result that comes out.

    Attributes
    ----------
    shape : list of int
        Of one sample: [C, H, W] or [features].
    stored : list of int
        [C, H, W] as stored; features are channels, or a map in the order c, y, x.
    fold : Fold or None
        How `stored` comes from `shape` if it is not the same.
    scale : float
        Real value of one integer step.
    blocks, word_bytes, bytes : int
        Channel blocks of T_P; bytes of one pixel of a block; bytes in DRAM, a multiple of 64.
    """

    name: str
    shape: list[int]
    stored: list[int]
    fold: Fold | None = None
    scale: float
    layout: Literal["channel block, y, x, channel in block"] = (
        "channel block, y, x, channel in block"
    )
    blocks: int
    word_bytes: int
    bytes: int


class Placement(_Part):
    """Where a tensor lies in act mem, and between which layers; see docs/program-format.md."""

    tensor: str
    shape: list[int]
    first_layer: int
    last_layer: int
    base: int
    entries: int
    row_pitch: int
    block_pitch: int
    shift: int


class LayerInfo(_Part):
    """One layer of the program.

    Attributes
    ----------
    input_map, kernel, stride, pads : list of int
        As the engine runs the layer.
    groups : int
        A filter's weights are 0 outside the channels of its group.
    row0 : bool
        All pixels of conv_map are summed.
    residual : str or None
        Tensor that is added in post-processing.
    folded_from : FoldedFrom or None
        The same as the model has them, if the layer is folded.
    output_map : list of int
        [C, H, W] after the pool, if there is one.
    macs : int
        Multiplications of the layer's definition, 0 for a pool.
    steps : int
        T_P x T_C multiplications that the array does for it: its cycles, if it never waits.
    codes : list of int
        Empty for a dense layer.
    domain : {"weights", "codes"}
        What the array multiplies: activations by weights, or projections by alphas.
    tile : list of int
        Filters, pixels, channel blocks of a full tile.
    pe_groups : list of int
        Groups of PEs that take different pixels, of every tile of filters.
    chunk : list of int
        Channel blocks and taps of a chunk.
    stripes : int
        Pieces of rows that the layer is computed in.
    dram : list of str
        Which of its tensors lie in DRAM and go through slots of act mem, a stripe at a time.
    keep : str
        How long its alphas stay in alpha mem; see docs/compiler.md.
    alpha_bytes, param_bytes : int
        Stored in weights.bin.
    loaded_bytes : int
        Alphas and parameters as often as they are read.
    marks : list of int
        MARK ids at its first tile (MAC) and after its last (post).
    """

    name: str
    kind: Kind
    source: str
    target: str
    residual: str | None = None
    input_map: list[int]
    conv_map: list[int]
    output_map: list[int]
    kernel: list[int]
    stride: list[int]
    pads: list[int]
    groups: int = 1
    row0: bool = False
    folded_from: FoldedFrom | None = None
    pool: dict[str, int] | None
    axis: Literal["dense", "kernel", "channel"]
    codes: list[int]
    domain: Literal["weights", "codes"] = "weights"
    rho: float
    macs: int
    steps: int
    tiles: int
    chunks: int
    tile: list[int]
    pe_groups: list[int]
    chunk: list[int]
    stripes: int = 1
    dram: list[Literal["source", "residual", "target"]] = []
    keep: Literal["layer", "filters", "none"] = "none"
    alpha_bytes: int
    param_bytes: int
    loaded_bytes: int
    marks: list[int]


class Manifest(_Part):
    """A compiled network.

    Attributes
    ----------
    format : "1"
    source : FileInfo
        The converted model.
    origin : dict of str
        Of the floating-point model, as the converted one tells.
    preprocess : dict
        What is known of how an image becomes the input.
    config : str
        Name of the preset.
    build_id : str
        "0x" and 8 digits.
    parameters : dict of str to int
        Of the build.
    program, weights : FileInfo
    input, output : TensorInfo
    act_entries : int
        Entries of each act mem bank in use at the fullest moment.
    scratch_bytes : int
        Behind the base register SCRATCH, for what leaves act mem and comes back; a multiple of 64.
    read_bytes, written_bytes : int
        DRAM traffic of one image, instructions left out.
    instructions : dict of str to int
        Of each queue.
    """

    format: Literal["1"] = "1"
    source: FileInfo
    origin: dict[str, str]
    preprocess: dict[str, object]
    config: str
    build_id: str
    parameters: dict[str, int]
    program: FileInfo
    weights: FileInfo
    input: TensorInfo
    output: TensorInfo
    act_entries: int
    scratch_bytes: int = 0
    read_bytes: int
    written_bytes: int
    instructions: dict[str, int]
    layers: list[LayerInfo]
    act_mem: list[Placement]
