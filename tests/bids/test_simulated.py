import argparse
import hashlib
import json
import shutil
import subprocess
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from pipeline.bids.simulated import GivenHead, read_frame_protocol, simulate_dataset
from pipeline.cli import simulate as command
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.transforms import apply_affine, displacement_mm
from pipeline.io.images import read_labels, read_series
from pipeline.io.tables import read_json, read_table
from pipeline.io.transforms import read_itk_transform
from pipeline.simulation.options import CohortOptions, SimulationOptions

TINY = SimulationOptions.tiny(seed=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "bids"
    simulate_dataset(root, TINY)
    return root


def truth(root, subject, session, ending):
    datatype = "anat" if "dseg" in ending else "pet"
    folder = root / "derivatives" / "truth" / subject / session / datatype
    return folder / f"{subject}_{session}_{ending}"


def pet(root, subject="sub-01", session="ses-pre", ending="pet.nii.gz"):
    return root / subject / session / "pet" / f"{subject}_{session}_{ending}"


def with_group(**sizes):
    return replace(TINY, cohort=CohortOptions(group_sizes={"ketamine": 0, "placebo": 0} | sizes))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_are_those_of_two_patients_with_one_t1w_each(dataset):
    images = sorted(str(p.relative_to(dataset)) for p in dataset.glob("sub-*/**/*.nii.gz"))
    assert images == [
        f"{s}/{v}/{kind}/{s}_{v}_{suffix}.nii.gz"
        for s in ("sub-01", "sub-02")
        for v, kind, suffix in (
            ("ses-post", "pet", "pet"), ("ses-pre", "anat", "T1w"), ("ses-pre", "pet", "pet"),
        )
    ]  # fmt: skip


@pytest.mark.skipif(
    shutil.which("bids-validator-deno") is None, reason="bids-validator-deno is not installed"
)
def test_the_official_validator_finds_no_error(dataset):
    done = subprocess.run(
        ["bids-validator-deno", "--format", "json", str(dataset)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    errors = [i for i in report["issues"]["issues"] if i["severity"] == "error"]
    assert errors == []
    assert done.returncode == 0
    assert report["summary"]["totalFiles"] > 15


def test_sidecar_describes_the_image(dataset):
    sidecar = read_json(pet(dataset, ending="pet.json"))
    required = {
        "Manufacturer", "ManufacturersModelName", "Units", "TracerName", "TracerRadionuclide",
        "InjectedRadioactivity", "InjectedRadioactivityUnits", "InjectedMass",
        "InjectedMassUnits", "SpecificRadioactivity", "SpecificRadioactivityUnits",
        "ModeOfAdministration", "TimeZero", "ScanStart", "InjectionStart", "FrameTimesStart",
        "FrameDuration", "AcquisitionMode", "ImageDecayCorrected", "ImageDecayCorrectionTime",
        "ReconMethodName", "ReconMethodParameterLabels", "ReconFilterType", "ReconFilterSize",
        "AttenuationCorrection",
    }  # fmt: skip
    assert required <= sidecar.keys()
    assert (sidecar["Units"], sidecar["TracerRadionuclide"]) == ("Bq/mL", "C11")
    image = nib.load(pet(dataset))
    assert image.shape[3] == len(sidecar["FrameTimesStart"]) == len(sidecar["FrameDuration"])
    assert sidecar["FrameTimesStart"] == TINY.scanner.timing.start_s.tolist()
    assert image.get_data_dtype() == np.int16
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.header.get_zooms()[:3], 8.0)


def test_tables_hold_patients_and_scores(dataset):
    people = read_table(dataset / "participants.tsv")
    assert people["participant_id"].tolist() == ["sub-01", "sub-02"]
    assert people["group"].tolist() == ["ketamine", "placebo"]
    assert people["weight"].between(48, 120).all()
    sessions = read_table(dataset / "sub-01" / "sub-01_sessions.tsv")
    assert sessions["session_id"].tolist() == ["ses-pre", "ses-post"]
    assert sessions["madrs"].between(0, 60).all()
    assert set(read_json(dataset / "sub-01" / "sub-01_sessions.json")) == set(sessions.columns)


def test_true_parameters_are_consistent(dataset):
    before, after = (
        read_table(truth(dataset, "sub-01", session, "desc-truth_kinpar.tsv")).set_index("index")
        for session in ("ses-pre", "ses-post")
    )
    for table in (before, after):
        np.testing.assert_allclose(table["k2"], table["R1"] * table["k2prime"])
        np.testing.assert_allclose(table["k2a"], table["k2"] / (1 + table["BPND"]))
        assert table["k2prime"].nunique() == 1
        assert table.loc[[8, 47], "BPND"].tolist() == [0, 0]
    assert before.loc[17, "BPND"] == before.loc[53, "BPND"]
    assert before.loc[17, "name"] == "Left-Hippocampus"


def test_true_transforms_are_rigid_and_one_in_both_forms(dataset):
    stem = "from-T1w_to-pet_mode-image_xfm"
    matrix = np.array(read_json(truth(dataset, "sub-01", "ses-pre", f"{stem}.json"))["Matrix"])
    itk = read_itk_transform(truth(dataset, "sub-01", "ses-pre", f"{stem}.txt"))
    np.testing.assert_allclose(itk, matrix, atol=1e-6)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
    motion = read_table(truth(dataset, "sub-01", "ses-pre", "desc-truth_motion.tsv"))
    assert len(motion) == len(TINY.scanner.timing)
    assert displacement_mm(motion_matrix(motion, 0), np.eye(4), np.eye(3) * 70).max() < 1e-9
    assert displacement_mm(motion_matrix(motion, -1), np.eye(4), np.eye(3) * 70).max() > 0.3


def motion_matrix(table, frame):
    matrix = np.eye(4)
    row = table.iloc[frame]
    matrix[:3] = [[row[f"m{i}{j}"] for j in range(4)] for i in range(3)]
    return matrix


def test_truth_lies_on_the_images(dataset):
    """Late activity at true places: putamen above cerebellum, as the true curves say."""
    labels = read_labels(truth(dataset, "sub-01", "ses-pre", "desc-truth_dseg.nii.gz"))
    series, affine = read_series(pet(dataset))
    motion = read_table(truth(dataset, "sub-01", "ses-pre", "desc-truth_motion.tsv"))
    tacs = read_table(truth(dataset, "sub-01", "ses-pre", "desc-truth_tacs.tsv"))
    t1w2pet = read_itk_transform(
        truth(dataset, "sub-01", "ses-pre", "from-T1w_to-pet_mode-image_xfm.txt")
    )
    seen = {}
    for label in (12, 51, 8, 47):
        points = apply_affine(labels.affine, np.argwhere(labels.data == label).astype(float))
        values = []
        for frame in range(9, 14):
            xfm = np.linalg.inv(affine) @ motion_matrix(motion, frame) @ t1w2pet
            index = np.rint(apply_affine(xfm, points)).astype(int)
            values.append(series[(*index.T, frame)].mean())
        seen[label] = np.mean(values)
    name = {12: "Left-Putamen", 8: "Left-Cerebellum-Cortex"}
    expected = {n: tacs[name[n]].iloc[9:].mean() for n in name}
    # 8 mm voxels mix tissues: the contrast survives, the values only roughly
    assert seen[12] / seen[8] > 0.5 * (1 + expected[12] / expected[8])
    assert seen[8] == pytest.approx(expected[8], rel=0.25)
    assert seen[12] == pytest.approx(expected[12], rel=0.35)
    assert seen[51] == pytest.approx(seen[12], rel=0.25)


def test_label_tables_name_what_is_in_the_image(dataset):
    for desc in ("truth", "sources"):
        labels = read_labels(truth(dataset, "sub-01", "ses-pre", f"desc-{desc}_dseg.nii.gz"))
        table = read_table(truth(dataset, "sub-01", "ses-pre", f"desc-{desc}_dseg.tsv"))
        assert table["index"].tolist() == np.unique(labels.data[labels.data > 0]).tolist()
        assert not table["name"].isna().any()
    t1w = nib.load(dataset / "sub-01" / "ses-pre" / "anat" / "sub-01_ses-pre_T1w.nii.gz")
    np.testing.assert_allclose(t1w.affine, labels.affine)
    assert t1w.shape == labels.shape


def test_the_truth_is_a_derivative(dataset):
    description = read_json(dataset / "derivatives" / "truth" / "dataset_description.json")
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "petbind simulate"
    options = read_json(dataset / "derivatives" / "truth" / "simulation.json")
    assert options["Seed"] == 4
    assert options["Cohort"]["effects"] == {"hippocampus": 0.17}


def test_a_patient_is_the_same_bytes_among_others_and_again(dataset, tmp_path):
    simulate_dataset(tmp_path / "alone", with_group(placebo=1))
    for image in ("pet.nii.gz", "pet.json"):
        ours = pet(tmp_path / "alone", ending=image)
        assert digest(ours) == digest(pet(dataset, subject="sub-02", ending=image))
    assert digest(
        tmp_path / "alone" / "sub-01" / "ses-pre" / "anat" / "sub-01_ses-pre_T1w.nii.gz"
    ) == digest(dataset / "sub-02" / "ses-pre" / "anat" / "sub-02_ses-pre_T1w.nii.gz")
    simulate_dataset(tmp_path / "other", replace(with_group(placebo=1), seed=5))
    assert digest(pet(tmp_path / "other")) != digest(pet(tmp_path / "alone"))


def test_own_t1w_gives_every_session_its_own(dataset, tmp_path):
    messages = []
    options = replace(with_group(ketamine=1), own_t1w=True)
    simulate_dataset(tmp_path / "own", options, progress=messages.append)
    first, second = (
        tmp_path / "own" / "sub-01" / v / "anat" / f"sub-01_{v}_T1w.nii.gz"
        for v in ("ses-pre", "ses-post")
    )
    assert digest(first) != digest(second)
    assert digest(first) == digest(
        dataset / "sub-01" / "ses-pre" / "anat" / "sub-01_ses-pre_T1w.nii.gz"
    )
    assert messages == [
        f"sub-01 ses-{v}: {kind}" for v in ("pre", "post") for kind in ("T1w", "PET")
    ]


def test_a_given_head_is_copied_and_scanned(dataset, tmp_path):
    t1w = dataset / "sub-02" / "ses-pre" / "anat" / "sub-02_ses-pre_T1w.nii.gz"
    dseg = truth(dataset, "sub-02", "ses-pre", "desc-truth_dseg.nii.gz")
    args = parse(
        tmp_path / "real", "--t1w", t1w, "--dseg", dseg, "--frames", "short", "--pet-voxel-mm", 8,
        "--ketamine", 1, "--placebo", 0, "--noise", 0, "--motion-mm", 0,
    )  # fmt: skip
    assert command.run(args) == 0
    root = tmp_path / "real"
    copied = root / "sub-01" / "ses-pre" / "anat" / "sub-01_ses-pre_T1w.nii.gz"
    assert digest(copied) == digest(t1w)
    ours = read_labels(truth(root, "sub-01", "ses-pre", "desc-truth_dseg.nii.gz"))
    given = read_labels(dseg)
    assert (ours.data == given.data)[given.data > 0].all()
    series, _ = read_series(pet(root))
    assert np.isfinite(series).all()
    assert series[..., -1].max() > 1000


def parse(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_the_command_line_says_what_the_options_are(tmp_path, monkeypatch):
    caught = {}
    monkeypatch.setattr(
        command, "simulate_dataset", lambda out, options, **_: caught.update(options=options)
    )
    assert command.run(parse(tmp_path)) == 0
    default = SimulationOptions()
    assert caught["options"].cohort == default.cohort
    assert caught["options"].scanner.pet_voxel_mm == default.scanner.pet_voxel_mm
    args = parse(
        tmp_path, "--ketamine", 20, "--placebo", 10, "--effect", "HIP=0.1", "--effect", "acc=-.05",
        "--session-sd", 0.1, "--seed", 9, "--noise", 2, "--motion-mm", 4, "--psf-mm", 2.4,
        "--t1w-voxel-mm", 1.5, "--own-t1w", "--offset-mm", 1, "--offset-deg", 2,
    )  # fmt: skip
    command.run(args)
    cohort, scanner = caught["options"].cohort, caught["options"].scanner
    assert cohort.group_sizes == {"ketamine": 20, "placebo": 10}
    assert cohort.effects == {"hip": 0.1, "acc": -0.05}
    assert (cohort.session_sd, caught["options"].seed, caught["options"].own_t1w) == (0.1, 9, True)
    assert (scanner.noise, scanner.motion_mm, scanner.psf_fwhm_mm) == (2, 4, 2.4)
    assert (scanner.t1w_voxel_mm, scanner.offset_mm, scanner.offset_deg) == (1.5, 1, 2)
    command.run(parse(tmp_path, "--effect", "none"))
    assert caught["options"].cohort.effects == {}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--effect", "hippocampus"], "REGION=CHANGE"),
        (["--effect", "nowhere=1"], "no region 'nowhere'"),
        (["--pet-voxel-mm", "-1"], "must be positive"),
        (["--ketamine", "0", "--placebo", "0"], "at least one patient"),
        (["--t1w", "x.nii.gz"], "--t1w and --dseg go together"),
    ],
)
def test_wrong_options_are_named(tmp_path, words, problem):
    with pytest.raises(ConfigError, match=problem):
        command.run(parse(tmp_path / "new", *words))
    assert not (tmp_path / "new").exists()


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not empty"):
        simulate_dataset(tmp_path, TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_labels_on_another_grid_are_named(dataset, tmp_path):
    t1w = dataset / "sub-02" / "ses-pre" / "anat" / "sub-02_ses-pre_T1w.nii.gz"
    volume = nib.load(truth(dataset, "sub-02", "ses-pre", "desc-truth_dseg.nii.gz"))
    nib.save(volume.slicer[2:], tmp_path / "dseg.nii.gz")
    with pytest.raises(DataError, match=r"dseg.nii.gz.*different grids"):
        simulate_dataset(
            tmp_path / "new", TINY, given_head=GivenHead(t1w, tmp_path / "dseg.nii.gz")
        )
    assert not (tmp_path / "new").exists()


def test_frames_are_read_from_sidecar_and_table(tmp_path):
    sidecar, table = tmp_path / "pet.json", tmp_path / "frames.tsv"
    # starts are given from TimeZero, half a minute before the injection
    sidecar.write_text(
        '{"FrameTimesStart": [30, 90], "FrameDuration": [60, 120], "InjectionStart": 30}'
    )
    table.write_text("frame_start\tframe_end\n0\t60\n60\t180\n")
    for path in (sidecar, table):
        timing = read_frame_protocol(path)
        assert timing.start_s.tolist() == [0, 60]
        assert timing.duration_s.tolist() == [60, 120]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", '{"FrameTimesStart": [0]}', "FrameDuration is missing"),
        ("a.json", '{"FrameTimesStart": [0, 9], "FrameDuration": [60, 1]}', "no frames"),
        ("a.json", '{"FrameTimesStart": "x", "FrameDuration": [60]}', "no frames"),
        ("a.json", '{"FrameTimesStart": [-60], "FrameDuration": [60]}', "before the injection"),
        ("a.tsv", "frame_start\n0\n", "frame_end is missing"),
    ],
)
def test_frames_that_are_none_are_named(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}.*{problem}"):
        read_frame_protocol(tmp_path / name)
