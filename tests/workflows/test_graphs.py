"""Every step keeps its contract with every backend, and whole graphs hold together.

Nothing is run. A new step or backend is found here by itself.
"""

import importlib
import pkgutil
import typing
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path

import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

import workflows
from graph import dangling_ports
from pipeline.bids.preflight import Plan
from pipeline.bids.scan import ScanInputs
from pipeline.config.anatomy import EmbeddedAnatomy
from pipeline.config.load import load_settings
from pipeline.config.parcellation import GivenParcellation
from pipeline.config.schema import Resources, Settings
from workflows._graph import port_names
from workflows.anatomical import AnatomicalOutputs, Folders, init_anatomical_wf
from workflows.cohort import init_cohort_wf
from workflows.group import init_group_wf
from workflows.outputs import session_results
from workflows.session import init_session_wf, methods, required_tools

NEEDED = {GivenParcellation: {"dseg": "/labels/sub-{subject}_dseg.nii.gz"}}
"""What backends cannot do without."""

STEPS = [found.name for found in pkgutil.iter_modules(workflows.__path__) if found.ispkg]
BACKENDS = [
    (step, backend)
    for step in STEPS
    for backend in importlib.import_module(f"workflows.{step}").BACKENDS
]


def step_module(step):
    return importlib.import_module(f"workflows.{step}")


def options_of(step):
    """Backend to its default options, as the settings offer them."""
    annotation = Settings.model_fields[step].annotation
    kinds = typing.get_args(annotation) or (annotation,)
    return {kind.model_fields["backend"].default: kind(**NEEDED.get(kind, {})) for kind in kinds}


def contract_of(step):
    """Input and output contract of a step."""
    contract = importlib.import_module(f"workflows.{step}.contract")
    name = step.title().replace("_", "")
    return getattr(contract, f"{name}Inputs"), getattr(contract, f"{name}Outputs")


def built(step, backend):
    return step_module(step).BACKENDS[backend](options_of(step)[backend], Resources())


def edges(workflow):
    return sum(len(d["connect"]) for *_, d in workflow._create_flat_graph().edges(data=True))


@pytest.fixture
def scan(tmp_path):
    """A PET run of empty files: graphs are built without a look inside."""
    t1w = tmp_path / "bids" / "sub-01" / "ses-pre" / "anat" / "sub-01_ses-pre_T1w.nii.gz"
    pet = t1w.parent.parent / "pet" / "sub-01_ses-pre_trc-AZ_run-1_pet.nii.gz"
    for path in (t1w, pet):
        path.parent.mkdir(parents=True)
        path.touch()
    return ScanInputs(
        subject="01", session="pre", task=None, tracer="AZ", reconstruction=None, run="1",
        pet=pet, t1w=t1w, t1w_reason="its own", frame_start_s=(0.0, 60.0),
        frame_duration_s=(60.0, 60.0), frame_scale=(1.0, 1.0), radionuclide="C11",
        tracer_name="AZ10419369", injected_mbq=400.0, body_weight_kg=70.0,
    )  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path / "bids", tmp_path / "out", tmp_path / "work")


SETTINGS = {
    "defaults": (),
    "no motion": ("motion.backend=none",),
    "no coregistration": ("coregistration.backend=none",),
    "aligned": ("coregistration.init=identity",),
    "given transforms": ("coregistration.init=/xfm/sub-{subject}_ses-{session}.txt",),
    "given transforms alone": (
        "coregistration.backend=none",
        "coregistration.init=/xfm/sub-{subject}_ses-{session}.txt",
    ),
    "no maps": ("kinetics.maps=false",),
    "no frames": ("scan.save_frames=false",),
    "neither maps nor frames": ("scan.save_frames=false", "kinetics.maps=false"),
    "joined runs": ("scan.join_runs=true", "scan.drop_empty=true"),
    "given labels": (
        "parcellation.backend=given",
        "parcellation.dseg=/labels/sub-{subject}_dseg.nii.gz",
    ),
    "SPM12": ("anatomy.backend=spm", "motion.backend=spm", "coregistration.backend=spm"),
    "mixed": (
        "anatomy.backend=spm",
        "parcellation.backend=freesurfer",
        "normalisation.backend=fsl",
        "motion.backend=fsl",
    ),
    "FreeSurfer": (
        "parcellation.backend=freesurfer",
        "motion.backend=freesurfer",
        "coregistration.backend=freesurfer",
    ),
    "FSL": ("motion.backend=fsl", "coregistration.backend=fsl", "normalisation.backend=fsl"),
    "regions of all kinds": (
        "regions.sides=true",
        "regions.grey_masked=true",
        "regions.mni.DBS.image=/atlas/raphe.nii.gz",
    ),
    "anatomy of other derivatives": (
        "anatomy.backend=derivatives",
        "anatomy.folder=/derivatives/fmriprep",
    ),
    "several models": ('kinetics.models=["srtm", "logan", "wapi"]',),
    "partial volume": ("partial_volume.method=rbv", 'kinetics.models=["srtm", "logan", "wapi"]'),
    "partial volume by PETPVC": (
        "partial_volume.backend=petpvc",
        "regions.mni.DBS.image=/atlas/raphe.nii.gz",
    ),
}
every_setting = pytest.mark.parametrize("overrides", SETTINGS.values(), ids=list(SETTINGS))


