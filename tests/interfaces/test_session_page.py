"""Files of a session in, one page out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.findings import Finding
from pipeline.bids.scan import ScanInputs
from pipeline.interfaces.reports import SessionPage, _read_curves
from pipeline.io.images import write_array
from pipeline.io.tables import write_json, write_table
from pipeline.io.transforms import write_itk_transform
from pipeline.kinetics import Srtm
from pipeline.kinetics.contract import map_symbols

N_FRAMES = 6


@pytest.fixture
def scan():
    return ScanInputs(
        subject="01",
        session="pre",
        task=None,
        tracer="X",
        reconstruction=None,
        run=None,
        pet=Path("/data/jane/sub-01_ses-pre_pet.nii.gz"),
        t1w=Path("/data/jane/sub-01_ses-pre_T1w.nii.gz"),
        t1w_reason="the session's own",
        frame_start_s=tuple(60.0 * np.arange(N_FRAMES)),
        frame_duration_s=(60.0,) * N_FRAMES,
        frame_scale=(1.0,) * N_FRAMES,
        radionuclide="C11",
        tracer_name="[11C]X",
        injected_mbq=370.0,
        body_weight_kg=None,
    )


@pytest.fixture
def files(tmp_path):
    """One small file of every kind a session makes."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -30
    ball = np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0)
    frames = {"frame_start": 60.0 * np.arange(N_FRAMES), "frame_end": 60.0 * np.arange(1, 7)}
    still = dict.fromkeys(("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"), 0.0)

    def image(name, data):
        return str(write_array(tmp_path / f"{name}.nii.gz", data, affine))

    def table(name, columns):
        return str(write_table(tmp_path / f"{name}.tsv", pd.DataFrame(columns)))

    inside = (ball < 7).astype(np.float32)
    return {
        "t1w_preproc": image("t1w", 100 * inside),
        "brain_mask": image("brain", inside),
        "gm_probseg": image("gm", inside * (ball > 4)),
        "wm_probseg": image("wm", inside * (ball <= 4)),
        "csf_probseg": image("csf", 0 * inside),
        "dseg": image("dseg", (2 * inside).astype(np.int16)),
        "quality": str(write_json(tmp_path / "anatomy.json", {"Dice": 0.8125})),
        "petref": image("petref", 5000 * inside),
        "petref2t1w_xfm": str(write_itk_transform(tmp_path / "xfm.txt", np.eye(4))),
        "coregistration_quality": str(
            write_json(tmp_path / "c.json", {"Coregistration": {"Start": "headers"}})
        ),
        "confounds": table(
            "confounds",
            {
                **frames,
                **still,
                **{f"{name}_se": 0.1 for name in still},
                "framewise_displacement": 0.0,
                "counts": 5e8,
                "group": 0,
                "source": "estimated",
            },
        ),
        "motion_quality": str(
            write_json(
                tmp_path / "m.json",
                {"MotionCorrected": False, "MotionCorrectionReason": "no session is corrected"},
            )
        ),
        "regions_dseg": image("regions", (ball < 3).astype(np.int16)),
        "regions_dseg_tsv": table("regions", {"index": [1], "name": ["Putamen"]}),
        "morph": table(
            "morph",
            {
                "index": [1],
                "name": ["Putamen"],
                "volume-mm3": [4321.0],
                "in-field": 1.0,
                "covered": 0.75,
                "usable": [1],
                "reason": [None],
            },
        ),
        "tacs": table("tacs", {**frames, "Putamen": 2e4, "Cerebellum": 1e4, "Brain": 1e4}),
        "models": [Srtm()],
        "fitted_tacs": [table("fitted", {**frames, "Putamen": 2e4, "weight": 1.0})],
        "kinpar": [
            table(
                "kinpar",
                {
                    "index": [1],
                    "name": ["Putamen"],
                    "BPND": [1.234],
                    "R1": [0.9],
                    "k2": [0.1],
                    "BPND-se": [3.2],
                    "flag": ["imprecise"],
                },
            )
        ],
        "maps": [image(name, inside) for name in map_symbols(Srtm())],
    }


def run(tmp_path, monkeypatch, **inputs):
    monkeypatch.chdir(tmp_path)
    return Path(SessionPage(**inputs).run().outputs.page).read_text(encoding="utf-8")


def test_files_become_a_page(tmp_path, monkeypatch, scan, files):
    html = run(
        tmp_path,
        monkeypatch,
        scan=scan,
        reference="Cerebellum",
        findings=[Finding("warning", "sub-01_pet.json", "InjectedMass", "missing", "Add it")],
        methods=["SRTM was fitted."],
        settings={"motion": {"backend": "none"}},
        **files,
    )
    for words in (
        "sub-01 ses-pre",
        "[11C]X",
        "sub-01_ses-pre_T1w.nii.gz",
        "1.23",
        "SE 3.2 %",
        "imprecise",
        "4.32",  # volume, mL
        "0.8125",
        "headers",
        "sub-01_pet.json [InjectedMass]",
        "missing. Add it.",
        "SRTM was fitted.",
        "motion.backend",
        "25 % of it lie in the field of view, but not in every frame",
    ):
        assert words in html, words
    assert html.count("data:image/") == 11
    assert "/data/jane" not in html


def test_parameters_with_and_without_correction_are_side_by_side(
    tmp_path, monkeypatch, scan, files
):
    rows = {"index": [1], "name": ["Putamen"], "BPND": [1.481], "flag": ["at_bound"]}
    morph = {"index": [1], "name": ["Putamen"], "recovery": [0.73], "noise-factor": [1.38]}
    further = {
        "pvc": "GTM",
        "kinpar_pvc": [str(write_table(tmp_path / "pvc.tsv", pd.DataFrame(rows)))],
        "morph_pvc": str(write_table(tmp_path / "morph_pvc.tsv", pd.DataFrame(morph))),
    }
    plain = run(tmp_path, monkeypatch, scan=scan, **files)
    assert "Partial-volume" not in plain
    html = run(tmp_path, monkeypatch, scan=scan, **files, **further)
    section = html.split('id="partial-volume"')[1].split("</section>")[0]
    # 1.481 / 1.234 is a rise of 20.0 %
    for words in ("Putamen", "1.23", "1.48", "+20.0", "73", "1.38", "GTM"):
        assert words in section, words
    assert "SRTM after GTM fit: at bound" in html


def test_curves_of_the_whole_brain_and_weights_are_no_regions(files):
    curves = _read_curves({**files, "reference": "Cerebellum"})
    assert set(curves.measured_bqml) == {"Putamen", "Cerebellum"}
    assert set(curves.fitted_bqml) == {"Putamen"}


def test_a_page_needs_the_scan_and_nothing_else(tmp_path, monkeypatch, scan):
    html = run(tmp_path, monkeypatch, scan=scan)
    assert "sub-01 ses-pre" in html
    assert "data:image/" not in html
