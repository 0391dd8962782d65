"""Maps of a cohort as the graph makes them: from files to named files with sidecars."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nipype import config
from nipype.pipeline import engine as pe
from scipy import stats

from graph import dangling_ports
from pipeline.bids.group_maps import Comparison, MapDesign, find_maps
from pipeline.config.voxelwise import Voxelwise
from pipeline.core.errors import DataError
from pipeline.execution.run import Limits, run_graphs
from pipeline.imaging.mni_regions import MniShape
from pipeline.interfaces.group_maps import (
    CompareMaps,
    DrawMeanMaps,
    DrawStatisticMaps,
    MeanMaps,
    MniRegions,
)
from pipeline.io.images import write_array
from pipeline.io.map_inference import Inference
from pipeline.io.tables import read_json, write_json
from workflows.group_maps import MarkedRegions, init_group_maps_wf, methods_of_comparisons

SHAPE = (10, 12, 10)
AFFINE = np.diag([8.0, 8, 8, 1])
AFFINE[:3, 3] = -36, -44, -36
DESIGN = MapDesign(
    parameter="BPND",
    sessions=("pre", "post"),
    groups=("drug & co", "placebo"),
    compared=("pre", "post"),
    labels=(("model", "SRTM"),),
)
SPACE = "space-MNI152NLin2009cAsym_model-SRTM_meas-BPND"


@pytest.fixture
def study(tmp_path, rng):
    """Four subjects a group, one more without a second session; changes are returned."""
    out, change = tmp_path / "out", {}
    for place in range(9):
        subject = f"{place + 1:02d}"
        before = rng.normal(1.0, 0.2, SHAPE)
        change[subject] = rng.normal(-0.2 if place < 4 else 0.0, 0.1, SHAPE)
        for session, data in (("pre", before), ("post", before + change[subject])):
            if (subject, session) == ("09", "post"):
                continue
            folder = out / f"sub-{subject}" / f"ses-{session}" / "pet"
            folder.mkdir(parents=True)
            stem = folder / f"sub-{subject}_ses-{session}_{SPACE}_mimap"
            write_array(f"{stem}.nii.gz", data.astype(np.float32), AFFINE)
            write_json(f"{stem}.json", {"Units": "1", "SpatialSmoothing_mm": 2.0})
    return out, change


@pytest.fixture
def head(tmp_path):
    """Template and atlas files: a box of brain, half of it grey."""
    template, atlas = np.zeros((80, 96, 80), np.float32), np.zeros((80, 96, 80), np.int16)
    affine = np.eye(4)
    affine[:3, 3] = -40, -48, -40
    template[8:72, 8:88, 8:72] = 0.8
    atlas[8:72, 8:88, 8:72] = 2
    atlas[8:40, 8:88, 8:72] = 17
    return {
        "template": str(write_array(tmp_path / "template.nii.gz", template, affine)),
        "atlas": str(write_array(tmp_path / "atlas.nii.gz", atlas, affine)),
    }


def columns(out, blinded=False):
    maps = find_maps(out, "BPND", {"model": "SRTM"})
    group = {f"{i:02d}": DESIGN.groups[0] if i <= 4 else DESIGN.groups[1] for i in range(1, 10)}
    return {
        "maps": [str(found.path) for found in maps],
        "participant_ids": [found.participant_id for found in maps],
        "sessions": [found.session for found in maps],
        "groups": ["" if blinded else group[found.participant_id] for found in maps],
    }


def run(interface, folder, **inputs):
    folder.mkdir()
    node = pe.Node(interface(**inputs), name="node", base_dir=str(folder))
    config.set("execution", "crashdump_dir", str(folder))
    return node.run().outputs


def test_means_by_group_and_session(study, tmp_path):
    out, change = study
    made = run(MeanMaps, tmp_path / "means", design=DESIGN, **columns(out))
    assert made.titles == [
        [group, session, n]
        for group, numbers in zip(DESIGN.groups, ("44", "54"), strict=True)
        for session, n in zip(("pre", "post"), numbers, strict=True)
    ]
    pre, post = (nib.load(path).get_fdata() for path in made.means[:2])
    expected = np.mean([change[f"0{i}"] for i in range(1, 5)], axis=0)
    np.testing.assert_allclose(post - pre, expected, atol=1e-6)
    assert len(made.images) == len(made.sidecars) == 8
    for image, sidecar in zip(made.images, made.sidecars, strict=True):
        assert image.removesuffix(".nii.gz") == sidecar.removesuffix(".json")
    last = read_json(made.sidecars[-2])
    assert last["N"] == 4
    assert last["Units"] == "1"
    assert last["Smoothing"] == {"FramesFWHM_mm": 2.0, "MapsFWHM_mm": 0.0}
    assert last["Sources"][0].startswith("bids::sub-05/ses-post/pet/")
    assert f"group_grp-drugco_ses-pre_{SPACE}_desc-mean_mimap" in made.images[0]


def test_blinded_all_subjects_are_one(study, tmp_path):
    out, _ = study
    blind = replace(DESIGN, groups=())
    made = run(MeanMaps, tmp_path / "means", design=blind, **columns(out, blinded=True))
    assert made.titles == [["", "pre", "9"], ["", "post", "8"]]
    assert f"group_ses-pre_{SPACE}_desc-mean" in made.images[0]
    assert read_json(made.sidecars[0])["Groups"] == "all subjects"


def compare(study, head, folder, comparison, **options):
    given = {"smoothing_fwhm_mm": 0.0, "inference": Inference()} | options
    return run(
        CompareMaps,
        folder,
        design=DESIGN,
        comparison=comparison,
        **given,
        **head,
        **columns(study),
    )


def test_comparisons_are_those_of_scipy(study, head, tmp_path):
    out, change = study
    one = compare(out, head, tmp_path / "one", Comparison("paired", DESIGN.groups[:1]))
    two = compare(out, head, tmp_path / "two", Comparison("difference", DESIGN.groups))
    active, placebo = (
        np.array([change[f"{i:02d}"] for i in numbers]) for numbers in (range(1, 5), range(5, 9))
    )
    inside = np.zeros(SHAPE, bool)
    inside[1:9, 1:11, 1:9] = True
    for made, reference, df in (
        (one, stats.ttest_1samp(active, 0), 3),
        (two, stats.ttest_ind(active, placebo), 6),
    ):
        t = nib.load(made.t_map[0]).get_fdata()
        np.testing.assert_array_equal(np.isfinite(t), inside)
        np.testing.assert_allclose(t[inside], reference.statistic[inside], rtol=1e-4, atol=1e-4)
        assert made.facts["DegreesOfFreedom"] == df
        assert made.facts["MaskVolume_mL"] == pytest.approx(inside.sum() * 0.512)
        assert made.thresholded == []
        assert len(made.images) == len(made.sidecars) == 3
    assert two.facts["N"] == [4, 4]  # the ninth has one session
    told = read_json(two.sidecars[0])
    assert told["Subjects"][1] == ["05", "06", "07", "08"]
    assert told["Inference"] == "none"
    assert "Reason" not in told
    assert "Seed" not in told


def test_permutations_are_told(study, head, tmp_path):
    out, _ = study
    inference = Inference("mass", 100, cluster_p=0.02, alpha=0.2, seed=3)
    made = compare(
        out, head, tmp_path / "one", Comparison("paired", DESIGN.groups[:1]), inference=inference,
        mask="grey", smoothing_fwhm_mm=8.0,
    )  # fmt: skip
    told = read_json(made.sidecars[-1])
    expected = {
        "Inference": "mass", "Permutations": 100, "ClusterFormingP": 0.02, "Alpha": 0.2, "Seed": 3,
        "Mask": "grey", "SmallestPossibleP": 0.125, "N": [4],
        "Smoothing": {"FramesFWHM_mm": 2.0, "MapsFWHM_mm": 8.0},
    }  # fmt: skip
    assert {key: told[key] for key in expected} == expected
    stats_of = [path.split("_stat-")[1].split("_desc")[0] for path in made.images]
    assert stats_of == ["effect", "t", "z", "logp", "t"]
    t, thresholded = (nib.load(p[0]).get_fdata() for p in (made.t_map, made.thresholded))
    passed = np.abs(thresholded) > 0
    np.testing.assert_array_equal(thresholded[passed], t[passed])
    assert made.facts["MaskVolume_mL"] == pytest.approx(4 * 10 * 8 * 0.512)


def test_too_few_subjects_leave_a_reason_and_no_map(study, head, tmp_path):
    out, _ = study
    given = columns(out)
    few = {key: values[:4] for key, values in given.items()}
    made = run(
        CompareMaps, tmp_path / "few", design=DESIGN, inference=Inference(),
        comparison=Comparison("difference", DESIGN.groups), **head, **few,
    )  # fmt: skip
    assert made.images == made.t_map == made.sidecars == []
    assert "drug & co: 2 with maps of both sessions" in made.facts["Reason"]
    assert "placebo: 0" in made.facts["Reason"]


def test_regions_and_figures(study, head, tmp_path):
    out, _ = study
    regions = run(
        MniRegions, tmp_path / "regions", atlas=head["atlas"], region_labels={"HIP": [17, 53]},
        mni=[MniShape("DBS", (0.0, 0.0, 0.0), (8.0, 8.0, 8.0))],
    )  # fmt: skip
    assert regions.names == ["HIP", "DBS"]
    marks = {"regions": regions.regions, "names": regions.names, "template": head["template"]}
    means = run(MeanMaps, tmp_path / "means", design=DESIGN, **columns(out))
    drawn = run(DrawMeanMaps, tmp_path / "figure", means=means.means, titles=means.titles, **marks)
    for path, start in (
        (drawn.svg, b"<?xml"),
        (drawn.png, b"\x89PNG"),
        (drawn.page_png, b"\x89P"),
    ):
        with open(path, "rb") as file:  # noqa: PTH123
            assert file.read(5).startswith(start)
    nothing = run(
        DrawStatisticMaps, tmp_path / "none", t_maps=[], thresholded=[],
        facts=[{"Reason": "too few"}], **marks,
    )  # fmt: skip
    assert nothing.svg == nothing.png == nothing.page_png == []


@pytest.mark.parametrize("groups", [(), ("a",), ("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("compared", [None, ("pre", "post")])
def test_nothing_dangles(groups, compared):
    design = replace(DESIGN, groups=groups, compared=compared)
    workflow = init_group_maps_wf(
        design, Voxelwise(inference="tfce"), MarkedRegions({"HIP": (17, 53)})
    )
    assert dangling_ports(workflow) == []
    told = methods_of_comparisons(design, Voxelwise(inference="tfce"))
    assert ("Family-wise" in told) == bool(compared)


def test_groups_of_one_name_are_refused_before_anything_runs():
    design = replace(DESIGN, groups=("a b", "ab"))
    with pytest.raises(DataError, match="rename one"):
        init_group_maps_wf(design, Voxelwise(), MarkedRegions({}))


def small_workflow(out, head, work):
    regions = MarkedRegions({"HIP": (17, 53)}, [MniShape("DBS", (0, 0, 0), (8, 8, 8))])
    workflow = init_group_maps_wf(DESIGN, Voxelwise(inference="mass", n_permutations=100), regions)
    workflow.base_dir = str(work)
    workflow.remove_nodes([workflow.get_node("align_atlas")])  # takes a minute
    for node in workflow.list_node_names():
        if node.startswith("compare_") or node == "mni_regions":
            workflow.get_node(node).inputs.atlas = head["atlas"]
        if node.startswith(("compare_", "draw_")):
            workflow.get_node(node).inputs.template = head["template"]
    for port, values in columns(out).items():
        setattr(workflow.get_node("inputnode").inputs, port, values)
    return workflow


@pytest.mark.slow
def test_the_graph_makes_maps_sidecars_and_figures(study, head, tmp_path):
    out, _ = study
    for computes in (True, False):
        outcome = run_graphs([small_workflow(out, head, tmp_path / "work")], Limits(1, 4.0))
        assert outcome.failures == []
        assert bool(outcome.ran) is computes
    made = (tmp_path / "work").rglob("group_*")
    saved = sorted({path.name for path in made if "_page" not in path.name})
    images = [name for name in saved if name.endswith(".nii.gz")]
    assert len(images) == 8 + 3 * 5
    assert [name for name in saved if name.endswith(".json")] == [
        name.replace(".nii.gz", ".json") for name in images
    ]
    assert [name for name in saved if "figure" in name] == [
        f"group_desc-{what}_figure.{kind}"
        for what in ("BPNDmaps", "tmaps")
        for kind in ("png", "svg")
    ]
