"""What nodes are given: hashable, equal when equal, blind to treatment."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.bids.scan import ScanInputs

SCAN = ScanInputs(
    subject="01",
    session="pre",
    task=None,
    tracer="AZ",
    reconstruction=None,
    run="02",
    pet=Path("bids/sub-01/ses-pre/pet/sub-01_ses-pre_trc-AZ_run-02_pet.nii.gz"),
    t1w=Path("bids/sub-01/anat/sub-01_acq-mprage_T1w.nii.gz"),
    t1w_reason="the subject's only one",
    frame_start_s=(0.0, 30.0),
    frame_duration_s=(30.0, 60.0),
    frame_scale=(1.0, 1.0),
    radionuclide="C11",
    tracer_name="AZ10419369",
    injected_mbq=400.0,
    body_weight_kg=None,
)


def test_label_and_entities_follow_the_name():
    assert SCAN.label == "sub-01_ses-pre_trc-AZ_run-02"
    assert SCAN.entities == {"sub": "01", "ses": "pre", "trc": "AZ", "run": "02"}
    assert replace(SCAN, session=None, tracer=None, run=None).label == "sub-01"


def test_anatomy_has_the_entities_of_its_own_image():
    assert SCAN.t1w_entities == {"sub": "01", "acq": "mprage"}
    assert replace(SCAN, t1w=None).t1w_entities == {}


def test_timing_is_in_seconds_and_minutes():
    np.testing.assert_array_equal(SCAN.timing.end_s, [30, 90])
    np.testing.assert_array_equal(SCAN.timing.mid_min, [0.25, 1.0])


def test_a_node_can_hash_and_send_it():
    assert hash(SCAN) == hash(replace(SCAN))
    assert pickle.loads(pickle.dumps(SCAN)) == SCAN  # noqa: S301
    assert repr(SCAN) != repr(replace(SCAN, frame_scale=(1.0, 1.5)))
    with pytest.raises(AttributeError):
        SCAN.run = "1"
