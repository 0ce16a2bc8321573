# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga bench networks`: whole networks on the RTL in simulation."""

import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from unzipfpga.bench.measure import (
    BOUND_SHARE,
    CLOCKS_MHZ,
    OTHER_CLOCK_MHZ,
    NetworkMeasure,
    PreparedNetwork,
    SpeedUp,
    dsp_blocks,
    prepare_network,
    run_prepared,
    speed_ups,
)
from unzipfpga.bench.networks import NETWORKS, parse_coding
from unzipfpga.bench.shapes import ShapeError
from unzipfpga.bench.trace import trace_events
from unzipfpga.commands.bench import TABLE_WIDTH, bench_config
from unzipfpga.commands.common import DomainOption, print_json, progress
from unzipfpga.frontend.files import check_writable, write_atomically
from unzipfpga.sim import Memory, SimulationError, simulated_bytes
from unzipfpga.source_tree import import_from_tree

DEFAULT_CODES = ["dense", "4,8"]


def _memory_text(bandwidth: float, mhz: float) -> str:
    return f"{bandwidth:g} B/cycle = {bandwidth * mhz / 1000:.2f} GB/s" if bandwidth else "one word"


def _table(title: str, left: Sequence[str], right: Sequence[str], markdown: bool) -> Table:
    table = Table(box=box.MARKDOWN) if markdown else Table(title=title, box=box.SIMPLE)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _summary(
    title: str, results: Sequence[NetworkMeasure], mhz: float, dsp: int, markdown: bool
) -> Table:
    headings = ["cycles", "model", "ms", "use", "MACs/DSP", "weights MB", "read MB", "written MB"]
    headings += ["waiting", "values", "wrong"]
    table = _table(title, ["network", "codes", "memory"], headings, markdown)
    for one in results:
        table.add_row(
            one.name,
            one.codes,
            _memory_text(one.bandwidth, mhz),
            f"{one.cycles:,}",
            f"{one.model_error:+.2%}",
            f"{one.cycles / mhz / 1000:.2f}",
            f"{one.utilisation:.1%}",
            f"{one.macs / one.cycles / dsp:.2f}",
            *(f"{n / 1e6:.2f}" for n in (one.weight_bytes, one.bytes_read, one.bytes_written)),
            f"{one.waiting:.1%}",
            str(one.distinct),
            str(one.mismatches),
        )
    if not markdown:
        table.caption = (
            "model: how far off the cycle model is; use: MACs / (cycles * T_P*T_C); MACs/DSP: per "
            "DSP block and cycle; waiting: share of the cycles in which the MAC stage had no "
            "weights or no activations; values: different numbers among the outputs; wrong: those "
            "that are not the golden model's"
        )
    return table


def _layer_table(result: NetworkMeasure, mhz: float, markdown: bool) -> Table:
    title = f"{result.name}, {result.codes}, {_memory_text(result.bandwidth, mhz)}"
    headings = ["MMACs", "cycles", "us", "use", "compute", "traffic", "waiting", "read KB"]
    table = _table(title, ["layer", "codes", "domain"], [*headings, "written KB"], markdown)
    for layer in result.layers:
        cost = layer.cost
        table.add_row(
            cost.name,
            cost.codes,
            cost.domain,
            f"{cost.macs / 1e6:,.1f}",
            f"{cost.cycles:,}",
            f"{cost.cycles / mhz:,.0f}",
            f"{cost.utilisation:.1%}",
            f"{layer.compute:,}",
            f"{layer.traffic:,.0f}",
            f"{(cost.wait_weights + cost.wait_loads) / cost.cycles:.1%}",
            f"{cost.bytes_read / 1000:,.1f}",
            f"{cost.bytes_written / 1000:,.1f}",
        )
    if not markdown:
        table.caption = (
            "compute, traffic: cycles that computing and moving the bytes take at least; what is "
            "moved while a layer runs includes prefetches"
        )
    return table


def _speed_up_table(found: Sequence[SpeedUp], mhz: float, markdown: bool) -> Table:
    names = list(dict.fromkeys(name for one in found for name in one.networks))
    title = "speed-up over dense"
    table = _table(title, ["codes", "memory"], [*names, "geometric mean"], markdown)
    for one in found:
        gains = [one.networks.get(name) for name in names]
        table.add_row(
            one.codes,
            _memory_text(one.bandwidth, mhz),
            *("" if gain is None else f"{gain:.2f}" for gain in gains),
            f"{one.mean:.2f}",
        )
    return table


