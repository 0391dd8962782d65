"""One PET scan with everything the participant level needs to know about it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.bids.entities import PET_ENTITIES, parse_name
from pipeline.core.timing import FrameTiming


@dataclass(frozen=True)
class ScanInputs:
    """A PET scan that can be analysed; hashable, so that it can be the input of a node.

    It is one run, or several runs of one injection that were joined. Nothing here tells which
    treatment or group the session belongs to.
    """

    subject: str
    """Label without ``sub-``."""
    session: str | None
    task: str | None
    tracer: str | None
    """Label of the ``trc`` entity."""
    reconstruction: str | None
    run: str | None
    """As written in the file name, leading zeros included."""
    pet: Path
    """Dynamic PET, (X, Y, Z, F)."""
    t1w: Path | None
    """None only where the session was surveyed without anatomy."""
    t1w_reason: str
    """Why this T1w was chosen, a phrase for the report."""
    frame_start_s: tuple[float, ...]
    """Frame starts, seconds after injection, (F,)."""
    frame_duration_s: tuple[float, ...]
    """Frame durations, seconds, (F,)."""
    frame_scale: tuple[float, ...]
    """Per frame, (F,): value in the file times this is Bq/mL, decay-corrected to injection."""
    radionuclide: str
    """Such as ``C11``; empty if the sidecar does not say."""
    tracer_name: str
    """``TracerName`` of the sidecar; empty if it does not say."""
    injected_mbq: float | None
    body_weight_kg: float | None
    later_runs: tuple[Path, ...] = ()
    """Files whose frames follow those of `pet`, where runs were joined."""
    frames: tuple[tuple[int, ...], ...] = ()
    """Of every file, the frames that make up the scan, counted from zero; empty for all."""
    dropped: tuple[int, ...] = ()
    """Frames of the joined scan that were left out, counted from zero."""
    molar_activity_gbq_per_umol: float | None = None
    """As the sidecar states it, whatever time it was measured for."""
    injected_mass_ug: float | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every PET file of the scan, in order of time."""
        return (self.pet, *self.later_runs)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Number of every frame, (F,), on the joined scan before any was left out."""
        count = len(self.frame_start_s) + len(self.dropped)
        return tuple(number for number in range(count) if number not in self.dropped)

    def without(self, places: Collection[int]) -> ScanInputs:
        """The scan without some of its frames, by their places among those it has."""
        if not places:
            return self
        kept = [place for place in range(len(self.frame_start_s)) if place not in places]
        left = iter(place in kept for place in range(len(self.frame_start_s)))
        of_files = self.frames or (tuple(range(len(self.frame_start_s))),)
        numbers = self.numbers
        return replace(
            self,
            frame_start_s=tuple(self.frame_start_s[place] for place in kept),
            frame_duration_s=tuple(self.frame_duration_s[place] for place in kept),
            frame_scale=tuple(self.frame_scale[place] for place in kept),
            frames=tuple(tuple(f for f in of_file if next(left)) for of_file in of_files),
            dropped=tuple(sorted({*self.dropped, *(numbers[place] for place in places)})),
        )

    @property
    def timing(self) -> FrameTiming:
        """Frames, seconds after injection."""
        return FrameTiming(np.array(self.frame_start_s), np.array(self.frame_duration_s))

    @property
    def entities(self) -> dict[str, str]:
        """Short BIDS keys and labels of the PET run, in order."""
        labels = (
            self.subject,
            self.session,
            self.task,
            self.tracer,
            self.reconstruction,
            self.run,
        )
        return {
            key: label
            for key, label in zip(PET_ENTITIES, labels, strict=True)
            if label is not None
        }

    @property
    def t1w_entities(self) -> dict[str, str]:
        """Short BIDS keys and labels of the T1w's own name, which key the anatomy's outputs."""
        name = None if self.t1w is None else parse_name(self.t1w.name)
        return {} if name is None else dict(name.entities)

    @property
    def label(self) -> str:
        """Name of the run in messages and files, such as ``sub-01_ses-pre_run-1``."""
        return "_".join(f"{key}-{label}" for key, label in self.entities.items())
