"""Brain, normalisation and tissues of images whose truth is known or that hold no head."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.core.errors import DataError, ToolError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.bias import WHITE_MATTER_LEVEL, correct_bias
from pipeline.imaging.brain import (
    Missing,
    is_stripped,
    locate_brain,
    missing_brain,
    refine_brain_mask,
    rough_brain_mask,
)
from pipeline.imaging.greedy import register_affine
from pipeline.imaging.labelling import CLASSES, _mixed_shares, label_brain, tissue_shares
from pipeline.imaging.normalisation import normalise
from pipeline.imaging.warp import displacement_at, resample
from pipeline.io.atlas import load_template

# A head a quarter smaller than the template, tilted and stored front to back, right to left.
TEMPLATE2HEAD = rigid_matrix(np.array([15.0, -20, 30]), np.radians([14.0, -6, 9]))
TEMPLATE2HEAD[:3, :3] *= 0.91


@pytest.fixture(scope="module")
def template():
    return load_template()


@pytest.fixture(scope="module")
def head(template):
    """The template at 2 mm in an unknown place, within skull and scalp; and its brain."""
    order = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * order
    centre = apply_affine(TEMPLATE2HEAD, np.array([0.0, -20, 5]))
    shape = (124, 110, 106)
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) / 2)
    grid = Volume(np.zeros(shape, np.float32), affine)
    back = np.linalg.inv(TEMPLATE2HEAD)
    brain = resample(template.with_data((template.data > 0).astype(np.float32)), grid, back)
    inside = brain.data > 0.5
    outside_mm = ndimage.distance_transform_edt(~inside) * 2
    shells = np.select([inside, outside_mm < 4, outside_mm < 9, outside_mm < 18], [0, 15, 5, 70])
    image = resample(template, grid, back).data * inside + shells
    noise = np.random.default_rng(5).normal(scale=2, size=(2, *shape))
    return grid.with_data(np.hypot(image + noise[0], noise[1]).astype(np.float32)), inside


@pytest.fixture(scope="module")
def found(head, template):
    image, _ = head
    affine = locate_brain(image, template)
    rough = rough_brain_mask(image, template, affine)
    corrected = correct_bias(image, rough)
    brain = refine_brain_mask(corrected.image, rough)
    return corrected, brain, normalise(corrected.image, brain, template, affine)


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.05], ids=["zeros", "almost zero", "noise"])
def test_what_fills_a_cut_is_no_brain(template, level):
    assert missing_brain(template, template, np.eye(4)) == Missing(0, 0)
    noise = np.abs(np.random.default_rng(4).normal(scale=1, size=template.shape))
    filling = (level * np.median(template.data[template.data > 0]) * noise).astype(np.float32)
    z = template.affine[2, 3] + np.arange(template.shape[2])
    cut = np.where(z > 60, filling, template.data)
    with pytest.raises(DataError, match="lacks 3 % of the brain"):
        missing_brain(template.with_data(cut), template, np.eye(4))
    foot = np.where(z < -50, filling, template.data)
    with pytest.raises(DataError, match=r"\(15 % of its lower part\)"):
        missing_brain(template.with_data(foot), template, np.eye(4))


def test_black_ventricles_are_not_missing(template):
    wide = np.linalg.norm(np.indices(template.shape).T - (96, 115, 95), axis=-1).T < 22
    black = template.with_data(np.where(wide, 0, template.data))
    assert missing_brain(black, template, np.eye(4)) == Missing(0, 0)


def test_brain_of_a_tilted_head_is_found(head, found):
    _, truth = head
    brain = found[1].data
    dice = 2 * np.count_nonzero(brain & truth) / (brain.sum() + truth.sum())
    # half a voxel around a brain of 1.4 L is 3 %; the shell of fluid is nobody's for sure
    assert dice > 0.95


def test_a_head_without_its_skull_is_told_apart(head, found):
    image, truth = head
    brain = found[1]
    assert not is_stripped(image, brain)
    noise = np.random.default_rng(3).normal(0, 2, image.shape)
    bare = np.where(truth, image.data, np.abs(noise)).astype(np.float32)
    assert is_stripped(image.with_data(bare), brain)


def test_way_to_the_template_is_found(template, found):
    normalisation = found[2]
    field = normalisation.template2image
    brain = np.argwhere(template.data > 30)[::997]
    points = apply_affine(template.affine, brain.astype(float))
    moved = points + displacement_at(field, points.T.astype(np.float32)).T
    missed = np.linalg.norm(moved - apply_affine(TEMPLATE2HEAD, points), axis=1)
    # the registration works at 2 mm
    assert np.median(missed) < 0.7
    assert np.quantile(missed, 0.95) < 2.0


def test_inverse_leads_back(template, found):
    normalisation = found[2]
    points = apply_affine(template.affine, np.argwhere(template.data > 30)[::997].astype(float))
    in_head = apply_affine(TEMPLATE2HEAD, points)
    back = in_head + displacement_at(normalisation.image2template, in_head.T.astype(np.float32)).T
    missed = np.linalg.norm(back - points, axis=1)
    assert np.median(missed) < 0.8
    quality = normalisation.quality
    assert quality.inverse_error_mm_p99 < 0.5
    assert quality.jacobian_smallest > 0.2
    assert quality.affine_volume_ratio == pytest.approx(0.91**3, abs=0.02)
    assert quality.correlation > 0.9


def test_bias_is_taken_out(head, found):
    image, truth = head
    x = np.linspace(-1, 1, image.shape[0])[:, None, None]
    y = np.linspace(-1, 1, image.shape[1])[None, :, None]
    flat = np.zeros(image.shape, np.float32)
    field = 1 + np.float32(0.25) * x.astype(np.float32) - 0.15 * y.astype(np.float32) ** 2 + flat
    brain = image.with_data(truth)
    corrected = correct_bias(image.with_data(image.data * field), brain)
    ratio = (corrected.image.data / image.data)[truth & (image.data > 60)]
    before = field[truth & (image.data > 60)]
    # what is left of a field of 40 % over the brain
    assert np.std(before) / np.mean(before) > 0.07
    assert np.std(ratio) / np.mean(ratio) < 0.02
    assert corrected.range_percent > 15
    top = np.percentile(corrected.image.data[truth], 90)
    assert top == pytest.approx(WHITE_MATTER_LEVEL, rel=1e-4)


def test_registration_repeats_to_the_bit(head, template):
    image, _ = head
    first, second = (locate_brain(image, template) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def _sphere_in_noise():
    radius = np.linalg.norm(np.indices((70, 70, 70)) - 34.5, axis=0) * 3
    noise = np.random.default_rng(2).rayleigh(4, (70, 70, 70))
    return np.where(radius < 84, 100, 0) + noise


@pytest.mark.parametrize(
    "data",
    [np.zeros((70, 70, 70)), np.full((70, 70, 70), 7.0), _sphere_in_noise()],
    ids=["empty", "constant", "sphere"],
)
def test_images_without_a_head_are_refused(data, template):
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = -105
    image = Volume(data.astype(np.float32), affine)
    with pytest.raises((DataError, ToolError)):
        _anatomy(image, template)


def _anatomy(image, template):
    affine = locate_brain(image, template)
    rough = rough_brain_mask(image, template, affine)
    corrected = correct_bias(image, rough).image
    normalise(corrected, refine_brain_mask(corrected, rough), template, affine)


def test_a_failed_line_search_is_not_passed_on(monkeypatch):
    import pipeline.imaging.greedy as greedy

    answers = iter(np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 10 * n for n in range(5))
    monkeypatch.setattr(greedy, "_execute", lambda *_: ({"found": next(answers)}, True))
    image = Volume(np.zeros((20, 20, 20), np.float32), np.eye(4))
    with pytest.raises(ToolError, match="LINE SEARCH FAILED"):
        register_affine(image, image, np.eye(4))


@pytest.fixture
def slabs(rng):
    """Layers of fluid, cortex and white matter with edges within voxels, and their atlas."""
    depth = np.arange(48)[:, None, None] + np.zeros((1, 40, 40))
    edges = 12.4, 15.3
    grey = np.clip(depth + 0.5 - edges[0], 0, 1) - np.clip(depth + 0.5 - edges[1], 0, 1)
    white = np.clip(depth + 0.5 - edges[1], 0, 1)
    image = 25 * (1 - grey - white) + 65 * grey + 100 * white
    image += rng.normal(scale=2, size=image.shape)
    labels = np.select([depth < 12, depth < 15], [0, 1028], 2).astype(np.int16)
    # ventricles teach what fluid looks like; the other classes are absent
    labels[38:44, 15:25, 15:25] = 4
    image[38:44, 15:25, 15:25] = 25
    grey[38:44, 15:25, 15:25] = white[38:44, 15:25, 15:25] = 0
    brain = np.zeros(image.shape, bool)
    brain[4:46, 2:38, 2:38] = True
    volumes = (image.astype(np.float32), brain, labels)
    return [Volume(v, np.eye(4)) for v in volumes], grey, white


def test_shares_hold_what_the_voxels_hold(slabs):
    (image, brain, atlas), grey, white = slabs
    shares = tissue_shares(image, brain, atlas)
    total = shares.grey.data + shares.white.data + shares.fluid.data
    np.testing.assert_allclose(total[brain.data], 1, atol=1e-4)
    assert not total[~brain.data].any()
    inner = np.s_[6:36, 6:34, 6:34]
    # the ribbon is 2.9 mm thick: its volume must come out, whatever the grid does to it
    thickness = shares.grey.data[inner].sum() / 28**2
    assert thickness == pytest.approx(grey[inner].sum() / 28**2, rel=0.12)
    assert np.abs(shares.white.data - white)[inner].mean() < 0.02


def test_labels_follow_the_image_not_the_atlas(slabs):
    (image, brain, atlas), grey, _ = slabs
    off = Volume(np.roll(atlas.data, 2, axis=0), atlas.affine)
    labels = label_brain(image, brain, off, tissue_shares(image, brain, off)).data
    inner = np.s_[6:36, 6:34, 6:34]
    found, truth = labels[inner] == 1028, grey[inner] > 0.5
    warped = off.data[inner] == 1028
    dice = [2 * (a & truth).sum() / (a.sum() + truth.sum()) for a in (found, warped)]
    assert dice[0] > 0.9
    assert dice[1] < 0.7
    assert set(np.unique(labels)) <= {0, 2, 4, 1028}


def test_where_cortex_is_no_brighter_than_fluid_shares_do_not_turn_over():
    """A voxel of cortex beside one that is fluid, where the coil hardly sees cortex."""
    names = [tissue.name for tissue in CLASSES]
    posterior, means = np.zeros((2, len(names), 2), np.float32)
    posterior[names.index("cortex")] = [0.7, 0.2]
    posterior[names.index("fluid")] = [0.3, 0.8]
    for name, level in (("fluid", 0.25), ("cortex", 0.20), ("white", 0.22)):
        means[names.index(name)] = level
    inside = np.ones((2, 1, 1), bool)
    values = np.array([0.21, 0.15], np.float32)
    shares = _mixed_shares(values, inside, posterior, means)
    # the darker voxel is fluid for four fifths, not all grey
    np.testing.assert_allclose(shares, [[0.7, 0.2], [0, 0], [0.3, 0.8]], atol=1e-6)
    means[names.index("fluid")] = 0.1
    _, _, fluid = _mixed_shares(values, inside, posterior, means)
    assert fluid[1] == pytest.approx(0.5)  # half way from cortex to fluid


def test_a_label_of_no_class_is_not_taken_for_fluid(slabs):
    (image, brain, atlas), *_ = slabs
    strange = atlas.with_data(np.where(atlas.data == 1028, 1000, atlas.data))
    with pytest.raises(ValueError, match=r"belong to no tissue class: \[1000\]"):
        tissue_shares(image, brain, strange)


def test_an_atlas_beside_the_brain_is_refused(slabs):
    (image, brain, atlas), *_ = slabs
    with pytest.raises(DataError, match="does not lie on the brain"):
        tissue_shares(image, brain, atlas.with_data(np.zeros_like(atlas.data)))
