"""Runs of one injection joined to one scan, and frames that are left out of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from pipeline.bids.dataset import BidsFile
from pipeline.bids.entities import FileName
from pipeline.bids.findings import Finding
from pipeline.bids.scan import ScanInputs
from pipeline.bids.sidecar import LATE_SCAN_S, PetSidecar

_DAY_S = 86400.0
_SAME_INJECTION_S = 1.0
_SAME_DOSE = 0.005
_ROUNDING_S = 0.01


@dataclass(frozen=True)
class FrameChoice:
    """Which frames make a scan."""

    join_runs: bool = False
    """Whether runs that differ in their ``run`` entity only are one scan."""
    drop: tuple[int, ...] = ()
    """Frames to leave out of every scan, counted from zero on the joined scan."""
    drop_of: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Frames to leave out of one: `sub-01`, or `sub-01_ses-pre`, and so on."""
    start_s: float = -math.inf
    """Frames that start earlier are left out; seconds after injection."""
    end_s: float = math.inf
    """So are frames that end later."""

    def left_out(self, scan: ScanInputs) -> tuple[frozenset[int], tuple[Finding, ...]]:
        """Frames of a joined scan to leave out, and what a person should know of it."""
        timing, where = scan.timing, scan.pet.name
        listed = {*self.drop}.union(*(f for name, f in self.drop_of if names(name, scan.label)))
        if unknown := sorted(frame for frame in listed if frame >= len(timing)):
            message = f"no frame {_numbers(unknown)}: frames are 0 to {len(timing) - 1}"
            return frozenset(), (_error(where, "scan.drop_frames", message, "correct the list"),)
        early = np.flatnonzero(timing.start_s < self.start_s - _ROUNDING_S).tolist()
        late = np.flatnonzero(timing.end_s > self.end_s + _ROUNDING_S).tolist()
        by_rule: dict[str, Collection[int]] = {
            "scan.drop_frames": listed,
            "scan.start_s": early,
            "scan.end_s": late,
        }
        dropped: frozenset[int] = frozenset().union(*by_rule.values())
        if not dropped:
            return dropped, ()
        told = ", ".join(f"{_numbers(f)} by {rule}" for rule, f in by_rule.items() if f)
        left = len(timing) - len(dropped)
        message = f"frames left out: {told}; {left} of {len(timing)} remain"
        if left < _LEAST_FRAMES:
            step = "leave out fewer, or leave out the scan"
            return dropped, (_error(where, None, message, step),)
        note = Finding("note", where, None, message, "nothing to do")
        return dropped, (note, *_late(scan, scan.without(dropped)))


_LEAST_FRAMES = 2


def _late(scan: ScanInputs, left: ScanInputs) -> tuple[Finding, ...]:
    """Warning where the frames left start late, though those of the scan did not."""
    first_s = left.frame_start_s[0]
    if not first_s > LATE_SCAN_S >= scan.frame_start_s[0]:
        return ()
    message = f"the first frame left starts {first_s / 60:.1f} min after the injection"
    step = "kinetic models need the scan from injection on; leave out fewer frames"
    return (Finding("warning", scan.pet.name, None, message, step),)


def names(session: str, label: str) -> bool:
    """Whether a name such as `sub-01_ses-pre` or `sub-01` means the scan of a label."""
    return set(session.split("_")) <= set(label.split("_"))


