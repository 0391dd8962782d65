"""Frames made when they are needed: the bits of those that are written, and no 4-D image."""

import os
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.core.errors import DataError
from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.frame_groups import Grouping
from pipeline.imaging.head_motion import CorrectionRule
from pipeline.imaging.motion import MotionSearch
from pipeline.imaging.regions import RegionWeights
from pipeline.imaging.resampling import resample_rigid
from pipeline.interfaces.coregistration import _references
from pipeline.interfaces.kinetics import FitVoxels
from pipeline.interfaces.motion import CorrectMotion, KeepFrames
from pipeline.interfaces.regions import ExtractTacs
from pipeline.io.frames import frames_in_petref, read_frames_on_demand
from pipeline.io.images import open_image, write_array
from pipeline.io.region_weights import write_region_weights
from pipeline.io.tables import read_table, write_table
from pipeline.kinetics import Srtm

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = -78
COUNT = 6
SHIFTS_MM = (0, 0, 0, 4, 4, -2)
POINTS = np.moveaxis(np.indices((40, 40, 40)), 0, -1) * 4.0 - 78


def textured_head():
    x, y, z = np.moveaxis(POINTS, -1, 0)
    inside = 1 / (1 + np.exp((np.sqrt(x**2 + y**2 + z**2) - 62) / 3))
    texture = 1.5 + np.sin(x / 9) * np.cos(y / 11 + 1) + 0.6 * np.sin(z / 8 + x / 30)
    return Volume((1e4 * inside * texture).astype(np.float32), AFFINE)


@dataclass(frozen=True)
class Given:
    """A scan of two runs on two grids, with a hole in one frame, and regions on it."""

    scan: ScanInputs
    regions: str

    @property
    def inputs(self):
        return {"pet": [str(path) for path in self.scan.files], "scan": self.scan}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder, head = tmp_path_factory.mktemp("raw"), textured_head()
    shifts = [rigid_matrix(np.array([-s, 0.0, 0.0]), np.zeros(3)) for s in SHIFTS_MM]
    frames = np.stack([resample_rigid(head, head, back) for back in shifts], axis=3)
    frames[18:20, 20, 20, 1] = np.nan
    bed = AFFINE @ rigid_matrix(np.array([0, 0, 2.0]), np.zeros(3))
    later = [resample_rigid(head, Volume(head.data, bed), back) for back in shifts[4:]]
    first = write_array(folder / "run-1.nii.gz", frames[..., :4], AFFINE)
    second = write_array(folder / "run-2.nii.gz", np.stack(later, axis=3), bed)
    start_s = tuple(60.0 * i + (1200 if i > 3 else 0) for i in range(COUNT))
    scan = ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=first, t1w=None, t1w_reason="", frame_start_s=start_s,
        frame_duration_s=(60.0,) * COUNT, frame_scale=(1.0, 1.1, 1.2, 1.3, 1.5, 1.7),
        radionuclide="C11", tracer_name="X", injected_mbq=400.0, body_weight_kg=70.0,
        later_runs=(second,), frames=((0, 1, 2, 3), (0, 1)),
    )  # fmt: skip
    radius = np.linalg.norm(POINTS, axis=-1)
    side = POINTS[..., 0] > 0
    shares = {
        "CBL": (radius < 25) * 1.0,
        "RIGHT": np.clip(50 - radius, 0, 4) / 4 * side,
        "EDGE": (POINTS[..., 2] > 70) * 1.0,
        "Brain": (radius < 55) * 1.0,
    }
    weights = RegionWeights.of({name: share.ravel() for name, share in shares.items()}, 64.0)
    return Given(scan, str(write_region_weights(folder / "regions.npz", weights)))


NODES = {
    "corrected": lambda **inputs: CorrectMotion(
        search=MotionSearch(grouping=Grouping(first_frame_s=0.0)), rule=CorrectionRule(),
        within_frame_mm=1.5, **inputs,
    ),
    "not corrected": lambda **inputs: CorrectMotion(
        search=MotionSearch(grouping=Grouping(first_frame_s=0.0)),
        rule=CorrectionRule(mode="never"), within_frame_mm=1.5, **inputs,
    ),
    "not looked for": lambda **inputs: KeepFrames(**inputs),
}  # fmt: skip


def run_in(folder, node):
    """Outputs of a node that works in a folder of its own."""
    folder.mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return node.run().outputs
    finally:
        os.chdir(before)


@pytest.fixture(scope="module", params=list(NODES))
def both(request, given, tmp_path_factory):
    """What a node hands on with written frames, and without."""
    root = tmp_path_factory.mktemp("both")
    return [
        run_in(root / name, NODES[request.param](**given.inputs, save_frames=save))
        for name, save in (("written", True), ("made", False))
    ]


def test_frames_have_the_bits_of_written_ones(both):
    written, made = both
    assert made.pet_preproc.endswith(".npz")
    pairs = zip(
        frames_in_petref(written.pet_preproc), frames_in_petref(made.pet_preproc), strict=True
    )
    count = 0
    for a, b in pairs:
        count += 1
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.affine, b.affine)
        assert b.data.dtype == np.float32
        # what one frame did not see, none of them has
        np.testing.assert_array_equal(
            np.isfinite(b.data), read_frames_on_demand(made.pet_preproc).covered
        )
    assert count == COUNT
    assert 0.8 < read_frames_on_demand(made.pet_preproc).covered.mean() < 1


def test_everything_else_is_the_same_to_the_byte(both):
    written, made = both
    for port in ("petref", "motion_xfms", "confounds", "quality"):
        assert Path(getattr(written, port)).read_bytes() == Path(getattr(made, port)).read_bytes()
    assert written.scan == made.scan


