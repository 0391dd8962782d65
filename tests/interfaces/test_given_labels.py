"""Labels of another program: put on the grid of the T1w, or refused with a reason."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import Undefined

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.itk import Field
from pipeline.interfaces.anatomy import TakeLabels
from pipeline.interfaces.regions import read_anatomy
from pipeline.io.images import read_labels, write_array, write_volume
from pipeline.io.transforms import write_itk_transform
from pipeline.io.warps import write_field


@pytest.fixture
def take(tmp_path, monkeypatch):
    """Runs the node on labels given as a volume; a brain of 20 mm cubed, stored back to front.

    White matter at 100 lies above cortex at 70, with noise of 10.
    """
    monkeypatch.chdir(tmp_path)
    affine = np.diag([1.0, -1, 1, 1])
    affine[:3, 3] = [-15, 15, -15]
    data = np.zeros((30, 30, 30), np.uint8)
    data[5:25, 5:25, 5:25] = 1
    write_volume(tmp_path / "brain.nii.gz", Volume(data, affine), np.uint8)
    levels = np.where(np.arange(30) < 15, 70, 100) + np.random.default_rng(2).normal(
        scale=10, size=data.shape
    )
    write_volume(tmp_path / "t1w.nii.gz", Volume(levels.astype(np.float32), affine))

    def run(labels):
        write_volume(tmp_path / "dseg.nii.gz", labels, np.int16)
        node = TakeLabels(
            dseg=str(tmp_path / "dseg.nii.gz"),
            t1w_preproc=str(tmp_path / "t1w.nii.gz"),
            brain_mask=str(tmp_path / "brain.nii.gz"),
        )
        return read_labels(node.run().outputs.dseg)

    return run


def halves(numbers, origin=(-10, -10, -10)):
    """Left 12 mm and right 8 mm of a box of 20 mm on a 2 mm grid."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = np.array(origin) - 1
    data = np.zeros((12, 12, 12), np.int32)
    data[1:7, 1:-1, 1:-1], data[7:-1, 1:-1, 1:-1] = numbers
    return Volume(data, affine)


def small(numbers):
    """The same with 12 mm of each side."""
    labels = halves(numbers)
    kept = np.zeros(labels.shape, bool)
    kept[3:9, 3:9, 3:9] = True
    return labels.with_data(np.where(kept, labels.data, 0))


def stacked(numbers, shift_mm=0):
    """Lower and upper half of a box of 20 mm; the border `shift_mm` higher than the tissue's."""
    affine = np.eye(4)
    affine[:3, 3] = -10
    data = np.full((20, 20, 20), numbers[1], np.int32)
    data[..., : 10 + shift_mm] = numbers[0]
    return Volume(data, affine)


def test_labels_land_on_the_grid_of_the_t1w(take):
    found = take(halves((17, 53)))
    assert found.shape == (30, 30, 30)
    left = np.argwhere(found.data == 17) @ found.affine[:3, :3].T + found.affine[:3, 3]
    np.testing.assert_array_equal(left.min(axis=0), (-10, -10, -10))
    np.testing.assert_array_equal(left.max(axis=0), (1, 9, 9))
    assert (found.data == 17).sum() == 12 * 20 * 20


def test_labels_of_freesurfer_are_read_as_it_writes_them(take, tmp_path):
    labels = halves((17, 53))
    expected = take(labels)
    mgz = nib.MGHImage(labels.data.astype(np.int32), labels.affine)
    nib.save(mgz, tmp_path / "aparc+aseg.mgz")
    node = TakeLabels(
        dseg=str(tmp_path / "aparc+aseg.mgz"),
        t1w_preproc=str(tmp_path / "t1w.nii.gz"),
        brain_mask=str(tmp_path / "brain.nii.gz"),
    )
    found = read_labels(node.run().outputs.dseg)
    np.testing.assert_array_equal(found.data, expected.data)


