"""One node of a graph as a job of its own: read it, run it, leave word of how it went."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import sys
from pathlib import Path
from traceback import format_exception
from typing import Any

NODE, RESULT = ".node.pickle", ".result.json"
"""Endings of the files of a job, which are called by its number."""


def write_starter(folder: Path) -> Path:
    """Write what SLURM starts with the number of a job, and return its place.

    The job runs this very Python, with the search path of this process.
    """
    starter, script = folder / "start.py", folder / "job.sh"
    paths = [os.path.realpath(path or ".") for path in sys.path]
    starter.write_text(
        f"import sys\nsys.path[:] = {paths!r}\n"
        "from pipeline.execution.node_job import run_job\n"
        "sys.exit(run_job(__file__, sys.argv[1]))\n",
        encoding="utf-8",
    )
    command = shlex.join([sys.executable, str(starter)])
    script.write_text(f'#!/bin/sh\nexec {command} "$1"\n', encoding="utf-8")
    return script


def write_job(folder: Path, number: int, node: Any, updatehash: bool) -> None:
    """Hand a node over."""
    path = folder / f"{number}{NODE}"
    path.write_bytes(pickle.dumps((node, updatehash)))


def read_result(folder: Path, number: int) -> str | None:
    """The traceback of a job, empty where all went well; None where it left no word."""
    path = folder / f"{number}{RESULT}"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["traceback"])
    except FileNotFoundError:
        return None


def run_job(starter: str, number: str) -> int:
    """What a job does; the exit code, which is for SLURM's books alone."""
    folder = Path(starter).parent
    result = folder / f"{number}{RESULT}"
    try:
        trace = _run(folder / f"{number}{NODE}")
    except BaseException as error:  # noqa: BLE001  whatever it is, the driver tells of it
        trace = "".join(format_exception(error))
    partial = result.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"traceback": trace}), encoding="utf-8")
    partial.replace(result)
    return 1 if trace else 0


def _run(path: Path) -> str:
    from nipype import config as nipype_config
    from nipype.pipeline.plugins.multiproc import run_node

    node, updatehash = pickle.loads(path.read_bytes())  # noqa: S301  written by the driver
    nipype_config.update_config(node.config)
    trace = run_node(node, updatehash, 0)["traceback"]
    return "".join(trace) if trace else ""
