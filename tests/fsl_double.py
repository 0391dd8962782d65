"""Test doubles of FSL's programs: nothing is registered, canned results are put where FSL would.

Options and names of files are those of the usage texts that FSL's programs print. Only the
standard library is needed, so that a double starts fast.
"""

import json
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("flirt", "mcflirt", "fnirt", "convertwarp", "invwarp")


@dataclass(frozen=True)
class Call:
    """One start of a double."""

    program: str
    arguments: list[str]
    folder: str
    output_type: str
    threads: str


class FslDouble:
    """A folder of doubles for the front of the PATH."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        for program in PROGRAMS:
            script = self.folder / program
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$0" "$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def leaves(self, program, **results):
        """Files that a program puts where an option says: ``leaves("flirt", omat=path)``."""
        (self.folder / f"{program}.json").write_text(
            json.dumps({option: str(path) for option, path in results.items()})
        )

    def fails(self, program, code, said=""):
        """A program that ends with a code, and says something to stderr before."""
        (self.folder / f"{program}.json").write_text(json.dumps({"code": code, "said": said}))

    @property
    def calls(self):
        """Starts so far, in order of time."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [Call(**json.loads(line)) for line in lines]

    def call(self, program):
        """The only start of a program."""
        (found,) = [call for call in self.calls if call.program == program]
        return found


def main(script, *arguments):
    """What a double does when it is started."""
    folder, program = Path(script).parent, Path(script).name
    call = Call(
        program, list(arguments), str(Path.cwd()),
        os.environ.get("FSLOUTPUTTYPE", ""), os.environ.get("OMP_NUM_THREADS", ""),
    )  # fmt: skip
    with (folder / "calls").open("a") as log:
        log.write(json.dumps(vars(call)) + "\n")
    kept = folder / f"{program}.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    if "code" in results:
        print(results["said"], file=sys.stderr)
        return results["code"]
    given = _given(arguments)
    for option, source in results.items():
        target = Path(given["out"] + ".mat" if option == "mats" else given[option])
        if Path(source).is_dir():
            shutil.copytree(source, target)
        else:
            # FSL adds the ending of its type to names of images without one
            bare = option == "out" and not target.suffix
            shutil.copyfile(source, target.with_name(target.name + ".nii") if bare else target)
    return 0


def _given(arguments):
    """Options with their values: ``-omat x`` as of FLIRT, ``--cout=x`` as of FNIRT."""
    given = {}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            given[name] = value
        elif word.startswith("-"):
            given[word[1:]] = following
    return given


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
