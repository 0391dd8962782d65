import numpy as np
import pytest
from scipy import ndimage

from pipeline.core.labels import LABEL_NAMES, sided
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import Volume
from pipeline.io.head_template import read_head_template
from pipeline.simulation.head import Anatomy, head_from_labels, make_head
from pipeline.simulation.regions import (
    DORSAL_BRAIN_STEM,
    MEDULLA,
    MIDBRAIN,
    PONS,
    SKULL,
    SOFT_TISSUE,
    SOURCE_NAMES,
    TISSUES,
    brain_stem_part,
    known_labels,
    tissue_numbers,
)
from pipeline.simulation.template import label_template

VOXEL_MM = 2.0


@pytest.fixture(scope="module")
def template():
    return label_template(read_head_template().coarsened(2))


def head_of(template, person=1, visit=5):
    anatomy = Anatomy.draw(np.random.default_rng(person))
    return make_head(template, anatomy, VOXEL_MM, np.random.default_rng(visit))


@pytest.fixture(scope="module")
def head(template):
    return head_of(template)


def volume_ml(head, *labels):
    return np.isin(head.labels.data, labels).sum() * head.labels.voxel_volume_mm3 / 1000


def mean_t1w(head, *sources):
    return head.t1w.data[np.isin(head.sources.data, sources)].mean()


def centre(volume, label):
    return apply_affine(volume.affine, np.argwhere(volume.data == label).mean(axis=0))


def test_every_source_has_a_tissue_and_a_name():
    numbers = tissue_numbers()
    assert numbers[0] == 0
    assert all(numbers[label] > 0 for label in SOURCE_NAMES)
    labels = [label for tissue in TISSUES for label in tissue.labels]
    assert len(labels) == len(set(labels))
    assert set(labels) == set(SOURCE_NAMES)


def test_template_keeps_each_side_to_itself(template):
    x = np.arange(template.sources.shape[0]) * 2 + template.sources.affine[0, 3]
    for name in ("Hippocampus", "Cerebral-White-Matter", "superiorfrontal", "Cerebellum-Cortex"):
        left, right = sided(name)
        found = [
            np.flatnonzero((template.sources.data == n).any(axis=(1, 2))) for n in (left, right)
        ]
        assert x[found[0]].max() <= 2, name
        assert x[found[1]].min() >= -2, name


def test_labels_agree_with_the_tissue_maps(template):
    # grey matter of the template carries labels of grey matter, white matter of white matter
    original = read_head_template().coarsened(2)
    pad = (np.array(template.sources.shape) - original.t1w.shape) // 2
    inside = tuple(slice(p, p + n) for p, n in zip(pad, original.t1w.shape, strict=True))
    labels = template.sources.data[inside]
    white_labels = (2, 41, 7, 46, 28, 60, 173, 174, 175, 118, *range(251, 256))
    white = np.isin(labels[original.white.data > 0.9], white_labels)
    assert white.mean() > 0.97
    grey = labels[original.grey.data > 0.9]
    assert (
        (grey >= 1001) | np.isin(grey, (8, 47, 11, 50, 12, 51, 17, 53, 18, 54, 26, 58))
    ).mean() > 0.95


def test_volumes_are_human(head):
    # adult ranges, wide: one template under random scaling
    assert 1200 < volume_ml(head, *LABEL_NAMES) < 2000  # brain and fluid
    assert 6 < volume_ml(head, 17, 53) < 15
    assert 8 < volume_ml(head, 12, 51) < 20
    assert 0.8 < volume_ml(head, 26, 58) < 3
    assert 90 < volume_ml(head, 8, 47) < 160
    assert 10 < volume_ml(head, 10, 49) < 25
    dorsal = (head.sources.data == DORSAL_BRAIN_STEM).sum() * 0.008
    assert 0.1 < dorsal < 0.5


def test_every_region_is_there(head):
    absent = set(SOURCE_NAMES) - set(np.unique(head.sources.data).tolist())
    # no vermis in the atlas, and lesions nowhere
    assert absent <= {77, 172, 5, 44}


def test_contrast_is_that_of_a_t1w(head):
    air, fluid, skull, cortex, white, skin = (
        mean_t1w(head, *labels)
        for labels in (
            (0,), (4, 43), (SKULL,), range(1001, 2036), (2, 41), (SOFT_TISSUE,)
        )
    )  # fmt: skip
    assert air < skull < fluid < cortex < white
    assert cortex / white == pytest.approx(0.7, abs=0.1)
    assert skin > cortex