def test_steps_were_found():
    assert {"anatomy", "coregistration", "motion", "parcellation", "partial_volume"} <= set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_tables_of_a_step_name_the_same_backends(step):
    module = step_module(step)
    files = {path.stem for path in Path(module.__file__).parent.glob("[!_]*.py")}
    assert module.BACKENDS.keys() == module.MODULES.keys() == options_of(step).keys()
    assert files - {"contract"} == {
        backend.__name__.rsplit(".", 1)[-1] for backend in module.MODULES.values()
    }


@pytest.mark.parametrize(("step", "backend"), BACKENDS)
def test_backend_says_what_it_needs_and_does(step, backend):
    module = step_module(step).MODULES[backend]
    assert isinstance(module.REQUIRES, tuple)
    if step != "anatomy":
        told = [module.METHODS]
    elif backend == "embedded":
        kinds = ("registration", "deepbet")
        told = [module.methods(EmbeddedAnatomy(brain=brain)) for brain in kinds]
    else:
        told = [module.methods(options_of(step)[backend])]
    assert all(text.endswith(".") for text in told)
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(("step", "backend"), BACKENDS)
def test_ports_are_those_of_the_contract(step, backend):
    workflow = built(step, backend)
    for name, contract in zip(("inputnode", "outputnode"), contract_of(step), strict=True):
        ports = set(workflow.get_node(name).inputs.copyable_trait_names())
        assert ports == set(port_names(contract))


@pytest.mark.parametrize(("step", "backend"), BACKENDS)
def test_nothing_dangles_in_a_backend(step, backend):
    assert dangling_ports(built(step, backend)) == []


@pytest.mark.parametrize(("step", "backend"), BACKENDS)
def test_builder_may_be_given_another_name(step, backend):
    options = options_of(step)[backend]
    workflow = step_module(step).BACKENDS[backend](options, Resources(), name="other_wf")
    assert workflow.name == "other_wf"


@pytest.mark.parametrize("step", STEPS)
def test_every_port_of_a_contract_is_documented(step):
    source = Path(importlib.import_module(f"workflows.{step}.contract").__file__).read_text()
    for contract in contract_of(step):
        for port in port_names(contract):
            following = source.split(f"\n    {port}: ", 1)[1].split("\n", 2)[1]
            assert following.strip().startswith('"""'), f"{contract.__name__}.{port}"


@every_setting
def test_nothing_dangles_in_a_session(scan, folders, overrides):
    workflow = init_session_wf(scan, folders, load_settings(None, overrides))
    assert dangling_ports(workflow) == []


@pytest.mark.parametrize(
    ("overrides", "node", "given"),
    [
        (("coregistration.backend=none",), "keep_place", False),
        (SETTINGS["given transforms alone"], "keep_place", True),
        (SETTINGS["given transforms"], "coregister", True),
        (SETTINGS["aligned"], "coregister", False),
    ],
)
def test_given_transforms_reach_their_session(scan, folders, overrides, node, given):
    workflow = init_session_wf(scan, folders, load_settings(None, overrides))
    inputs = workflow.get_node(f"coregistration_wf.{node}").inputs
    name = f"/xfm/sub-{scan.subject}_ses-{scan.session}.txt"
    assert (inputs.init_xfm == name) is given
    assert getattr(inputs, "aligned", False) is (overrides == SETTINGS["aligned"])


