"""What FreeSurfer would be started with, and what becomes of what it leaves; it is not here.

Command lines are those of mri_coreg (print_usage in mri_coreg/mri_coreg.cpp), mri_robust_template
(mri_robust_register/mri_robust_template.help.xml) and recon-all (scripts/recon-all, -help), all of
github.com/freesurfer/freesurfer.
"""

import os
import shlex

import numpy as np
import pytest
from nipype.interfaces.base import isdefined
from nipype.interfaces.freesurfer import Info

from freesurfer_double import BINARY, FreeSurferDouble, options
from pipeline.bids.scan import ScanInputs
from pipeline.config.coregistration import FreeSurferCoregistration
from pipeline.config.motion import FreeSurferMotion
from pipeline.config.schema import Resources
from pipeline.core.errors import ToolError
from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.coregistration import WHOLE, judge_place
from pipeline.imaging.resampling import smooth
from pipeline.interfaces.freesurfer import Coregister, RobustTemplate
from pipeline.interfaces.tool_motion import HandFrames
from pipeline.io.images import read_grid, read_volume, write_array, write_volume
from pipeline.io.tables import read_json
from pipeline.io.transforms import read_itk_transform, read_itk_transforms
from simulated_session import Wanted, simulate_session
from workflows.coregistration.freesurfer import init_freesurfer_coregistration_wf
from workflows.motion.freesurfer import init_freesurfer_motion_wf

DOCUMENTED = {
    "mri_coreg": {"--mov", "--ref", "--lta", "--dof", "--threads", "--no-cras0"},
    "mri_robust_template": {
        "--mov", "--template", "--satit", "--lta", "--average", "--inittp", "--iscale",
    },
}  # fmt: skip


