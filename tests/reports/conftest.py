"""A session made in code: a ball of a head, its tissues, regions, curves and estimates."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.reports.curves import Curves, Motion
from pipeline.reports.overlays import Tissues
from pipeline.reports.page import Note
from pipeline.reports.session import Coregistration, ModelReport, Regions, SessionReport


def _distance(affine, shape):
    indices = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    return np.linalg.norm(apply_affine(affine, indices), axis=-1)


@pytest.fixture(scope="session")
def full_report():
    t1w_affine = np.diag([3.0, 3.0, 3.0, 1.0])
    t1w_affine[:3, 3] = -45
    r = _distance(t1w_affine, (31, 31, 31))
    soft = lambda radius: np.clip(radius - r, 0, 1).astype(np.float32)  # noqa: E731
    on_t1w = lambda data: Volume(data.astype(np.float32), t1w_affine)  # noqa: E731
    tissues = Tissues(
        t1w=on_t1w(100 * soft(40) + 50 * soft(25)),
        brain=on_t1w(r < 40),
        gm=on_t1w(soft(38) - soft(28)),
        wm=on_t1w(soft(28)),
        csf=on_t1w(soft(40) - soft(38)),
    )
    labels = on_t1w(np.where(r < 28, 2, np.where(r < 38, 1035, 0)))
    pet_affine = np.diag([-4.0, 4.0, 5.0, 1.0])
    pet_affine[:3, 3] = 48, -50, -48
    petref2t1w_xfm = rigid_matrix(np.array([3.0, -2.0, 4.0]), np.array([0.05, 0.0, -0.1]))
    d = _distance(petref2t1w_xfm @ pet_affine, (25, 26, 20))
    on_pet = lambda data: Volume(data.astype(np.float32), pet_affine)  # noqa: E731
    timing = FrameTiming(np.arange(8) * 60.0, np.full(8, 60.0))
    curve = 1e4 * np.exp(-timing.mid_min / 6)
    return SessionReport(
        scan={"subject": "01", "session": "pre", "tracer_name": "[11C]X", "n_frames": 8},
        version="0.1.0",
        tissues=tissues,
        labels=labels.with_data(labels.data.astype(np.int32)),
        anatomy_quality={"gm_dice": 0.81},
        coregistration=Coregistration(on_pet(6000.0 * (d < 38)), petref2t1w_xfm, {"Score": 1.25}),
        motion=Motion(
            timing,
            np.zeros((8, 3)),
            np.zeros((8, 3)),
            np.r_[np.nan, np.zeros(7)],
            standard_error=np.where(np.arange(8)[:, None] > 2, 0.1, np.full((8, 6), np.nan)),
            group=np.r_[0, 0, 0, 0, 0, 1, 2, 3],
            source=["copied"] * 3 + ["estimated"] * 5,
            counts=np.full(8, 4e8),
            quality={
                "MotionCorrected": True,
                "MotionCorrectionReason": "every session is corrected",
            },
        ),
        regions=Regions(
            Volume(np.where(d < 10, 1, np.where(d < 20, 2, 0)).astype(np.int16), pet_affine),
            {1: "Caudate", 2: "Cerebellum"},
            {"Caudate": 5000.0, "Cerebellum": 21000.0},
        ),
        curves=Curves(
            timing,
            {"Caudate": 1.5 * curve, "Cerebellum": curve},
            {"Caudate": 1.49 * curve},
            "Cerebellum",
        ),
        models=[
            ModelReport(
                model="SRTM",
                kinetics=[
                    {
                        "name": "Caudate",
                        "BPND": 0.51,
                        "BPND-se": 4.0,
                        "R1": 0.9,
                        "k2": 0.1,
                        "flag": None,
                    },
                    {
                        "name": "Insula",
                        "BPND": float("nan"),
                        "R1": float("nan"),
                        "flag": "failed,at_bound",
                    },
                ],
                maps={"BPND": on_pet(np.where(d < 38, 0.5, np.nan)), "k2": on_pet(0.1 * (d < 38))},
            ),
            ModelReport(
                model="LoganRef",
                kinetics=[{"name": "Caudate", "BPND": 0.49, "DVR": 1.49, "tstar": 21.0}],
                maps={"DVR": on_pet(np.where(d < 38, 1.5, np.nan))},
            ),
        ],
        methods=["The model was fitted."],
        findings=[Note("warning", "InjectedMass is missing", "sub-01_pet.json")],
        provenance={"settings": {"motion": {"backend": "none"}}},
    )


@pytest.fixture
def bare_report(full_report):
    """What is left when nothing but the scan is known."""
    return SessionReport(scan=full_report.scan, version="0.1.0")


@pytest.fixture
def changed(full_report):
    return lambda **parts: replace(full_report, **parts)
