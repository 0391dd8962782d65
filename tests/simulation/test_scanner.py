import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine, displacement_mm, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.simulation.head import Head
from pipeline.simulation.options import ScannerOptions, paper_timing
from pipeline.simulation.regions import TISSUE_INDEX, TISSUES
from pipeline.simulation.scanner import PetGeometry, draw_motion, place_head, scan_frames

TIMING = FrameTiming(np.array([0.0, 60.0, 3000.0]), np.array([60.0, 120.0, 360.0]))
HIPPOCAMPUS, PUTAMEN = 17, 12


def block_head():
    """Two blocks of tissue without any symmetry, in a T1w world of its own, 1 mm."""
    labels = np.zeros((120, 140, 100), np.int16)
    labels[24:48, 40:64, 20:40] = HIPPOCAMPUS
    labels[72:88, 80:100, 52:80] = PUTAMEN
    affine = np.eye(4)
    affine[:3, 3] = [-40.0, -90.0, 15.0]
    volume = Volume(labels, affine)
    return Head(volume.with_data(labels.astype(np.float32)), volume)


def activity(hippocampus, putamen=0.0, frames=3):
    tacs = np.zeros((len(TISSUES), frames))
    tacs[TISSUE_INDEX["hippocampus"]], tacs[TISSUE_INDEX["putamen"]] = hippocampus, putamen
    return tacs


def scanner(**changes):
    defaults = {"timing": TIMING, "pet_voxel_mm": 4.0, "noise": 0.0, "psf_fwhm_mm": 0.0}
    return ScannerOptions(**(defaults | changes))


def geometry_of(head, options, motion_xfm=None, seed=2):
    affine, shape, xfm = place_head(head.centre_mm, options, np.random.default_rng(seed))
    still = np.repeat(np.eye(4)[None], len(options.timing), axis=0)
    return PetGeometry(affine, shape, xfm, still if motion_xfm is None else motion_xfm)


def scan(head, tacs, geometry, options, seed=0):
    return list(scan_frames(head, tacs, geometry, options, np.random.default_rng(seed)))


def centroid(image, affine):
    grid = np.indices(image.shape).reshape(3, -1)
    return apply_affine(affine, grid @ image.reshape(-1) / image.sum())


def block_centre(head, label):
    return apply_affine(head.sources.affine, np.argwhere(head.sources.data == label).mean(axis=0))


@pytest.mark.parametrize("voxel_mm", [0.9, 3.0, 5.3])
def test_activity_is_conserved(voxel_mm):
    head, options = block_head(), scanner(pet_voxel_mm=voxel_mm)
    geometry = geometry_of(head, options)
    frames = scan(head, activity(5000.0, 1000.0), geometry, options)
    counts = [(head.sources.data == label).sum() for label in (HIPPOCAMPUS, PUTAMEN)]
    expected = 5000.0 * counts[0] + 1000.0 * counts[1]
    assert frames[0].sum(dtype=float) * voxel_mm**3 == pytest.approx(expected, rel=0.01)
    assert frames[0].max() == pytest.approx(5000.0, rel=1e-3)


@pytest.mark.parametrize("label", [HIPPOCAMPUS, PUTAMEN])
def test_transforms_mean_what_they_say(label):
    head, options = block_head(), scanner(offset_mm=8.0, offset_deg=10.0)
    motion = np.stack(
        [
            np.eye(4),
            rigid_matrix(
                np.array([5.0, -3, 8]), np.array([0.1, -0.15, 0.2]), np.array([9.0, 1, 4])
            ),
            rigid_matrix(np.array([-4.0, 6, 1]), np.array([-0.2, 0.1, 0.0])),
        ]
    )
    geometry = geometry_of(head, options, motion)
    tacs = activity(1000.0) if label == HIPPOCAMPUS else activity(0.0, 1000.0)
    for frame, image in enumerate(scan(head, tacs, geometry, options)):
        expected = apply_affine(motion[frame] @ geometry.t1w2pet_xfm, block_centre(head, label))
        np.testing.assert_allclose(centroid(image, geometry.affine), expected, atol=0.15)


def test_storage_of_the_t1w_does_not_matter():
    head, options = block_head(), scanner()
    geometry = geometry_of(head, options)
    # the same head as FreeSurfer stores it: left, inferior, anterior; and in Fortran's order
    turn = np.array([[-1.0, 0, 0, 119], [0, 0, 1, 0], [0, -1, 0, 99], [0, 0, 0, 1]])
    data = np.flip(head.sources.data, (0, 2)).transpose(0, 2, 1)
    turned = Volume(np.asfortranarray(data), head.sources.affine @ turn)
    other = Head(turned.with_data(turned.data.astype(np.float32)), turned)
    first, second = (scan(h, activity(1000.0, 500.0), geometry, options)[0] for h in (head, other))
    # points on the border of two voxels may go to either
    assert np.abs(first - second).sum() < 0.01 * first.sum()