def _wall_table(results: Sequence[NetworkMeasure], mhz: float, markdown: bool) -> Table:
    """Say whether dense layers take longer than computing and memory explain."""
    title = "memory wall: dense layers, cycles against the larger of compute and traffic"
    headings = ["layers", "traffic-bound", f"within 1/{BOUND_SHARE:g}", "beyond, their cycles"]
    table = _table(title, ["network", "memory"], headings, markdown)
    for one in results:
        if one.codes != "dense":
            continue
        beyond = [layer for layer in one.layers if not layer.bounded]
        beyond.sort(key=lambda layer: layer.bound / layer.cost.cycles)
        named = [f"{x.cost.name} {x.cost.cycles / x.bound:.2f}" for x in beyond[:3]]
        more = ["..."] if len(beyond) > 3 else []
        share = sum(layer.cost.cycles for layer in beyond) / one.cycles
        table.add_row(
            one.name,
            _memory_text(one.bandwidth, mhz),
            str(len(one.layers)),
            str(sum(layer.traffic > layer.compute for layer in one.layers)),
            str(len(one.layers) - len(beyond)),
            f"{', '.join([*named, *more])}: {share:.1%}" if beyond else "",
        )
    return table


def _run_all(
    jobs: list[tuple[PreparedNetwork, Memory]], sim: str, seed: int, least: int, processes: int
) -> list[NetworkMeasure]:
    """Run everything, up to `processes` simulations at a time, in the order given."""
    results: dict[int, NetworkMeasure] = {}
    with progress("networks on the RTL", len(jobs)) as advance:
        if processes == 1:
            for index, (prepared, memory) in enumerate(jobs):
                results[index] = run_prepared(prepared, memory, sim, seed, least)
                advance(1)
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                futures = {
                    pool.submit(run_prepared, prepared, memory, sim, seed, least): index
                    for index, (prepared, memory) in enumerate(jobs)
                }
                try:
                    for future in as_completed(futures):
                        results[futures[future]] = future.result()
                        advance(1)
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
    return [results[index] for index in range(len(jobs))]


def _row(result: NetworkMeasure, mhz: float, dsp: int) -> dict[str, Any]:
    row = asdict(result)
    del row["marks"]
    row["model_error"] = result.model_error
    row["milliseconds"] = result.cycles / mhz / 1000
    row["macs_per_dsp"] = result.macs / result.cycles / dsp
    row["layers"] = [
        asdict(layer.cost)
        | {"compute": layer.compute, "traffic": layer.traffic, "bounded": layer.bounded}
        | {"predicted": layer.predicted}
        for layer in result.layers
    ]
    return row


