"""Backends of FSL: the command lines as FSL documents them, and nodes run with doubles of FSL.

FSL's own pages at fsl.fmrib.ox.ac.uk/fsl/docs, and the usage text every program prints:

* registration/flirt/user_guide: ``flirt -in -ref -out -omat -dof -cost -searchcost``
* registration/mcflirt: ``mcflirt -in -out -cost -dof -meanvol -mats``; ``-mats`` saves matrices
  "in subdirectory outfilename.mat"
* registration/fnirt/user_guide: ``fnirt --ref --in --aff --refmask --config --imprefm --impinm
  --warpres --cout --iout --logout``; what stands on the command line goes before the configuration
* registration/fnirt/warp_utils: ``convertwarp --ref --warp1 --relout --out``, ``invwarp --ref
  --warp --rel --out``; relative means x' = x + w(x), and affine parts are included
"""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces.base import File
from scipy import ndimage

from fsl_conventions import write_fsl_matrix, write_fsl_warp
from fsl_double import FslDouble
from pipeline.bids.scan import ScanInputs
from pipeline.config.coregistration import FslCoregistration
from pipeline.config.motion import FslMotion
from pipeline.config.normalisation import FslNormalisation
from pipeline.config.schema import Resources
from pipeline.core.errors import DataError, ToolError
from pipeline.core.transforms import apply_affine, displacement_mm, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.warp import coarse_grid, grid_points_mm, resample
from pipeline.interfaces import fsl
from pipeline.interfaces.tool_normalisation import HandBrain, TakeWarps
from pipeline.io.atlas import load_template
from pipeline.io.images import read_grid, read_volume, write_array, write_volume
from pipeline.io.tables import read_json, read_table, write_json
from pipeline.io.transforms import read_itk_transform, read_itk_transforms
from pipeline.io.warps import read_field
from simulated_session import Wanted, simulate_session
from workflows.coregistration import init_coregistration_wf
from workflows.motion import init_motion_wf
from workflows.normalisation import init_normalisation_wf

FOLDER = "Arbeit 1; rm -rf $HOME (Zoës 'Köpfe')"
"""Where nodes work: a shell would stumble over most of it."""


@pytest.fixture
def double(tmp_path, monkeypatch):
    """Doubles of FSL on the PATH, in an environment that asks for another kind of file."""
    made = FslDouble(tmp_path / "fsl bin")
    monkeypatch.setenv("PATH", f"{made.folder}:/usr/bin:/bin")
    monkeypatch.setenv("FSLOUTPUTTYPE", "NIFTI_PAIR_GZ")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    return made


@pytest.fixture
def work(tmp_path, monkeypatch):
    folder = tmp_path / FOLDER
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(workflow, work, **inputs):
    """Outputs of every node of a workflow by its name."""
    workflow.base_dir = str(work)
    workflow.config["execution"] = {"crashdump_dir": str(work)}
    for port, value in inputs.items():
        setattr(workflow.inputs.inputnode, port, value)
    return {node.name: node.result.outputs for node in workflow.run().nodes()}


def check_environment(double):
    assert {(call.output_type, call.threads) for call in double.calls} == {("NIFTI", "1")}


# --- command lines ------------------------------------------------------------------------------

