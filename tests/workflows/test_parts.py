"""Parts of a cohort on their own: the same nodes in the same places as in the whole."""

from dataclasses import replace

import pytest

from pipeline.bids.preflight import Plan
from pipeline.bids.scan import ScanInputs
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError
from pipeline.execution.batch import needs_of
from workflows.anatomical import Folders
from workflows.cohort import init_anatomies_wf, init_cohort_wf, of_part, parts_of


@pytest.fixture
def plan(tmp_path):
    """Two sessions of one subject on one T1w, and another subject; files that are empty."""
    scans = []
    for subject, session, t1w_of in (
        ("01", "pre", "pre"),
        ("01", "post", "pre"),
        ("02", "pre", "pre"),
    ):
        folder = tmp_path / "bids" / f"sub-{subject}"
        t1w = folder / f"ses-{t1w_of}" / "anat" / f"sub-{subject}_ses-{t1w_of}_T1w.nii.gz"
        pet = folder / f"ses-{session}" / "pet" / f"sub-{subject}_ses-{session}_pet.nii.gz"
        for path in (t1w, pet):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        scans.append(
            ScanInputs(
                subject=subject, session=session, task=None, tracer=None, reconstruction=None,
                run=None, pet=pet, t1w=t1w, t1w_reason="its own", frame_start_s=(0.0, 60.0),
                frame_duration_s=(60.0, 60.0), frame_scale=(1.0, 1.0), radionuclide="C11",
                tracer_name="x", injected_mbq=400.0, body_weight_kg=70.0,
            )
        )  # fmt: skip
    return Plan(tuple(scans), (), (("sub-03", ()),), ())


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path / "bids", tmp_path / "out", tmp_path / "work")


def nodes(workflow):
    return {
        (node.fullname, workflow.base_dir, node.inputs.get_hashval(hash_method="content")[1])
        for node in workflow._create_flat_graph().nodes()
        if not node.name.endswith("putnode")
    }


def test_the_nodes_of_a_part_are_those_of_the_whole(plan, folders):
    whole = nodes(init_cohort_wf(plan, folders, Settings()))
    session = nodes(init_cohort_wf(of_part(plan, "sub-01_ses-post"), folders, Settings()))
    anatomy = nodes(init_anatomies_wf(of_part(plan, "sub-01_ses-pre_T1w"), folders, Settings()))
    assert anatomy < session < whole
    assert {name.split(".")[1] for name, *_ in anatomy} == {"sub-01_ses-pre_T1w_wf"}
    assert {name.split(".")[1] for name, *_ in session} == {
        "sub-01_ses-pre_T1w_wf",
        "sub-01_ses-post_wf",
    }


def test_a_part_has_its_sessions_and_nothing_that_is_blocked(plan):
    sessions = of_part(plan, "sub-01_ses-pre_T1w")
    assert [scan.label for scan in sessions.scans] == ["sub-01_ses-pre", "sub-01_ses-post"]
    assert sessions.blocked == ()
    with pytest.raises(ConfigError, match=r"--part sub-1: no such .* sub-01_ses-pre_T1w"):
        of_part(plan, "sub-1")


def test_a_task_asks_for_its_largest_node_and_for_as_many_as_run_at_once(plan, folders):
    workflow = init_cohort_wf(plan, folders, Settings())
    one, two = needs_of(workflow, 1), needs_of(workflow, 2)
    assert set(one) == {name for scan in plan.scans for name in parts_of(scan)}
    for part, need in one.items():
        estimates = sorted(
            node.mem_gb
            for node in init_cohort_wf(plan, folders, Settings())._create_flat_graph().nodes()
            if f".{part}_wf." in f".{node.fullname}"
        )
        assert need.mem_gb == estimates[-1]
        assert two[part].mem_gb == pytest.approx(sum(estimates[-2:]))
        assert (need.n_procs, two[part].n_procs) == (1, 2)


def test_less_memory_in_the_settings_is_asked_for_less(plan, folders):
    settings = Settings()
    small = settings.model_copy(
        update={"resources": settings.resources.model_copy(update={"mem_gb": 1.0})}
    )
    assert max(n.mem_gb for n in needs_of(init_cohort_wf(plan, folders, small), 1).values()) == 1.0


def test_a_session_of_a_plan_can_be_taken_by_its_label(plan):
    (scan,) = of_part(replace(plan, noted=()), "sub-02_ses-pre").scans
    assert scan.subject == "02"
