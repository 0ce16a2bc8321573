# SPDX-License-Identifier: Apache-2.0
"""What a network run cost, per layer: from the marks in the trace buffer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unzipfpga.compiler import Manifest
from unzipfpga.errors import UnzipError
from unzipfpga.ovsf import CHANNEL_LENGTH


@dataclass(frozen=True)
class LayerCost:
    """One layer of one image.

    Attributes
    ----------
    name : str
    codes : str
        "4/9" for 4 codes of 9 taps, "8/16" for 8 channel-axis codes, or "dense".
    macs : int
        Multiplications of the layer's definition.
    cycles : int
        From the end of the layer before (the start, for the first) to the layer's last output.
    steps : int
        Cycles in which the array computed.
    utilisation : float
        macs / (cycles * T_P * T_C).
    wait_weights, wait_loads, wait_post : int
        Cycles in which the MAC stage had no weights, no activations, no free accumulators.
    bytes_read, bytes_written : int
        Bytes that came from and went to DRAM meanwhile, prefetches for later layers and
        instructions included.
    domain : str
        "weights" or "codes": what the PEs multiply.
    """

    name: str
    codes: str
    macs: int
    cycles: int
    steps: int
    utilisation: float
    wait_weights: int
    wait_loads: int
    wait_post: int
    bytes_read: int
    bytes_written: int
    domain: str = "weights"


def layer_costs(manifest: Manifest, marks: Sequence[dict[str, Any]]) -> list[LayerCost]:
    """Return the cost of each layer of one image.

    A layer counts from the end of the one before, so that the layers' cycles add up: one that
    starts while the one before still drains is not counted twice.

    Parameters
    ----------
    manifest : Manifest
    marks : list of dict
        The trace buffer: `stage`, `id` and the counters.

    Raises
    ------
    UnzipError
        If a mark is missing: TRACE_DEPTH is too small for the network.
    """
    found = {mark["id"]: mark for mark in marks}
    macs_per_cycle = manifest.parameters["T_P"] * manifest.parameters["T_C"]
    counted = (
        *("cycles", "mac_active", "wait_weights", "wait_loads", "wait_post"),
        *("bytes_read", "bytes_written"),
    )
    before = dict.fromkeys(counted, 0)
    costs = []
    for layer in manifest.layers:
        if layer.marks[1] not in found:
            raise UnzipError(
                f"layer {layer.name}: its mark is not in the trace buffer of "
                f"{manifest.parameters['TRACE_DEPTH']} entries (TRACE_DEPTH); it holds {len(marks)}"
            )
        end = found[layer.marks[1]]
        spent = {key: end[key] - before[key] for key in counted}
        before = {key: end[key] for key in counted}
        taps = layer.kernel[0] * layer.kernel[1]
        most = CHANNEL_LENGTH if layer.axis == "channel" else taps
        costs.append(
            LayerCost(
                name=layer.name,
                codes=f"{len(layer.codes)}/{most}" if layer.codes else "dense",
                macs=layer.macs,
                steps=spent.pop("mac_active"),
                utilisation=layer.macs / (spent["cycles"] * macs_per_cycle),
                domain=layer.domain,
                **spent,
            )
        )
    return costs
