"""Corrected regional means against the piecewise constant truth that was blurred."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from moving_heads import template
from pipeline.config.regions import DEFAULT_REGIONS
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import Volume
from pipeline.imaging.areas import Head, Scanner, Tagged, areas_of, cut_into_areas
from pipeline.imaging.brain import distance_mm
from pipeline.imaging.itk import Field
from pipeline.imaging.mni_regions import MniShape
from pipeline.imaging.partial_volume import correction
from pipeline.imaging.point_spread import axis_spread
from pipeline.imaging.reference import TrimByPlanes
from pipeline.imaging.regions import Anatomy, RegionSpec, RegionWeights, label_fractions
from pipeline.simulation.head import Anatomy as Build
from pipeline.simulation.head import make_head
from pipeline.simulation.options import ScannerOptions
from pipeline.simulation.regions import TISSUES
from pipeline.simulation.scanner import PetGeometry, place_head, scan_frames, tissue_numbers
from pipeline.simulation.tracer import TissueKinetics, tissue_curves

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
FINER = 4
"""How much finer than its labels the phantom is blurred: the scanner blurs bodies, not points."""


class Phantom:
    """Thirty cells of random activity and six balls in air; labels of 1 mm, PET of 2 mm."""

    def __init__(self, size=60, seed=0):
        rng = np.random.default_rng(seed)
        index = np.stack(np.indices((size,) * 3), axis=-1)
        _, cell = cKDTree(rng.uniform(8, size - 8, (30, 3))).query(index.reshape(-1, 3))
        labels = cell.reshape((size,) * 3) + 1
        for ball in range(6):
            centre = rng.uniform(18, size - 18, 3)
            labels[np.linalg.norm(index - centre, axis=-1) < rng.uniform(4.5, 6)] = 31 + ball
        labels[np.linalg.norm(index - (size - 1) / 2, axis=-1) > size / 2 - 5] = 0
        _, labels = np.unique(labels, return_inverse=True)
        self.labels = labels.reshape((size,) * 3)
        self.names = [f"R{number}" for number in range(1, labels.max() + 1)]
        self.level = rng.uniform(0.2, 4, len(self.names))
        self.volume_mm3 = np.bincount(labels.ravel())[1:]

    def scanned(self, fwhm_mm, level=None):
        """Blurred on a grid of 0.25 mm, then averaged over voxels of 2 mm; (X, Y, Z) float64."""
        activity = np.append(0, self.level if level is None else level)[self.labels]
        fine = activity.astype(np.float32)
        for axis in range(3):
            fine = fine.repeat(FINER, axis)
        fine = ndimage.gaussian_filter(
            fine, FINER * fwhm_mm * SIGMA_PER_FWHM, mode="constant", truncate=5
        )
        n = len(self.labels) // 2
        return fine.reshape(n, 2 * FINER, n, 2 * FINER, n, 2 * FINER).mean((1, 3, 5), float)

    def areas(self, fwhm_mm, cut=slice(None)):
        """Areas of the labels themselves, on the part of the grid that `cut` leaves along x."""
        tags = (frozenset(), *(frozenset({name}) for name in self.names))
        n = len(self.labels) // 2
        seen = np.empty((len(range(n)[cut]), n, n))
        first = -(cut.start or 0)
        points = Tagged(self.labels.astype(np.int16), tags, (first, 0, 0), 2)
        scanner = Scanner(Volume(seen, np.diag([2.0, 2, 2, 1])), np.eye(4), (fwhm_mm,) * 3)
        return areas_of(points, scanner, self.names, 0)


@pytest.fixture(scope="module")
def phantom():
    return Phantom()


@pytest.fixture(scope="module")
def scan(phantom):
    return phantom.scanned(2.4)


@pytest.fixture(scope="module")
def corrected(phantom, scan):
    return correction(phantom.areas(2.4), np.ones(scan.shape, bool))


def plain_means(correction_, frame):
    return correction_.of_regions @ (correction_.weights @ frame.ravel())


@pytest.mark.parametrize(("fwhm_mm", "tolerance"), [(1.5, 0.01), (2.4, 0.007), (6.0, 0.005)])
def test_gtm_and_rbv_recover_the_truth(phantom, fwhm_mm, tolerance):
    # what is left is the phantom's own grid of 0.25 mm: the error falls with its square
    frame = phantom.scanned(fwhm_mm)
    whole = correction(phantom.areas(fwhm_mm), np.ones(frame.shape, bool))
    large = phantom.volume_mm3 >= 500
    assert large.sum() > 25
    plain = np.abs(plain_means(whole, frame) / phantom.level - 1)[large]
    assert plain.max() > 0.5
    for values in (whole.gtm(frame), whole.rbv(frame)):
        assert np.abs(values / phantom.level - 1)[large].max() < tolerance


def test_error_of_the_phantom_falls_with_its_grid(phantom, corrected, scan):
    small = phantom.volume_mm3 < 500
    errors = np.abs(corrected.gtm(scan) / phantom.level - 1)
    assert small.any()
    assert errors[small].max() < 0.02


def test_no_blur_and_whole_voxels_change_nothing():
    labels = np.zeros((10, 10, 10), np.int16)
    labels[2:5, 2:8, 2:8], labels[5:8, 2:8, 2:8] = 1, 2
    frame = np.random.default_rng(1).normal(1, 0.2, labels.shape)
    scanner = Scanner(Volume(frame, np.diag([2.0, 2, 2, 1])), np.eye(4), (0.0, 0.0, 0.0))
    tags = (frozenset(), frozenset({"A"}), frozenset({"B"}))
    whole = correction(areas_of(Tagged(labels, tags), scanner, ["A", "B"], 0), labels >= 0)
    means = [frame[labels == 1].mean(), frame[labels == 2].mean()]
    np.testing.assert_allclose(whole.gtm(frame), means, rtol=1e-6)
    np.testing.assert_allclose(whole.rbv(frame), means, rtol=1e-6)
    np.testing.assert_allclose(whole.noise_factor, 1, rtol=1e-6)
    np.testing.assert_allclose(whole.recovery, 1, rtol=1e-6)


def test_gtm_is_linear_and_both_follow_the_scale(phantom, corrected, scan):
    other = phantom.scanned(2.4, level=phantom.level[::-1])
    both = corrected.gtm(2 * scan - 3 * other)
    apart = 2 * corrected.gtm(scan) - 3 * corrected.gtm(other)
    np.testing.assert_allclose(both, apart, rtol=1e-9, atol=1e-9)
    for method in (corrected.gtm, corrected.rbv):
        np.testing.assert_allclose(method(1e4 * scan), 1e4 * method(scan), rtol=1e-9)


def test_nothing_stays_nothing(corrected, scan):
    assert not corrected.gtm(0 * scan).any()
    assert not corrected.rbv(0 * scan).any()


def test_what_the_field_of_view_lacks_is_missing_and_spoils_nothing(phantom, scan):
    cut = slice(11, None)
    part = scan[cut]
    seen = correction(phantom.areas(2.4, cut), np.ones(part.shape, bool))
    inside_mm3 = np.bincount(phantom.labels[22:].ravel(), minlength=len(phantom.names) + 1)[1:]
    gone, large = inside_mm3 == 0, inside_mm3 >= 500
    assert gone.any()
    for values in (seen.gtm(part), seen.rbv(part)):
        assert np.isnan(values[gone]).all()
        assert np.abs(values / phantom.level - 1)[large].max() < 0.02


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_an_area_of_which_less_than_half_is_known_has_no_value(phantom, scan, kept):
    areas = phantom.areas(2.4)
    row = int(np.argmax(phantom.volume_mm3))
    share = areas.shares[[row]].toarray().reshape(scan.shape)
    planes = np.cumsum(share.sum(axis=(1, 2))) / share.sum() > kept
    known = ~(planes[:, None, None] & (share > 0))
    values = correction(areas, known).gtm(np.where(known, scan, np.nan))
    assert np.isfinite(values[row]) == (kept > 0.5)
    told = np.isfinite(values) & (phantom.volume_mm3 >= 1000)
    assert told.sum() > 20
    assert np.abs(values / phantom.level - 1)[told].max() < 0.03


def test_unknown_voxels_take_no_part(phantom, scan):
    known = np.ones(scan.shape, bool)
    known[12:18, 12:18, 12:18] = False
    holed = np.where(known, scan, np.nan)
    values = correction(phantom.areas(2.4), known).gtm(holed)
    told = np.isfinite(values)
    large = phantom.volume_mm3 >= 1000
    assert told[large].all()
    assert np.abs(values / phantom.level - 1)[told].max() < 0.03


def test_two_areas_that_cannot_be_told_apart_have_no_value():
    # halves of the same voxels all along, and a third area beside
    labels = np.zeros((24, 24, 24), np.int16)
    labels[4:12, 4:20, 4:20] = 1 + np.arange(8)[:, None, None] % 2
    labels[12:20, 4:20, 4:20] = 3
    tags = (frozenset(), *(frozenset({name}) for name in "ABC"))
    level = np.array([0.0, 2, 3, 1])
    frame = level[labels].reshape(12, 2, 12, 2, 12, 2).mean((1, 3, 5))
    scanner = Scanner(Volume(frame, np.diag([2.0, 2, 2, 1])), np.eye(4), (0.0, 0.0, 0.0))
    areas = areas_of(Tagged(labels, tags, parts=2), scanner, list("ABC"), 0)
    values = correction(areas, frame >= 0).gtm(frame)
    assert np.isnan(values[:2]).all()
    assert values[2] == pytest.approx(1)


def test_noise_factor_is_that_of_simulated_noise(phantom, scan, corrected):
    rng = np.random.default_rng(2)
    sigma = 2.4 * SIGMA_PER_FWHM / 2
    frames = [ndimage.gaussian_filter(rng.standard_normal(scan.shape), sigma) for _ in range(300)]
    after = np.std([corrected.gtm(frame) for frame in frames], axis=0)
    before = np.std([plain_means(corrected, frame) for frame in frames], axis=0)
    # 300 draws: 4 % of standard error of a ratio, and a grid kernel for a continuous one
    assert np.abs(after / before / corrected.noise_factor - 1).max() < 0.2
    assert np.median(after / before / corrected.noise_factor) == pytest.approx(1, abs=0.05)


def test_spread_of_an_axis_is_the_integral_of_the_gaussian():
    edges = np.array([0.2, 0.9])
    spread = axis_spread(5, edges, 2.0, 1.0)
    sigma = 2.0 * SIGMA_PER_FWHM
    at = np.linspace(-0.5, 4.5, 2001)[:-1] + 1.25e-3
    source = np.linspace(*edges, 701)[:-1] + 0.0005
    density = np.exp(-0.5 * ((at[:, None] - source) / sigma) ** 2).mean(1)
    density *= 0.7 / (sigma * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(spread[:, 0], density.reshape(5, -1).mean(1), rtol=2e-4)


def test_small_areas_join_the_one_most_like_them():
    labels = np.zeros((20, 20, 20), np.int16)
    labels[2:10, 2:18, 2:18], labels[10:18, 2:18, 2:18], labels[9:11, 8:10, 8:10] = 1, 2, 3
    tags = (frozenset(), frozenset({"A"}), frozenset({"B"}), frozenset({"A", "C"}))
    scanner = Scanner(Volume(np.empty((10, 10, 10)), np.eye(4)), np.eye(4), (1.0, 1.0, 1.0))
    areas = areas_of(Tagged(labels, tags, parts=2), scanner, ["A", "B", "C"], 5)
    assert areas.names == ("A", "B")
    # eight points of half a millimetre: one cubic millimetre, which A and C have in area A
    np.testing.assert_allclose(areas.parts_mm3[2], [1, 0])
    np.testing.assert_allclose(areas.parts_mm3[0].sum(), areas.volume_mm3[0])


@pytest.fixture(scope="module")
def still_head():
    """A noise-free frame of a simulated head, what it was made from, and its truth."""
    rng = np.random.default_rng(3)
    timing = FrameTiming(np.array([0.0, 1800.0]), np.array([1800.0, 3600.0]))
    options = ScannerOptions(timing=timing, noise=0, psf_fwhm_mm=2.5)
    head = make_head(template(), Build.draw(rng), 1.0, rng)
    affine, shape, t1w2pet_xfm = place_head(head.centre_mm, options, rng)
    r1, bpnd = (np.array([getattr(t, name) for t in TISSUES]) for name in ("r1", "bpnd"))
    curves = tissue_curves(TissueKinetics(r1, bpnd, 0.14), timing)
    poses = np.tile(np.eye(4), (2, 1, 1))
    geometry = PetGeometry(affine, shape, t1w2pet_xfm, poses)
    frame = list(scan_frames(head, curves, geometry, options, rng))[1]
    truth = np.append(0, curves[:, 1])[tissue_numbers()[head.sources.data]]
    return head.labels, Volume(frame, affine), np.linalg.inv(t1w2pet_xfm), truth


def head_of(labels):
    brain = labels.with_data(ndimage.binary_closing(labels.data > 0, iterations=3))
    depth = distance_mm(np.isin(labels.data, (8, 47)), labels.voxel_size_mm)
    standing = Field(np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    anatomy = Anatomy(labels, standing, np.eye(4), labels)
    return Head(anatomy, brain, labels.with_data(depth > 2.5))


@pytest.mark.slow
def test_regions_of_a_simulated_head_come_within_two_percent(still_head):
    labels, pet, pet2t1w_xfm, truth = still_head
    spec = RegionSpec(tuple(DEFAULT_REGIONS.items()), (), "CBL", TrimByPlanes(), 3)
    head = head_of(labels)
    areas = cut_into_areas(head, Scanner(pet, pet2t1w_xfm, (2.5,) * 3), spec, 100)
    whole = correction(areas, np.ones(pet.shape, bool))
    true = np.array(
        [truth[np.isin(labels.data, members)].mean() for _, members in spec.labels]
        + [truth[head.reference.data].mean()]
    )
    shares = label_fractions(labels, pet, pet2t1w_xfm, 3)
    plain = RegionWeights.of(
        {name: shares.of(members) for name, members in spec.labels}, pet.voxel_volume_mm3
    ).means(pet.data)
    before = dict(zip(spec.names, plain / true[:-1] - 1, strict=False))
    assert before["VST"] < -0.12
    assert before["CAU"] < -0.08
    for values in (whole.gtm(pet.data), whole.rbv(pet.data)):
        after = values / true - 1
        assert np.abs(after).max() < 0.02, dict(zip(spec.names, after, strict=True))


@pytest.mark.slow
def test_a_place_in_mni_space_cuts_its_area_in_two(still_head):
    labels, pet, pet2t1w_xfm, _ = still_head
    # MNI space is here the space of the head itself
    stem = labels.affine @ np.append(np.argwhere(labels.data == 16).mean(axis=0), 1)
    shape = MniShape("DBS", tuple(stem[:3].tolist()), (4.0, 4.0, 5.0))
    spec = RegionSpec((("HIP", (17, 53)),), (shape,), "CBL", TrimByPlanes(), 3)
    scanner = Scanner(pet, pet2t1w_xfm, (2.5,) * 3)
    areas = cut_into_areas(head_of(labels), scanner, spec, 100)
    assert {"DBS", "Brain-Stem", "HIP", "CBL", "Cerebellum-Cortex", "sulci"} <= set(areas.names)
    volume = dict(zip(areas.names, areas.volume_mm3, strict=True))
    assert volume["DBS"] == pytest.approx(4 / 3 * np.pi * 4 * 4 * 5, rel=0.03)
    assert volume["HIP"] == pytest.approx(
        np.isin(labels.data, (17, 53)).sum() * labels.voxel_volume_mm3, rel=0.01
    )
    # every voxel in the head holds its areas once
    assert areas.shares.sum(axis=0).max() == pytest.approx(1, abs=1e-4)
