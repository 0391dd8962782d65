"""SPM12 itself, where there is one, on simulated heads whose places are known.

``MATLABCMD=octave SPM_PATH=/opt/spm12 pytest tests/interfaces/test_spm.py``, or with ``MATLABCMD``
alone where MATLAB knows of SPM, or with ``SPMMCRCMD`` for the standalone. Other tests need none.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moving_heads import moving_head, template
from pipeline.bids.scan import ScanInputs
from pipeline.config.coregistration import SpmCoregistration
from pipeline.config.motion import SpmMotion
from pipeline.config.schema import Resources, SpmProgram
from pipeline.core.errors import ToolError
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.coregistration import WHOLE
from pipeline.imaging.resampling import resample_rigid
from pipeline.interfaces.spm import Coregister, NewSegment, Realign, find_spm
from pipeline.io.images import write_array, write_volume
from pipeline.io.transforms import read_itk_transform, read_itk_transforms
from pipeline.simulation.options import ScannerOptions
from simulated_session import TIMING, Wanted, simulate_session
from workflows._spm import spm_inputs
from workflows.coregistration.spm import init_spm_coregistration_wf
from workflows.motion.spm import init_spm_motion_wf

NODES = (Coregister, NewSegment, Realign)


def real_spm(test):
    return pytest.mark.tool("spm")(pytest.mark.slow(test))


@pytest.fixture
def matlab_that_tells(tmp_path, monkeypatch):
    """A program called `matlab` that leaves a trace, and fails."""
    trace, program = tmp_path / "trace", tmp_path / "bin" / "matlab"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {trace}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    for name in ("MATLABCMD", "FORCE_SPMMCR", "SPMMCRCMD"):
        monkeypatch.delenv(name, raising=False)
    return trace


@pytest.mark.parametrize("command", ["matlab", "octave"])
@pytest.mark.parametrize("node", NODES)
def test_making_a_node_starts_nothing(node, command, matlab_that_tells):
    made = node(matlab_cmd=command)
    assert (made.jobtype, made.jobname.startswith("pre")) == ("spatial", node is NewSegment)
    assert not matlab_that_tells.exists()


def test_a_program_that_fails_without_a_word_is_told_of(matlab_that_tells):
    with pytest.raises(ToolError, match=r"^it ended before its work was done"):
        find_spm(matlab_cmd="matlab")
    assert matlab_that_tells.exists()


@pytest.mark.parametrize("stream", ["", ">&2"], ids=["stdout", "stderr"])
def test_an_exception_counts_though_the_program_ends_well(stream, matlab_that_tells, tmp_path):
    program = tmp_path / "bin" / "matlab"
    program.write_text(
        f"#!/bin/sh\necho $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS > {matlab_that_tells}\n"
        f"echo 'MATLAB code threw an exception:' {stream}\necho 'no overlap' {stream}\nexit 0\n"
    )
    images = {}
    for name in ("source", "target"):
        image = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
        images[name] = str(write_volume(tmp_path / f"{name}.nii", image))
    node = Coregister(matlab_cmd="matlab", jobtype="estimate", **images)
    with pytest.raises(ToolError, match="SPM12, Coregister: no overlap"):
        node.run(cwd=str(tmp_path))
    # threads of the linear algebra would change last digits
    assert matlab_that_tells.read_text() == "1 1\n"


@pytest.mark.parametrize(
    ("program", "environment", "expected"),
    [
        ({}, {}, {"matlab_cmd": "matlab"}),
        ({}, {"MATLABCMD": "octave", "SPM_PATH": "/s"}, {"matlab_cmd": "octave", "paths": ["/s"]}),
        (
            {},
            {"FORCE_SPMMCR": "1", "SPMMCRCMD": "run.sh mcr script", "SPM_PATH": "/s"},
            {"matlab_cmd": "run.sh mcr script", "use_mcr": True},
        ),
        ({}, {"FORCE_SPMMCR": "0"}, {"matlab_cmd": "matlab"}),
        # what the settings say goes before the environment
        (
            {"command": "octave", "folder": "/mine"},
            {"FORCE_SPMMCR": "1", "SPMMCRCMD": "run.sh", "SPM_PATH": "/s"},
            {"matlab_cmd": "octave", "paths": ["/mine"]},
        ),
        (
            {"command": "run.sh", "standalone": True},
            {"MATLABCMD": "octave"},
            {"matlab_cmd": "run.sh", "use_mcr": True},
        ),
    ],
)
def test_settings_go_before_the_environment(program, environment, expected, monkeypatch):
    for name in ("MATLABCMD", "SPM_PATH", "SPMMCRCMD", "FORCE_SPMMCR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert spm_inputs(SpmProgram(**program)) == expected


def test_a_process_of_a_pool_can_start_a_program(matlab_that_tells, monkeypatch):
    # the pool closes this in its processes; pytest has put something else there
    monkeypatch.setattr(sys, "stdin", sys.__stdin__)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        asked = pool.submit(find_spm, matlab_cmd="matlab")
        assert "it ended before" in str(asked.exception())


def test_a_program_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"no program matlab; .*resources\.spm\.command"):
        find_spm(matlab_cmd="matlab -nodesktop")


@pytest.fixture(scope="module")
def session():
    return simulate_session(Wanted(3, "cortical", 8, 6, pet_voxel_mm=3, t1w_voxel_mm=2))


@pytest.fixture(scope="module")
def head():
    options = ScannerOptions(timing=TIMING, pet_voxel_mm=4)
    return moving_head(template(), "cortex", 1, options=options)


def scan_of(timing):
    return ScanInputs(
        subject="01", session="a", task=None, tracer=None, reconstruction=None, run=None,
        pet=Path("pet.nii.gz"), t1w=None, t1w_reason="",
        frame_start_s=tuple(timing.start_s.tolist()),
        frame_duration_s=tuple(timing.duration_s.tolist()),
        frame_scale=(1.0,) * len(timing), radionuclide="C11", tracer_name="X",
        injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip


def run(workflow, inputs, folder, last):
    """Outputs of the last node of a step, run in a folder."""
    workflow.base_dir = str(folder)
    for port, value in inputs.items():
        setattr(workflow.inputs.inputnode, port, value)
    done = {node.name: node for node in workflow.run(plugin="Linear").nodes()}
    return done[last].result.outputs


def on_head(session, folder):
    """What a coregistration is given: references of a scan, and the MR side, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    head, petref = session.head, session.references[WHOLE]
    images = dict(zip(("gm_probseg", "wm_probseg", "csf_probseg"), head.tissues, strict=True))
    images["t1w_preproc"] = head.t1w
    images["brain_mask"] = head.t1w.with_data(head.brain_mask.astype(np.uint8))
    images["petref"] = petref
    files = {n: str(write_volume(folder / f"{n}.nii.gz", v)) for n, v in images.items()}
    frames = np.stack([petref.data] * len(TIMING), axis=3)
    pet = write_array(folder / "pet_preproc.nii.gz", frames, petref.affine)
    return {**files, "pet_preproc": str(pet), "scan": scan_of(TIMING)}


