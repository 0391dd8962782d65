"""Array jobs for the parts of a cohort: what waits for what, and the text of their scripts."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.execution.progress import row_name

_LARGEST_ARRAY = 1000
"""SLURM's usual bound on the number of a task (``MaxArraySize`` 1001)."""


@dataclass(frozen=True)
class Part:
    """An anatomy or a session, as the progress and the table of sessions call it."""

    name: str
    participant: str
    """Label without ``sub-``."""
    digest: str
    """Of its inputs and settings; done with another one is not done."""
    anatomy: str = ""
    """Name of the anatomy that a session waits for; empty for an anatomy."""
    output: Path = Path()
    """The file that it leaves last."""


@dataclass(frozen=True)
class Need:
    """What a task takes."""

    n_procs: int
    mem_gb: float


@dataclass(frozen=True)
class Batch:
    """One array job, or for the group a plain one."""

    name: str
    """Such as ``sessions-1``; names its files."""
    parts: Mapping[int, Part] = field(default_factory=dict)
    """Line of the file of tasks to part; lines without a part are empty."""
    after: str = ""
    """``aftercorr:`` or ``afterany:`` and names of batches, ``afterok:`` and the id of a job; all
    separated by colons, as SLURM writes it."""
    need: Need = Need(1, 1.0)

    @property
    def kind(self) -> str:
        """``anatomy``, ``sessions`` or ``group``."""
        return self.name.partition("-")[0]

    @property
    def tasks(self) -> str:
        """The file of tasks: participant, part and digest a line."""
        last = max(self.parts, default=0)
        lines = (self.parts.get(number) for number in range(1, last + 1))
        return "".join(_line(part) if part else "\n" for part in lines)

    @property
    def array(self) -> str:
        """Numbers of the tasks as sbatch takes them.

        Examples
        --------
        >>> Batch("anatomy-1", dict.fromkeys((1, 2, 3, 7), Part("a", "01", "")).copy()).array
        '1-3,7'
        """
        runs: list[list[int]] = []
        for number in sorted(self.parts):
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        return ",".join(f"{run[0]}-{run[-1]}" if run[1:] else str(run[0]) for run in runs)


@dataclass(frozen=True)
class Command:
    """How petbind is started in a task; every word is taken as it stands."""

    words: tuple[str, ...]
    """Program, and what goes before ``run``."""
    bids_dir: Path
    out_dir: Path
    options: tuple[str, ...] = ()
    """Settings and resources."""
    before: str = ""
    """Lines of shell that set the scene."""
    prefix: str = ""
    """Shell in front of the words, such as an expansion of what `before` found."""

    def line(self, level: str, *further: str) -> str:
        """The call, quoted for the shell; `further` are words in shell syntax."""
        fixed = shlex.join(
            [*self.words, "run", str(self.bids_dir), str(self.out_dir), level, *self.options]
        )
        return " ".join(word for word in (self.prefix, fixed, *further) if word)


def needs_of(workflow: Any, n_procs: int) -> dict[str, Need]:
    """What every part of a cohort takes, by the estimates of its nodes.

    Parameters
    ----------
    workflow : nipype Workflow
        The cohort.
    n_procs : int
        Nodes that a task runs at the same time: its memory is that of the largest so many.
    """
    estimates: dict[str, list[tuple[float, int]]] = {}
    for node in workflow._create_flat_graph().nodes():
        estimates.setdefault(row_name(node.fullname), []).append((node.mem_gb, node.n_procs))
    return {
        part: Need(
            max(n_procs, *(cores for _, cores in nodes)),
            sum(sorted((mem_gb for mem_gb, _ in nodes), reverse=True)[:n_procs]),
        )
        for part, nodes in estimates.items()
    }


def plan_batches(
    parts: Iterable[Part], live: Mapping[str, str], needs: Mapping[str, Need]
) -> list[Batch]:
    """Array jobs for what is to be done; sessions wait for the anatomy of their own T1w alone.

    Task N of an array of sessions waits for task N of the array of anatomies (``aftercorr``), so
    sessions that share a T1w lie in arrays of their own. A session whose anatomy is done waits
    for nothing.

    Parameters
    ----------
    parts : iterable of Part
        What is to be submitted, in order.
    live : mapping of str to str
        Name of an anatomy that is queued or running from before to the id of its task.
    needs : mapping of str to Need
        By name of a part.
    """
    todo = list(parts)
    anatomies = [part for part in todo if not part.anatomy]
    sessions = [part for part in todo if part.anatomy]
    batches: list[Batch] = []
    place: dict[str, tuple[str, int]] = {}
    for first in range(0, len(anatomies), _LARGEST_ARRAY):
        name = f"anatomy-{1 + first // _LARGEST_ARRAY}"
        chunk = dict(enumerate(anatomies[first : first + _LARGEST_ARRAY], start=1))
        place |= {part.name: (name, number) for number, part in chunk.items()}
        batches.append(_batch(name, chunk, "", needs))
    groups: dict[tuple[str, int], dict[int, Part]] = {}
    for part in sessions:
        after, number = _wait(part, place, live, groups)
        rank = 0
        while number in groups.setdefault((after, rank), {}):
            rank += 1
        groups[after, rank][number] = part
    for number, ((after, _), chunk) in enumerate(groups.items(), start=1):
        batches.append(_batch(f"sessions-{number}", chunk, after, needs))
    return batches