def test_blur_has_the_width_asked_for():
    head = block_head()
    widths = []
    for fwhm_mm in (0.0, 8.0):
        options = scanner(psf_fwhm_mm=fwhm_mm, pet_voxel_mm=2.0)
        geometry = geometry_of(head, options)
        image = scan(head, activity(1000.0), geometry, options)[0]
        profile, x = image.sum(axis=(1, 2)), 2.0 * np.arange(image.shape[0])
        mean = (profile * x).sum() / profile.sum()
        widths.append((profile * (x - mean) ** 2).sum() / profile.sum())
    sigma_mm = np.sqrt(widths[1] - widths[0])
    assert sigma_mm * np.sqrt(8 * np.log(2)) == pytest.approx(8.0, rel=0.02)


def uniform_noise(voxel_mm, seeds, noise=1.0):
    """SD of the mean of an 80 mL cube inside uniform tissue, kBq/mL, per frame."""
    labels = np.full((40, 40, 40), HIPPOCAMPUS, np.int16)
    volume = Volume(labels, np.diag([4.0, 4.0, 4.0, 1.0]))
    head = Head(volume.with_data(labels.astype(np.float32)), volume)
    options = scanner(
        pet_voxel_mm=voxel_mm, noise=noise, pet_fov_mm=(120.0,) * 3, offset_mm=0.0, offset_deg=0.0
    )
    geometry = geometry_of(head, options)
    half = round(21.6 / voxel_mm)
    box = tuple(slice(n // 2 - half, n // 2 + half) for n in geometry.shape)
    tacs = activity(4000.0)
    means = [[f[box].mean() for f in scan(head, tacs, geometry, options, s)] for s in range(seeds)]
    volume_ml = (2 * half * voxel_mm) ** 3 / 1000
    return np.std(means, axis=0) / 1000, np.mean(means, axis=0) / 1000, volume_ml


@pytest.mark.parametrize("voxel_mm", [3.6, 7.2])
def test_noise_follows_counts_whatever_the_voxels(voxel_mm):
    sd, mean, volume_ml = uniform_noise(voxel_mm, seeds=150)
    decay = np.exp(np.log(2) / 1221.84 * TIMING.mid_s)
    expected = 0.42 * np.sqrt(4.0 * decay / TIMING.duration_min / volume_ml)
    # 150 scans: the standard error of an SD is 6 %
    np.testing.assert_allclose(sd, expected, rtol=0.2)
    np.testing.assert_allclose(mean, 4.0, atol=4 * expected.max() / np.sqrt(150))


def test_noise_scales_and_can_be_left_out():
    once, _, _ = uniform_noise(7.2, seeds=20)
    twice, _, _ = uniform_noise(7.2, seeds=20, noise=2.0)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3)
    head, options = block_head(), scanner()
    geometry = geometry_of(head, options)
    first, second = (scan(head, activity(10.0), geometry, options, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_frames_are_float32_of_the_grid():
    head, options = block_head(), scanner(noise=1.0)
    geometry = geometry_of(head, options)
    frames = scan(head, activity(1000.0), geometry, options)
    assert len(frames) == 3
    assert {(f.dtype, f.shape) for f in frames} == {(np.dtype(np.float32), geometry.shape)}
    assert geometry.shape == (66, 66, 57)


def test_part_of_the_head_may_lie_outside_the_field():
    head, options = block_head(), scanner(pet_fov_mm=(40.0, 40.0, 40.0))
    frames = scan(head, activity(1000.0, 1000.0), geometry_of(head, options), options)
    assert np.isfinite(frames).all()


def test_motion_starts_at_rest_and_reaches_its_scale():
    timing, centre = paper_timing(), np.array([3.0, -20.0, 10.0])
    ball = np.random.default_rng(0).standard_normal((200, 3))
    surface = centre + 70 * ball / np.linalg.norm(ball, axis=1, keepdims=True)
    squares = []
    for seed in range(400):
        motion = draw_motion(centre, timing, 2.0, np.random.default_rng(seed))
        np.testing.assert_array_equal(motion[0], np.eye(4))
        squares.append((displacement_mm(motion[-1], np.eye(4), surface) ** 2).mean())
    # the walk, nearly 93 minutes of it, and two sudden moves of the same size; cross terms of a
    # walk's step and a move in the same frame add a little
    assert np.sqrt(np.mean(squares)) == pytest.approx(2.0 * np.sqrt(3), rel=0.15)


def test_motion_is_rigid_and_shared_by_frames_within_a_minute():
    motion = draw_motion(np.zeros(3), paper_timing(), 3.0, np.random.default_rng(1))
    rotations = motion[:, :3, :3]
    unit = rotations @ np.swapaxes(rotations, 1, 2)
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(3), unit.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    np.testing.assert_array_equal(motion[:6], np.broadcast_to(np.eye(4), (6, 4, 4)))
    assert 15 < len(np.unique(motion.reshape(38, 16), axis=0)) <= 26


def test_no_motion_is_none():
    motion = draw_motion(np.ones(3), paper_timing(), 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(motion, np.broadcast_to(np.eye(4), motion.shape), atol=1e-14)
