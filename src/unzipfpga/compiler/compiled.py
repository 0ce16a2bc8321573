# SPDX-License-Identifier: Apache-2.0
"""The compiler from end to end: a converted model in, a program, its weights and a manifest out."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from unzipfpga.compiler.check import check_program
from unzipfpga.compiler.domain import DomainChoice
from unzipfpga.compiler.emit import Emitted, emit, encode_program
from unzipfpga.compiler.errors import CompileError, ProgramError
from unzipfpga.compiler.fold import fold_image
from unzipfpga.compiler.image import pack_map, unpack_map
from unzipfpga.compiler.lower import EngineLayer, LoweredNetwork, Pool, as_map, lower
from unzipfpga.compiler.manifest import (
    FileInfo,
    FoldedFrom,
    LayerInfo,
    Manifest,
    Placement,
    TensorInfo,
)
from unzipfpga.compiler.place import View, map_bytes, roles, word_bytes
from unzipfpga.compiler.plan import Plan, plan, plans
from unzipfpga.compiler.tiling import ceil_div, layer_steps
from unzipfpga.config import Config, load_config
from unzipfpga.errors import DataError
from unzipfpga.frontend import Network, read_converted
from unzipfpga.model import Prediction, predict

if TYPE_CHECKING:
    from unzipfpga.sim import Memory

PROGRAM, WEIGHTS, MANIFEST = "program.bin", "weights.bin", "manifest.json"


@dataclass(frozen=True)
class Compiled:
    """A compiled network.

    Attributes
    ----------
    program, weights : bytes
        Images for PROGRAM_BASE and WEIGHT_BASE.
    manifest : Manifest
    """

    program: bytes
    weights: bytes
    manifest: Manifest


def compile_model(
    path: Path,
    config_name: str,
    config: Config | None = None,
    *,
    fold: bool = True,
    memory: "Memory | None" = None,
    choice: DomainChoice | None = None,
) -> Compiled:
    """Compile a converted model and check the program.

    Parameters
    ----------
    path : pathlib.Path
        What `unzipfpga convert` wrote.
    config_name : str
        Preset to compile for.
    config : Config, optional
        Its parameters; those of ``configs.yaml`` if not given.
    fold : bool
        Fold the first layer if that makes it faster.
    memory : Memory, optional
        The DRAM to plan for: of the plans that fit, the one that the cycle model finds fastest.
    choice : DomainChoice, optional
        Domains that the layers may run in; all they can if not given.

    Returns
    -------
    Compiled

    Raises
    ------
    UnzipError
        A file that is no converted model, an unknown preset, a layer that the engine cannot run or
        that does not fit it.
    """
    config = config or load_config(config_name)
    network = read_converted(path)
    data = path.read_bytes()
    source = FileInfo(file=path.name, sha256=_sha256(data), bytes=len(data))
    return compile_network(
        network, config_name, config, source, fold=fold, memory=memory, choice=choice
    )


def compile_network(
    network: Network,
    config_name: str,
    config: Config,
    source: FileInfo,
    *,
    fold: bool = False,
    memory: "Memory | None" = None,
    choice: DomainChoice | None = None,
) -> Compiled:
    """Compile a network, its layers as they are unless `fold` is given; see `compile_model`."""
    lowered = lower(network, config)
    if memory is None:
        planned = plan(lowered, config, fold, choice)
        emitted = emit(planned)
        program = encode_program(emitted, config)
    else:
        planned, emitted, program = _fastest(lowered, config, fold, memory, choice)
    weights = bytes(emitted.weights.data)
    lowered = planned.network
    sizes = {
        "WEIGHT": len(weights),
        "INPUT": map_bytes(lowered.maps[lowered.input], config),
        "OUTPUT": map_bytes(lowered.maps[lowered.output], config),
        "SCRATCH": planned.places.scratch_bytes,
    }
    check_program(program, config, sizes)
    manifest = _manifest(network, planned, emitted, config_name, source, program, weights)
    return Compiled(program, weights, manifest)


@dataclass(frozen=True)
class _Tried:
    """A plan with its program, and what the cycle model says of it."""

    plan: Plan
    emitted: Emitted
    program: bytes
    prediction: Prediction

    @property
    def layer_cycles(self) -> dict[str, int]:
        names = [layer.name for layer in self.plan.network.layers]
        return {names[layer.number]: layer.cycles for layer in self.prediction.layers}


def _fastest(
    lowered: LoweredNetwork,
    config: Config,
    fold: bool,
    memory: "Memory",
    choice: DomainChoice | None,
) -> tuple[Plan, Emitted, bytes]:
    """Return the plan whose program the cycle model finds fastest, and the program.

    Of layers whose domain is open, those that take longer in the code domain than all of them in
    the weight domain go there.
    """
    choice = choice or DomainChoice()

    def tried(planned: Plan) -> _Tried:
        emitted = emit(planned)
        program = encode_program(emitted, config)
        return _Tried(planned, emitted, program, predict(program, config, memory))

    def fastest(choice: DomainChoice) -> _Tried:
        found = map(tried, plans(lowered, config, fold, choice))
        return min(found, key=lambda one: one.prediction.cycles)

    best = fastest(choice)
    projected = [tiling.layer for tiling in best.plan.tilings if tiling.domain == "codes"]
    open_ = [layer.name for layer in projected if len(choice.domains(layer, config)) > 1]
    if open_:
        other = fastest(choice.with_weights(open_))
        slower = [name for name in open_ if best.layer_cycles[name] > other.layer_cycles[name]]
        if slower:
            mixed = other if slower == open_ else fastest(choice.with_weights(slower))
            best = min(best, mixed, key=lambda one: one.prediction.cycles)
    return best.plan, best.emitted, best.program


def write_compiled(compiled: Compiled, directory: Path, force: bool = False) -> None:
    """Write ``program.bin``, ``weights.bin`` and ``manifest.json``, all of them or none.

    Parameters
    ----------
    compiled : Compiled
    directory : pathlib.Path
        Replaced if it holds nothing but a compiled network.
    force : bool
        Replace it whatever it holds.

    Raises
    ------
    CompileError
        If the directory cannot be written, or holds other things.
    """
    directory = directory.absolute()
    if directory.exists() and not force:
        found = sorted(p.name for p in directory.iterdir()) if directory.is_dir() else ["a file"]
        if set(found) - {PROGRAM, WEIGHTS, MANIFEST}:
            raise CompileError(
                f"{directory}: it is there already and holds other things: {', '.join(found[:5])}"
            )
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    try:
        partial.mkdir()
        (partial / PROGRAM).write_bytes(compiled.program)
        (partial / WEIGHTS).write_bytes(compiled.weights)
        text = compiled.manifest.model_dump_json(indent=2)
        (partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
        if directory.exists():
            directory.replace(old)
        partial.replace(directory)
    except OSError as error:
        if old.exists() and not directory.exists():
            old.replace(directory)
        raise CompileError(f"{directory}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def load_compiled(directory: Path, config: Config | None = None) -> Compiled:
    """Read a compiled network.

    Parameters
    ----------
    directory : pathlib.Path
        What `unzipfpga compile` wrote.
    config : Config, optional
        The build that shall run it.

    Returns
    -------
    Compiled

    Raises
    ------
    ProgramError
        If a file is missing or does not match the manifest, or the program is for another build:
        both builds are named.
    """
    try:
        manifest = Manifest.model_validate_json((directory / MANIFEST).read_bytes())
        program = (directory / PROGRAM).read_bytes()
        weights = (directory / WEIGHTS).read_bytes()
    except OSError as error:
        raise ProgramError(
            f"{error.filename or directory}: {error.strerror}; "
            "expected a directory that `unzipfpga compile` wrote"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ProgramError(
            f"{directory / MANIFEST}: {where}: {problem['msg']}; compile the model again"
        ) from error
    for info, data in [(manifest.program, program), (manifest.weights, weights)]:
        if len(data) != info.bytes or _sha256(data) != info.sha256:
            raise ProgramError(
                f"{directory / info.file}: its {len(data)} bytes are not those that the manifest "
                "tells of; compile the model again"
            )
    if config is not None:
        _check_build(directory, manifest, config)
    return Compiled(program, weights, manifest)


def _check_build(directory: Path, manifest: Manifest, config: Config) -> None:
    """Refuse a program for another build; names both."""
    wanted = f"{config.build_id():#010x}"
    if manifest.build_id == wanted:
        return
    ours = config.parameters()
    differ = [
        f"{name} {value} / {ours[name]}"
        for name, value in manifest.parameters.items()
        if name in ours and ours[name] != value
    ]
    raise ProgramError(
        f"{directory}: compiled for build {manifest.build_id} ({manifest.config}), this build is "
        f"{wanted}" + (f"; they differ in {', '.join(differ)}" if differ else "")
    )


# Images ------------------------------------------------------------------------------------------


def manifest_config(manifest: Manifest) -> Config:
    """Return the build that a manifest was compiled for.

    Raises
    ------
    ProgramError
        If its parameters are not those of a build.
    """
    try:
        return Config.model_validate(manifest.parameters)
    except ValidationError as error:
        raise ProgramError(f"{MANIFEST}: parameters: {error.errors()[0]['msg']}") from error


def quantise_images(manifest: Manifest, images: ArrayLike) -> NDArray[np.int32]:
    """Turn real images, as the floating-point network takes them, into integers.

    clip(round_half_even(x/scale), -(2^(DW-1)-1), 2^(DW-1)-1), the division in float32.

    Parameters
    ----------
    manifest : Manifest
    images : float array [N, *input shape]

    Returns
    -------
    int32 array of the same shape

    Raises
    ------
    DataError
        A wrong shape (both are named) or a value that is not finite.
    """
    values = np.asarray(images, np.float32)
    _check_shape(manifest.input, values.shape)
    if not np.isfinite(values).all():
        raise DataError("the images hold values that are not finite")
    limit = 2 ** (manifest.parameters["DW"] - 1) - 1
    scaled = np.rint(values / np.float32(manifest.input.scale))
    integers: NDArray[np.int32] = np.clip(scaled, -limit, limit).astype(np.int32)
    return integers


def pack_input(manifest: Manifest, images: ArrayLike) -> bytes:
    """Return images as they lie in DRAM behind INPUT_BASE.

    Parameters
    ----------
    manifest : Manifest
    images : array [N, *input shape]
        Real (see `quantise_images`), or integers within +-(2^(DW-1)-1).

    Returns
    -------
    bytes
        N times ``manifest.input.bytes``, one image after the other.

    Raises
    ------
    DataError
        A wrong shape (both are named), or a value out of range.
    """
    values = np.asarray(images)
    _check_shape(manifest.input, values.shape)
    if values.dtype.kind == "f":
        values = quantise_images(manifest, values)
    elif values.dtype.kind not in "iu":
        raise DataError(f"the images are of type {values.dtype}; real or integer ones are needed")
    limit = 2 ** (manifest.parameters["DW"] - 1) - 1
    if values.size and (int(values.max()) > limit or int(values.min()) < -limit):
        raise DataError(f"the images hold integers outside -{limit} to {limit}")
    config = manifest_config(manifest)
    fold = manifest.input.fold
    if fold is None:
        stored = list(values.reshape(-1, *manifest.input.stored))
    else:
        _, height, width = manifest.input.stored
        maps = values.reshape(len(values), *as_map(tuple(manifest.input.shape)))
        stored = [fold_image(image, fold, height, width) for image in maps]
    return b"".join(pack_map(image, config) for image in stored)


def unpack_output(manifest: Manifest, data: bytes) -> NDArray[np.int32]:
    """Return the results that a run left behind OUTPUT_BASE.

    Parameters
    ----------
    manifest : Manifest
    data : bytes
        N times ``manifest.output.bytes``.

    Returns
    -------
    int32 array [N, *output shape]
        Real value = integer * ``manifest.output.scale``.

    Raises
    ------
    DataError
        A number of bytes that is no multiple of one result's.
    """
    size = manifest.output.bytes
    if not data or len(data) % size:
        raise DataError(f"the output has {len(data)} bytes; one result has {size}")
    config = manifest_config(manifest)
    channels, height, width = manifest.output.stored
    results = [
        unpack_map(data[start : start + size], (channels, height, width), config)
        for start in range(0, len(data), size)
    ]
    return np.stack(results).reshape(-1, *manifest.output.shape)


def _check_shape(tensor: TensorInfo, shape: tuple[int, ...]) -> None:
    if list(shape[1:]) != tensor.shape or len(shape) != len(tensor.shape) + 1:
        wanted = ", ".join(["N", *map(str, tensor.shape)])
        raise DataError(f"the images have shape {list(shape)}, the network takes [{wanted}]")


# Manifest ----------------------------------------------------------------------------------------


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file(name: str, data: bytes) -> FileInfo:
    return FileInfo(file=name, sha256=_sha256(data), bytes=len(data))


def _pool(pool: Pool | None) -> dict[str, int] | None:
    if pool is None:
        return None
    return {"kernel": pool.kernel, "stride": pool.stride, "pad": pool.pad}


def _folded_from(layer: EngineLayer | None) -> FoldedFrom | None:
    if layer is None:
        return None
    return FoldedFrom(
        input_map=list(layer.input_map),
        kernel=list(layer.kernel),
        stride=list(layer.stride),
        pads=list(layer.pads),
    )


def _manifest(
    network: Network,
    planned: Plan,
    emitted: Emitted,
    config_name: str,
    source: FileInfo,
    program: bytes,
    weights: bytes,
) -> Manifest:
    config, lowered = planned.config, planned.network

    def tensor(name: str, stored: str) -> TensorInfo:
        known, shape = network.tensors[name], lowered.maps[stored]
        return TensorInfo(
            name=name,
            shape=list(known.shape),
            stored=list(shape),
            fold=lowered.fold if stored == lowered.input else None,
            scale=known.scale,
            blocks=ceil_div(shape[0], config.T_P),
            word_bytes=word_bytes(config),
            bytes=map_bytes(shape, config),
        )

    layers = []
    for index, (tiling, traffic) in enumerate(zip(planned.tilings, emitted.traffic, strict=True)):
        layer = tiling.layer
        layers.append(
            LayerInfo(
                name=layer.name,
                kind=layer.kind,
                source=layer.source,
                target=layer.target,
                residual=layer.residual,
                input_map=list(layer.input_map),
                conv_map=list(layer.conv_map),
                output_map=list(layer.output_map),
                kernel=list(layer.kernel),
                stride=list(layer.stride),
                pads=list(layer.pads),
                groups=layer.groups,
                row0=layer.row0,
                folded_from=_folded_from(layer.folded_from),
                pool=_pool(layer.pool),
                axis=layer.axis,
                codes=list(layer.codes),
                domain=tiling.domain,
                rho=layer.rho,
                macs=layer.macs,
                steps=layer_steps(tiling),
                tiles=len(tiling.tiles),
                chunks=sum(tiling.chunks(tile) for tile in tiling.tiles),
                tile=[tiling.filters, tiling.filter_tiles[0].pixels, tiling.blocks],
                pe_groups=[part.pe_groups for part in tiling.filter_tiles],
                chunk=[tiling.chunk_blocks, tiling.chunk_taps],
                stripes=len(tiling.stripes),
                dram=[role for role, _ in roles(layer) if (index, role) in planned.places.slots],
                keep=tiling.keep,
                alpha_bytes=traffic.alpha_bytes,
                param_bytes=traffic.param_bytes,
                loaded_bytes=traffic.loaded_bytes,
                marks=[2 * index, 2 * index + 1],
            )
        )
    read = sum(traffic.loaded_bytes for traffic in emitted.traffic)
    return Manifest(
        source=source,
        origin=network.source,
        preprocess=network.preprocess,
        config=config_name,
        build_id=f"{config.build_id():#010x}",
        parameters=config.parameters(),
        program=_file(PROGRAM, program),
        weights=_file(WEIGHTS, weights),
        input=tensor(network.input, lowered.input),
        output=tensor(network.output, lowered.output),
        act_entries=planned.act_entries,
        read_bytes=read + emitted.read_bytes,
        written_bytes=emitted.written_bytes,
        scratch_bytes=planned.places.scratch_bytes,
        instructions={
            "load": len(emitted.load),
            "compute": len(emitted.compute),
            "store": len(emitted.store),
        },
        layers=layers,
        act_mem=_placements(planned),
    )


def _placements(planned: Plan) -> list[Placement]:
    """Return what lies in act mem, in the order in which it comes."""
    maps = planned.network.maps

    def placement(name: str, view: View, first: int, last: int, shape: list[int]) -> Placement:
        return Placement(
            tensor=name,
            shape=shape,
            first_layer=first,
            last_layer=last,
            base=view.base,
            entries=view.entries,
            row_pitch=view.row_pitch,
            block_pitch=view.block_pitch,
            shift=view.shift,
        )

    found = [
        placement(name, view, *planned.lifetimes[name], list(maps[name]))
        for name, view in planned.views.items()
    ]
    for (index, _), slots in planned.places.slots.items():
        for view in slots.views:
            shape = [maps[slots.tensor][0], view.height, view.width]
            found.append(placement(slots.tensor, view, index, index, shape))
    return sorted(found, key=lambda one: (one.first_layer, one.last_layer, one.base))
