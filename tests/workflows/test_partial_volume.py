"""What PETPVC would be called with, and what becomes of its images; the tool is not here."""

import shlex
import stat
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nipype.interfaces.petpvc import PETPVC

from pipeline.bids.scan import ScanInputs
from pipeline.config.load import load_settings
from pipeline.config.partial_volume import PetpvcPartialVolume
from pipeline.config.schema import Resources
from pipeline.core.errors import ConfigError
from pipeline.imaging.regions import RegionWeights
from pipeline.interfaces.partial_volume import AverageFrames, SplitFrames
from pipeline.io.images import read_volume, write_array
from pipeline.io.region_weights import write_region_weights
from pipeline.io.tables import read_table, write_table
from workflows.outputs import session_results
from workflows.partial_volume.petpvc import init_petpvc_partial_volume_wf
from workflows.session import required_tools

AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "PET Ärzte & Co (1)"
    folder.mkdir()
    return folder


def image(path, data):
    return str(write_array(path, np.asarray(data, np.float32), AFFINE))


def correct_frames(**options):
    workflow = init_petpvc_partial_volume_wf(PetpvcPartialVolume(**options), Resources())
    return workflow.get_node("correct_frames")


def test_command_line_of_a_frame(folder):
    node = correct_frames(method="LABBE+RBV", psf_fwhm_mm=[2.4, 2.5, 3])
    frame = image(folder / "frame000.nii.gz", np.ones((3, 3, 3)))
    masks = image(folder / "areas.nii.gz", np.ones((3, 3, 3, 2)))
    shared = {name: getattr(node.inputs, name) for name in ("pvc", "fwhm_x", "fwhm_y", "fwhm_z")}
    # what nipype hands to a shell, read as the shell reads it
    words = shlex.split(PETPVC(in_file=frame, mask_file=masks, **shared).cmdline)
    assert words[0] == "petpvc"
    given = dict(zip(words[1::2], words[2::2], strict=True))
    assert (given["-i"], given["-m"], given["-p"]) == (frame, masks, "LABBE+RBV")
    assert [float(given[axis]) for axis in ("-x", "-y", "-z")] == [2.4, 2.5, 3]
    assert given["-o"].endswith("frame000_labbe+rbv_pvc.nii.gz")


def test_a_program_in_its_place_is_run_on_every_frame(folder, monkeypatch):
    """A stand-in that doubles its input stands for the program: files arrive and come back."""
    tool = folder / "petpvc"
    tool.write_text(
        f"#!/bin/sh\nexec '{sys.executable}' -c 'import sys, nibabel as nib\n"
        "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        'image = nib.load(given["-i"])\n'
        'nib.Nifti1Image(2 * image.get_fdata(), image.affine).to_filename(given["-o"])\' "$@"\n'
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.chdir(folder)
    frames = np.arange(1, 4) * np.ones((4, 4, 4, 3))
    frames[0, 0, 0] = np.nan
    pet = image(folder / "pet.nii.gz", frames)
    split = SplitFrames(pet_preproc=pet).run().outputs.frames
    assert read_volume(split[1]).data[0, 0, 0] == 0
    node = correct_frames()
    node.base_dir = str(folder)
    node.inputs.in_file, node.inputs.mask_file = split, image(folder / "m.nii.gz", frames[..., :2])
    corrected = node.run().outputs.out_file
    share = np.zeros((4, 4, 4))
    share[:2] = 1
    weights = RegionWeights.of({"HIP": share.ravel(), "Brain": np.ones(64)}, 8.0)
    tacs = pd.DataFrame(
        {"frame_start": [0, 60, 120], "frame_end": [60, 120, 180], "HIP": 1.0, "OUT": np.nan,
         "Brain": 7.0}
    )  # fmt: skip
    averaged = AverageFrames(
        frames=corrected,
        pet_preproc=pet,
        region_weights=str(write_region_weights(folder / "w.npz", weights)),
        tacs=str(write_table(folder / "plain.tsv", tacs)),
    ).run()
    table = read_table(averaged.outputs.tacs)
    np.testing.assert_allclose(table["HIP"], [2, 4, 6])
    # weights of the fit are of the counts measured
    assert (table["Brain"] == 7).all()
    assert table["OUT"].isna().all()


def test_corrected_tables_have_names_and_sidecars_of_their_own():
    scan = ScanInputs(
        subject="01", session="pre", task=None, tracer=None, reconstruction=None, run=None,
        pet=Path("sub-01_ses-pre_pet.nii.gz"), t1w=None, t1w_reason="", frame_start_s=(0.0,),
        frame_duration_s=(60.0,), frame_scale=(1.0,), radionuclide="C11", tracer_name=None,
        injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip
    overrides = ["partial_volume.method=rbv", 'kinetics.models=["wapi", "srtm"]']
    results = session_results(scan, Path(), load_settings(None, overrides))
    names = {port: results.targets[port] for port in ("tacs_pvc", "morph_pvc", "kinpar_pvc")}
    assert names == {
        "tacs_pvc": "sub-01/ses-pre/pet/sub-01_ses-pre_pvc-RBV_desc-regions_tacs.tsv",
        "morph_pvc": "sub-01/ses-pre/pet/sub-01_ses-pre_pvc-RBV_desc-regions_morph.tsv",
        # models of whole images have no corrected image to be fitted to
        "kinpar_pvc": ["sub-01/ses-pre/pet/sub-01_ses-pre_pvc-RBV_model-SRTM_kinpar.tsv"],
    }
    for said in (results.metadata["tacs_pvc"], *results.metadata["kinpar_pvc"]):
        assert said["PartialVolumeCorrection"] == "RBV"
        assert said["PSF_FWHM_mm"] == [2.4, 2.4, 2.4]
    plain = session_results(scan, Path(), load_settings(None, overrides[1:]))
    assert not [port for port in plain.targets if "pvc" in port]


def test_the_embedded_correction_needs_no_tool():
    assert required_tools(load_settings(None, ["partial_volume.method=rbv"])) == {}


@pytest.mark.parametrize(("given", "three"), [("4", (4, 4, 4)), ("[1.5, 2, 2.5]", (1.5, 2, 2.5))])
def test_one_width_or_three(given, three):
    settings = load_settings(None, [f"partial_volume.psf_fwhm_mm={given}"])
    assert settings.partial_volume.psf_fwhm_mm == three
    assert settings.partial_volume.label == "GTM"


@pytest.mark.parametrize("given", ["-1", "[1, 2]", "true", "wide"])
def test_a_width_that_is_none_is_refused(given):
    with pytest.raises(ConfigError, match=r"partial_volume\.psf_fwhm_mm"):
        load_settings(None, [f"partial_volume.psf_fwhm_mm={given}"])