def _wait(
    part: Part,
    place: Mapping[str, tuple[str, int]],
    live: Mapping[str, str],
    groups: Mapping[tuple[str, int], Mapping[int, Part]],
) -> tuple[str, int]:
    """What a session waits for, and the number of its task."""
    if part.anatomy in place:
        batch, number = place[part.anatomy]
        return f"aftercorr:{batch}", number
    after = f"afterok:{live[part.anatomy]}" if part.anatomy in live else ""
    taken = sum(len(chunk) for (other, _), chunk in groups.items() if other == after)
    return after, 1 + taken % _LARGEST_ARRAY


def _batch(name: str, chunk: dict[int, Part], after: str, needs: Mapping[str, Need]) -> Batch:
    wanted = [needs[part.name] for part in chunk.values()]
    # a session finds its anatomy done, but where that was lost it makes it
    wanted += [needs[part.anatomy] for part in chunk.values() if part.anatomy]
    need = Need(max(n.n_procs for n in wanted), max(n.mem_gb for n in wanted))
    return Batch(name, chunk, after, need)


def array_script(batch: Batch, command: Command, tasks: Path, done_dir: Path) -> str:
    """The script of an array: its task does the line of the file of tasks with its number."""
    call = command.line("participant", '--participant-label "$participant" --part "$part"')
    return f"""\
#!/bin/sh
# petbind, {batch.name}: a task reads its line of the file of tasks
set -eu
line=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {shlex.quote(str(tasks))})
tab=$(printf '\\t')
IFS="$tab" read -r participant part digest <<END
$line
END
printf 'petbind: %s\\n' "$part"
{command.before}{call}
printf '%s\\n' "$digest" >{shlex.quote(str(done_dir))}/"$part"
"""


def group_script(command: Command, unblind: bool) -> str:
    """The script of the group level."""
    call = command.line("group", *(["--unblind"] if unblind else []))
    return f"#!/bin/sh\n# petbind, group\nset -eu\n{command.before}{call}\n"


def sbatch_words(batch: Batch, log: Path, memory_mb: int, at_once: int | None) -> list[str]:
    """Options of sbatch for a batch, but for what it waits for and what the user adds."""
    throttle = f"%{at_once}" if at_once else ""
    words = [f"--array={batch.array}{throttle}"] if batch.parts else []
    # a percent sign would start a pattern
    folder, ending = str(log.parent).replace("%", "%%"), "_%a.log" if batch.parts else ".log"
    return [
        *words,
        *("--ntasks=1", f"--cpus-per-task={batch.need.n_procs}", f"--mem={memory_mb}M"),
        *("--export=ALL", "--kill-on-invalid-dep=yes", f"--output={folder}/{log.name}{ending}"),
        "--open-mode=append",
    ]


def is_done(part: Part, done_dir: Path) -> bool:
    """Whether a part was finished with these inputs and settings, and its output is there."""
    record = done_dir / part.name
    if not record.is_file() or not part.output.is_file():
        return False
    return record.read_text(encoding="utf-8").strip() == part.digest


def in_container(
    command: Command, image: str, binds: Sequence[tuple[Path, bool]], scratch: Path
) -> Command:
    """The command in a container without network; folders keep their names.

    Parameters
    ----------
    command : Command
        Its words give way to the entry point of the image.
    image : str
        A file ``*.sif`` or a folder for Apptainer, else the name of an image of Docker.
    binds : sequence of (Path, bool)
        Folders, and whether they may be written to.
    scratch : Path
        Where an Apptainer container keeps its temporary files.
    """
    apptainer = image.endswith(".sif") or Path(image).is_dir()
    mounts = [
        word
        for folder, writable in binds
        for word in ("--mount", _mount(folder, writable, "ro" if apptainer else "readonly"))
    ]
    if apptainer:
        names = {"scratch": shlex.quote(str(scratch)), "image": shlex.quote(image)}
        prefix = '"$engine" run --cleanenv --contain $isolated --workdir "$own"'
        before = _APPTAINER.format_map(names)
        return replace(command, words=(*mounts, image), before=before, prefix=prefix)
    isolation = ("--network", "none", "--read-only", "--tmpfs", "/tmp")  # noqa: S108  its own
    prefix = 'docker run --rm --user "$(id -u):$(id -g)"'
    return replace(command, words=(*isolation, *mounts, image), prefix=prefix)


_APPTAINER = """\
engine=$(command -v apptainer || command -v singularity)
own=$(mktemp -d -p {scratch})
trap 'rm -rf "$own"' EXIT
# where the site does not allow it, the container has the network of its host
isolated='--net --network none'
"$engine" exec $isolated {image} true 2>/dev/null || isolated=
"""


def _mount(folder: Path, writable: bool, read_only: str) -> str:
    """A bind as both engines read it: fields of a line of CSV, so that any name will do."""
    fields = ["type=bind", f"source={folder}", f"destination={folder}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields if writable else [*fields, read_only])
    return line.getvalue()


def _line(part: Part) -> str:
    return f"{part.participant}\t{part.name}\t{part.digest}\n"


def resolved(after: str, ids: Callable[[str], str]) -> str:
    """A dependency with ids of jobs in place of names of batches.

    Examples
    --------
    >>> resolved("aftercorr:anatomy-1", {"anatomy-1": "12"}.__getitem__)
    'aftercorr:12'
    """
    kind, *names = after.split(":")
    return ":".join([kind, *(name if name[0].isdigit() else ids(name) for name in names)])
