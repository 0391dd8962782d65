"""Entry point: messages, exit codes, and which command does what."""

from __future__ import annotations

import argparse
import difflib
import errno
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pipeline.core.errors import PetbindError

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2
"""Exit codes: all done; some sessions failed; wrong use or input that cannot be run."""

_COMMANDS = {
    "run": ("pipeline.cli.commands", "run"),
    "check": ("pipeline.cli.commands", "check"),
    "graph": ("pipeline.cli.commands", "graph"),
    "status": ("pipeline.cli.status", "run"),
    "rerun": ("pipeline.cli.rerun", "run"),
    "config": ("pipeline.cli.commands", "config"),
    "submit": ("pipeline.cli.submit", "run"),
    "simulate": ("pipeline.cli.simulate", "run"),
    "demo": ("pipeline.cli.demo", "run"),
    "fit": ("pipeline.cli.fit", "run"),
    "stats": ("pipeline.cli.stats", "run"),
}
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    # before numpy is loaded: sums in a fixed order, and cores for sessions instead of threads
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    from pipeline.cli.parser import build_parser, parse

    words = list(sys.argv[1:] if arguments is None else arguments)
    args = parse(build_parser(), _with_command(words))
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("petbind").setLevel(logging.INFO)
    try:
        return _dispatch(args)
    except PetbindError as error:
        print(f"petbind: {error}", file=sys.stderr)
        return WRONG_USE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"petbind: {where}the disk is full; make room, then start again: what is done is kept",
            file=sys.stderr,
        )
        return SOME_FAILED
    except KeyboardInterrupt:
        print("petbind: stopped; what is done is kept, start again to go on", file=sys.stderr)
        return SOME_FAILED


def _with_command(words: list[str]) -> list[str]:
    """The BIDS-App form `petbind BIDS OUT LEVEL` with its command in front."""
    first = next((word for word in words if not word.startswith("-")), None)
    if first is None or first in _COMMANDS or (_meant(first) and not Path(first).exists()):
        return words
    return ["run", *words]


def _meant(word: str) -> bool:
    """Whether a word that is no command is one but for a slip; argparse then says which."""
    return bool(difflib.get_close_matches(word, _COMMANDS, n=1, cutoff=0.75))


def _dispatch(args: argparse.Namespace) -> int:
    # each command pays for its own imports only
    module, function = _COMMANDS[args.command]
    return int(getattr(import_module(module), function)(args))
