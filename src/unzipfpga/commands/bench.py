# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga bench`: measurements on the RTL in simulation."""

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Annotated

import typer
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unzipfpga.bench import (
    LISTS,
    LayerResult,
    ShapeError,
    named_list,
    parse_shape,
    prepare,
    run_layer,
    total,
    unique,
)
from unzipfpga.bench.layers import LOSSES
from unzipfpga.bench.memory import BUSES, Throughput, measure
from unzipfpga.bench.model import (
    LAYER_BOUND,
    LAYER_CYCLES,
    MEMORIES,
    NETWORK_BOUND,
    SUITE,
    Comparison,
    compare,
)
from unzipfpga.bench.shapes import SYNTAX
from unzipfpga.commands.common import DomainOption, print_json, progress
from unzipfpga.config import Config, ConfigError, load_config
from unzipfpga.frontend.quantise import AXES
from unzipfpga.sim import Memory, simulated_bytes

COMPARISON_WIDTH = 160
TABLE_WIDTH = 140  # at least: a cut table helps no one

app = typer.Typer(
    help="Measure layers and networks on the RTL in simulation.", no_args_is_help=True
)


def bench_config(name: str, axi_bits: int, changes: Sequence[str] = ()) -> Config:
    """Return a preset with another AXI data width (0 keeps the preset's) and other changes.

    Parameters
    ----------
    name : str
        Preset.
    axi_bits : int
    changes : sequence of str
        ``NAME=VALUE``, each a parameter of the build.

    Raises
    ------
    ConfigError
        An unknown preset or parameter, or a value that it cannot have.
    """
    config = load_config(name)
    changed = {"AXI_DATA_W": axi_bits} if axi_bits else {}
    for text in changes:
        parameter, _, value = text.partition("=")
        if parameter not in Config.model_fields or not value.isdigit():
            raise ConfigError(
                f"'{text}': expected NAME=VALUE with a parameter of configs.yaml, such as S=4"
            )
        changed[parameter] = int(value)
    try:
        return Config.model_validate(config.parameters() | changed)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        listed = ", ".join(f"{key} = {value}" for key, value in changed.items())
        raise ConfigError(f"preset {name} with {listed}: {message}") from error


def _cells(result: LayerResult) -> list[str]:
    shares = [getattr(result, key) / result.cycles for key in LOSSES]
    return [
        result.name,
        result.codes + ("*" if result.domain == "codes" else ""),
        str(result.count),
        f"{result.macs / 1e6:,.1f}",
        f"{result.cycles:,}",
        f"{result.predicted:,}",
        f"{result.utilisation:.1%}",
        *(f"{share:.1%}" for share in shares),
        str(result.mismatches),
    ]


def _empty_table(title: str, markdown: bool) -> Table:
    return Table(box=box.MARKDOWN) if markdown else Table(title=title, box=box.SIMPLE)


def _table(title: str, results: list[LayerResult], markdown: bool) -> Table:
    table = _empty_table(title, markdown)
    for heading in ("layer", "codes"):
        table.add_column(heading, no_wrap=True)
    for heading in ("times", "MMACs", "cycles", "model", "use", *LOSSES, "wrong"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_cells(result))
    if not markdown:
        table.add_section()
    table.add_row(*_cells(total(results)))
    if markdown:
        return table
    table.caption = (
        "*: code domain; model: predicted cycles; use: MACs / (cycles * T_P * T_C); the rest in "
        "shares of the cycles: lanes without a channel or filter, waiting for weights, for "
        "accumulators, bank conflicts, drain after the last operand, pipeline fill; wrong: outputs "
        "that are not the golden model's"
    )
    return table


def _gains(
    title: str, results: list[LayerResult], others: list[LayerResult], markdown: bool
) -> Table:
    table = _empty_table(title, markdown)
    table.add_column("layer", no_wrap=True)
    for heading in ("shape", "times", "cycles", "against", "gain"):
        table.add_column(heading, justify="right", no_wrap=True)
    pairs = [*zip(results, others, strict=True), (total(results), total(others))]
    for one, other in pairs:
        if one.name == "all" and not markdown:
            table.add_section()
        gain = f"{other.cycles / one.cycles:.2f}"
        cycles = f"{one.cycles:,}", f"{other.cycles:,}"
        table.add_row(one.name, one.shape, str(one.count), *cycles, gain)
    return table


@app.callback()
def _group() -> None:
    """Measure layers and networks on the RTL in simulation."""


