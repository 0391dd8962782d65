"""What a break in the scan costs the fit: noise-free curves, frames missing in the middle."""

import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.kinetics import Srtm
from pipeline.simulation.options import paper_timing
from pipeline.simulation.tracer import TissueKinetics, tissue_curves

KINETICS = TissueKinetics(
    np.array([1.0, 1.05, 0.78, 0.85, 0.91]), np.array([0.0, 1.24, 0.42, 1.78, 0.5]), 0.14
)
WHOLE = paper_timing()


def with_break(start_min, minutes=20):
    """The frames of the paper before a break, and frames of six minutes after it, up to 93."""
    before = WHOLE.end_min <= start_min
    later_s = np.arange(60 * (start_min + minutes), WHOLE.end_s[-1] - 359, 360)
    start_s = np.concatenate([WHOLE.start_s[before], later_s])
    return FrameTiming(start_s, np.r_[WHOLE.duration_s[before], np.full(later_s.size, 360.0)])


@pytest.mark.parametrize(("start_min", "percent"), [(45, 0.7), (33, 1.1), (21, 2.4)])
def test_a_break_of_twenty_minutes_costs_little_binding(start_min, percent):
    """The reference is taken as straight across the break, which costs more where it bends."""
    timing = with_break(start_min)
    assert timing.after_gap(1199).sum() == 1
    curves = tissue_curves(KINETICS, timing)
    fit = Srtm().fit(curves[1:], curves[0], timing, np.ones(len(timing)))
    off = 100 * np.abs(fit.estimates["BPND"] / KINETICS.bpnd[1:] - 1)
    assert off.max() < percent