def coregistered(session, folder, **options):
    workflow = init_spm_coregistration_wf(SpmCoregistration(**options), Resources())
    inputs = on_head(session, folder)
    return run(workflow, inputs, folder, "take_place").petref2t1w_xfm


@real_spm
@pytest.mark.parametrize("moved", ["pet", "t1w"])
def test_coregister_finds_the_place_of_the_head(moved, session, tmp_path):
    found = coregistered(session, tmp_path / "work", moved=moved)
    error_mm = session.error_mm(read_itk_transform(found))
    print(f"\n{moved} moved: {error_mm.mean():.2f} mm, {error_mm.max():.2f} at most")
    # a third of a voxel of the PET; nothing found would be 8 mm and 6 degrees off
    assert error_mm.mean() < 1.0


@real_spm
def test_coregister_gives_the_same_bits_twice(session, tmp_path):
    first, second = (
        Path(coregistered(session, tmp_path / name)).read_bytes() for name in ("one", "two")
    )
    assert first == second


def realigned(head, folder):
    """The transforms that Realign found, as a file."""
    folder.mkdir()
    inputs = {
        "pet": [str(write_array(folder / "pet.nii.gz", head.frames, head.affine))],
        "scan": scan_of(head.timing),
        "drop_empty": False,
        "save_frames": True,
    }
    workflow = init_spm_motion_wf(SpmMotion(), Resources())
    return Path(run(workflow, inputs, folder, "take_motion").motion_xfms)