def test_layers_lie_in_order(head):
    depth = ndimage.distance_transform_edt(head.labels.data == 0) * VOXEL_MM
    sources = head.sources.data
    skull, skin = (np.median(depth[(sources == n) & (depth < 20)]) for n in (SKULL, SOFT_TISSUE))
    assert 0 < skull < skin
    z = np.arange(sources.shape[2])
    above = sources[..., z > sources.shape[2] // 2]
    # a ray from the crown down meets air, scalp, skull, fluid
    column = above[sources.shape[0] // 2, sources.shape[1] // 2, ::-1]
    met = [n for n, before in zip(column[1:], column[:-1], strict=True) if n != before]
    assert met[:3] == [SOFT_TISSUE, SKULL, 24]


def test_the_warp_folds_nowhere():
    grid = np.stack(np.meshgrid(*[np.arange(-60.0, 61, 4)] * 3, indexing="ij"))
    for person in range(4):
        points = Anatomy.draw(np.random.default_rng(person)).to_template(grid)
        gradient = np.stack([np.stack(np.gradient(p, 4.0)) for p in points])
        jacobian = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)))
        assert jacobian.min() > 0.2
        assert 0.7 < jacobian.mean() < 1.6


def test_people_differ_and_visits_share_the_anatomy(template, head):
    other, again = head_of(template, person=2), head_of(template, visit=6)
    sizes = [volume_ml(h, 10, 49, 12, 51, 17, 53) for h in (head, other, again)]
    assert abs(sizes[1] - sizes[0]) > 0.02 * sizes[0]
    # the same tissue on another grid
    assert sizes[2] == pytest.approx(sizes[0], rel=0.01)
    distance = [
        np.linalg.norm(centre(h.sources, 10) - centre(h.sources, 49)) for h in (head, again)
    ]
    assert distance[0] == pytest.approx(distance[1], abs=0.3)
    assert np.linalg.norm(centre(head.sources, 10) - centre(again.sources, 10)) > 1


def test_same_numbers_same_head(template, head):
    again = head_of(template)
    np.testing.assert_array_equal(head.t1w.data, again.t1w.data)
    np.testing.assert_array_equal(head.sources.data, again.sources.data)
    assert head.t1w.data.dtype == np.float32


def test_brain_stem_parts_follow_mni():
    x, y, z = np.array([[0, 0, 0, 0], [-30, -25, -25, -40], [-11, -12, -30, -55]], float)
    assert brain_stem_part(x, y, z).tolist() == [DORSAL_BRAIN_STEM, MIDBRAIN, PONS, MEDULLA]


def test_a_given_head_gets_its_sources_back(template, head):
    rebuilt = head_from_labels(head.t1w, head.labels, template)
    np.testing.assert_array_equal(rebuilt.labels.data[head.labels.data > 0],
                                  head.labels.data[head.labels.data > 0])  # fmt: skip
    assert rebuilt.t1w is head.t1w
    # parts of the brain stem come from an affine on structure centres, not from the true warp
    for part in (DORSAL_BRAIN_STEM, MIDBRAIN, PONS):
        shift = centre(rebuilt.sources, part) - centre(head.sources, part)
        assert np.linalg.norm(shift) < 4.0, part
    truth, found = (h.sources.data == SOFT_TISSUE for h in (head, rebuilt))
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.85


def test_heads_that_cannot_be_used_are_refused(template, head):
    with pytest.raises(ValueError, match="different grids"):
        head_from_labels(Volume(head.t1w.data[1:], head.t1w.affine), head.labels, template)
    destrieux = head.labels.with_data(np.where(head.labels.data >= 1001, 11106, 0))
    with pytest.raises(ValueError, match="11106"):
        head_from_labels(head.t1w, destrieux, template)
    cortex = head.labels.with_data(np.where(head.labels.data >= 1001, head.labels.data, 0))
    with pytest.raises(ValueError, match="brain stem"):
        head_from_labels(head.t1w, cortex, template)


def test_rare_labels_become_their_neighbours():
    labels = np.array([0, 30, 72, 80, 1000, 2004, 17])
    assert known_labels(labels).tolist() == [0, 24, 24, 77, 0, 41, 17]
