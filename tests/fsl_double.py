"""Test doubles of FSL's programs: nothing is registered, canned results are put where FSL would.

Their conventions are written out from FSL's documentation, with no part of the code under test:
``fsl.fmrib.ox.ac.uk/fsl/docs``, FLIRT FAQ, "What is the format of the matrix used by FLIRT", for
coordinates and matrices; the usage texts of the programs for options and names of files; the guide
of FNIRT, and ``fsl.transform.fnirt`` of FSL's own fslpy, for warps.
"""

import json
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import Volume

PROGRAMS = ("flirt", "mcflirt", "fnirt", "convertwarp", "invwarp")
DISPLACEMENTS = 2006
"""NIfTI intent of a displacement field of FSL."""


def fsl_points(volume, points_mm):
    """World points (..., 3) in FSL's coordinates: scaled voxels, the first axis turned round."""
    voxels = apply_affine(np.linalg.inv(volume.affine), points_mm)
    if np.linalg.det(volume.affine) > 0:
        voxels[..., 0] = volume.shape[0] - 1 - voxels[..., 0]
    return voxels * volume.voxel_size_mm


def world_of_voxels(volume):
    """World points of all voxels, (X, Y, Z, 3)."""
    return apply_affine(volume.affine, np.moveaxis(np.indices(volume.shape), 0, -1).astype(float))


def write_fsl_matrix(path, moving, reference, moving2reference):
    """Matrix that FLIRT would leave: FSL's points of the input to those of the reference."""
    corners = world_of_voxels(Volume(np.zeros((2, 2, 2)), np.diag([90.0, 90, 90, 1]))).reshape(
        -1, 3
    )
    before = fsl_points(moving, corners)
    after = fsl_points(reference, apply_affine(moving2reference, corners))
    rows = np.linalg.lstsq(np.c_[before, np.ones(len(before))], after, rcond=None)[0].T
    text = [" ".join(f"{value:.10g}" for value in row) + "  " for row in [*rows, [0, 0, 0, 1]]]
    Path(path).write_text("\n".join(text) + "\n")
    return Path(path)


def write_fsl_warp(path, reference, moving, reference2moving):
    """Relative warp, affine part included: at every voxel of the reference the way to go.

    `reference2moving` takes world points (..., 3) of the reference to those of the moving image.
    """
    here = world_of_voxels(reference)
    ways = fsl_points(moving, reference2moving(here)) - fsl_points(reference, here)
    image = nib.Nifti1Image(ways.astype(np.float32), reference.affine)
    image.header["intent_code"] = DISPLACEMENTS
    nib.save(image, path)
    return Path(path)


@dataclass(frozen=True)
class Call:
    """One start of a double."""

    program: str
    arguments: list[str]
    folder: str
    output_type: str
    threads: str


class FslDouble:
    """A folder of doubles for the front of the PATH."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        for program in PROGRAMS:
            script = self.folder / program
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$0" "$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def leaves(self, program, **results):
        """Files that a program puts where an option says: ``leaves("flirt", omat=path)``."""
        (self.folder / f"{program}.json").write_text(
            json.dumps({option: str(path) for option, path in results.items()})
        )

    def fails(self, program, code, said=""):
        """A program that ends with a code, and says something to stderr before."""
        (self.folder / f"{program}.json").write_text(json.dumps({"code": code, "said": said}))

    @property
    def calls(self):
        """Starts so far, in order of time."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [Call(**json.loads(line)) for line in lines]

    def call(self, program):
        """The only start of a program."""
        (found,) = [call for call in self.calls if call.program == program]
        return found


def main(script, *arguments):
    """What a double does when it is started."""
    folder, program = Path(script).parent, Path(script).name
    call = Call(
        program, list(arguments), str(Path.cwd()),
        os.environ.get("FSLOUTPUTTYPE", ""), os.environ.get("OMP_NUM_THREADS", ""),
    )  # fmt: skip
    with (folder / "calls").open("a") as log:
        log.write(json.dumps(vars(call)) + "\n")
    kept = folder / f"{program}.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    if "code" in results:
        print(results["said"], file=sys.stderr)
        return results["code"]
    given = _given(arguments)
    for option, source in results.items():
        target = Path(given["out"] + ".mat" if option == "mats" else given[option])
        if Path(source).is_dir():
            shutil.copytree(source, target)
        else:
            # FSL adds the ending of its type to names of images without one
            bare = option == "out" and not target.suffix
            shutil.copyfile(source, target.with_name(target.name + ".nii") if bare else target)
    return 0


def _given(arguments):
    """Options with their values: ``-omat x`` as of FLIRT, ``--cout=x`` as of FNIRT."""
    given = {}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            given[name] = value
        elif word.startswith("-"):
            given[word[1:]] = following
    return given


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main(*sys.argv[1:]))
