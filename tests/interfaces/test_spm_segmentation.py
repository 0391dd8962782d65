"""The real SPM12 on a grid on which it loses its warp: 181 x 217 x 181 voxels of 1 mm."""

import numpy as np
import pytest

from moving_heads import template
from pipeline.config.anatomy import SpmAnatomy
from pipeline.config.schema import Resources, SpmProgram
from pipeline.core.volume import Volume
from pipeline.imaging.multigrid import diverges
from pipeline.imaging.resampling import resample_rigid
from pipeline.io.images import read_volume, write_volume
from pipeline.io.tables import read_json
from pipeline.simulation.head import Anatomy, make_head
from workflows.anatomy.spm import init_spm_anatomy_wf

WHITE = (2, 41, 7, 46, 16, 77, 85, 251, 252, 253, 254, 255, 28, 60)
FLUID = (4, 43, 5, 44, 14, 15, 24, 31, 63)


@pytest.fixture(scope="module")
def head():
    """A simulated head on that grid, and its labels."""
    made = make_head(
        template(), Anatomy.draw(np.random.default_rng(2)), 1.0, np.random.default_rng(2)
    )
    grid = Volume(np.zeros((181, 217, 181), np.uint8), np.eye(4))
    grid.affine[:3, 3] = made.centre_mm - (90, 108, 80)
    return grid.with_data(resample_rigid(made.t1w, grid, np.eye(4))), made.labels


@pytest.mark.tool("spm")
@pytest.mark.slow
def test_the_warp_that_is_lost_is_found_again(head, tmp_path):
    t1w, truth = head
    assert diverges(t1w, 3)
    workflow = init_spm_anatomy_wf(SpmAnatomy(), Resources(spm=SpmProgram()))
    workflow.base_dir = str(tmp_path)
    workflow.config["execution"] = {"crashdump_dir": str(tmp_path)}
    workflow.inputs.inputnode.t1w = str(write_volume(tmp_path / "sub-01_T1w.nii.gz", t1w))
    workflow.run()
    folder = tmp_path / workflow.name / "take_segmentation"
    quality = read_json(folder / "anatomy.json")
    assert quality["SegmentationsWithoutWarp"] == 1
    assert quality["SegmentationPadding_voxels"] > 0
    assert any("lost the warp" in text for text in quality["Warnings"])
    labels = resample_rigid(
        truth.with_data(truth.data.astype(np.float32)), t1w, np.eye(4), order=0
    )
    # 0.912 and 0.921 were found; SPM12 looks at a third of the voxels along each axis
    for name, share, least in (
        ("gm", ~np.isin(labels, (0, *WHITE, *FLUID)), 0.88),
        ("wm", np.isin(labels, WHITE), 0.88),
    ):
        found = read_volume(folder / f"{name}_probseg.nii.gz").data > 0.5
        dice = 2 * (found & share).sum() / (found.sum() + share.sum())
        print(name, dice, found.sum() / share.sum())
        assert dice > least