TISSUES = ("gm_probseg", "wm_probseg", "csf_probseg")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "PET Ärzte & Co's (1)"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def freesurfer(tmp_path, monkeypatch):
    """The doubles on the PATH, and an environment that must not leak into results."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("SUBJECTS_DIR", "/nowhere/subjects")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    return FreeSurferDouble(programs)


def arguments(node, **files):
    """Words that a shell would make of the command line of a node, given its files."""
    interface = type(node.interface)(**node.inputs.get_traitsfree() | files)
    return shlex.split(interface.cmdline)


def head(shape=(24, 24, 24), voxel_mm=8.0):
    """A ball of activity."""
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = -voxel_mm * (np.array(shape) - 1) / 2
    x, y, z = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * voxel_mm for n in shape], indexing="ij")
    return Volume((x**2 + y**2 + z**2 < 70**2).astype(np.float32), affine)


def test_command_line_of_a_coregistration(folder):
    node = init_freesurfer_coregistration_wf(FreeSurferCoregistration(), Resources()).get_node(
        "coregister"
    )
    pet, t1w = (str(write_volume(folder / f"{name} ü.nii", head())) for name in ("pet", "t1w"))
    words = arguments(node, source_file=pet, reference_file=t1w)
    given = options(words[1:], BINARY["mri_coreg"])
    assert words[0] == "mri_coreg"
    assert given == {
        "--mov": [pet],
        "--ref": [t1w],
        "--lta": ["pet2t1w.lta"],
        "--dof": ["6"],
        "--threads": ["1"],
        "--no-cras0": [],
    }
    assert given.keys() == DOCUMENTED["mri_coreg"]
    # no word twice, and none that belongs to no option
    assert len(words) == 1 + sum(1 + len(values) for values in given.values())


@pytest.mark.parametrize("count", [2, 36])
def test_command_line_of_frames(folder, count):
    node = init_freesurfer_motion_wf(FreeSurferMotion(), Resources()).get_node("align")
    frames = [str(write_volume(folder / f"frame {i} ü.nii", head())) for i in range(count)]
    words = arguments(node, in_files=frames, initial_timepoint=count // 2 + 1)
    given = options(words[1:], BINARY["mri_robust_template"])
    assert words[0] == "mri_robust_template"
    number = "02d" if count > 9 else "d"
    assert given == {
        "--mov": frames,
        "--template": ["template.mgz"],
        "--satit": [],
        "--iscale": [],
        "--average": ["0"],
        "--inittp": [str(count // 2 + 1)],
        "--lta": [f"tp{i + 1:{number}}.lta" for i in range(count)],
    }
    assert given.keys() == DOCUMENTED["mri_robust_template"]
    assert len(words) == 1 + sum(1 + len(values) for values in given.values())


@pytest.mark.parametrize("interface", [Coregister, RobustTemplate])
@pytest.mark.parametrize("environment", [{}, {"SUBJECTS_DIR": "/x", "OMP_NUM_THREADS": "9"}])
def test_the_environment_is_no_input(interface, environment, monkeypatch):
    monkeypatch.delenv("SUBJECTS_DIR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # as where FreeSurfer is installed
    monkeypatch.setattr(Info, "version", classmethod(lambda cls: "freesurfer-x-7.4.1-2023-abc"))
    inputs = interface().inputs
    assert not isdefined(inputs.subjects_dir)
    assert inputs.environ["OMP_NUM_THREADS"] == "1"


POSES = [
    rigid_matrix(np.array(shift, float), np.radians(turn))
    for shift, turn in (
        ([0, 0, 0], [0, 0, 0]), ([4, -2, 1], [2, 0, -1]), ([-3, 5, 2], [0, 3, 4]),
        ([6, 1, -4], [-5, 1, 2]),
    )
]  # fmt: skip


def scan_of(folder, n_frames):
    duration_s = (60.0,) * n_frames
    start_s = tuple(60.0 * i for i in range(n_frames))
    pet = folder / "sub-01_pet.nii.gz"
    ball = head()
    write_array(pet, np.stack([ball.data] * n_frames, axis=-1), ball.affine)
    return ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=pet, t1w=None, t1w_reason="", frame_start_s=start_s, frame_duration_s=duration_s,
        frame_scale=(1.0,) * n_frames, radionuclide="C11", tracer_name="X", injected_mbq=None,
        body_weight_kg=None,
    )  # fmt: skip


def test_frames_come_back_where_freesurfer_found_the_head(folder, freesurfer):
    freesurfer.answer(mri_robust_template={"poses": [pose.tolist() for pose in POSES]})
    scan = scan_of(folder, 6)
    workflow = init_freesurfer_motion_wf(FreeSurferMotion(fwhm_mm=0), Resources())
    workflow.base_dir = str(folder / "work")
    node = workflow.get_node("inputnode").inputs
    node.pet, node.scan, node.drop_empty, node.save_frames = [str(scan.pet)], scan, False, True
    workflow.run()

    made = folder / "work" / "motion_wf"
    handed = [str(made / "hand_frames" / f"frame{i:03d}.nii") for i in range(4)]
    (words,) = freesurfer.calls
    assert options(words[1:], BINARY["mri_robust_template"]) == {
        "--mov": handed,
        "--template": ["template.mgz"],
        "--satit": [],
        "--iscale": [],
        "--average": ["0"],
        "--inittp": ["3"],
        "--lta": ["tp1.lta", "tp2.lta", "tp3.lta", "tp4.lta"],
    }
    assert freesurfer.threads == ["1"]
    xfms = read_itk_transforms(made / "take_motion" / "motion.txt")
    assert len(xfms) == 6
    np.testing.assert_allclose(xfms[:2], [xfms[2], xfms[2]], atol=1e-6)
    # one space for all: from frame to frame as FreeSurfer says, whichever it is
    for i in range(1, 4):
        np.testing.assert_allclose(
            np.linalg.inv(xfms[2]) @ xfms[2 + i], np.linalg.inv(POSES[0]) @ POSES[i], atol=1e-4
        )


def test_frames_are_smoothed_for_freesurfer(folder):
    scan = scan_of(folder, 4)
    given = {"pet": [str(scan.pet)], "scan": scan, "first_frame_s": 0.0}
    handed = HandFrames(smoothing_fwhm_mm=16.0, **given).run().outputs
    assert handed.middle == 3
    blurred = read_volume(handed.frames[0])
    np.testing.assert_allclose(blurred.data, smooth(head(), 16.0).data, atol=1e-5)
    assert 0 < blurred.data[2, 12, 12] < 1


@pytest.fixture(scope="module")
def session():
    return simulate_session(Wanted(3, "cortical", 6, 5, pet_voxel_mm=6, t1w_voxel_mm=3))


@pytest.mark.parametrize("init", ["centres", "header"])
def test_the_pet_comes_to_lie_where_freesurfer_put_it(folder, freesurfer, session, init):
    truth, petref = np.linalg.inv(session.t1w2pet_xfm), session.references[WHOLE]
    freesurfer.answer(mri_coreg={"voxel2ref": (truth @ petref.affine).tolist()})
    images = dict(zip(TISSUES, session.head.tissues, strict=True))
    images |= {
        "petref": petref,
        "t1w_preproc": session.head.t1w,
        "brain_mask": session.head.t1w.with_data(session.head.brain_mask.astype(np.uint8)),
    }
    workflow = init_freesurfer_coregistration_wf(FreeSurferCoregistration(init=init), Resources())
    workflow.base_dir = str(folder / "work")
    node = workflow.get_node("inputnode").inputs
    for name, image in images.items():
        setattr(node, name, str(write_volume(folder / f"{name}.nii.gz", image)))
    pet = petref.data[..., np.newaxis].repeat(2, axis=-1)
    node.pet_preproc = str(write_array(folder / "pet.nii.gz", pet, petref.affine))
    node.scan = scan_of(folder, 2)
    workflow.run()

    made = folder / "work" / "coregistration_wf"
    (words,) = freesurfer.calls
    assert options(words[1:], BINARY["mri_coreg"]) == {
        # nipype links inputs into the folder of the node
        "--mov": [str(made / "coregister" / "pet.nii")],
        "--ref": [str(made / "coregister" / "t1w.nii")],
        "--lta": ["pet2t1w.lta"],
        "--dof": ["6"],
        "--threads": ["1"],
        "--no-cras0": [],
    }
    # the brain alone goes over, and where centred with another place in the PET's header
    handed = read_volume(made / "hand_head" / "t1w.nii").data
    assert not handed[~session.head.brain_mask].any()
    moved = np.abs(read_grid(made / "hand_head" / "pet.nii").affine - petref.affine).max()
    assert bool(moved > 1) is (init == "centres")
    found = read_itk_transform(made / "take_place" / "petref2t1w.txt")
    np.testing.assert_allclose(found, truth, atol=1e-3)
    quality = read_json(made / "take_place" / "coregistration.json")["Coregistration"]
    expected = judge_place({WHOLE: petref}, session.head, truth).score
    assert quality["Score"] == pytest.approx(expected, rel=1e-3)


def test_a_program_that_fails_is_told_in_its_words(folder, freesurfer):
    pet = str(write_volume(folder / "pet.nii", head()))
    tool = freesurfer.folder / "mri_coreg"
    tool.write_text("#!/bin/sh\necho 'Testing if mov and target overlap'\n"
                    "echo 'ERROR: mov and ref do not overlap'\nexit 1\n")  # fmt: skip
    with pytest.raises(ToolError, match=r"^FreeSurfer, mri_coreg: mov and ref do not overlap"):
        Coregister(source_file=pet, reference_file=pet).run()