def test_every_file_of_a_scan_reaches_its_frames_and_sidecars(scan, folders):
    later = scan.pet.with_name(scan.pet.name.replace("run-1", "run-2"))
    later.touch()
    joined = replace(scan, run=None, later_runs=(later,), frames=((0,), (1,)), dropped=(1, 2))
    workflow = init_session_wf(joined, folders, load_settings(None, ["scan.drop_empty=true"]))
    node = workflow.get_node("motion_wf.inputnode").inputs
    assert node.pet == [str(scan.pet), str(later)]
    assert node.drop_empty is True
    said = workflow.get_node("ds_session").inputs.metadata["tacs"]
    assert [uri.rsplit("/", 1)[1] for uri in said["Sources"]] == [
        "sub-01_ses-pre_trc-AZ_run-1_pet.nii.gz",
        "sub-01_ses-pre_trc-AZ_run-2_pet.nii.gz",
        "sub-01_ses-pre_T1w.nii.gz",
    ]
    assert said["FrameTimesStart"] == [0.0, 60.0]
    assert said["FramesDropped"] == [1, 2]
    targets = workflow.get_node("ds_session").inputs.targets
    assert targets["tacs"].endswith("pet/sub-01_ses-pre_trc-AZ_desc-regions_tacs.tsv")


def test_nothing_dangles_in_the_anatomy(scan, folders):
    workflow = init_anatomical_wf(
        scan.t1w, scan.t1w_entities, folders, Settings(), name="anatomical_wf"
    )
    assert dangling_ports(workflow) == []
    ports = set(workflow.get_node("outputnode").inputs.copyable_trait_names())
    assert ports == {field.name for field in fields(AnatomicalOutputs)}


@every_setting
def test_nothing_dangles_in_a_cohort(scan, folders, overrides):
    second = scan.pet.with_name(scan.pet.name.replace("run-1", "run-2"))
    second.touch()
    other = replace(scan, run="2", pet=second)
    plan = Plan((scan, other), (), (), ())
    workflow = init_cohort_wf(plan, folders, load_settings(None, overrides))
    assert dangling_ports(workflow) == []


def test_a_t1w_has_its_own_subject_of_freesurfer(scan, folders):
    settings = load_settings(None, SETTINGS["FreeSurfer"])
    found = Plan((scan,), (), (), (), ((scan.t1w, Path("/subjects/sub-01")),))
    for plan, expected in (
        (found, "/subjects/sub-01"),
        (replace(found, subjects=()), "sub-01_ses-pre"),
    ):
        workflow = init_cohort_wf(plan, folders, settings)
        (node,) = [n for n in workflow._create_flat_graph().nodes() if n.name == "reconstruct"]
        assert node.inputs.subject_dir == expected
        assert node.inputs.t1w == str(scan.t1w) or not node.inputs.t1w
        labels = workflow.get_node("sub-01_ses-pre_T1w_wf.ds_anatomy").inputs
        assert "desc-DesikanKilliany_dseg" in labels.targets["dseg"]
        assert labels.metadata["dseg"]["Backend"] == "freesurfer"
        assert labels.metadata["dseg"]["LabelMap"]["174"] == "Pons"


def test_sessions_that_share_a_t1w_share_its_nodes(scan, folders):
    other = replace(scan, session="post", run=None)
    one = init_cohort_wf(Plan((scan,), (), (), ()), folders, Settings())
    two = init_cohort_wf(Plan((scan, other), (), (), ()), folders, Settings())

    def nodes(workflow, part):
        names = [node.fullname for node in workflow._create_flat_graph().nodes()]
        return [name for name in names if f".{part}_wf." in name]

    assert nodes(one, "sub-01_ses-pre_T1w") == nodes(two, "sub-01_ses-pre_T1w") != []
    assert len(nodes(two, "sub-01_ses-post_trc-AZ")) == len(nodes(two, scan.label))


def test_transforms_of_two_sessions_cannot_meet(scan, folders):
    """Not in the working folder, not in the output, and never from one session to another."""
    other = replace(scan, session="post", run=None)
    workflow = init_cohort_wf(Plan((scan, other), (), (), ()), folders, Settings())
    graph = workflow._create_flat_graph()
    labels = (scan.label, other.label)
    own = [[n for n in graph.nodes() if f".{label}_wf." in n.fullname] for label in labels]
    folders_of = [{node.output_dir() for node in nodes} for nodes in own]
    assert folders_of[0].isdisjoint(folders_of[1])
    assert not [1 for a in own[0] for b in own[1] if graph.has_edge(a, b) or graph.has_edge(b, a)]
    saved = [
        {
            path
            for node in nodes
            if node.name == "ds_session"
            for place in node.inputs.targets.values()
            for path in ([place] if isinstance(place, str) else place)
        }
        for nodes in own
    ]
    assert [sum("_xfm" in path for path in paths) for paths in saved] == [2, 2]
    assert saved[0].isdisjoint(saved[1])


