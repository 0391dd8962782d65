"""What figures show, read back from their pixels and axes."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import Volume
from pipeline.reports.curves import curve_figure, motion_figure
from pipeline.reports.overlays import Tissues, anatomical_colours, map_figure, tissue_figure
from pipeline.reports.style import distinct_colours, figure_bytes


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figure_bytes(figure, "png"))).convert("RGB"), float)


def test_left_is_shown_on_the_left():
    """A light in the left half of the head lights the left half of the axial slices."""
    data = np.ones((30, 30, 30), np.float32)
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = 43, -43, -43
    data[16:, :, :] = 100  # x < -3 mm, as the first axis runs to the left
    figure = tissue_figure(Tissues(Volume(data, affine)))
    axes = figure.axes[0]
    image = np.asarray(axes.images[0].get_array().filled(0))
    middle = image.shape[1] // 2
    assert image[:, : middle - 3].max() == pytest.approx(100)
    assert image[:, middle + 3 :].max() == pytest.approx(1)
    assert [text.get_text() for text in axes.texts][1:3] == ["L", "R"]


def test_a_map_scale_starts_at_zero_and_ends_on_a_round_number(full_report):
    figure = map_figure("BPND", full_report.models[0].maps["BPND"], None)
    bar = figure.axes[-1]
    assert "BP" in bar.get_ylabel()
    assert "unitless" in bar.get_ylabel()
    image = figure.axes[0].images[0]
    assert image.get_clim() == pytest.approx((0.0, 0.5))


def test_the_two_sides_of_a_structure_share_a_colour():
    colours = anatomical_colours([17, 53, 1035, 2035, 8])
    assert colours[17] == colours[53]
    assert colours[1035] == colours[2035]
    assert len(set(colours.values())) == 3


def test_many_labels_have_many_colours():
    assert len({tuple(np.round(c, 2)) for c in distinct_colours(90)}) == 90


def test_curves_are_in_kbq_and_minutes(full_report):
    figure = curve_figure(full_report.curves, {"Caudate": 0.51})
    panel = figure.axes[0]
    measured = panel.lines[-1]
    np.testing.assert_allclose(measured.get_xdata(), np.arange(8) + 0.5)
    assert measured.get_ydata()[0] == pytest.approx(15 * np.exp(-0.5 / 6))
    assert panel.get_title("left") == "Caudate"


def test_motion_is_in_mm_and_degrees_and_still_heads_look_still(full_report):
    figure = motion_figure(full_report.motion)
    low, high = figure.axes[0].get_ylim()
    assert low <= -1
    assert high >= 1
    assert [ax.get_title("left") for ax in figure.axes] == [
        "Translation (mm)",
        "Rotation (degrees)",
        "Framewise displacement (mm)",
    ]
    assert len(figure.axes[0].patches) == 3  # frames without a transform of their own


def test_lines_stop_where_the_scan_breaks_off_and_points_do_not(full_report):
    start_s = np.arange(8) * 60.0 + np.where(np.arange(8) > 4, 1200, 0)
    timing = FrameTiming(start_s, np.full(8, 60.0))
    curves = replace(
        full_report.curves, timing=timing, fitted_bqml=full_report.curves.measured_bqml
    )
    for figure in (
        curve_figure(curves, {}),
        motion_figure(replace(full_report.motion, timing=timing)),
    ):
        lines = [line.get_xdata() for line in figure.axes[0].lines]
        broken = [x for x in lines if np.isnan(x).any()]
        assert broken
        for x in broken:
            np.testing.assert_array_equal(np.flatnonzero(np.isnan(x)), [5])
            np.testing.assert_allclose(x[~np.isnan(x)], timing.mid_min)
    points = curve_figure(curves, {}).axes[0].lines[-1].get_xdata()
    np.testing.assert_allclose(points, timing.mid_min)
