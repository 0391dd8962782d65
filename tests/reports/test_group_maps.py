"""Figures of mean maps: every region is shown, and the same figure has the same bytes."""

import io

import matplotlib.image
import numpy as np
import pytest

from pipeline.core.volume import Volume
from pipeline.reports.group_maps import (
    MapRow,
    cover_planes,
    mean_map_figure,
    statistic_map_figure,
)
from pipeline.reports.slices import bounding_box
from pipeline.reports.style import figure_bytes

AFFINE = np.diag([2.0, 2, 2, 1])
AFFINE[:3, 3] = -48, -60, -40
SHAPE = (48, 60, 40)


@pytest.fixture(scope="module")
def template():
    index = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    inside = np.sum((index / (np.array(SHAPE) / 2 - 3)) ** 2, axis=-1) < 1
    return Volume(inside.astype(np.float32), AFFINE)


def regions(count, seed=3):
    """Small boxes scattered over the brain."""
    rng, labels = np.random.default_rng(seed), np.zeros(SHAPE, np.int16)
    for number in range(1, count + 1):
        x, y, z = (int(rng.integers(12, side - 16)) for side in SHAPE)
        labels[x : x + 4, y : y + 4, z : z + 4] = number
    return Volume(labels, AFFINE)


def level(template, value):
    return template.with_data(np.where(template.data > 0, value, np.nan).astype(np.float32))


def test_four_regions_are_all_shown_whole(template):
    labels = regions(4)
    planes = cover_planes(labels, [1, 2, 3, 4], bounding_box(template), 8)
    assert len(planes) == 8
    assert {plane.axis for plane in planes} == {0, 1, 2}
    assert [(p.axis, p.position_mm) for p in planes] == sorted(
        (p.axis, p.position_mm) for p in planes
    )
    shown = [set(np.unique(plane.sample(labels, order=0)[:]).tolist()) for plane in planes]
    assert {1.0, 2.0, 3.0, 4.0} <= set().union(*shown)


def test_more_regions_than_slices_are_nearly_all_shown(template):
    labels = regions(20)
    numbers = [n for n in range(1, 21) if (labels.data == n).any()]
    planes = cover_planes(labels, numbers, bounding_box(template), 8)
    shown = set().union(*(np.unique(plane.sample(labels, order=0)).tolist() for plane in planes))
    assert len(set(map(float, numbers)) & shown) >= 0.8 * len(numbers)


def pixels(figure):
    return matplotlib.image.imread(io.BytesIO(figure_bytes(figure, "png", dpi=60)))[..., :3]


def test_the_same_maps_give_the_same_bytes(template):
    rows = [MapRow(("a $x_1$ & <b>", "pre", "n = 3"), level(template, 1.0))]
    names = {1: "A$C_C%", 2: "HIP"}
    for kind in ("png", "svg"):
        first, second = (
            figure_bytes(mean_map_figure("BPND", rows, template, regions(2), names), kind)
            for _ in range(2)
        )
        assert first == second


def test_rows_share_one_scale(template):
    """A map of half the value is darker; alone, it would look like the other."""
    high, low = (MapRow((), level(template, value)) for value in (2.0, 1.0))
    none = template.with_data(np.zeros(SHAPE, np.int16))
    both = pixels(mean_map_figure("BPND", [high, low], template, none, {}))
    middle = both.shape[0] // 2
    upper, lower = (
        part[:, : part.shape[1] * 3 // 4].mean() for part in (both[:middle], both[middle:])
    )
    assert upper > 1.3 * lower


@pytest.mark.parametrize("n_rows", [0, 1, 6])
@pytest.mark.parametrize("n_regions", [0, 2, 20])
def test_any_number_of_rows_and_regions(template, n_rows, n_regions):
    rows = [
        MapRow(("g", "s", "n = 1"), level(template, np.nan if k else 1.0)) for k in range(n_rows)
    ]
    names = {n: f"R{n}" for n in range(1, n_regions + 1)}
    figure = mean_map_figure("R1", rows, template, regions(n_regions), names)
    assert np.isfinite(pixels(figure)).all()


def test_falls_are_blue_and_rises_red(template):
    data = np.where(template.data > 0, -4.0, np.nan).astype(np.float32)
    none = template.with_data(np.zeros(SHAPE, np.int16))
    passed = template.with_data((data < 0).astype(np.float32))
    fall = pixels(
        statistic_map_figure(
            [MapRow(("x",), template.with_data(data), passed)], template, none, {}
        )
    )
    rise = pixels(
        statistic_map_figure([MapRow(("x",), template.with_data(-data))], template, none, {})
    )
    centre = slice(0, fall.shape[1] * 3 // 4)
    assert fall[:, centre, 2].mean() > fall[:, centre, 0].mean()
    assert rise[:, centre, 0].mean() > rise[:, centre, 2].mean()
