# SPDX-License-Identifier: Apache-2.0
"""What a program keeps in act mem from layer to layer, as a table and as a picture."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich import box
from rich.table import Table

from unzipfpga.compiler.manifest import LayerInfo, Manifest, Placement
from unzipfpga.errors import UnzipError

PICTURES = (".svg", ".png")


def alive(manifest: Manifest, layer: int) -> list[Placement]:
    """Return what lies in act mem while a layer runs, the lowest entry first."""
    found = [p for p in manifest.act_mem if p.first_layer <= layer <= p.last_layer]
    return sorted(found, key=lambda p: (p.base, p.tensor))


def entries_in_use(manifest: Manifest, layer: int) -> int:
    """Return how many entries of a bank are in use while a layer runs."""
    end = used = 0
    for place in alive(manifest, layer):  # a sum lies where its residual does, a part in its whole
        top = place.base + place.entries
        used += max(0, top - max(place.base, end))
        end = max(end, top)
    return used


def memory_table(manifest: Manifest) -> Table:
    """Return what is in act mem, a row for each layer."""
    depth = manifest.parameters["ACT_DEPTH"]
    table = Table(
        title=f"act mem of {manifest.source.file} on {manifest.config}: "
        f"{depth:,} entries in each of {manifest.parameters['ACT_BANKS']} banks",
        box=box.SIMPLE,
        caption="entries of a bank in use while the layer runs; in DRAM: its tensors that go "
        "through slots of act mem, a stripe of rows at a time",
    )
    for heading in ("layer", "entries", "in use", "tensors", "in DRAM"):
        right = heading in ("entries", "in use", "tensors")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for index, layer in enumerate(manifest.layers):
        used = entries_in_use(manifest, index)
        count = str(len({place.tensor for place in alive(manifest, index)}))
        table.add_row(layer.name, f"{used:,}", f"{used / depth:.0%}", count, _in_dram(layer))
    return table


def _in_dram(layer: LayerInfo) -> str:
    if not layer.dram:
        return ""
    return f"{', '.join(layer.dram)}: {layer.stripes} stripe{'s' * (layer.stripes > 1)}"


def draw(manifest: Manifest, path: Path) -> None:
    """Draw act mem over the layers: a box for each tensor, from its first layer to its last.

    Parameters
    ----------
    manifest : Manifest
    path : pathlib.Path
        An .svg or .png file to write, by way of a temporary file.

    Raises
    ------
    UnzipError
        Another kind of file, or one that cannot be written.
    """
    if path.suffix not in PICTURES:
        raise UnzipError(f"{path}: a picture ends in {' or '.join(PICTURES)}")
    layers, depth = manifest.layers, manifest.parameters["ACT_DEPTH"]
    figure = Figure(figsize=(max(7.0, 0.32 * len(layers) + 2), 6.0), layout="constrained")
    axes = figure.add_subplot()
    colours = [f"C{number}" for number in range(10)]
    names = list(dict.fromkeys(place.tensor for place in manifest.act_mem))
    for place in manifest.act_mem:
        first, last = max(0, place.first_layer), min(len(layers) - 1, place.last_layer)
        width = last - first + 1
        slot = place.shape != _shape_of(manifest, place.tensor, place.shape)
        axes.add_patch(
            Rectangle(
                (first, place.base),
                width,
                place.entries,
                facecolor=colours[names.index(place.tensor) % len(colours)],
                edgecolor="black",
                linewidth=0.6,
                alpha=0.75,
                hatch="///" if slot else None,
            )
        )
        if place.entries > depth / 40:
            upright = width < 3
            axes.text(
                first + width / 2,
                place.base + place.entries / 2,
                place.tensor,
                fontsize=6,
                ha="center",
                va="center",
                rotation=90 if upright else 0,
                clip_on=True,
            )
    axes.set_xlim(0, len(layers))
    axes.set_ylim(0, depth)
    axes.set_xticks([n + 0.5 for n in range(len(layers))], [one.name for one in layers])
    axes.tick_params(axis="x", labelrotation=90, labelsize=6, length=0)
    axes.set_ylabel(f"entry of a bank, of {depth:,}")
    axes.set_title(
        f"act mem of {manifest.source.file} on {manifest.config}; "
        f"{manifest.scratch_bytes:,} bytes of DRAM besides (hatched: slots for its stripes)",
        fontsize=9,
    )
    part = path.with_name(f".{path.name}.part")
    metadata = {"Date": None} if path.suffix == ".svg" else None
    try:
        figure.savefig(part, format=path.suffix[1:], metadata=metadata, dpi=110)
        part.replace(path)
    except OSError as error:
        raise UnzipError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _shape_of(manifest: Manifest, tensor: str, shape: list[int]) -> list[int]:
    """Return the shape of a whole tensor: `shape` is that of all its rows, or of a slot."""
    for layer in manifest.layers:
        if tensor == layer.source:
            return layer.input_map
        if tensor == layer.target:
            return layer.output_map
    return shape