def test_no_series_is_written(both):
    folder = Path(both[1].pet_preproc).parent
    shapes = {p.name: open_image(p).shape for p in folder.rglob("*.nii*")}
    assert shapes == {"petref.nii.gz": (40, 40, 40)}
    assert Path(both[1].pet_preproc).stat().st_size < 1e5


def test_curves_and_references_are_the_same_to_the_bit(both, given, tmp_path):
    found = []
    for name, done in zip(("written", "made"), both, strict=True):
        node = ExtractTacs(
            pet_preproc=done.pet_preproc, scan=done.scan, region_weights=given.regions,
            minimum_volume_mm3=1.0, reference="CBL", late_min=(5.0, 90.0),
        )  # fmt: skip
        out = run_in(tmp_path / name, node)
        found.append((Path(out.tacs).read_bytes(), Path(out.tac_statistics).read_bytes()))
    assert found[0] == found[1]
    tacs = read_table(tmp_path / "made" / "tacs.tsv")
    assert np.isfinite(tacs[["CBL", "RIGHT", "Brain"]]).all(axis=None)
    voxels = read_table(tmp_path / "made" / "stats.tsv").query("name == 'CBL'")["voxels"]
    assert voxels.nunique() == 1
    pictures = [_references(_Inputs(done.petref, done.pet_preproc, done.scan)) for done in both]
    assert pictures[0].keys() == pictures[1].keys()
    for name, picture in pictures[0].items():
        np.testing.assert_array_equal(picture.data, pictures[1][name].data)


@dataclass(frozen=True)
class _Inputs:
    petref: str
    pet_preproc: str
    scan: ScanInputs


def test_maps_are_the_same_too(both, tmp_path):
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[18:22, 18:22, 18:22] = 1
    mask_path = str(write_array(tmp_path / "mask.nii.gz", mask, AFFINE))
    timing = both[0].scan.timing
    tacs = pd.DataFrame({"frame_start": timing.start_s, "frame_end": timing.end_s})
    tacs[["CBL", "HIP", "Brain"]] = np.array([3, 5, 4.0]) * np.exp(-timing.mid_min / 50)[:, None]
    table = str(write_table(tmp_path / "tacs.tsv", tacs))
    found = []
    for name, done in zip(("written", "made"), both, strict=True):
        node = FitVoxels(
            tacs=table, models=[Srtm()], weights="duration", reference="CBL", scan=done.scan,
            pet_preproc=done.pet_preproc, brain_mask=mask_path, smoothing_fwhm_mm=0.0,
        )  # fmt: skip
        maps = run_in(tmp_path / name, node).maps
        found.append([Path(path).read_bytes() for path in maps])
    assert found[0] == found[1]


def test_what_is_handed_on_changes_when_a_raw_file_does(given, tmp_path):
    before = run_in(tmp_path / "a", KeepFrames(**given.inputs, save_frames=False)).pet_preproc
    content = Path(before).read_bytes()
    times = given.scan.pet.stat().st_mtime_ns
    os.utime(given.scan.pet, ns=(times + 10**9, times + 10**9))
    after = run_in(tmp_path / "b", KeepFrames(**given.inputs, save_frames=False)).pet_preproc
    os.utime(given.scan.pet, ns=(times, times))
    assert Path(after).read_bytes() != content


def test_a_raw_file_that_is_gone_is_told(given, tmp_path):
    path = write_array(tmp_path / "gone.nii.gz", np.ones((4, 4, 4, 2), np.float32), AFFINE)
    scan = replace(
        given.scan, pet=path, later_runs=(), frames=(), frame_start_s=(0.0, 60.0),
        frame_duration_s=(60.0, 60.0), frame_scale=(1.0, 1.0),
    )  # fmt: skip
    made = run_in(tmp_path / "a", KeepFrames(pet=str(path), scan=scan, save_frames=False))
    path.unlink()
    with pytest.raises(DataError, match=r"gone.nii.gz: no such file"):
        list(frames_in_petref(made.pet_preproc))


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    """Peak of the node that reads curves, in frames of float32, for 8 frames and for 32."""
    peaks = []
    shape = (40, 40, 40)
    regions = RegionWeights.of({"R": np.ones(64000)}, 1.0)
    weights = str(write_region_weights(tmp_path / "regions.npz", regions))
    for count in (8, 32):
        series = np.random.default_rng(1).normal(size=(*shape, count)).astype(np.float32)
        path = str(write_array(tmp_path / f"{count}.nii.gz", 5 + series, AFFINE))
        scan = ScanInputs(
            subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
            pet=Path(path), t1w=None, t1w_reason="", radionuclide="C11", tracer_name="X",
            frame_start_s=tuple(60.0 * i for i in range(count)),
            frame_duration_s=(60.0,) * count, frame_scale=(1.0,) * count, injected_mbq=None,
            body_weight_kg=None,
        )  # fmt: skip
        made = run_in(tmp_path / f"m{count}", KeepFrames(pet=path, scan=scan, save_frames=False))
        node = ExtractTacs(
            pet_preproc=made.pet_preproc, scan=scan, region_weights=weights,
            minimum_volume_mm3=1.0, reference="R", late_min=(5.0, 90.0),
        )  # fmt: skip
        del series
        tracemalloc.start()
        try:
            run_in(tmp_path / f"t{count}", node)
            peaks.append(tracemalloc.get_traced_memory()[1] / (4 * np.prod(shape)))
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    # the weights of a region as large as the image take most of it; a copy of the scan would be 32
    assert peaks[1] < 28
