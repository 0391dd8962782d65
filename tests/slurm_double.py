"""A double of SLURM's clients: it notes what it is asked, and answers as it was told to.

It runs a job at once, in place of queueing it. What it says was recorded from SLURM 22.05.8.
"""

import json
import stat
import sys
from pathlib import Path

INVALID_PARTITION = (
    "sbatch: error: invalid partition specified: nope\n"
    "sbatch: error: Batch job submission failed: Invalid partition name specified"
)
UNREACHABLE = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
_PROGRAM = """#!{python}
import json, os, pathlib, subprocess, sys
folder, name = pathlib.Path({folder!r}), pathlib.Path(sys.argv[0]).name
with (folder / "asked.jsonl").open("a") as asked:
    asked.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
answers = json.loads((folder / "answers.json").read_text())
answer = answers.get(name, [""])
said = answer.pop(0) if len(answer) > 1 else answer[0]
(folder / "answers.json").write_text(json.dumps(answers))
if said.startswith(("s", "x")) and "error" in said:
    sys.exit(said)
if name == "sbatch" and {runs}:
    first = next(i for i, word in enumerate(sys.argv) if i and not word.startswith("-"))
    subprocess.run(["/bin/sh", *sys.argv[first:]], check=False)
print(said)
"""


class Double:
    """Clients in a folder that goes in front of the PATH."""

    def __init__(self, folder, monkeypatch, *, runs_jobs=False):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.answer()
        text = _PROGRAM.format(python=sys.executable, folder=str(self.folder), runs=runs_jobs)
        for name in ("sbatch", "squeue", "scancel", "sacct"):
            program = self.folder / name
            program.write_text(text)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(self.folder), prepend=":")

    def answer(self, **answers):
        """What each program says, call by call; the last for ever."""
        told = {name: [said] if isinstance(said, str) else said for name, said in answers.items()}
        (self.folder / "answers.json").write_text(json.dumps(told))

    def asked(self, name):
        """Arguments of every call of a program."""
        path = self.folder / "asked.jsonl"
        calls = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        return [words for program, *words in calls if program == name]
