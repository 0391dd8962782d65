"""Whose way to MNI space the rest of the graph takes; nothing is run."""

import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

from pipeline.bids.preflight import Plan
from pipeline.bids.scan import ScanInputs
from pipeline.config.load import load_settings
from pipeline.config.normalisation import AnatomyNormalisation, FslNormalisation
from pipeline.core.errors import ConfigError
from workflows.anatomical import Folders
from workflows.cohort import init_cohort_wf
from workflows.outputs import anatomical_results
from workflows.session import methods, required_tools

BY_FSL = ("normalisation.backend=fsl",)
TAKERS = {
    "sub-01_T1w_wf.parcellation_wf.label",
    "sub-01_T1w_wf.ds_anatomy",
    "sub-01_wf.regions_wf.carry_regions",
    "sub-01_wf.kinetics_wf.maps_to_mni",
    "sub-01_wf.partial_volume_wf.mark_areas",
}
"""All that goes between T1w and MNI space."""


@pytest.fixture
def scan(tmp_path):
    t1w, pet = tmp_path / "bids" / "sub-01_T1w.nii.gz", tmp_path / "bids" / "sub-01_pet.nii.gz"
    t1w.parent.mkdir()
    t1w.touch()
    pet.touch()
    return ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=pet, t1w=t1w, t1w_reason="its own", frame_start_s=(0.0, 60.0),
        frame_duration_s=(60.0, 60.0), frame_scale=(1.0, 1.0), radionuclide="C11",
        tracer_name="X", injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip


def takers(scan, tmp_path, *overrides):
    """Names of nodes, and who takes a warp from whom."""
    settings = load_settings(None, ["partial_volume.backend=petpvc", *overrides])
    folders = Folders(tmp_path / "bids", tmp_path / "out", tmp_path / "work")
    workflow = init_cohort_wf(Plan((scan,), (), (), ()), folders, settings)
    graph = generate_expanded_graph(workflow._create_flat_graph())
    found = {}
    for giver, taker, data in graph.edges(data=True):
        if any(port.endswith(("2mni_xfm", "mni2t1w_xfm")) for _, port in data["connect"]):
            found.setdefault(_short(giver), set()).add(_short(taker))
    return {_short(node) for node in graph.nodes()}, found


def _short(node):
    return node.fullname.split(".", 1)[1]


def test_by_default_the_anatomys_own_way_is_taken_and_nothing_is_added(scan, tmp_path):
    nodes, found = takers(scan, tmp_path)
    assert not [name for name in nodes if "normalisation" in name]
    assert found == {
        "sub-01_T1w_wf.anatomy_wf.normalise": TAKERS
        | {"sub-01_T1w_wf.anatomy_wf.acpc", "sub-01_T1w_wf.anatomy_wf.tissues"}
    }


def test_another_way_is_taken_by_all_but_the_anatomy(scan, tmp_path):
    _, found = takers(scan, tmp_path, *BY_FSL)
    assert found == {
        "sub-01_T1w_wf.anatomy_wf.normalise": {
            "sub-01_T1w_wf.anatomy_wf.acpc",
            "sub-01_T1w_wf.anatomy_wf.tissues",
        },
        "sub-01_T1w_wf.normalisation_wf.take_warps": TAKERS,
    }


def test_the_sidecar_names_who_made_the_warp(scan, tmp_path):
    for overrides, backend in (((), "embedded"), (BY_FSL, "fsl")):
        said = anatomical_results({}, scan.t1w, tmp_path, load_settings(None, overrides)).metadata
        assert said["t1w2mni_xfm"]["Backend"] == said["mni2t1w_xfm"]["Backend"] == backend
        assert said["gm_probseg"]["Backend"] == "embedded"


def test_the_page_tells_of_fsl_where_it_was_used():
    assert not [text for text in methods(load_settings(None, ())) if "FSL" in text]
    steps = ("motion", "coregistration", "normalisation")
    settings = load_settings(None, [f"{step}.backend=fsl" for step in steps])
    told = " ".join(methods(settings))
    assert all(program in told for program in ("MCFLIRT", "(FLIRT, FSL)", "FNIRT"))
    assert required_tools(settings).keys() == {"fsl"}


@pytest.mark.parametrize("step", ["motion", "coregistration", "normalisation"])
def test_every_step_can_ask_for_fsl(step):
    needed = required_tools(load_settings(None, [f"{step}.backend=fsl"]))
    assert needed == {"fsl": [step]}


def test_a_table_without_a_backend_means_the_anatomys_way(tmp_path):
    (tmp_path / "study.toml").write_text("[normalisation]\n")
    assert load_settings(tmp_path / "study.toml", ()).normalisation == AnatomyNormalisation()
    by_fsl = load_settings(None, [*BY_FSL, "normalisation.warp_resolution_mm=8"]).normalisation
    assert by_fsl == FslNormalisation(warp_resolution_mm=8)
    with pytest.raises(ConfigError, match=r"normalisation\.warp_resolution_mm: no option of this"):
        load_settings(None, ["normalisation.warp_resolution_mm=8"])