def _numbers(frames: Collection[int]) -> str:
    """Frame numbers as people write them.

    Examples
    --------
    >>> _numbers([0, 1, 2, 7])
    '0 to 2, 7'
    """
    ordered = sorted(frames)
    runs = [
        [frame for _, frame in run]
        for _, run in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def group_runs(pets: Sequence[BidsFile], join: bool) -> list[tuple[BidsFile, ...]]:
    """PET files that make a scan each: alone, or all that differ in their ``run`` entity only."""
    if not join:
        return [(pet,) for pet in pets]
    groups: dict[FileName, list[BidsFile]] = {}
    for pet in pets:
        groups.setdefault(without_run(pet.name), []).append(pet)
    return [tuple(group) for group in groups.values()]


def without_run(name: FileName) -> FileName:
    """The name of a joined scan; the extension does not matter and is left out."""
    entities = tuple((key, label) for key, label in name.entities if key != "run")
    return FileName(entities, name.suffix, "")


@dataclass(frozen=True)
class Run:
    """A PET file and what its sidecar says."""

    image: BidsFile
    sidecar: PetSidecar

    @property
    def where(self) -> str:
        """File that errors about its clock name."""
        return self.sidecar.clock_source or str(self.image.path)

    @property
    def start_s(self) -> float:
        """Start of the first frame, seconds after injection."""
        return self.sidecar.frame_start_s[0]

    @property
    def end_s(self) -> float:
        """End of the last frame, seconds after injection."""
        return self.sidecar.frame_start_s[-1] + self.sidecar.frame_duration_s[-1]


def check_joined(runs: Sequence[Run]) -> tuple[Finding, ...]:
    """What keeps runs, in order of time, from being one scan; a note where nothing does."""
    first = runs[0]
    findings = [finding for later in runs[1:] for finding in _disagreements(first, later)]
    if not findings:
        findings = [found for pair in pairwise(runs) if (found := _overlap(*pair)) is not None]
    return tuple(findings) or (_told(runs),)


def _disagreements(first: Run, later: Run) -> list[Finding]:
    """Errors where two runs cannot be of one injection."""
    found = [*_other_clock(first, later)]
    mine, other = later.sidecar, first.sidecar
    alone = f"correct it, or set {_SETTING} = false if these are two injections"
    doses = mine.injected_mbq or math.nan, other.injected_mbq or math.nan
    if abs(doses[0] - doses[1]) > _SAME_DOSE * doses[1]:
        message = f"is {doses[0]:g} MBq, in {first.where} {doses[1]:g} MBq"
        found.append(_error(later.where, "InjectedRadioactivity", message, alone))
    if mine.radionuclide and other.radionuclide and mine.radionuclide != other.radionuclide:
        message = f"is {mine.radionuclide}, in {first.where} {other.radionuclide}"
        found.append(_error(later.where, "TracerRadionuclide", message, alone))
    return found


_SETTING = "scan.join_runs"


def _other_clock(first: Run, later: Run) -> list[Finding]:
    """Error where two runs do not put the injection at the same time of the day."""
    for run in (first, later):
        if run.sidecar.time_zero_s is None:
            message = "missing or no clock time; without it runs cannot be joined"
            step = f"write the time as hh:mm:ss, or set {_SETTING} = false"
            return [_error(run.where, "TimeZero", message, step)]
    apart_s = (_injection_clock_s(later) - _injection_clock_s(first) + _DAY_S / 2) % _DAY_S
    apart_s -= _DAY_S / 2
    if abs(apart_s) <= _SAME_INJECTION_S:
        return []
    message = (
        f"TimeZero and InjectionStart put the injection at {_clock(later)}, those of "
        f"{first.where} at {_clock(first)}"
    )
    step = (
        f"if it is one injection, write InjectionStart {later.sidecar.injection_s - apart_s:g} "
        f"here, the seconds from this file's TimeZero to it; if it is not, set {_SETTING} = false"
    )
    return [_error(later.where, "InjectionStart", message, step)]


def _injection_clock_s(run: Run) -> float:
    return (run.sidecar.time_zero_s or 0.0) + run.sidecar.injection_s


def _clock(run: Run) -> str:
    seconds = round(_injection_clock_s(run)) % int(_DAY_S)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _overlap(earlier: Run, later: Run) -> Finding | None:
    over_s = earlier.end_s - later.start_s
    if over_s <= _ROUNDING_S:
        return None
    message = (
        f"its frames start {later.start_s:g} s after the injection, {over_s:g} s before those of "
        f"{earlier.image.path.name} end"
    )
    step = f"correct TimeZero or the frame times, or set {_SETTING} = false"
    return _error(later.where, "TimeZero", message, step)


def _told(runs: Sequence[Run]) -> Finding:
    """Note on runs that were joined."""
    gaps = [f"{max(b.start_s - a.end_s, 0) / 60:.1f}" for a, b in pairwise(runs)]
    others = " and ".join(run.image.path.name for run in runs[1:])
    count = sum(len(run.sidecar.frame_start_s) for run in runs)
    message = f"joined with {others} to {count} frames, {', '.join(gaps)} min between them"
    return Finding("note", str(runs[0].image.path), None, message, "nothing to do")


def _error(where: str, key: str | None, message: str, step: str) -> Finding:
    return Finding("error", where, key, message, step)


def unknown_names(
    setting: str, wanted: Sequence[str], labels: Sequence[str]
) -> tuple[Finding, ...]:
    """Warnings on scans that a setting names, but that are not there."""
    return tuple(
        Finding(
            "warning",
            "settings",
            setting,
            f"no scan here is {name}",
            "check its spelling, as in sub-01_ses-pre",
        )
        for name in wanted
        if not any(names(name, label) for label in labels)
    )