def one_image_moved(head):
    """The last frame, put into four places after the first two frames: nothing but motion."""
    rng, count = np.random.default_rng(7), 6
    image = head.frame(len(head.timing) - 1)
    centre_mm = head.brain_points_mm().mean(axis=0)
    poses = np.array(
        [
            rigid_matrix(rng.normal(0, 4, 3), np.deg2rad(rng.normal(0, 4, 3)), centre_mm)
            for _ in range(count)
        ]
    )
    frames = [resample_rigid(image, image, np.linalg.inv(pose)) for pose in poses]
    timing = FrameTiming(head.timing.start_s[:count], head.timing.duration_s[:count])
    return replace(head, frames=np.stack(frames, axis=3), poses=poses, timing=timing)


def told_errors_mm(head, path):
    """Distances from the truth in frames that were aligned, after printing them."""
    errors_mm, plain_mm = (
        head.errors_mm(xfms)[head.late]
        for xfms in (read_itk_transforms(path), np.tile(np.eye(4), (len(head.timing), 1, 1)))
    )
    told = f"{errors_mm.mean():.3f} mm, worst frame {errors_mm.max():.3f}"
    print(f"\n{told}; before {plain_mm.max():.1f}")
    assert plain_mm.max() > 3
    return errors_mm


@real_spm
def test_realign_finds_an_image_that_only_moves_and_does_so_twice(head, tmp_path):
    moving = one_image_moved(head)
    first, second = (realigned(moving, tmp_path / name) for name in ("one", "two"))
    # a fortieth of a voxel
    assert told_errors_mm(moving, first).max() < 0.1
    assert first.read_bytes() == second.read_bytes()


@real_spm
def test_realign_finds_a_head_whose_tracer_moves_too(head, tmp_path):
    # least squares takes a part of the tracer's way through the brain for motion
    assert told_errors_mm(head, realigned(head, tmp_path / "work")).mean() < 0.8


@real_spm
def test_a_wrong_folder_is_told_of(tmp_path):
    wrong = spm_inputs(SpmProgram(folder=str(tmp_path)))
    if wrong.get("use_mcr"):
        pytest.skip("the standalone has its SPM inside")
    with pytest.raises(ToolError, match=r"no SPM on its path; .*resources\.spm\.folder"):
        find_spm(**wrong)


@real_spm
@pytest.mark.parametrize(
    ("node", "ports"),
    [(Coregister, ("source", "target")), (Realign, ("in_files",))],
    ids=["Coregister", "Realign"],
)
def test_images_that_show_nothing_are_told_of(node, ports, tmp_path):
    nothing = Volume(np.zeros((8, 8, 8), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    paths = [str(write_volume(tmp_path / f"{name}.nii", nothing)) for name in "ab"]
    images = dict(zip(ports, paths if len(ports) > 1 else [paths], strict=True))
    made = node(jobtype="estimate", **images, **spm_inputs(SpmProgram()))
    # what SPM said itself: `accumarray: ...`, `Insufficient image overlap.`
    with pytest.raises(ToolError, match=rf"^SPM12, {node.__name__}: .+ \('{node.__name__}: Est"):
        made.run(cwd=str(tmp_path))


@real_spm
def test_spm_says_which_it_is():
    found = find_spm(**spm_inputs(SpmProgram()))
    assert found.name == "SPM12"
    assert int(found.revision) > 6000
    assert str(found).startswith(f"r{found.revision} (")