def test_nothing_dangles_in_the_group(tmp_path, folders):
    from pipeline.bids.group_table import find_group_sources
    from workflows.group import group_design

    for folder in (folders.out_dir, folders.bids_dir):
        folder.mkdir(parents=True, exist_ok=True)
    kinpar = folders.out_dir / "sub-01" / "ses-pre" / "pet"
    kinpar.mkdir(parents=True)
    (kinpar / "sub-01_ses-pre_model-SRTM_kinpar.tsv").write_text("index\tname\tBPND\n")
    name = "sub-01_ses-pre_space-MNI152NLin2009cAsym_model-SRTM_meas-BPND_mimap.nii.gz"
    (kinpar / name).touch()
    settings, design = Settings(), group_design(Settings().group, unblind=False)
    sources = find_group_sources(folders.out_dir, folders.bids_dir, design)
    workflow = init_group_wf(folders.out_dir, sources, design, settings)
    assert workflow.get_node("group_maps_wf") is not None
    assert dangling_ports(workflow) == []


def test_node_names_lead_back_to_their_lines(scan, folders):
    # `fit_voxels = pe.Node(..., name="fit_voxels")`: a working directory names its line of code
    workflow = init_cohort_wf(Plan((scan,), (), (), ()), folders, Settings())
    sources = "\n".join(path.read_text() for path in Path(workflows.__file__).parent.rglob("*.py"))
    names = {node.name for node in workflow._create_flat_graph().nodes()}
    assert not [name for name in names if f'name="{name}"' not in sources
                and f'"{name}")' not in sources]  # fmt: skip


def test_every_node_says_what_it_costs(scan, folders):
    graph = init_cohort_wf(Plan((scan,), (), (), ()), folders, Settings())._create_flat_graph()
    generous = [node.fullname for node in graph.nodes() if node.mem_gb > Resources().mem_gb]
    assert not generous
    assert generate_expanded_graph(graph).number_of_nodes() > 5


def test_a_missing_connection_is_found(scan, folders):
    workflow = init_session_wf(scan, folders, Settings())
    whole = edges(workflow)
    motion, kinetics = workflow.get_node("motion_wf"), workflow.get_node("kinetics_wf")
    workflow.disconnect(
        [(motion, kinetics, [("outputnode.pet_preproc", "inputnode.pet_preproc")])]
    )
    assert edges(workflow) < whole
    assert [text for text in dangling_ports(workflow) if "pet_preproc" in text]


def test_versions_of_tools_change_the_page_and_nothing_else(scan, folders):
    settings = load_settings(None, ["motion.backend=spm", "coregistration.backend=spm"])
    assert required_tools(settings) == {"spm": ["motion", "coregistration"]}
    plan = Plan((scan,), (), (), ())
    plain, told = (
        {
            node.fullname: node.inputs.get_hashval()[1]
            for node in init_cohort_wf(plan, folders, settings, versions)
            ._create_flat_graph()
            .nodes()
        }
        for versions in ({}, {"SPM12": "r7771", "X": ""})
    )
    changed = [name.rsplit(".", 1)[-1] for name in plain if plain[name] != told[name]]
    assert changed == ["page"]


def test_results_of_one_version_are_not_taken_for_those_of_another(scan, folders):
    plan, settings = Plan((scan,), (), (), ()), load_settings(None, ["motion.backend=spm"])
    places = [
        init_cohort_wf(plan, folders, settings, versions).base_dir
        for versions in ({}, {"SPM12": "r7771"}, {"SPM12": "r7487"})
    ]
    assert len(set(places)) == 3
    assert all(Path(place).parent == folders.work_dir for place in places)


def test_methods_end_with_what_ran_in_which_version():
    said = methods(Settings(), {"SPM12": "r7771 (GNU Octave 7.3.0)", "X": ""})
    assert said[-2] == "Programs: SPM12 r7771 (GNU Octave 7.3.0), X (version unknown)."
    assert said[-1].startswith(f"Packages: SimpleITK {version('SimpleITK')}, picsl-greedy ")
    assert methods(Settings()) == [*said[:-2], said[-1]]


def test_uptake_is_described_with_what_was_injected(scan):
    known = replace(scan, molar_activity_gbq_per_umol=364.0, injected_mass_ug=0.5)
    said = [
        session_results(which, Path(), load_settings()).metadata["reference_uptake"]
        for which in (known, scan)
    ]
    radiochemistry = ("MolarActivity", "InjectedMass", "InjectedRadioactivity", "BodyWeight")
    assert [said[0][key] for key in radiochemistry] == [364, 0.5, 400, 70]
    assert [said[0][f"{key}Units"] for key in radiochemistry] == ["GBq/umol", "ug", "MBq", "kg"]
    assert [said[1][key] for key in radiochemistry] == ["n/a", "n/a", 400, 70]
