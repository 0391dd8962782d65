"""The brain by deepbet, where it is installed: a head of known brain, and an image of nothing."""

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.labels import GREY_LABELS
from pipeline.interfaces.anatomy import FindBrain
from pipeline.io.deepbet import deepbet_mask
from pipeline.io.head_template import read_head_template
from pipeline.io.images import read_volume, write_volume
from pipeline.simulation.head import Anatomy, make_head
from pipeline.simulation.template import label_template

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tool("deepbet"),
    # torch on the file format of the weights
    pytest.mark.filterwarnings("ignore:.*torch.jit.load.*"),
]


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(101)
    return make_head(label_template(read_head_template()), Anatomy.draw(rng), 1.5, rng)


def test_the_brain_of_a_head_is_found_whole(head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_volume(tmp_path / "sub-01_T1w.nii.gz", head.t1w)
    found = FindBrain(t1w=str(path), method="deepbet").run().outputs
    brain, labelled = read_volume(found.brain_mask).data > 0, head.labels.data > 0
    grey = np.isin(head.labels.data, list(GREY_LABELS))
    assert np.count_nonzero(grey & ~brain) < 0.01 * np.count_nonzero(grey)
    # sulcal fluid belongs to the mask and has no label
    assert np.count_nonzero(brain) < 1.25 * np.count_nonzero(labelled)


def test_storage_makes_no_difference(head):
    turned = head.t1w.data.transpose(2, 0, 1)[::-1]
    to_old = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, len(turned) - 1], [0, 0, 0, 1.0]])
    other = type(head.t1w)(np.ascontiguousarray(turned), head.t1w.affine @ to_old)
    straight = deepbet_mask(head.t1w).data
    np.testing.assert_array_equal(deepbet_mask(other).data[::-1].transpose(1, 2, 0), straight)


def test_threads_make_no_difference(head):
    one, two = (deepbet_mask(head.t1w, threads).data for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_an_image_of_nothing_is_refused(head):
    with pytest.raises(DataError, match="no brain"):
        deepbet_mask(head.t1w.with_data(np.zeros(head.t1w.shape, np.float32)))
