"""What of a data set would run, and everything odd about it, before anything starts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bids.dataset import (
    BidsFile,
    Dataset,
    Selection,
    choose_t1w,
    index_dataset,
    select_pet,
)
from pipeline.bids.entities import PET_ENTITIES, natural_key, parse_name
from pipeline.bids.findings import Finding
from pipeline.bids.runs import (
    FrameChoice,
    Run,
    check_joined,
    group_runs,
    unknown_names,
    without_run,
)
from pipeline.bids.scan import ScanInputs
from pipeline.bids.sidecar import read_body_weight, read_pet_sidecar
from pipeline.core.errors import DataError
from pipeline.core.transforms import same_grid
from pipeline.io.images import open_image
from pipeline.io.tables import read_json

LabelledFindings = tuple[str, tuple[Finding, ...]]
"""Label of a run or subject, and what was found about it."""

_GZIP_TRAILER_BYTES = 4
_MOST_SHOWN = 5
_FAR_APART_MM = 100.0
_THICK_MM = 2.0
"""Longest edge of a T1w voxel that raises no warning."""


@dataclass(frozen=True)
class Plan:
    """What would run."""

    scans: tuple[ScanInputs, ...]
    """Runs that can be analysed, in natural order."""
    findings: tuple[Finding, ...]
    """Every oddity once: of the data set first, then of the runs in order."""
    blocked: tuple[LabelledFindings, ...]
    """What cannot be analysed, and the errors that say why."""
    noted: tuple[LabelledFindings, ...]
    """The warnings and notes of each of `scans`, for its report."""
    subjects: tuple[tuple[Path, Path], ...] = ()
    """T1w and folder of its subject of FreeSurfer, where those make the parcellation."""
    voxels: tuple[tuple[Path, int], ...] = ()
    """Images and how many voxels a frame of each has."""


def survey(
    bids_dir: Path,
    selection: Selection | None = None,
    t1w_rule: str = "session",
    frames: FrameChoice | None = None,
) -> Plan:
    """Look at every PET run that was asked for; headers and sidecars only.

    Parameters
    ----------
    bids_dir : Path
        Top folder of the data set; it need not pass the validator.
    selection : Selection, optional
        Which runs; all by default.
    t1w_rule : str
        See `pipeline.bids.dataset.choose_t1w`.
    frames : FrameChoice, optional
        Which runs are joined and which frames left out; none by default.

    Raises
    ------
    ConfigError
        If a label was asked for that the data set does not have.
    DataError
        If the folder is missing or holds no PET image of a subject.
    """
    dataset = index_dataset(bids_dir)
    pets, findings = _list_pet(dataset)
    if not pets:
        expected = "sub-<label>[/ses-<label>]/pet/*_pet.nii.gz expected"
        ignored = "".join(f"\n  {finding}" for finding in findings[:_MOST_SHOWN])
        raise DataError(f"{bids_dir}: no PET image of a subject; {expected}{ignored}")
    selection = selection or Selection()
    chosen = select_pet(dataset, pets, selection)
    notes, without_pet = _without_pet(dataset, pets, selection)
    findings += [*_check_description(dataset), *_misnamed_t1w(dataset), *notes]
    findings += [finding for errors in without_pet.values() for finding in errors]
    look, frames = _Look(dataset, _Headers(dataset), t1w_rule), frames or FrameChoice()
    scans, noted, blocked, same = [], [], without_pet, _by_entities(chosen)
    for pets_of_scan in group_runs(chosen, frames.join_runs):
        scan, oddities = look.at(pets_of_scan, frames)
        oddities += tuple(twin for pet in pets_of_scan for twin in _twins(pet, same))
        findings += oddities
        errors = tuple(finding for finding in oddities if finding.is_error)
        if scan is not None and not errors:
            scans.append(scan)
            noted.append((scan.label, tuple(dict.fromkeys(oddities))))
        else:
            label = _label(pets_of_scan)
            blocked[label] = (*blocked.get(label, ()), *errors)
    once = tuple(dict.fromkeys(findings))
    voxels = look.headers.voxels()
    plan = Plan(tuple(scans), once, tuple(blocked.items()), tuple(noted), voxels=voxels)
    return with_unknown_names(plan, "scan.drop_frames_of", [name for name, _ in frames.drop_of])


def with_unknown_names(plan: Plan, setting: str, wanted: Sequence[str]) -> Plan:
    """The plan with a warning on every scan that a setting names, but that is not there."""
    labels = [*(scan.label for scan in plan.scans), *(label for label, _ in plan.blocked)]
    return replace(plan, findings=(*plan.findings, *unknown_names(setting, wanted, labels)))


def without_blocked(plan: Plan, blocked: Mapping[str, tuple[Finding, ...]]) -> Plan:
    """The plan without some of its runs, which are blocked by what was found."""
    return replace(
        plan,
        scans=tuple(scan for scan in plan.scans if scan.label not in blocked),
        noted=tuple((label, found) for label, found in plan.noted if label not in blocked),
        blocked=(*plan.blocked, *blocked.items()),
    )


def given_labels(pattern: str, t1w_entities: Mapping[str, str]) -> Path:
    """File of the labels of a T1w, from the pattern of ``parcellation.dseg``."""
    names = {"subject": t1w_entities["sub"], "session": t1w_entities.get("ses", "")}
    return Path(pattern.format(**names)).absolute()


def require_labels(plan: Plan, pattern: str) -> Plan:
    """The plan without the runs whose T1w has no labels of its own, which it blocks."""
    blocked: dict[str, tuple[Finding, ...]] = {}
    for scan in plan.scans:
        name = parse_name(scan.t1w.name) if scan.t1w is not None else None
        if name is None:
            continue
        path = given_labels(pattern, dict(name.entities))
        if message := _unfit_labels(path, pattern):
            step = "make it, or set parcellation.backend = 'embedded'"
            blocked[scan.label] = (Finding("error", str(name), None, message, step),)
    return without_blocked(plan, blocked)


def _unfit_labels(path: Path, pattern: str) -> str:
    """What keeps a file from being the labels of a T1w, by its header; empty if nothing does."""
    if not path.is_file():
        return f"no {path.name} in the folder where parcellation.dseg ({pattern}) has its labels"
    try:
        shape = open_image(path).shape
    except DataError as error:
        return f"{path.name} is no readable image ({str(error).removeprefix(f'{path}: ')})"
    if len(shape) < 3 or any(n > 1 for n in shape[3:]):
        return f"{path.name} should hold one 3-D label image and is {_shape_text(shape)}"
    return ""


def given_transform(pattern: str, scan: ScanInputs) -> Path:
    """File of the transform of a PET run, from the pattern of ``coregistration.init``."""
    return Path(pattern.format(subject=scan.subject, session=scan.session or "")).absolute()


def require_transforms(plan: Plan, pattern: str) -> Plan:
    """The plan without the runs that have no transform of their own, which it blocks.

    Two sessions are two positions of the head, so one file cannot serve both.
    """
    files = {scan.label: given_transform(pattern, scan) for scan in plan.scans}
    sessions: dict[Path, set[tuple[str, str | None]]] = {}
    for scan in plan.scans:
        sessions.setdefault(files[scan.label], set()).add((scan.subject, scan.session))
    blocked: dict[str, tuple[Finding, ...]] = {}
    for scan in plan.scans:
        path, setting = files[scan.label], "coregistration.init"
        if not path.is_file():
            message = f"no {path.name} where {setting} says its transform is"
            step = f"make it, or set {setting} = 'header'"
        elif len(sessions[path]) > 1:
            message = f"{setting} gives {path.name} to another session too"
            step = f"put {{session}} into {setting}"
        else:
            continue
        blocked[scan.label] = (Finding("error", scan.pet.name, None, message, step),)
    return without_blocked(plan, blocked)


def missing_group_column(bids_dir: Path, column: str) -> Finding | None:
    """What the group level will miss in participants.tsv; only its first line is read.

    Nothing is missing where `column` is empty, for a study of one group.
    """
    name = "participants.tsv"
    if not column:
        return None
    step = f"add it before petbind {bids_dir.name} OUT group, or set group.group_column"
    try:
        with (bids_dir / name).open(encoding="utf-8-sig") as file:
            columns = file.readline().rstrip("\r\n").split("\t")
    except FileNotFoundError:
        return Finding("note", name, column, "no such file, so nobody has a group", step)
    except (OSError, UnicodeDecodeError) as error:
        return Finding("warning", name, None, f"not readable ({error})", "mend it")
    if column in columns:
        return None
    message = f"no such column; found {', '.join(columns)}"
    return Finding("note", name, column, message, step)


def _list_pet(dataset: Dataset) -> tuple[list[BidsFile], list[Finding]]:
    """PET runs with names BIDS allows, and a finding for every other image among them."""
    pets, findings = [], []
    for path in dataset.nifti_paths("pet"):
        name = parse_name(path.name)
        if name is None or name.suffix != "pet" or name.get("sub") is None:
            reason = "the name is not that of a BIDS PET image"
        elif unknown := [key for key, _ in name.entities if key not in PET_ENTITIES]:
            reason = f"BIDS allows no '{unknown[0]}-' in the name of a PET image"
        elif not BidsFile(path, name).is_in_place:
            reason = "the name contradicts the folders it lies in"
        else:
            pets.append(BidsFile(path, name))
            continue
        findings.append(
            Finding("warning", str(path), None, f"ignored: {reason}", "rename or remove it")
        )
    return sorted(pets, key=lambda pet: natural_key(str(pet.path))), findings


def _misnamed_t1w(dataset: Dataset) -> list[Finding]:
    """Images that look like a T1w but would silently give way to that of another session."""
    known = {image.path for images in dataset.t1w_images.values() for image in images}
    reason = "ignored: the name is not that of a BIDS T1w image in its place"
    return [
        Finding("warning", str(path), None, reason, "rename or remove it")
        for path in dataset.nifti_paths("anat")
        if "t1w" in path.name.lower() and path not in known
    ]


def _check_description(dataset: Dataset) -> list[Finding]:
    name = "dataset_description.json"
    try:
        content = read_json(dataset.root / name)
    except DataError as error:
        problem = str(error).removeprefix(f"{dataset.root / name}: ")
        return [Finding("warning", name, None, problem, "add it; BIDS asks for one")]
    findings = [
        Finding("warning", name, key, "missing", "add it; BIDS asks for it")
        for key in ("Name", "BIDSVersion")
        if not content.get(key)
    ]
    if content.get("DatasetType") == "derivative":
        message = "this is a derivative, not raw data"
        findings.append(Finding("warning", name, "DatasetType", message, "give the raw data"))
    return findings


def _without_pet(
    dataset: Dataset, pets: Iterable[BidsFile], selection: Selection
) -> tuple[list[Finding], dict[str, tuple[Finding, ...]]]:
    """Folders without PET: noted; blocked if they cannot be read or were asked for by name."""
    asked = selection.by_entity.get("sub", ())
    with_pet = {pet.subject for pet in pets}
    notes: list[Finding] = []
    blocked: dict[str, tuple[Finding, ...]] = {}
    for path in dataset.unreadable:
        subject = path.parts[0].removeprefix("sub-")
        if path.parts[0] != subject and (subject in asked or not asked):
            step = "ask for the right to read it"
            error = Finding("error", str(path), None, "this folder cannot be listed", step)
            blocked["_".join(path.parts[:2])] = (error,)
    for folder in (f"sub-{label}" for label in dataset.participants if label not in with_pet):
        if folder.removeprefix("sub-") in asked:
            step = "add one, or leave the subject out"
            error = Finding("error", folder, None, "no PET image", step)
            blocked.setdefault(folder, (error,))
        elif not asked and folder not in blocked:
            notes.append(Finding("note", folder, None, "no PET image", "nothing to do"))
    return notes, blocked


def _by_entities(pets: Iterable[BidsFile]) -> dict[Any, list[BidsFile]]:
    found: dict[Any, list[BidsFile]] = {}
    for pet in pets:
        found.setdefault(pet.name.entities, []).append(pet)
    return found


def _twins(pet: BidsFile, same: Mapping[Any, Sequence[BidsFile]]) -> tuple[Finding, ...]:
    twins = [other for other in same[pet.name.entities] if other.path != pet.path]
    return tuple(
        Finding(
            "error",
            str(pet.path),
            None,
            f"the same run as {other.path.name}",
            "keep one of the two",
        )
        for other in twins
    )


def _label(pets: Sequence[BidsFile]) -> str:
    """Label of the scan that runs make."""
    name = pets[0].name if len(pets) == 1 else without_run(pets[0].name)
    return name.stem.removesuffix("_pet")


@dataclass(frozen=True)
class _Look:
    """A look at scans, one at a time."""

    dataset: Dataset
    headers: _Headers
    t1w_rule: str

    def at(
        self, pets: Sequence[BidsFile], frames: FrameChoice
    ) -> tuple[ScanInputs | None, tuple[Finding, ...]]:
        """A scan of one run or of several, None if it cannot be analysed, and all oddities."""
        runs, findings = self._runs(pets)
        t1w = choose_t1w(self.dataset, pets[0], self.t1w_rule)
        findings += t1w.findings
        if t1w.image is not None:
            findings += self.headers.static(t1w.image)
            findings += self.headers.far_apart(pets[0], t1w.image)
        subject, session = pets[0].subject or "", pets[0].session
        weight, weight_findings = read_body_weight(self.dataset, subject, session)
        findings += weight_findings
        if any(finding.is_error for finding in findings):
            return None, findings
        scan = replace(
            self._scan(runs),
            t1w=None if t1w.image is None else self.dataset.absolute(t1w.image),
            t1w_reason=t1w.reason,
            body_weight_kg=weight,
        )
        dropped, drop_findings = frames.left_out(scan)
        findings += drop_findings
        if any(finding.is_error for finding in drop_findings):
            return None, findings
        return scan.without(dropped), findings

    def _runs(self, pets: Sequence[BidsFile]) -> tuple[list[Run], tuple[Finding, ...]]:
        """The files of a scan in order of time, as far as they can be read."""
        runs: list[Run] = []
        findings: tuple[Finding, ...] = ()
        for place, pet in enumerate(pets):
            n_frames, found = self.headers.dynamic(pet, least=1 if len(pets) > 1 else 2)
            sidecar, said = read_pet_sidecar(self.dataset, pet, n_frames, continues=place > 0)
            findings += (*found, *said)
            if sidecar is not None:
                runs.append(Run(pet, sidecar))
        runs.sort(key=lambda run: run.start_s)
        if len(pets) > 1 and not any(finding.is_error for finding in findings):
            findings += check_joined(runs)
            findings += self.headers.other_grids([run.image for run in runs])
        return runs, findings

    def _scan(self, runs: Sequence[Run]) -> ScanInputs:
        """Frames of all runs, with what the first says of itself; no T1w yet."""
        first, joined = runs[0], len(runs) > 1
        sidecars = [run.sidecar for run in runs]
        return ScanInputs(
            subject=first.image.subject or "",
            session=first.image.session,
            task=first.image.name.get("task"),
            tracer=first.image.name.get("trc"),
            reconstruction=first.image.name.get("rec"),
            run=None if joined else first.image.name.get("run"),
            pet=self.dataset.absolute(first.image),
            t1w=None,
            t1w_reason="",
            frame_start_s=tuple(t for s in sidecars for t in s.frame_start_s),
            frame_duration_s=tuple(t for s in sidecars for t in s.frame_duration_s),
            frame_scale=tuple(f for s in sidecars for f in s.frame_scale),
            radionuclide=next((s.radionuclide for s in sidecars if s.radionuclide), ""),
            tracer_name=next((s.tracer_name for s in sidecars if s.tracer_name), ""),
            injected_mbq=_first(s.injected_mbq for s in sidecars),
            body_weight_kg=None,
            later_runs=tuple(self.dataset.absolute(run.image) for run in runs[1:]),
            frames=tuple(tuple(range(len(s.frame_start_s))) for s in sidecars) if joined else (),
            molar_activity_gbq_per_umol=_first(s.molar_activity_gbq_per_umol for s in sidecars),
            injected_mass_ug=_first(s.injected_mass_ug for s in sidecars),
        )


def _first(values: Iterable[float | None]) -> float | None:
    """The first number that a run gives."""
    return next((value for value in values if value is not None), None)


@dataclass(frozen=True)
class _Header:
    """What the header of an image says; no shape if it could not be read."""

    shape: tuple[int, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()
    centre_mm: tuple[float, ...] = ()
    longest_edge_mm: float = 0.0
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Headers:
    """Checks of images by their headers; each file is opened once."""

    dataset: Dataset
    known: dict[BidsFile, _Header] = field(default_factory=dict)

    def dynamic(self, pet: BidsFile, least: int = 2) -> tuple[int | None, tuple[Finding, ...]]:
        """Number of frames of a 4-D image, None with an error if it has not the least number."""
        header = self._open(pet)
        if not header.shape:
            return None, header.findings
        if len(header.shape) == 4 and header.shape[3] >= least:
            return header.shape[3], header.findings
        message = f"a dynamic (4-D) PET is expected, this image is {_shape_text(header.shape)}"
        step = "leave a static image out, or merge its frames into one 4-D file"
        return None, (*header.findings, Finding("error", str(pet.path), None, message, step))

    def static(self, image: BidsFile) -> tuple[Finding, ...]:
        """Findings of an image that must be 3-D."""
        header = self._open(image)
        shape = header.shape
        if not shape or (len(shape) >= 3 and all(n == 1 for n in shape[3:])):
            return (*header.findings, *_thick(image, header.longest_edge_mm))
        message = f"one 3-D volume is expected, this image is {_shape_text(shape)}"
        error = Finding("error", str(image.path), None, message, "keep one volume of it")
        return (*header.findings, error)

    def other_grids(self, pets: Sequence[BidsFile]) -> tuple[Finding, ...]:
        """Notes on joined runs whose voxels do not lie where those of the first do."""
        first = self._open(pets[0])
        return tuple(
            Finding(
                "note",
                str(pet.path),
                None,
                f"its voxels lie elsewhere than those of {pets[0].path.name}; where headers put "
                "them, its frames are resampled once",
                "look at the motion on the page; the head may have moved between the runs",
            )
            for pet in pets[1:]
            if not _same_grid(first, self._open(pet))
        )

    def far_apart(self, pet: BidsFile, t1w: BidsFile) -> tuple[Finding, ...]:
        """Note on images whose fields of view lie far from each other."""
        centres = self._open(pet).centre_mm, self._open(t1w).centre_mm
        if not all(centres):
            return ()
        distance_mm = float(np.linalg.norm(np.subtract(*centres)))
        if not distance_mm > _FAR_APART_MM:
            return ()
        message = f"its centre is {distance_mm:.0f} mm from that of {t1w.path.name}"
        step = "look at the PET-MR alignment in the report"
        return (Finding("note", str(pet.path), None, message, step),)

    def voxels(self) -> tuple[tuple[Path, int], ...]:
        """Voxels of a frame of every image that was looked at."""
        shapes = {file: header.shape[:3] for file, header in self.known.items()}
        return tuple(
            (self.dataset.absolute(file), math.prod(shape))
            for file, shape in shapes.items()
            if len(shape) == 3
        )

    def _open(self, file: BidsFile) -> _Header:
        if file not in self.known:
            self.known[file] = self._examine(file)
        return self.known[file]

    def _examine(self, file: BidsFile) -> _Header:
        path, where = self.dataset.absolute(file), str(file.path)
        try:
            image = open_image(path)
            cut_short = _cut_short(path, image.dataobj)
        except (DataError, OSError) as error:
            problem = str(error).removeprefix(f"{path}: ").replace(str(path), path.name)
            step = "copy or convert the file again"
            return _Header(findings=(Finding("error", where, None, problem, step),))
        shape = tuple(int(n) for n in image.shape)
        findings = []
        affine = np.asarray(image.affine, float)
        if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
            message = "the affine cannot be used"
            findings.append(Finding("error", where, None, message, "convert it again"))
        elif int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
            message = "the header gives no orientation, left and right are unknown"
            findings.append(Finding("warning", where, None, message, "convert it again"))
        if cut_short:
            step = "copy the file again if it is damaged"
            findings.append(Finding("warning", where, None, cut_short, step))
        middle = np.append((np.array(shape[:3]) - 1) / 2, 1.0)
        centre_mm = tuple((affine @ middle)[:3].tolist()) if len(shape) >= 3 else ()
        longest_edge_mm = float(np.linalg.norm(affine[:3, :3], axis=0).max())
        places = tuple(tuple(row) for row in affine.tolist())
        return _Header(shape, places, centre_mm, longest_edge_mm, tuple(findings))


def _same_grid(first: _Header, other: _Header) -> bool:
    affines = np.array(first.affine), np.array(other.affine)
    return first.shape[:3] == other.shape[:3] and same_grid(first.shape[:3], *affines)


def _thick(image: BidsFile, longest_edge_mm: float) -> tuple[Finding, ...]:
    """Warning on voxels too long for small regions."""
    if not longest_edge_mm > _THICK_MM:
        return ()
    message = f"voxels of {longest_edge_mm:.1f} mm: small regions are not to be trusted"
    step = "use a T1w of about 1 mm, or look at every region on the page"
    return (Finding("warning", str(image.path), None, message, step),)


def _cut_short(path: Path, voxels: Any) -> str:
    """What the length of the file says, without reading it; empty if all is well.

    The last four bytes of a gzip file are the length of its content modulo 2^32.
    """
    n_voxels = math.prod(int(n) for n in voxels.shape)
    expected = int(voxels.offset) + n_voxels * int(voxels.dtype.itemsize)
    if path.suffix != ".gz":
        short = path.stat().st_size < expected
        return "the file is shorter than its header says" if short else ""
    with path.open("rb") as file:
        file.seek(-_GZIP_TRAILER_BYTES, os.SEEK_END)
        length = int.from_bytes(file.read(), "little")
    if length == expected % 2**32:
        return ""
    return "the compressed data do not end as the header says"


def _shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def render_plan(plan: Plan) -> str:
    """What would run and what is odd, as plain text for a terminal of any width."""
    lines = [f"{len(plan.scans)} PET run(s) can be analysed, {len(plan.blocked)} cannot.", ""]
    if plan.scans:
        header = ("run", "PET file", "frames", "minutes", "T1w", "chosen because")
        rows: list[tuple[str, ...]] = [header]
        rows += [_scan_row(scan) for scan in plan.scans]
        lines += [*_columns(rows), ""]
    for label, errors in plan.blocked:
        lines += [f"{label} cannot run:", *(f"  {finding}" for finding in errors), ""]
    oddities = [finding for finding in plan.findings if not finding.is_error]
    # warnings may change results, so they come before notes
    oddities.sort(key=lambda finding: finding.severity != "warning")
    lines += [str(finding) for finding in oddities] or ["Nothing else is odd."]
    return "\n".join(lines) + "\n"


def _scan_row(scan: ScanInputs) -> tuple[str, ...]:
    timing = scan.timing
    minutes = float(timing.end_min[-1] - timing.start_min[0])
    return (
        scan.label,
        " + ".join(path.name for path in scan.files),
        str(len(timing)),
        f"{minutes:.1f}",
        "none" if scan.t1w is None else scan.t1w.name,
        scan.t1w_reason,
    )


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