MOTION, COREGISTRATION, NORMALISATION = (
    (init_motion_wf, FslMotion),
    (init_coregistration_wf, FslCoregistration),
    (init_normalisation_wf, FslNormalisation),
)
LINES = {
    "motion": (
        MOTION, {}, "mcflirt", {"in_file": "frames"},
        ["mcflirt", "-in", "{frames}", "-cost", "normcorr", "-dof", "6", "-meanvol", "-out",
         "moved", "-mats"],
    ),
    "motion by mutual information": (
        MOTION, {"cost": "mutualinfo"}, "mcflirt", {"in_file": "frames"},
        ["mcflirt", "-in", "{frames}", "-cost", "mutualinfo", "-dof", "6", "-meanvol", "-out",
         "moved", "-mats"],
    ),
    "coregistration": (
        COREGISTRATION, {}, "flirt", {"in_file": "pet", "reference": "t1w"},
        ["flirt", "-in", "{pet}", "-ref", "{t1w}", "-out", "moved.nii", "-omat", "pet2t1w.mat",
         "-cost", "normmi", "-searchcost", "normmi", "-dof", "6"],
    ),
    "affine": (
        NORMALISATION, {}, "flirt", {"in_file": "brain", "reference": "template"},
        ["flirt", "-in", "{brain}", "-ref", "{template}", "-out", "affine.nii", "-omat",
         "t1w2mni.mat", "-cost", "corratio", "-searchcost", "corratio", "-dof", "12"],
    ),
    "deformation": (
        NORMALISATION, {"warp_resolution_mm": 8}, "fnirt",
        {"in_file": "brain", "ref_file": "template", "refmask_file": "mask",
         "affine_file": "matrix"},
        ["fnirt", "--aff={matrix}", "--config=T1_2_MNI152_2mm", "--cout={cwd}/coefficients.nii",
         "--in={brain}", "--logout={cwd}/fnirt.log", "--ref={template}", "--refmask={mask}",
         "--impinm=0", "--imprefm=0", "--warpres=8,8,8", "--iout={cwd}/warped.nii"],
    ),
    "field": (
        NORMALISATION, {}, "convertwarp", {"reference": "template", "warp1": "coefficients"},
        ["convertwarp", "--ref={template}", "--relout", "--warp1={coefficients}",
         "--out=warp.nii"],
    ),
    "inverse": (
        NORMALISATION, {}, "invwarp", {"reference": "brain", "warp": "coefficients"},
        ["invwarp", "--out=inverse.nii", "--ref={brain}", "--rel", "--warp={coefficients}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES.values(), ids=list(LINES))
def test_command_line_is_the_documented_one(line, work):
    (build, options), chosen, node, ports, expected = line
    interface = build(options(**chosen), Resources()).get_node(node).interface
    names = {name: work / f"sub-Zoë {name}.nii" for name in ports.values()}
    for path in names.values():
        write_array(path, np.zeros((3, 3, 3, 2), np.float32), np.eye(4))
    for port, name in ports.items():
        setattr(interface.inputs, port, str(names[name]))
    assert shlex.split(interface.cmdline) == [
        word.format(**names, cwd=work) if "{" in word else word for word in expected
    ]


@pytest.mark.parametrize("name", ["FLIRT", "MCFLIRT", "FNIRT", "ConvertWarp", "InvWarp"])
def test_every_file_is_one_argument(name, work):
    """Whichever option it is given by, also those that no node uses."""
    interface = getattr(fsl, name)()
    kept = str(write_array(work / "a 'b' $c ü.nii", np.zeros((3, 3, 3)), np.eye(4)))
    traits = interface.inputs.traits(argstr=lambda argstr: argstr is not None)
    files = [n for n, trait in traits.items() if trait.is_trait_type(File)]
    files += [n for n in getattr(interface, "filemap", ()) if n != "out_intensitymap_file"]
    for port in files:
        setattr(interface.inputs, port, kept)
        told = shlex.split(interface._format_arg(port, traits[port], kept))
        assert told == [word.replace("%s", kept) for word in traits[port].argstr.split()]


# --- failures -----------------------------------------------------------------------------------


@pytest.fixture
def flirt(work):
    path = write_array(work / "brain.nii", np.zeros((3, 3, 3), np.float32), np.eye(4))
    return fsl.FLIRT(
        in_file=str(path), reference=str(path), out_file="moved.nii", out_matrix_file="x.mat"
    )


def test_an_exit_code_is_an_error_in_the_programs_words(double, flirt):
    double.fails("flirt", 1, "Reading\nImage Exception : #22 :: Could not open image brain\n\n")
    with pytest.raises(ToolError) as raised:
        flirt.run()
    assert str(raised.value) == "FSL, flirt: Image Exception : #22 :: Could not open image brain"


def test_a_silent_exit_code_is_an_error_too(double, flirt):
    double.fails("flirt", 134)
    with pytest.raises(ToolError, match=r"^FSL, flirt: it ended before its work was done$"):
        flirt.run()


def test_a_missing_result_is_an_error(double, flirt, tmp_path):
    (tmp_path / "some").write_text("")
    double.leaves("flirt", out=tmp_path / "some")
    with pytest.raises(ToolError, match=r"^FSL, flirt: it ended .*x\.mat"):
        flirt.run()


def test_a_missing_matrix_of_a_frame_is_an_error(double, work, tmp_path):
    path = write_array(work / "frames.nii", np.zeros((3, 3, 3, 2), np.float32), np.eye(4))
    (tmp_path / "mats").mkdir()
    (tmp_path / "mats" / "MAT_0000").write_text("")
    double.leaves("mcflirt", out=path, mats=tmp_path / "mats")
    mcflirt = fsl.MCFLIRT(in_file=str(path), save_mats=True, out_file="moved")
    with pytest.raises(ToolError, match=r"^FSL, mcflirt: .*MAT_0001"):
        mcflirt.run()


def test_a_program_that_is_not_there_is_named(flirt, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r'^FSL, flirt: No command "flirt" found'):
        flirt.run()


# --- motion -------------------------------------------------------------------------------------

POSES = [
    rigid_matrix(np.array([0.0, 0, 0]), np.zeros(3)),
    rigid_matrix(np.array([2.0, -1, 3]), np.radians([1.0, 2, -3])),
    rigid_matrix(np.array([-3.0, 4, 1]), np.radians([-2.0, 1, 4])),
]
"""Points of three frames to those of MCFLIRT's reference; the frame before them is too early."""


@pytest.fixture
def pet(tmp_path):
    """Four frames of a ball on an oblique grid, left-handed."""
    affine = rigid_matrix(np.array([80.0, -70, -60]), np.radians([8.0, -5, 3]))
    affine = affine @ np.diag([-6.0, 6, 6, 1])
    centre = apply_affine(affine, np.array([12.0, 12, 12]))
    points = np.moveaxis(grid_points_mm((26, 26, 25), affine), 0, -1)
    ball = 1e4 * np.exp(-(((points - centre) / 35) ** 2).sum(-1))
    frames = np.repeat(ball[..., None], 4, axis=3).astype(np.float32)
    return str(write_array(tmp_path / "sub-01_pet.nii.gz", frames, affine))


@pytest.fixture
def scan(pet):
    return ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=Path(pet), t1w=None, t1w_reason="", frame_start_s=(0.0, 60.0, 240.0, 420.0),
        frame_duration_s=(60.0, 180.0, 180.0, 180.0), frame_scale=(1.0,) * 4, radionuclide="C11",
        tracer_name="X", injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip


def test_motion_is_what_the_matrices_say(double, work, tmp_path, pet, scan):
    grid = read_grid(pet)
    mats = tmp_path / "mats"
    mats.mkdir()
    for number, pose in enumerate(POSES):
        write_fsl_matrix(mats / f"MAT_{number:04d}", grid, grid, pose)
    double.leaves("mcflirt", out=pet, mats=mats)
    workflow = init_motion_wf(FslMotion(), Resources())
    done = run(workflow, work, pet=[pet], scan=scan, drop_empty=False, save_frames=True)
    call = double.call("mcflirt")
    handed = work / "motion_wf" / "hand_frames" / "frames.nii"
    assert call.folder == str(work / "motion_wf" / "mcflirt")
    assert call.arguments == [
        "-in", str(handed), "-cost", "normcorr", "-dof", "6", "-meanvol", "-out", "moved", "-mats",
    ]  # fmt: skip
    check_environment(double)
    assert read_grid(handed).shape == grid.shape
    # the common part of all transforms is free: what counts is how frames lie to one another
    found = read_itk_transforms(done["take_motion"].motion_xfms)
    expected = [POSES[0], *POSES]
    points = apply_affine(grid.affine, np.array([[3.0, 4, 5], [20, 6, 12], [9, 22, 19]]))
    for xfm, pose in zip(found, expected, strict=True):
        between = np.linalg.inv(found[0]) @ xfm
        assert displacement_mm(between, np.linalg.inv(expected[0]) @ pose, points).max() < 0.01
    table = read_table(done["take_motion"].confounds)
    assert table["source"].tolist() == ["copied", "estimated", "estimated", "estimated"]


# --- coregistration -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session():
    return simulate_session(Wanted(3, "cortical", 6, 5, pet_voxel_mm=6, t1w_voxel_mm=3))


@pytest.fixture
def on_head(session, scan, tmp_path):
    """Inputs of a coregistration, all frames alike."""
    head, petref = session.head, next(iter(session.references.values()))
    images = dict(zip(("gm_probseg", "wm_probseg", "csf_probseg"), head.tissues, strict=True))
    images |= {"t1w_preproc": head.t1w, "petref": petref}
    images["brain_mask"] = head.t1w.with_data(head.brain_mask.astype(np.uint8))
    files = {n: str(write_volume(tmp_path / f"{n}.nii.gz", v)) for n, v in images.items()}
    frames = np.repeat(petref.data[..., None], 4, axis=3).astype(np.float32)
    files["pet_preproc"] = str(write_array(tmp_path / "frames.nii.gz", frames, petref.affine))
    return {**files, "scan": replace(scan, pet=Path(files["pet_preproc"]))}


def test_the_head_lies_where_the_matrix_says(double, work, tmp_path, session, on_head):
    t1w, petref = read_grid(on_head["t1w_preproc"]), read_grid(on_head["petref"])
    truth = np.linalg.inv(session.t1w2pet_xfm)
    matrix = write_fsl_matrix(tmp_path / "canned.mat", petref, t1w, truth)
    double.leaves("flirt", out=on_head["t1w_preproc"], omat=matrix)
    done = run(init_coregistration_wf(FslCoregistration(), Resources()), work, **on_head)
    handed = work / "coregistration_wf" / "hand_head"
    assert double.call("flirt").arguments == [
        "-in", f"{handed}/pet.nii", "-ref", f"{handed}/t1w.nii", "-out", "moved.nii", "-omat",
        "pet2t1w.mat", "-cost", "normmi", "-searchcost", "normmi", "-dof", "6",
    ]  # fmt: skip
    check_environment(double)
    outside = read_volume(on_head["brain_mask"]).data == 0
    assert not read_volume(handed / "t1w.nii").data[outside].any()
    found = read_itk_transform(done["take_place"].petref2t1w_xfm)
    assert session.error_mm(found).max() < 0.01
    assert "StartsThatAgree" not in read_json(done["take_place"].quality)["Coregistration"]


# --- normalisation ------------------------------------------------------------------------------

MNI2T1W = rigid_matrix(np.array([6.0, -9, 14]), np.radians([7.0, -4, 11]))
STORED = np.array([[-3.0, 0, 0], [0, 0, 3], [0, 3, 0]])
"""Axes of the T1w: towards the left, up and to the front, which makes it right-handed."""


def there(points, height_mm=3.0):
    """Points of the template to those of the T1w: a wave along y, then a rigid move."""
    wave = height_mm * np.sin(points[..., 0] / 15)
    return apply_affine(MNI2T1W, points + wave[..., None] * [0, 1, 0])


def back(points):
    inner = apply_affine(np.linalg.inv(MNI2T1W), points)
    return inner - 3.0 * np.sin(inner[..., 0] / 15)[..., None] * [0, 1, 0]


@pytest.fixture(scope="module")
def template():
    """What FSL gets, but for its smoothing: 2 mm."""
    return resample(load_template(), coarse_grid(load_template(), 2.0))


@pytest.fixture(scope="module")
def t1w(template):
    """The template, waved and moved, on a grid of its own."""
    affine = np.eye(4)
    affine[:3, :3] = rigid_matrix(np.zeros(3), np.radians([3.0, 6, -8]))[:3, :3] @ STORED
    shape = (70, 70, 80)
    affine[:3, 3] = apply_affine(MNI2T1W, np.array([0.0, -20, 15]))
    affine[:3, 3] -= affine[:3, :3] @ (np.array(shape) - 1) / 2
    grid = Volume(np.zeros(shape, np.uint8), affine)
    points = back(np.moveaxis(grid_points_mm(shape, affine), 0, -1).astype(float))
    voxels = np.moveaxis(apply_affine(np.linalg.inv(template.affine), points), -1, 0)
    return grid.with_data(
        ndimage.map_coordinates(template.data, voxels, order=1).astype(np.float32)
    )


@pytest.fixture
def brain(t1w, tmp_path):
    """Inputs of a normalisation; the anatomy's own warps are not looked at."""
    files = {
        "t1w_preproc": write_volume(tmp_path / "t1w.nii.gz", t1w),
        "brain_mask": write_volume(
            tmp_path / "mask.nii.gz", t1w.with_data((t1w.data > 0).astype(np.uint8))
        ),
        "quality": write_json(
            tmp_path / "anatomy.json",
            {"BrainVolume_mL": 1500.0, "TemplateCorrelation": 0.1, "Warnings": ["seen before"]},
        ),
    }
    return {name: str(path) for name, path in files.items()}


@pytest.fixture
def canned(double, template, t1w, tmp_path):
    """What FSL would leave if it found the truth."""
    some = tmp_path / "some.nii"
    write_volume(some, t1w)
    double.leaves("flirt", out=some, omat=some)
    double.leaves("fnirt", cout=some, iout=some, logout=some)
    warp = write_fsl_warp(tmp_path / "canned_warp.nii", template, t1w, there)
    double.leaves("convertwarp", out=warp)
    inverse = write_fsl_warp(tmp_path / "canned_inverse.nii", t1w, template, back)
    double.leaves("invwarp", out=inverse)
    return {"warp": str(warp), "inverse": str(inverse)}


def test_the_way_to_the_template_is_what_the_warps_say(double, canned, work, brain, template, t1w):
    own = {"t1w2mni_xfm": brain["t1w_preproc"], "mni2t1w_xfm": brain["t1w_preproc"]}
    workflow = init_normalisation_wf(FslNormalisation(), Resources())
    done = run(workflow, work, **brain, **own)["take_warps"]
    at = {step: f"{work}/normalisation_wf/{step}" for step in ("hand_brain", "flirt", "fnirt")}
    handed, coefficients = at["hand_brain"], f"{at['fnirt']}/coefficients.nii"
    assert double.call("flirt").arguments == [
        "-in", f"{handed}/brain.nii", "-ref", f"{handed}/template.nii", "-out", "affine.nii",
        "-omat", "t1w2mni.mat", "-cost", "corratio", "-searchcost", "corratio", "-dof", "12",
    ]  # fmt: skip
    assert double.call("fnirt").arguments == [
        f"--aff={at['flirt']}/t1w2mni.mat", "--config=T1_2_MNI152_2mm", f"--cout={coefficients}",
        f"--in={handed}/brain.nii", f"--logout={at['fnirt']}/fnirt.log",
        f"--ref={handed}/template.nii", f"--refmask={handed}/template_mask.nii", "--impinm=0",
        "--imprefm=0", "--warpres=10,10,10", f"--iout={at['fnirt']}/warped.nii",
    ]  # fmt: skip
    assert double.call("convertwarp").arguments == [
        f"--ref={handed}/template.nii", "--relout", f"--warp1={coefficients}", "--out=warp.nii",
    ]  # fmt: skip
    assert double.call("invwarp").arguments == [
        "--out=inverse.nii", f"--ref={handed}/brain.nii", "--rel", f"--warp={coefficients}",
    ]  # fmt: skip
    check_environment(double)
    for path, way, inside in (
        (done.t1w2mni_xfm, there, template),
        (done.mni2t1w_xfm, back, t1w),
    ):
        field = read_field(path)
        points = np.moveaxis(grid_points_mm(field.shape, field.affine), 0, -1)[inside.data > 0]
        np.testing.assert_allclose(
            points + field.displacement_mm[inside.data > 0], way(points), rtol=0, atol=0.01
        )


@pytest.mark.slow
def test_what_is_known_of_the_way_takes_the_place_of_the_anatomys(canned, brain, work):
    quality = read_json(taken(brain, **canned).quality)
    assert quality["BrainVolume_mL"] == 1500
    assert quality["Warnings"] == ["seen before"]
    assert quality["TemplateCorrelation"] > 0.9  # voxels of 3 mm
    assert quality["BrainToTemplateVolume_ratio"] == pytest.approx(1, abs=0.01)
    # of a wave along y that depends on x, volumes are untouched
    assert quality["JacobianSmallest"] == pytest.approx(1, abs=0.02)
    assert quality["JacobianLargest"] == pytest.approx(1, abs=0.02)
    assert quality["InverseErrorP99_mm"] < 0.05


def taken(brain, **warps):
    handed = HandBrain(**{n: p for n, p in brain.items() if n != "quality"}).run().outputs
    return TakeWarps(brain=handed.brain, template=handed.template, **warps, **brain).run().outputs


@pytest.mark.slow
def test_a_warp_that_folds_is_refused(canned, brain, template, t1w, work, tmp_path):
    def folded(points):
        return there(points + 9 * np.sin(points / 5))

    warp = str(write_fsl_warp(tmp_path / "folded.nii", template, t1w, folded))
    with pytest.raises(DataError, match="the deformation to the template folds"):
        taken(brain, warp=warp, inverse=canned["inverse"])


@pytest.mark.slow
def test_an_inverse_that_is_none_is_refused(canned, brain, template, t1w, work, tmp_path):
    def beside(points):
        return back(points) + np.array([0, 0, 1.5])

    inverse = str(write_fsl_warp(tmp_path / "beside.nii", t1w, template, beside))
    with pytest.raises(DataError, match=r"its inverse disagree by 1\.5 mm"):
        taken(brain, warp=canned["warp"], inverse=inverse)


@pytest.mark.slow
def test_a_warp_that_leads_elsewhere_is_refused(canned, brain, template, t1w, work, tmp_path):
    def mirrored(points):
        return there(points * [-1, 1, 1])

    warp = str(write_fsl_warp(tmp_path / "mirrored.nii", template, t1w, mirrored))
    with pytest.raises(DataError, match="changes volumes by -1"):
        taken(brain, warp=warp, inverse=canned["inverse"])


@pytest.mark.slow
def test_an_inverse_may_fail_beyond_the_template(canned, brain, template, t1w, work, tmp_path):
    """Older versions leave zeros there: nothing outside may lie in the brain by accident."""
    corner = np.array(template.shape) - 1

    def cut(points):
        voxels = apply_affine(np.linalg.inv(template.affine), back(points))
        beyond = ((voxels < 0) | (voxels > corner)).any(-1, keepdims=True)
        return np.where(beyond, [0, -20, 10], back(points))

    inverse = str(write_fsl_warp(tmp_path / "cut.nii", t1w, template, cut))
    field = read_field(taken(brain, warp=canned["warp"], inverse=inverse).mni2t1w_xfm)
    points = np.moveaxis(grid_points_mm(field.shape, field.affine), 0, -1)
    found, truth = points + field.displacement_mm, back(points)
    # an affine stands in for a wave of 3 mm
    assert np.linalg.norm(found - truth, axis=-1).max() < 8