def networks_command(
    networks: Annotated[
        list[str] | None, typer.Argument(help=f"{', '.join(NETWORKS)}; all if left out.")
    ] = None,
    config: Annotated[str, typer.Option(help="Preset of configs.yaml to run on.")] = "bench",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the preset."),
    ] = None,
    codes: Annotated[
        list[str] | None,
        typer.Option(
            help="dense, or n of the 3x3 layers, a comma and n of 16 of the 1x1 layers; several "
            f"times for several runs. {' and '.join(DEFAULT_CODES)} if left out."
        ),
    ] = None,
    domain: DomainOption = "auto",
    bandwidth: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            help="DRAM bytes a cycle, reads and writes; several times for several runs; 0: one bus "
            "word a cycle.",
        ),
    ] = None,
    gbps: Annotated[
        list[float] | None,
        typer.Option(min=0, help="The same in gigabytes a second at the assumed clock."),
    ] = None,
    mhz: Annotated[
        float,
        typer.Option(
            min=0,
            help="Assumed clock; 0: "
            + ", ".join(f"{name} {clock:g}" for name, clock in CLOCKS_MHZ.items())
            + f", others {OTHER_CLOCK_MHZ:g}.",
        ),
    ] = 0,
    latency: Annotated[int, typer.Option(min=2, help="DRAM read latency in cycles.")] = 32,
    images: Annotated[int, typer.Option(min=1, help="Images of each run.")] = 1,
    size: Annotated[int, typer.Option(help="Height and width of the images.")] = 224,
    width: Annotated[
        int, typer.Option(help="Filters of the first layer, others in proportion.")
    ] = 64,
    per_layer: Annotated[bool, typer.Option(help="Print a table of layers for each run.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Simulations at a time.")] = 1,
    sim: Annotated[str, typer.Option(help="verilator or icarus.")] = "verilator",
    seed: Annotated[int, typer.Option(min=1, help="Of weights, images, initial state.")] = 1,
    trace: Annotated[
        Path | None, typer.Option(help="Write a trace for ui.perfetto.dev (JSON).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report as JSON to a file.")
    ] = None,
    markdown: Annotated[bool, typer.Option(help="Print tables for a page in Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run whole networks with random weights; exit status 1 if an output is wrong.

    Wrong: not the golden model's, or cycles beyond the bounds of the cycle model.

    Every run is converted (once, kept in build/networks), compiled and simulated at full size.

    Example: unzipfpga bench networks resnet18 --codes dense --codes 4,8 --gbps 1.1 --gbps 4.4
    """
    names = list(dict.fromkeys(networks or NETWORKS))
    codings = [parse_coding(text) for text in dict.fromkeys(codes or DEFAULT_CODES)]
    build = bench_config(config, 0, changes or [])
    clock = mhz or CLOCKS_MHZ.get(config, OTHER_CLOCK_MHZ)
    if bandwidth and gbps:
        raise ShapeError("give --bandwidth or --gbps, not both")
    simulators = import_from_tree("verif.runner").SIMULATORS
    if sim not in simulators:
        raise SimulationError(f"unknown SIM '{sim}'; valid: {', '.join(simulators)}")
    rates = [rate * 1000 / clock for rate in gbps] if gbps else bandwidth or [0.0]
    for path in (trace, output):
        if path is not None:
            check_writable(path)
    prepared = []
    with progress("preparing networks", len(names) * len(codings)) as advance:
        for name in names:
            for coding in codings:
                prepared.append(
                    prepare_network(
                        *(name, coding, config, build),
                        size=size,
                        width=width,
                        images=images,
                        seed=seed,
                        domain=domain,
                    )
                )
                advance(1)
    work = [(one, Memory(rate, latency)) for one in prepared for rate in dict.fromkeys(rates)]
    least = max(simulated_bytes(one.compiled, images) for one in prepared)
    results = _run_all(work, sim, seed, least, jobs)
    dsp, counted = dsp_blocks(config, build)
    gains = speed_ups(results)
    mismatches = sum(result.mismatches for result in results)
    report = {
        "config": config,
        "parameters": build.parameters(),
        "mhz": clock,
        "dsp": {"blocks": dsp, "counted": counted},
        "latency": latency,
        "images": images,
        "size": size,
        "width": width,
        "domain": domain,
        "seed": seed,
        "simulator": sim,
        "runs": [_row(result, clock, dsp) for result in results],
        "speed_ups": [asdict(gain) for gain in gains],
    }
    if trace is not None:
        events = [
            event
            for number, ((one, _), result) in enumerate(zip(work, results, strict=True))
            for event in trace_events(result, one.compiled.manifest, clock, number + 1)
        ]
        text = json.dumps({"displayTimeUnit": "ns", "traceEvents": events})
        write_atomically(trace, text.encode())
    if output is not None:
        write_atomically(output, (json.dumps(report, indent=2) + "\n").encode())
    if as_json:
        print_json(report)
    else:
        console = Console()
        console.width = max(console.width, TABLE_WIDTH + 20)
        what = f"{config}" + "".join(f", {text}" for text in changes or [])
        title = f"networks at {size}x{size} on {what}: {build.T_P * build.T_C} MACs"
        console.print(_summary(title, results, clock, dsp, markdown))
        if per_layer:
            for result in results:
                console.print(_layer_table(result, clock, markdown))
        if any(result.codes == "dense" for result in results):
            console.print(_wall_table(results, clock, markdown))
        if gains:
            console.print(_speed_up_table(gains, clock, markdown))
        outputs = sum(result.outputs for result in results)
        speed = min(result.simulated_per_second for result in results)
        where = "counted by make synth" if counted else "the most that make synth allows"
        console.print(
            f"{outputs:,} outputs, {mismatches} mismatches; {clock:g} MHz assumed; {dsp} DSP "
            f"blocks, {where}; bus of {build.AXI_DATA_W} bits, {latency} cycles of latency; "
            f"{sim}, {speed:,.0f} cycles/s or more, seed {seed}",
            highlight=False,
        )
    off = [result for result in results if not result.model_holds]
    for result in off:
        print(
            f"error: {result.name}, {result.codes}, {result.bandwidth:g} bytes a cycle: the cycle "
            f"model is beyond its bounds ({result.model_error:+.2%} in all)",
            file=sys.stderr,
        )
    if mismatches or off:
        raise typer.Exit(1)
