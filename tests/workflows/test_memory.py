"""Memory that nodes are given, against peaks that were measured on two simulated sessions."""

import pytest

from pipeline.bids.preflight import survey
from pipeline.config.schema import Settings
from pipeline.execution.graph import executable_graph, step_of
from workflows.anatomical import Folders
from workflows.cohort import init_cohort_wf
from workflows.memory import PROCESS_GB

SIZES = {"coarse": (44 * 44 * 38, 66 * 80 * 78), "demo": (88 * 88 * 76, 196 * 240 * 232)}
# GiB, as `petbind status --nodes` told of sessions with 14 and 38 frames
PEAKS = {
    "find_brain": (0.44, 0.62), "normalise": (0.51, 0.61), "acpc": (0.52, 0.55),
    "tissues": (0.46, 0.91), "label": (0.65, 1.03), "align_atlas": (1.03, 1.03),
    "correct_motion": (0.52, 0.88), "coregister": (0.54, 0.67), "carry_regions": (0.53, 0.98),
    "extract_tacs": (0.53, 0.36), "fit_regions": (0.53, 0.34), "fit_voxels": (0.51, 0.36),
    "gather_kinpar": (0.34, 0.34), "maps_to_mni": (0.51, 0.34), "page": (0.51, 0.76),
    "ds_anatomy": (0.54, 0.29), "ds_session": (0.54, 0.34),
}  # fmt: skip


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    from many_sessions import make_tree

    root = tmp_path_factory.mktemp("tree") / "bids"
    make_tree(root, 1)
    return survey(root)


def declared(plan, tmp_path, pet, t1w, settings=None):
    from dataclasses import replace

    known = tuple((path, t1w if "T1w" in path.name else pet) for path, _ in plan.voxels)
    sized = replace(plan, scans=plan.scans[:1], voxels=known)
    folders = Folders(tmp_path, tmp_path / "out", tmp_path / "work")
    graph = executable_graph(init_cohort_wf(sized, folders, settings or Settings()))
    return {step_of(node).rpartition(".")[2]: node.mem_gb for node in graph.nodes()}


@pytest.mark.parametrize("place", [0, 1], ids=SIZES)
def test_what_was_measured_lies_below_what_is_declared(plan, tmp_path, place):
    given = declared(plan, tmp_path, *list(SIZES.values())[place])
    assert set(given) == set(PEAKS)
    short = {n: (given[n], peaks[place]) for n, peaks in PEAKS.items() if given[n] < peaks[place]}
    assert short == {}
    # and not so far above that processors stand idle
    assert all(given[name] < peaks[place] + 1 for name, peaks in PEAKS.items())


def test_larger_images_are_given_more_up_to_what_a_run_may_take(plan, tmp_path):
    few, many = (declared(plan, tmp_path, *sizes) for sizes in SIZES.values())
    largest = declared(plan, tmp_path, 256 * 256 * 207, 256**3)
    assert all(few[name] <= many[name] <= largest[name] for name in few)
    assert largest["correct_motion"] == 3.0
    assert min(few.values()) == PROCESS_GB
    small = Settings.model_validate({"resources": {"mem_gb": 1.0}})
    assert max(declared(plan, tmp_path, 256 * 256 * 207, 256**3, small).values()) == 1.0


def test_sizes_come_from_the_headers(plan):
    assert {count for _, count in plan.voxels} == {4 * 4 * 4}
    assert len(plan.voxels) == 3
