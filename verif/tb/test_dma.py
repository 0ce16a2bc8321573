# SPDX-License-Identifier: Apache-2.0
"""Tests of the DMAs and their AXI channels (``tb_dma``); see ``docs/spec.md`` for DMA contracts.

The classes named ``Twin...`` are negative twins: each plants one fault on the testbench's side and
passes only if the right checker finds it.
"""

import random
from dataclasses import replace
from itertools import pairwise

import cocotb
import pyuvm
from cocotb.triggers import ClockCycles, RisingEdge
from pyuvm import uvm_test

from verif.agents.axi import DECERR, OKAY, SLVERR, AxiBehaviour
from verif.env.dma_env import DmaEnv, DmaOptions
from verif.env.dma_model import ACT, ALPHA, PARAM, Transfer
from verif.env.errors import (
    Leftover,
    Mismatch,
    NotCovered,
    ProtocolError,
    SawNothing,
    TimingError,
    Unexpected,
)
from verif.env.seeds import LEAST, SEED, SEEDS, run_seeds
from verif.seqs.dma import (
    DmaSequence,
    RandomTransfers,
    in_runs,
    plain_view,
    random_load,
    random_view,
)

TIMEOUT = {"timeout_time": 1000, "timeout_unit": "us"}


class DmaTest(uvm_test):
    """Base: builds the environment, resets, runs `stimulate`, waits for the end."""

    def build_phase(self) -> None:
        """Create the environment."""
        self.rng = random.Random(f"{SEED} {type(self).__name__}")
        self.env = DmaEnv("env", self)
        self.env.options = self.choose_options()
        self.env.rng = self.rng

    def choose_options(self) -> DmaOptions:
        """Return the environment's options."""
        return DmaOptions()

    def random_options(self, least: int) -> DmaOptions:
        """Return options that stall differently with every seed."""
        choose = self.rng.choice
        axi = AxiBehaviour(
            pause=choose([0.0, 0.2, 0.6]),
            latency=choose([(0, 0), (0, 30), (20, 20)]),
            interleave=choose([True, False]),
        )
        return DmaOptions(choose([0.0, 0.5]), choose([0.0, 0.3, 0.7]), axi, least=least)

    def transfers(self, page: int | None = None) -> RandomTransfers:
        """Return a source of random transfers, from a page on or anywhere in the address space."""
        pages = 1 << (self.env.parameters.AXI_ADDR_W - 12)
        if page is None:
            page = self.rng.choice([5, self.rng.randrange(pages // 2), pages // 2 + 8, pages - 64])
        return RandomTransfers(self.rng, self.env.parameters, page)

    async def stimulate(self, page: int | None = None) -> None:
        """Run a few transfers of every kind."""
        t = self.transfers(page)
        stores = t.stores(2)
        self.env.set_windows(*t.windows(stores))
        await DmaSequence(self.env, self.rng, t.loads(4), stores, t.fetches(3)).start()

    async def run_phase(self) -> None:
        """Reset, run, drain."""
        self.raise_objection()
        await self.env.start()
        self.logger.info("SEED=%s %s", SEED, self.env.parameters)
        await self.stimulate()
        await self.env.drain()
        self.finish()
        self.drop_objection()

    def finish(self) -> None:
        """Check what concerns the whole run."""
        if any(self.env.events.values()):
            raise ProtocolError(f"error ports: {self.env.events}")


@pyuvm.test(timeout_time=400 * SEEDS, timeout_unit="us")
class Transfers(DmaTest):
    """Random loads, stores and fetches at the same time, any stalls, latencies, read orders.

    Each seed has its own transfers, stalls and DRAM, and a reset in front of it.
    """

    def choose_options(self) -> DmaOptions:
        """Refuse a run that moved too little."""
        return DmaOptions(least=20 * SEEDS)

    async def stimulate(self) -> None:
        """Run every seed's transfers to their end."""
        await run_seeds("Transfers", self.one_seed)

    async def one_seed(self, rng: random.Random) -> int:
        """Reset, run transfers in the lowest, the highest or any pages; return what was moved."""
        env, before = self.env, self.env.items
        self.rng = rng
        env.reseed(rng, self.random_options(least=1))
        await env.reset()
        pages = 1 << (env.parameters.AXI_ADDR_W - 12)
        t = self.transfers(rng.choice([0, pages - 64, None]))
        loads, stores, fetches = t.loads(rng.randint(4, 8)), t.stores(3), t.fetches(8)
        while sum(transfer.words for transfer in loads + stores) < LEAST:
            loads += t.loads(1)
        env.set_windows(*t.windows(stores))
        await DmaSequence(env, rng, loads, stores, fetches).start()
        await env.drain()
        env.check_image()
        if {load.memory for load in loads} != {ACT, ALPHA, PARAM}:
            raise NotCovered("a memory was not loaded")
        if len({identifier for identifier, _, _ in env.axi.record.reads}) != 2:
            raise NotCovered("only one read ID")
        return env.items - before


@pyuvm.test(**TIMEOUT)
class SmallTransfers(DmaTest):
    """Transfers of one and two words, at every place in a 4 KB page's last beats."""

    def choose_options(self) -> DmaOptions:
        """Stall differently with every seed."""
        return self.random_options(least=10)

    async def stimulate(self) -> None:
        """Run them."""
        t, p = self.transfers(page=5), self.env.parameters
        loads, stores = [], []
        for memory in (ACT, ALPHA, PARAM, ACT):
            for words in (1, 2, 3):
                for back in (64, 128):
                    address = 6 * 4096 - back
                    loads.append(random_load(self.rng, p, memory, words, address))
        self.rng.shuffle(loads)
        for k, words in enumerate((1, 2, 3, 1, 5, 9)):
            address = (20 + k) * 4096 + 64 * k
            stores.append(Transfer(address, words, ACT, random_view(self.rng, p, words, True)))
        self.env.set_windows(*t.windows(stores))
        await DmaSequence(self.env, self.rng, loads, stores).start()


@pyuvm.test(**TIMEOUT)
class Runs(DmaTest):
    """Pieces of larger tensors: runs that end within a beat or cross a page: DMA-001, DMA-002."""

    def choose_options(self) -> DmaOptions:
        """Stall differently with every seed."""
        return self.random_options(least=40)

    async def stimulate(self) -> None:
        """Load and store stripes of tensors, and runs of every memory."""
        env, p = self.env, self.env.parameters
        t = self.transfers(page=self.rng.choice([5, 1 << 20]))
        loads = [self.stripe(t.page * 4096, 3), self.stripe((t.page + 2) * 4096 - 256, 5)]
        single = random_load(self.rng, p, ACT, 9, t.page * 4096)
        loads.append(replace(single, run=3, pitch=512))
        for memory in (ALPHA, PARAM, ACT, PARAM, ALPHA):
            words = {ALPHA: 24, ACT: 48, PARAM: 12}[memory]
            load = random_load(self.rng, p, memory, words, t.page * 4096 + 64 * len(loads))
            loads.append(in_runs(self.rng, p, load))
        self.rng.shuffle(loads)
        first = (t.page + t.READ_PAGES + 1) * 4096
        stores = [self.stripe(first, 3), self.stripe(first + 16 * 4096 - 192, 7)]
        self.env.set_windows(*t.windows(stores))
        await DmaSequence(env, self.rng, loads, stores, t.fetches(2)).start()
        await env.drain()
        partial = [s for s in (*loads, *stores) if s.run * p.word_bytes(s.memory) % p.beat_bytes]
        if p.beat_bytes > p.word_bytes(ACT) and not partial:
            raise NotCovered("every run fills its last beat")

    def stripe(self, address: int, width: int) -> Transfer:
        """Return two rows of each of three channel blocks of a tensor with 40 rows."""
        p = self.env.parameters
        size = p.word_bytes(ACT)
        view = random_view(self.rng, p, 6 * width, False)
        view = replace(view, width=width, rows=2, row=2 * width, block=4 * width + 3, base=1)
        pitch = -(-40 * width * size // 64) * 64
        return Transfer(address, 6 * width, ACT, view, 2 * width, pitch)


@pyuvm.test(**TIMEOUT)
class FullBuffers(DmaTest):
    """With the memories stalled, no more is read than there is space for; nothing is lost."""

    def choose_options(self) -> DmaOptions:
        """Stall for good at first."""
        return DmaOptions(stall=1.0)

    async def stimulate(self) -> None:
        """Load and store more than fits, look at what was asked for, then let it go on."""
        env, p = self.env, self.env.parameters
        t = self.transfers()
        words = 3 * p.BURST_LEN * p.OUTSTANDING * p.beat_bytes // p.word_bytes(ACT)
        words = min(words, p.ACT_BANKS * p.ACT_DEPTH // 2)
        load = Transfer(t.page * 4096, words, ACT, random_view(self.rng, p, words, True))
        stores = t.stores(1)
        env.set_windows(*t.windows(stores))
        sequence = DmaSequence(env, self.rng, [load, *t.loads(2)], stores)
        task = cocotb.start_soon(sequence.start())
        await ClockCycles(cocotb.top.clk_i, 400)
        # Out of the buffer: a word being put together, and two that wait for the memory.
        asked = sum(beats for _, _, beats in env.axi.record.reads)
        word, beat = p.word_bytes(ACT), p.beat_bytes
        space = p.BURST_LEN * p.OUTSTANDING + max(1, word // beat) + 2 * word // beat
        if not space - p.BURST_LEN < asked <= space:
            raise ProtocolError(f"{asked} beats asked for, space for {space}")
        if env.loaded or env.stored:
            raise ProtocolError("a stalled memory was accessed")
        env.act_agent.sink.stall = 0.2
        env.act.stall = 0.2
        await task


@pyuvm.test(**TIMEOUT)
class Throughput(DmaTest):
    """Unstalled, a word or a beat a cycle, whichever is less: DMA-008."""

    async def stimulate(self) -> None:
        """Run one long load of each memory and one long store; look at the distances."""
        env, p = self.env, self.env.parameters
        t = self.transfers()
        places = {ACT: p.ACT_BANKS * p.ACT_DEPTH // 2, ALPHA: p.ALPHA_DEPTH, PARAM: p.PARAM_DEPTH}
        for memory in (ACT, ALPHA, PARAM):
            words = min(places[memory], 200)
            view = random_view(self.rng, p, words, True) if memory == ACT else plain_view(0)
            first = env.loaded
            await DmaSequence(env, self.rng, [Transfer(t.page * 4096, words, memory, view)]).start()
            await env.drain()
            beats = words * p.word_bytes(memory) // p.beat_bytes
            self.check(f"load of memory {memory}", env.write_cycles[first:], max(words, beats))
        stores = [Transfer(t.page * 4096, 200, ACT, random_view(self.rng, p, 200, True))]
        await DmaSequence(env, self.rng, [], stores).start()
        await env.drain()
        beats = -(-200 * p.word_bytes(ACT) // p.beat_bytes)
        # The next burst is asked for when the last beat of this one goes: two cycles a burst.
        bursts = len(env.axi.record.writes)
        self.check("store", env.arrived_cycles, max(200, beats) + 2 * bursts)

    @staticmethod
    def check(what: str, cycles: list[int], limit: int) -> None:
        """Refuse more cycles from first to last than the limit, and a margin for the pipeline."""
        taken = cycles[-1] - cycles[0] + 1
        if taken > limit + 8:
            gaps = [(k, b - a) for k, (a, b) in enumerate(pairwise(cycles)) if b - a > 1]
            raise TimingError(f"{what}: {taken} cycles, at most {limit} expected; gaps {gaps[:5]}")


class WindowTest(DmaTest):
    """Base of the error tests: jobs stop half-way, then a soft reset, then all works again."""

    error = ""

    async def stimulate(self) -> None:
        """Provoke the error several times; each time reset and run transfers."""
        env = self.env
        for k in range(4):
            before = dict(env.events)
            t = self.transfers(page=40 * k + 3)
            await self.provoke(t, k)
            for _ in range(6000):
                await RisingEdge(cocotb.top.clk_i)
                if env.events[self.error] > before[self.error]:
                    break
            else:
                raise NotCovered(f"no {self.error} error")
            await ClockCycles(cocotb.top.clk_i, self.rng.randint(0, 40))
            others = {e for e in env.events if env.events[e] > before[e]} - {self.error}
            if others:
                raise ProtocolError(f"other errors: {others}")
            env.tolerant = True
            await env.soft_reset()
            env.check_image(partial=True)
            await super().stimulate(page=40 * k + 23)
            await env.drain()
            env.check_image()
            env.tolerant = False
        env.events = dict.fromkeys(env.events, 0)

    async def provoke(self, t: RandomTransfers, k: int) -> None:
        """Start what leads to the error."""
        raise NotImplementedError

    def choose_options(self) -> DmaOptions:
        """Stall differently with every seed."""
        return self.random_options(least=2)


@pyuvm.test(**TIMEOUT)
class LoadWindow(WindowTest):
    """A load that leaves the read window by a byte is not issued from there on: DMA-006."""

    error = "load_window"

    async def provoke(self, t: RandomTransfers, k: int) -> None:
        """End the window before the last beat, start it after the first, wrap the address."""
        env, p = self.env, self.env.parameters
        address, words = t.page * 4096 + 512, 100
        size = words * p.word_bytes(ACT)
        window = (address, address + size - 1)
        if k == 0:
            window = (window[0], window[1] - 1)
        elif k == 1:
            window = (window[0] + 1, window[1])
        elif k == 2:  # the address space ends within the load
            address = (1 << p.AXI_ADDR_W) - 256
            window = (0, (1 << p.AXI_ADDR_W) - 1)
        else:  # base plus offset left the address space
            address = 1 << p.AXI_ADDR_W
            window = (0, (1 << p.AXI_ADDR_W) - 1)
        env.set_windows(window, (0, 0))
        load = Transfer(address, words, ACT, random_view(self.rng, p, words, True))
        await DmaSequence(env, self.rng, [load]).start()


@pyuvm.test(**TIMEOUT)
class FetchWindow(WindowTest):
    """A fetch outside the read window is not issued: DMA-006."""

    error = "fetch_window"

    async def provoke(self, t: RandomTransfers, k: int) -> None:
        """Offer a fetch that begins before, ends behind or lies outside the window."""
        env, p = self.env, self.env.parameters
        address = t.page * 4096
        beats = max(1, 64 // p.beat_bytes)
        size = beats * p.beat_bytes
        windows = [
            (address + 1, address + size),
            (address, address + size - 2),
            (address + 4096, address + 8192),
            (address - 4096, address - 1),
        ]
        env.set_windows(windows[k], (0, 0))
        dut = cocotb.top
        # Offered without the driver: nobody takes it, the soft reset ends it.
        dut.fetch_addr_i.value = address
        dut.fetch_beats_i.value = beats
        dut.fetch_offset_i.value = self.rng.getrandbits(32)
        dut.fetch_valid_i.value = 1
        await ClockCycles(dut.clk_i, 30)
        if env.axi.record.reads and env.axi.record.reads[-1][1] == address:
            raise ProtocolError("a fetch outside the window was issued")


@pyuvm.test(**TIMEOUT)
class StoreWindow(WindowTest):
    """A store that leaves the write window by a byte is not issued from there on: DMA-006."""

    error = "write_window"

    async def provoke(self, t: RandomTransfers, k: int) -> None:
        """End the window before the last beat, start it after the first, wrap the address."""
        env, p = self.env, self.env.parameters
        words = 60
        store = Transfer(t.page * 4096 + 512, words, ACT, random_view(self.rng, p, words, True))
        window = (store.address, store.beats(p)[-1] + p.beat_bytes - 1)
        top = (1 << p.AXI_ADDR_W) - 1
        if k == 0:
            window = (window[0], window[1] - 1)
        elif k == 1:
            window = (window[0] + 1, window[1])
        elif k == 2:
            store, window = replace(store, address=top + 1 - 128), (0, top)
        else:
            store, window = replace(store, address=top + 1), (0, top)
        env.set_windows((0, 0), window)
        await DmaSequence(env, self.rng, [], [store]).start()


class ReadResponses(WindowTest):
    """Base: SLVERR and DECERR on a read."""

    async def provoke(self, t: RandomTransfers, k: int) -> None:
        """Answer one beat with an error."""
        env, p = self.env, self.env.parameters
        address = t.page * 4096
        bad = address + p.beat_bytes * self.rng.randrange(8)
        response = SLVERR if k % 2 else DECERR
        env.options.axi.read_response = lambda a: response if a == bad else OKAY
        env.set_windows((0, (1 << p.AXI_ADDR_W) - 1), (0, 0))
        await self.run(address)
        await ClockCycles(cocotb.top.clk_i, 200)
        env.options.axi.read_response = lambda a: OKAY

    async def run(self, address: int) -> None:
        """Read at least eight beats from an address on."""
        raise NotImplementedError


@pyuvm.test(**TIMEOUT)
class LoadResponses(ReadResponses):
    """SLVERR and DECERR on a load's read show on its error port: DMA-007."""

    error = "load_response"

    async def run(self, address: int) -> None:
        """Load."""
        p = self.env.parameters
        words = 8 * p.beat_bytes // p.word_bytes(ACT) + 1
        load = Transfer(address, words, ACT, random_view(self.rng, p, words, True))
        await DmaSequence(self.env, self.rng, [load]).start()


@pyuvm.test(**TIMEOUT)
class FetchResponses(ReadResponses):
    """SLVERR and DECERR on a fetch show on its error port: DMA-007."""

    error = "fetch_response"

    async def run(self, address: int) -> None:
        """Fetch."""
        await DmaSequence(self.env, self.rng, [], [], [(address, 8)]).start()


@pyuvm.test(**TIMEOUT)
class WriteResponses(WindowTest):
    """SLVERR and DECERR on a write show on the error port: DMA-007."""

    error = "write_response"

    async def provoke(self, t: RandomTransfers, k: int) -> None:
        """Answer a store's bursts with an error."""
        env, p = self.env, self.env.parameters
        response = SLVERR if k % 2 else DECERR
        env.options.axi.write_response = lambda a: response
        env.set_windows((0, 0), (0, (1 << p.AXI_ADDR_W) - 1))
        stores = t.stores(1)
        await DmaSequence(env, self.rng, [], stores).start()
        await env.drain()
        env.options.axi.write_response = lambda a: OKAY


@pyuvm.test(**TIMEOUT)
class SoftReset(DmaTest):
    """A soft reset at any time loses nothing that is owed and leaves nothing behind."""

    def choose_options(self) -> DmaOptions:
        """Stall differently with every seed."""
        return self.random_options(least=2)

    async def stimulate(self) -> None:
        """Six times: start transfers, reset after a random number of cycles. Then run some."""
        env = self.env
        env.tolerant = True
        cut = 0
        for k in range(6):
            t = self.transfers(page=40 * k + 3)
            stores = t.stores(1, words=100)
            env.set_windows(*t.windows(stores))
            await DmaSequence(env, self.rng, t.loads(2), stores, t.fetches(2)).start()
            await ClockCycles(cocotb.top.clk_i, self.rng.randint(1, 60))
            cut += bool(env._load_left or env._store_left)
            await env.soft_reset()
            if env.axi.record.read_beats != sum(b for _, _, b in env.axi.record.reads):
                raise ProtocolError("idle although read data is owed")
            if env.axi.record.write_answers != len(env.axi.record.writes):
                raise ProtocolError("idle although a write answer is owed")
            env.check_image(partial=True)
        if not cut:
            raise NotCovered("every transfer had ended before its reset")
        env.tolerant = False
        await super().stimulate(page=400)


# --------------------------------------------------------------------------------------------------
# Negative twins
# --------------------------------------------------------------------------------------------------


def nth(channel: str, n: int, change):
    """Return a `DmaOptions.tamper` that changes the payload of item n of an AXI channel."""
    seen = -1

    def tamper(name: str, payload: dict[str, int]) -> dict[str, int]:
        nonlocal seen
        if name != channel:
            return payload
        seen += 1
        return payload | change(payload) if seen == n else payload

    return tamper


def word_changed(**changes):
    """Return a `DmaOptions.tamper_write` that flips bit 0 of fields of word 9."""
    seen = -1

    def tamper(write):
        nonlocal seen
        seen += 1
        if seen != 9:
            return write
        return replace(write, **{name: getattr(write, name) ^ 1 for name in changes})

    return tamper


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinLoadData(DmaTest):
    """A bit of a loaded word is seen wrong."""

    def choose_options(self) -> DmaOptions:
        """Flip it."""
        return DmaOptions(tamper_write=word_changed(data=1))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinLoadPlace(DmaTest):
    """The entry of a loaded word is seen wrong."""

    def choose_options(self) -> DmaOptions:
        """Flip its lowest bit."""
        return DmaOptions(tamper_write=word_changed(entry=1))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinDram(DmaTest):
    """A stored byte is wrong in DRAM."""

    async def stimulate(self) -> None:
        """Change one after the stores."""
        await super().stimulate()
        await self.env.drain()
        address = self.rng.choice(list(self.env.write_image))
        self.env.dram.write(address, ~self.env.dram.read(address, 1)[0], 1, 1)


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinGuard(DmaTest):
    """A byte next to a store's last one is overwritten in DRAM."""

    async def stimulate(self) -> None:
        """Change the first byte behind the last store."""
        await super().stimulate()
        await self.env.drain()
        address = max(self.env.write_image) + 1
        self.env.dram.write(address, ~self.env.dram.read(address, 1)[0], 1, 1)


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinGap(Runs):
    """A byte between two runs of a store is overwritten in DRAM."""

    async def stimulate(self) -> None:
        """Change the byte behind the end of the first run."""
        await super().stimulate()
        address = min(a for a in self.env.write_image if a + 1 not in self.env.write_image) + 1
        self.env.dram.write(address, ~self.env.dram.read(address, 1)[0], 1, 1)


class TwinJob(Runs):
    """Base: the model is given another job than the core."""

    def change(self, transfer: Transfer) -> Transfer:
        """Return what the model sees."""
        raise NotImplementedError

    async def stimulate(self) -> None:
        """Change every job behind the monitor's back."""
        seen = self.env._transfer
        self.env._transfer = lambda payload, memory: self.change(seen(payload, memory))
        await super().stimulate()


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinPitch(TwinJob):
    """Runs are further apart than they are read or written."""

    def change(self, transfer: Transfer) -> Transfer:
        """Move them."""
        return replace(transfer, pitch=transfer.pitch + 64)


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinRun(TwinJob):
    """A job that has runs is seen as one run."""

    def change(self, transfer: Transfer) -> Transfer:
        """Forget them."""
        return replace(transfer, run=0)


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinOffset(LoadWindow):
    """A burst outside the window is said to be another instruction's."""

    async def stimulate(self) -> None:
        """See all offsets wrong."""
        seen = self.env._check_offset
        self.env._check_offset = lambda error, offset, due: seen(error, offset ^ 64, due)
        await super().stimulate()


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinStoreData(DmaTest):
    """The activation memory answers the store with a wrong bit."""

    async def stimulate(self) -> None:
        """Flip it in every answer."""
        self.env.act.flip = 1
        await super().stimulate()


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinBorder(DmaTest):
    """A read burst is seen to cross a 4 KB border."""

    def choose_options(self) -> DmaOptions:
        """Let the first burst begin in the last beat of its page, with two beats."""
        bytes_per_beat = 8

        def change(payload):
            return {"addr": payload["addr"] | (4096 - bytes_per_beat), "len": 1}

        return DmaOptions(tamper=nth("ar", 0, change))


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinWindow(DmaTest):
    """A read burst is seen outside the window."""

    def choose_options(self) -> DmaOptions:
        """Move it up by 1 MB."""
        return DmaOptions(tamper=nth("ar", 1, lambda p: {"addr": p["addr"] + (1 << 20)}))


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinLast(DmaTest):
    """wlast is seen on the wrong beat."""

    def choose_options(self) -> DmaOptions:
        """Flip it in beat 0 of the stores."""
        return DmaOptions(tamper=nth("w", 0, lambda p: {"last": p["last"] ^ 1}))


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinLongBurst(DmaTest):
    """A write burst is seen longer than the build allows."""

    def choose_options(self) -> DmaOptions:
        """Let it begin its page, with 256 beats."""
        return DmaOptions(tamper=nth("aw", 0, lambda p: {"addr": p["addr"] & ~4095, "len": 255}))


@pyuvm.test(expect_error=Unexpected, **TIMEOUT)
class TwinUnaskedFetch(DmaTest):
    """A beat of instructions comes that was not asked for."""

    async def stimulate(self) -> None:
        """Report one."""
        await super().stimulate()
        await self.env.drain()
        self.env.fetches.write(0)


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinLostJob(DmaTest):
    """A load's end is never seen: the test cannot drain."""

    async def stimulate(self) -> None:
        """Expect one more load than there is."""
        await super().stimulate()
        self.env._load_left.append(1)


@pyuvm.test(expect_error=SawNothing, **TIMEOUT)
class TwinNothing(DmaTest):
    """No transfer at all."""

    async def stimulate(self) -> None:
        """Do nothing."""


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinHalt(DmaTest):
    """Halt is seen although bursts go on being issued."""

    async def stimulate(self) -> None:
        """Report halt as set."""
        seen = self.env._status
        monitor = self.env.status_monitor
        monitor._callbacks = [lambda item: seen(type(item)(item.payload | {"halt": 1}, item.cycle))]
        await super().stimulate()


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinSlow(Throughput):
    """Pauses in the throughput test."""

    def choose_options(self) -> DmaOptions:
        """Pause."""
        return DmaOptions(axi=AxiBehaviour(pause=0.3))
