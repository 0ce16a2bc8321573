# SPDX-License-Identifier: Apache-2.0
"""Run a compiled network on ``tb_unzip``: one start and one interrupt per image.

The environment variable ``UNZIP_RUN`` names a JSON file with what to run (see `unzipfpga.sim`);
the results go to the files that it names.
"""

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import cocotb

from verif.host import IMAGE_FILE, Host, MemoryTiming


@cocotb.test()
async def run_network(dut) -> None:  # type: ignore[no-untyped-def]
    """Run every image; the comparison with the golden model is the caller's."""
    job = json.loads(Path(os.environ["UNZIP_RUN"]).read_text(encoding="utf-8"))
    host = Host(dut)
    shutil.copyfile(job["image_file"], IMAGE_FILE)
    memory = job["memory"]
    timing = MemoryTiming(Fraction(memory.pop("rate")), **memory)
    await host.reset(timing, job["seed"])
    await host.load_memory()
    bases = job["bases"]
    await host.set_addresses(bases, (0, job["read_last"]), (bases["OUTPUT"], job["write_last"]))
    images, marks = [], []
    for index in range(job["images"]):
        await host.write64("INPUT_BASE", bases["INPUT"] + index * job["input_bytes"])
        output = bases["OUTPUT"] + index * job["output_bytes"]
        await host.write64("OUTPUT_BASE", output)
        # The windows are open for all images, the memory's guards for this one's tensors only.
        scratch = (bases["SCRATCH"], job["write_last"])
        last = bases["INPUT"] + (index + 1) * job["input_bytes"] - 1
        host.set_guards([(0, last), scratch], [(output, output + job["output_bytes"] - 1), scratch])
        run = await host.run(job["max_cycles"])
        host.check_memory()
        assert run.done, f"image {index}: stopped on an error: {run}"
        images.append(run.counters)
        if index == 0:
            marks = [vars(mark) for mark in await host.marks()]
        with Path(job["progress_file"]).open("a", encoding="utf-8") as progress:
            progress.write(f"{run.counters['CYCLES']}\n")
    # What was moved, by the memory's own count; instructions included.
    moved = [int(dut.memory_bytes_read_o.value), int(dut.memory_bytes_written_o.value)]
    assert moved[0] == sum(counters["BYTES_READ"] for counters in images), moved
    assert moved[1] == sum(counters["BYTES_WRITTEN"] for counters in images), moved
    size = job["images"] * job["output_bytes"]
    data = await host.dump_memory(bases["OUTPUT"], size, job["word_bytes"])
    Path(job["output_file"]).write_bytes(data)
    starved = int(dut.memory_starved_o.value)
    result = {"counters": images, "marks": marks, "starved": starved}
    Path(job["result_file"]).write_text(json.dumps(result), encoding="utf-8")
