# SPDX-License-Identifier: Apache-2.0
"""Run programs of LOADs and STORES on ``tb_unzip`` and note what they moved, in how many cycles.

The environment variable ``UNZIP_RUN`` names a JSON file with what to run (see
`unzipfpga.bench.memory`).
"""

import json
import os
from fractions import Fraction
from pathlib import Path

import cocotb

from verif.host import IMAGE_FILE, Host, MemoryTiming, write_image


@cocotb.test()
async def run_memory(dut) -> None:  # type: ignore[no-untyped-def]
    """Run every program; whether it was fast enough is for the caller to say."""
    job = json.loads(Path(os.environ["UNZIP_RUN"]).read_text(encoding="utf-8"))
    host = Host(dut)
    results = []
    for program in job["programs"]:
        await host.reset(MemoryTiming(Fraction(job["rate"]), job["latency"]))
        write_image(Path(IMAGE_FILE), bytes.fromhex(program), job["bus_bits"])
        await host.load_memory()
        last = job["memory_bytes"] - 1
        await host.set_addresses(job["bases"], (0, last), (job["bases"]["OUTPUT"], last))
        run = await host.run(job["max_cycles"])
        host.check_memory()
        assert run.done, f"stopped on an error: {run}"
        results.append([run.counters[k] for k in ("CYCLES", "BYTES_READ", "BYTES_WRITTEN")])
    Path(job["result_file"]).write_text(json.dumps(results), encoding="utf-8")