@app.command("layers")
def layers_command(
    shapes: Annotated[
        list[str] | None,
        typer.Argument(help=f"Layers: {escape(SYNTAX)}. Padding: (K-1)/2 if left out."),
    ] = None,
    list_name: Annotated[
        str | None, typer.Option("--list", help=f"Layers of a network: {', '.join(LISTS)}.")
    ] = None,
    config: Annotated[str, typer.Option(help="Preset of configs.yaml to run on.")] = "bench",
    codes: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="n of OVSF codes, for layers that can have so many and do not read an image "
            "(at most 4 channels); 0: all dense.",
        ),
    ] = 0,
    axis: Annotated[
        str,
        typer.Option(
            help="Axis of the codes: kernel (K > 1, n taps or more), channel (any K, n up to 16), "
            "or auto: channel for 1x1 layers, kernel for others."
        ),
    ] = "kernel",
    domain: DomainOption = "auto",
    axi: Annotated[
        int, typer.Option(help="AXI data width in bits, so that memory does not limit; 0: preset's")
    ] = 512,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the preset."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Run a second build, changed so from the first, and show what the first gains.",
        ),
    ] = None,
    fewer_filters: Annotated[
        int, typer.Option(min=0, help="Leave out layers with so many filters or more; 0: none.")
    ] = 0,
    bandwidth: Annotated[
        float, typer.Option(min=0, help="DRAM bytes a cycle, reads and writes; 0: no limit.")
    ] = 0.0,
    latency: Annotated[int, typer.Option(min=2, help="DRAM read latency in cycles.")] = 32,
    sim: Annotated[str, typer.Option(help="verilator or icarus.")] = "verilator",
    seed: Annotated[int, typer.Option(min=1, help="Of the data and the initial state.")] = 1,
    markdown: Annotated[bool, typer.Option(help="Print tables for a page in Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run single layers on random data; exit status 1 if an output is not the golden model's.

    A layer's time runs from the cycle in which its first operand could have been read to its last
    output: the MAC stage's first mark, less its waiting for the image, to the post stage's mark.
    Layers of the same shape run once and count as often as they are there.

    Example: unzipfpga bench layers 64x56x56-64-3 128x28x28-128-3 --codes 4
    """
    wanted = [parse_shape(text) for text in shapes or []]
    wanted += named_list(list_name) if list_name else []
    if not wanted:
        raise ShapeError(f"no layers: give shapes, {SYNTAX}, or --list {'|'.join(LISTS)}")
    if axis not in AXES:
        raise ShapeError(f"--axis {axis}: unknown; valid: {', '.join(AXES)}")
    wanted = [shape for shape in wanted if not fewer_filters or shape.filters < fewer_filters]
    if not wanted:
        raise ShapeError(f"--fewer-filters {fewer_filters}: every layer has as many")
    build = bench_config(config, axi, changes or [])
    builds = [
        build,
        *([bench_config(config, axi, [*(changes or []), *against])] if against else []),
    ]
    counted = unique(wanted)
    layers = [
        prepare(shape, count, codes, config, used, seed, axis, domain)
        for used in builds
        for shape, count in counted
    ]
    if codes and not any(layer.codes for layer in layers):
        raise ShapeError(
            f"--codes {codes}: none of the layers can have {codes} codes on --axis {axis}"
        )
    memory = Memory(bandwidth, latency)
    least_memory = max(simulated_bytes(layer.compiled, 1) for layer in layers)
    results = []
    with progress("layers", len(layers)) as advance:
        for layer in layers:
            results.append(run_layer(layer, memory, sim, seed, least_memory))
            advance(1)
    results, others = results[: len(counted)], results[len(counted) :]
    everything = total(results)
    mismatches = sum(result.mismatches for result in [*results, *others])
    outputs = sum(result.outputs for result in [*results, *others])
    if as_json:
        report = {
            "config": config,
            "parameters": build.parameters(),
            "bandwidth": bandwidth,
            "latency": latency,
            "domain": domain,
            "seed": seed,
            "simulator": sim,
            "layers": [asdict(result) for result in results],
            "total": asdict(everything),
        }
        if others:
            report["against"] = {
                "parameters": builds[1].parameters(),
                "layers": [asdict(result) for result in others],
                "total": asdict(total(others)),
                "gain": total(others).cycles / everything.cycles,
            }
        print_json(report)
    else:
        console = Console()
        console.width = max(console.width, TABLE_WIDTH)
        macs = build.T_P * build.T_C
        what = f"{list_name or 'layers'} on {config}" + "".join(
            f", {text}" for text in changes or []
        )
        console.print(_table(f"{what}: {macs} MACs", results, markdown))
        if others:
            console.print(
                _gains(f"{what}, against {', '.join(against or [])}", results, others, markdown)
            )
        limit = f"{bandwidth:g} bytes a cycle" if bandwidth else "one bus word a cycle"
        preset_axi = load_config(config).AXI_DATA_W
        other = f", not the preset's {preset_axi}" if preset_axi != build.AXI_DATA_W else ""
        console.print(
            f"{outputs:,} outputs, {mismatches} mismatches; bus of "
            f"{build.AXI_DATA_W} bits{other}, DRAM: {limit}, {latency} cycles of latency; "
            f"{sim}, seed {seed}",
            highlight=False,
        )
    if mismatches:
        raise typer.Exit(1)


def _comparisons(results: list[Comparison], markdown: bool) -> Table:
    table = _empty_table("cycle model against RTL", markdown)
    for heading in ("program", "build"):
        table.add_column(heading, no_wrap=True)
    for heading in ("B/cycle", "latency", "RTL", "model", "error", "worst layer"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for result in results:
        layer, error = result.worst_layer
        table.add_row(
            result.name,
            result.build,
            f"{result.memory.bytes_per_cycle:g}" if result.memory.bytes_per_cycle else "-",
            str(result.memory.latency),
            f"{result.measured:,}",
            f"{result.predicted:,}",
            f"{result.error:+.2%}",
            f"{error:+.2%} {layer}" if layer else "-",
            "" if result.within else "above the bound",
        )
    return table


@app.command("model")
def model_command(
    only: Annotated[
        list[str] | None,
        typer.Argument(help="Only the programs whose names hold one of these words."),
    ] = None,
    bandwidth: Annotated[
        list[float] | None,
        typer.Option(min=0, help="DRAM bytes a cycle, 0: no limit; several times for several."),
    ] = None,
    latency: Annotated[
        list[int] | None, typer.Option(min=2, help="DRAM read latency in cycles.")
    ] = None,
    markdown: Annotated[bool, typer.Option(help="Print the table for a page in Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare the cycle model with the RTL; exit status 1 if it is further off than its bounds.

    Runs networks and single layers on several builds, each with several memories: every pair of
    the bandwidths and latencies given, or a choice of its own.

    Example: unzipfpga bench model mnist --bandwidth 0 --bandwidth 4 --latency 100
    """
    chosen = [case for case in SUITE if not only or any(word in case.name for word in only)]
    if not chosen:
        names = ", ".join(case.name for case in SUITE)
        raise ShapeError(f"no program's name holds {' or '.join(only or [])}; there are: {names}")
    memories = MEMORIES
    if bandwidth or latency:
        memories = [Memory(b, cycles) for b in bandwidth or [0.0] for cycles in latency or [32]]
    results: list[Comparison] = []
    with progress("runs", len(chosen) * len(memories)) as advance:
        for case in chosen:
            compiled, image = case.make()
            for memory in memories:
                results.append(compare(case, compiled, image, memory))
                advance(1)
    if as_json:
        print_json([result.report() for result in results])
    else:
        console = Console()
        console.width = max(console.width, COMPARISON_WIDTH)
        console.print(_comparisons(results, markdown))
        off = max(abs(result.error) for result in results)
        layers = max(abs(result.worst_layer[1]) for result in results)
        console.print(
            f"{len(results)} runs; most off: {off:.2%} a run (bound {NETWORK_BOUND:.0%}), "
            f"{layers:.2%} a layer of more than {LAYER_CYCLES:,} cycles (bound {LAYER_BOUND:.0%})",
            highlight=False,
        )
    if not all(result.within for result in results):
        raise typer.Exit(1)


@app.command("memory")
def memory_command(
    axi: Annotated[
        list[int] | None, typer.Option("--axi", help="Bits of the AXI bus; all four if left out.")
    ] = None,
    bandwidth: Annotated[
        Fraction,
        typer.Option(
            parser=Fraction,
            metavar="BYTES",
            help="DRAM bytes a cycle, such as 7.5 or 22/3; 0: all that the bus takes.",
        ),
    ] = Fraction(0),
    latency: Annotated[int, typer.Option(min=2, help="DRAM latency in cycles.")] = 200,
    least: Annotated[float, typer.Option(help="Share of the bandwidth to be reached.")] = 0.95,
    sim: Annotated[str, typer.Option(help="verilator or icarus.")] = "verilator",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure how much of the memory's bandwidth LOADs and STOREs use; exit status 1 if too little.

    Example: unzipfpga bench memory --axi 128 --bandwidth 22/3 --latency 200
    """
    for bus in axi or []:
        if bus not in BUSES:
            raise ConfigError(f"--axi {bus}: unknown; valid: {', '.join(map(str, BUSES))}")
    found: list[Throughput] = []
    with progress("buses", len(axi or BUSES)) as advance:
        for bus in axi or BUSES:
            found += measure(bus, bandwidth, latency, sim=sim)
            advance(1)
    low = [result for result in found if result.share < least]
    if as_json:
        results = [asdict(r) | {"rate": r.rate, "share": r.share} for r in found]
        limits = {"bandwidth": float(bandwidth), "latency": latency, "least": least}
        print_json(limits | {"results": results, "too_slow": len(low)})
    else:
        table = Table(title="Throughput of LOAD and STORE", box=box.SIMPLE)
        table.add_column("bus", justify="right")
        table.add_column("transfers", no_wrap=True)
        for heading in ("cycles", "KB read", "KB written", "bytes/cycle", "limit", "share"):
            table.add_column(heading, justify="right", no_wrap=True)
        for r in found:
            table.add_row(
                str(r.bus),
                r.case,
                f"{r.cycles:,}",
                f"{r.bytes_read / 1000:.1f}",
                f"{r.bytes_written / 1000:.1f}",
                f"{r.rate:.2f}",
                f"{r.limit:.2f}",
                f"{r.share:.1%}",
            )
        table.caption = f"instructions included; {latency} cycles of latency"
        console = Console()
        console.width = max(console.width, TABLE_WIDTH)
        console.print(table)
    if low:
        raise typer.Exit(1)
