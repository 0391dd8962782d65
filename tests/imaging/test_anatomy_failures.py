"""Images that hold no usable head: a sentence says so before anything is made of them."""

import numpy as np
import pytest
from scipy import ndimage

from embedded_anatomy import template_atlas
from pipeline.core.errors import DataError, ToolError
from pipeline.core.volume import Volume
from pipeline.imaging.labelling import tissue_shares
from pipeline.imaging.warp import coarse_grid, smooth_and_resample
from pipeline.interfaces.anatomy import FindBrain, Normalise, anatomy_warnings
from pipeline.io.atlas import load_template
from pipeline.io.head_template import read_head_template
from pipeline.io.images import read_volume, write_array, write_volume
from pipeline.io.tables import read_json
from pipeline.simulation.head import Anatomy, make_head
from pipeline.simulation.template import label_template

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fine():
    """A head at 1 mm, the volume of its brain without sulcal fluid, mL, and its labels."""
    rng = np.random.default_rng(101)
    head = make_head(label_template(read_head_template()), Anatomy.draw(rng), 1.0, rng)
    volume_ml = np.count_nonzero(head.labels.data) * head.labels.voxel_volume_mm3 / 1e3
    return head.t1w, volume_ml, head.labels


@pytest.fixture(scope="module")
def head(fine):
    """The same head at 2 mm."""
    return smooth_and_resample(fine[0], coarse_grid(fine[0], 2.0))


@pytest.fixture(scope="module")
def stripped(fine):
    """The brain alone, at 2 mm."""
    t1w, _, labels = fine
    brain = ndimage.binary_closing(labels.data > 0, iterations=4)
    alone = t1w.with_data(np.where(ndimage.binary_fill_holes(brain), t1w.data, 0))
    return smooth_and_resample(alone, coarse_grid(alone, 2.0))


@pytest.fixture
def anatomy(tmp_path, monkeypatch):
    """Runs brain and normalisation on an image; volume of the brain, mL, and the quality."""
    monkeypatch.chdir(tmp_path)

    def run(image):
        path = write_volume(tmp_path / "sub-01_T1w.nii.gz", image)
        found = FindBrain(t1w=str(path)).run().outputs
        brain = read_volume(found.brain_mask)
        normalised = Normalise(
            t1w_preproc=found.t1w_preproc,
            brain_mask=found.brain_mask,
            mni2t1w_affine=found.mni2t1w_affine,
        ).run()
        volume_ml = np.count_nonzero(brain.data) * brain.voxel_volume_mm3 / 1e3
        quality = read_json(found.quality) | read_json(normalised.outputs.quality)
        return volume_ml, quality | {"Warnings": anatomy_warnings(quality)}

    return run


def bottle(head):
    """A water phantom of the size of a brain."""
    distance = np.linalg.norm(
        np.argwhere(np.ones(head.shape)) - np.array(head.shape) / 2, axis=1
    ).reshape(head.shape)
    noise = np.random.default_rng(1).normal(0, 15, head.shape)
    return head.with_data((np.where(distance < 38, 800.0, 5.0) + noise).astype(np.float32))


def noise(head):
    values = np.random.default_rng(1).normal(100, 30, head.shape)
    return head.with_data(values.astype(np.float32))


def half(head):
    data = head.data.copy()
    data[: head.shape[0] // 2] = 0
    return head.with_data(data)


def upper_part(head):
    first = head.shape[2] * 60 // 100
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    return Volume(np.ascontiguousarray(head.data[:, :, first:]), affine)


def lower_part(head):
    return Volume(np.ascontiguousarray(head.data[:, :, : head.shape[2] * 55 // 100]), head.affine)


def inverted(head):
    """Bright fluid and dark white matter, as a T2w has."""
    return head.with_data(np.where(head.data > 150, 1200 - head.data, head.data))


def constant(head):
    return head.with_data(np.full(head.shape, 100, np.float32))


def zeros(head):
    return head.with_data(np.zeros(head.shape, np.float32))


def nothing_finite(head):
    return head.with_data(np.full(head.shape, np.nan, np.float32))


@pytest.mark.parametrize(
    "damage",
    [bottle, noise, half, upper_part, lower_part, inverted, constant, zeros, nothing_finite],
)
def test_what_is_no_whole_t1w_head_is_refused_with_advice(anatomy, head, damage):
    with pytest.raises((DataError, ToolError), match=r"T1w|check the image|check that the image"):
        anatomy(damage(head))


def cut(head, axis, from_end, depth_mm):
    """The head with a slice of its brain's side at zero; the brain's extent by the fixture."""
    data, extent = head.data.copy(), round(depth_mm / head.voxel_size_mm[axis])
    inside = np.nonzero((data > 500).any(axis=tuple({0, 1, 2} - {axis})))[0]
    where = [slice(None)] * 3
    where[axis] = slice(inside[-1] - extent, None) if from_end else slice(0, inside[0] + extent)
    data[tuple(where)] = 0
    return head.with_data(data)


SIDES = {"left": (0, False), "right": (0, True), "back": (1, False), "front": (1, True),
         "top": (2, True)}  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
def test_a_brain_cut_by_some_centimetres_is_refused(anatomy, stripped, side):
    with pytest.raises((DataError, ToolError), match=r"T1w|check that the image"):
        anatomy(cut(stripped, *SIDES[side], 30))


def test_a_brain_without_the_foot_of_its_cerebellum_is_refused(anatomy, stripped):
    with pytest.raises((DataError, ToolError), match=r"T1w|check that the image"):
        anatomy(cut(stripped, 2, False, 30))


def test_a_brain_cut_by_a_little_is_told(anatomy, stripped):
    _, quality = anatomy(cut(stripped, 2, True, 8))
    assert 0.1 < quality["MissingBrain_percent"] < 1.5
    assert any("of the brain lie outside" in text for text in quality["Warnings"])


def test_four_dimensions_are_refused(anatomy, head, tmp_path):
    path = write_array(tmp_path / "four.nii.gz", np.stack([head.data] * 2, axis=-1), head.affine)
    with pytest.raises(DataError, match="one 3-D volume expected"):
        FindBrain(t1w=str(path)).run()


def test_voxels_without_a_value_do_no_harm(anatomy, head):
    data = head.data.copy()
    data[np.random.default_rng(2).random(data.shape) < 1e-4] = np.nan
    data[:, :, :3] = np.nan
    hurt, quality = anatomy(head.with_data(data))
    assert quality["NotFiniteInBrain_percent"] == pytest.approx(0.01, abs=0.004)
    whole, _ = anatomy(head)
    assert hurt == pytest.approx(whole, rel=0.005)


def test_another_weighting_gives_no_tissues():
    template = load_template()
    brain = template.with_data(template.data > 0)
    labels = template_atlas()
    dark = template.with_data(np.where(brain.data, template.data.max() * 1.2 - template.data, 0))
    with pytest.raises(DataError, match="another weighting"):
        tissue_shares(dark, brain, labels)


def test_thick_slices_still_give_the_brain(anatomy, fine):
    t1w, truth_ml, _ = fine
    slices = t1w.shape[2] // 5
    thick = t1w.data[:, :, : slices * 5].reshape(*t1w.shape[:2], slices, 5).mean(axis=3)
    affine = t1w.affine @ np.diag([1.0, 1, 5, 1])
    affine[:3, 3] = (t1w.affine @ [0, 0, 2, 1])[:3]
    volume_ml, quality = anatomy(Volume(thick, affine))
    assert volume_ml == pytest.approx(truth_ml, rel=0.1)
    assert quality["TemplateCorrelation"] > 0.85
