# SPDX-License-Identifier: Apache-2.0
"""A program in readable form."""

from collections.abc import Iterator
from typing import Any

from unzipfpga.compiler.check import decode_program
from unzipfpga.compiler.manifest import Manifest
from unzipfpga.compiler.tokens import names
from unzipfpga.isa import isa

QUEUES = ("load", "compute", "store")


def disassemble(program: bytes) -> dict[str, Any]:
    """Return header and streams as plain values: every field of every instruction.

    Raises
    ------
    ProgramError
        If the program is damaged.
    """
    streams = decode_program(program)
    size = isa().instruction_bytes
    result: dict[str, Any] = {"header": streams.header}
    for queue in QUEUES:
        offset = streams.header[f"{queue}_offset"]
        result[queue] = [
            {"position": offset + index * size, "instruction": name, **fields}
            for index, (name, fields) in enumerate(getattr(streams, queue))
        ]
    return result


def listing(program: bytes, manifest: Manifest) -> Iterator[str]:
    """Yield a program's lines: its header, then each stream.

    Raises
    ------
    ProgramError
        If the program is damaged.
    """
    content = disassemble(program)
    header = content["header"]
    yield (
        f"program for {manifest.config}, build {header['build_id']:#010x}, "
        f"instruction set {header['version']}, {len(program)} bytes"
    )
    for layer in manifest.layers:
        if layer.codes:
            most = 16 if layer.axis == "channel" else layer.kernel[0] * layer.kernel[1]
            codes = f"{len(layer.codes)} of {most} {layer.axis}-axis codes"
            product = "activations times weights"
            if layer.domain == "codes":
                product = "projections times alphas"
            yield f"{layer.name} ({layer.kind}): {codes}, {product}"
        if layer.groups > 1:
            macs = manifest.parameters["T_P"] * manifest.parameters["T_C"]
            yield (
                f"{layer.name} ({layer.kind}): {layer.groups} groups as block-diagonal weights, "
                f"{layer.macs / (layer.steps * macs):.1%} of what the array multiplies for it"
            )
    for queue in QUEUES:
        yield ""
        yield f"{queue}: {header[f'{queue}_count']} instructions at {header[f'{queue}_offset']:#x}"
        for line in content[queue]:
            yield f"  {line['position']:#08x}  {_line(line, manifest)}"


def _line(f: dict[str, Any], manifest: Manifest) -> str:
    name = f["instruction"]
    if name == "LOAD":
        return _load(f)
    if name == "STORE":
        return f"STORE   act {_view(f, 'src')} -> {_address(f)}, {f['words']} words" + _tokens(
            f["wait"], f["signal"]
        )
    if name == "MARK":
        stages = {1 << number: stage for stage, number in isa().stages.items()}
        text = ", ".join(s.lower() for bit, s in stages.items() if f["stages"] & bit)
        return f"MARK    {f['id']} in {text} ({_mark_meaning(f['id'], manifest)})"
    if name == "CODES":
        codes = [f["list"] >> 6 * i & 63 for i in range(16)]
        users = [name.lower() for name, bit in isa().stages.items() if f["stages"] >> bit & 1]
        return f"CODES   {16 * f['page']}.. of {', '.join(users)}: {' '.join(map(str, codes))}"
    if name == "RESIDUAL":
        return (
            f"RESIDUAL {f['res_blocks']} blocks of {f['res_h']}x{f['res_w']} (row {f['res_row']}, "
            f"block {f['res_block']}"
            + (f", shift {f['res_shift']}" if f["res_shift"] else "")
            + f"), times {f['res_scale']} << {f['res_lift']}"
        )
    return _compute(f)


def _address(f: dict[str, Any]) -> str:
    bases = {number: base.lower() for base, number in isa().bases.items()}
    return f"{bases[f['base']]}+{f['offset']:#x}"


def _view(f: dict[str, Any], prefix: str) -> str:
    text = f"{f[f'{prefix}_base']} (row {f[f'{prefix}_row']}, block {f[f'{prefix}_block']}"
    for key in ("shift", "bank"):
        if f[f"{prefix}_{key}"]:
            text += f", {key} {f[f'{prefix}_{key}']}"
    return text + ")"


def _tokens(wait: int, signal: int) -> str:
    parts = [f"wait {', '.join(names(wait))}"] if wait else []
    parts += [f"signal {', '.join(names(signal))}"] if signal else []
    return f" | {'; '.join(parts)}" if parts else ""


def _load(f: dict[str, Any]) -> str:
    memories = {number: memory.lower() for memory, number in isa().memories.items()}
    memory = memories[f["memory"]]
    if memory == "act":
        where = f"act {_view(f, 'dst')}, rows of {f['width']}"
    else:
        where = f"{memory} {f['dst_base']}"
    return f"LOAD    {_address(f)}, {f['words']} words -> {where}" + _tokens(f["wait"], f["signal"])


def _compute(f: dict[str, Any]) -> str:
    axis = "channel" if f["channel"] else "kernel"
    weights = "dense weights" if f["dense"] else f"{f['codes']} {axis}-axis codes"
    kernel = f"{f['kernel_h']}x{f['kernel_w']} kernel"
    blocks, mac = "blocks", ""
    if f["project"]:
        weights = f"alphas of {weights}"
        mac = f"{f['codes']} {axis}-axis projections of "
        if f["channel"]:
            blocks = f"times {16 // f['codes']} blocks"
        else:
            kernel = f"{f['kernel_h']}x{f['kernel_h']} kernel"
            mac += f"{f['read_rows']} rows of "
    lines = [
        f"COMPUTE {f['filters']} filters, {f['pixels']} pixels from ({f['out_y']}, {f['out_x']}) "
        f"of {f['out_w']} columns, {f['blocks']} blocks, {f['groups']} groups of PEs"
        + (", all into one sum" if f["row0"] else "")
        + ("" if f["reduce_first"] else ", sums go on")
        + ("" if f["reduce_last"] else ", sums not complete"),
        f"wgen: {weights} from alpha {f['alpha_addr']}, {kernel}, "
        f"chunks of {f['chunk_blocks']} {blocks} x {f['chunk_taps']} taps",
        f"mac:  {mac}act {_view(f, 'src')}, {f['in_h']}x{f['in_w']}, stride {f['stride_h']},"
        f"{f['stride_w']}, padding {f['pad_top']},{f['pad_left']}",
    ]
    if f["reduce_last"]:
        lines.append(
            f"post: param {f['param_addr']}, shift {f['scale_shift']}, "
            f"clamp {f['clamp_lo']}..{f['clamp_hi']}, {f['dst_groups']} groups from lane group "
            f"{f['dst_lane']} -> act {_view(f, 'dst')}"
        )
        if f["residual"]:
            lines[-1] += f", + act {f['res_base']} from block {f['res_block_first']}"
        if f["pool_kernel"]:
            lines[-1] += (
                f", max pool {f['pool_kernel']}/{f['pool_stride']}, padding {f['pool_pad']}, "
                f"to {f['pool_h']}x{f['pool_w']}"
            )
    for index, stage in enumerate(("wgen", "mac", "post")):
        if index + 1 < len(lines):
            lines[index + 1] += _tokens(f[f"{stage}_wait"], f[f"{stage}_signal"])
    return ("\n" + " " * 20).join(lines)


def _mark_meaning(number: int, manifest: Manifest) -> str:
    if number == 2 * len(manifest.layers):
        return "all computed"
    if number // 2 >= len(manifest.layers):
        return "no layer"
    return f"{'end' if number % 2 else 'begin'} of {manifest.layers[number // 2].name}"