def test_parts_of_the_brain_stem_are_one_save_for_the_pons(take):
    labels = halves((17, 53))
    labels.data[3:9, 3:9, 2:5], labels.data[3:9, 3:9, 5:8] = 175, 174
    found = take(labels)
    assert set(np.unique(found.data)) == {0, 16, 17, 53, 174}
    assert (found.data == 174).sum() == (found.data == 16).sum() == 12 * 12 * 6


def test_a_pons_of_its_own_is_read_as_part_of_the_brain_stem(take, tmp_path):
    labels = halves((17, 53))
    labels.data[3:9, 3:9, 2:5], labels.data[3:9, 3:9, 5:8] = 175, 174
    found = take(labels)
    dseg = write_volume(tmp_path / "final.nii.gz", found, np.int16)
    shift = Field(np.zeros((*found.shape, 3)), found.affine)
    anatomy = read_anatomy(
        SimpleNamespace(
            dseg=str(dseg),
            mni2t1w_xfm=str(write_field(tmp_path / "xfm.nii.gz", shift)),
            t1w2acpc_xfm=str(write_itk_transform(tmp_path / "acpc.txt", np.eye(4))),
            gm_probseg=str(tmp_path / "t1w.nii.gz"),
            mni_images=Undefined,
        )
    )
    assert set(np.unique(anatomy.labels.data)) == {0, 16, 17, 53}
    np.testing.assert_array_equal(anatomy.pons, found.data == 174)
    assert (anatomy.labels.data == 16).sum() == 2 * 12 * 12 * 6


def test_numbers_that_are_not_freesurfers_are_left_out(take):
    found = take(halves((17, 31000)))
    assert set(np.unique(found.data)) == {0, 17}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (halves((17, 53), (60, 0, 0)), "no FreeSurfer label lies on the T1w"),
        (halves((31000, 31001)), "no FreeSurfer label lies on the T1w"),
        (halves((17, 53), (-13.5, -10, -10)), "cover 81 % of the brain.* 19 % of them lie"),
        (halves((53, 17)), "header is mirrored"),
        (small((17, 53)), "cover 22 % of the brain.* 0 % of them lie outside"),
        (stacked((2, 1035)), "brighter than what they call cortex in 2 % of pairs"),
        (stacked((1035, 2), shift_mm=8), "brighter than what they call cortex in 77 % of pairs"),
    ],
    ids=["elsewhere", "foreign", "shifted", "mirrored", "partial", "inverse", "off by a little"],
)
def test_labels_of_another_space_or_kind_are_refused(take, labels, told):
    with pytest.raises(DataError, match=rf"dseg\.nii\.gz: .*{told}"):
        take(labels)


def test_labels_that_fit_the_tissue_are_taken(take):
    assert set(np.unique(take(stacked((1035, 2))).data)) == {0, 2, 1035}


def test_numbers_that_are_not_whole_are_refused(tmp_path):
    labels = halves((17, 53))
    half = labels.with_data((labels.data + 0.5 * (labels.data > 0)).astype(np.float32))
    path = write_volume(tmp_path / "dseg.nii.gz", half)
    with pytest.raises(DataError, match="labels are whole numbers"):
        read_labels(path)


@pytest.mark.parametrize("port", ["dseg", "t1w_preproc", "brain_mask"])
def test_a_series_is_no_image_of_labels(take, tmp_path, port):
    take(halves((17, 53)))
    given = {"dseg": "dseg.nii.gz", "t1w_preproc": "t1w.nii.gz", "brain_mask": "brain.nii.gz"}
    write_array(tmp_path / given[port], np.ones((30, 30, 30, 2), np.int16), np.eye(4))
    with pytest.raises(DataError, match="one 3-D volume expected"):
        TakeLabels(**{name: str(tmp_path / file) for name, file in given.items()}).run()


def test_a_fourth_axis_of_one_is_no_series(tmp_path):
    path = write_array(tmp_path / "one.nii.gz", np.ones((3, 4, 5, 1), np.int16), np.eye(4))
    assert read_labels(path).shape == (3, 4, 5)
