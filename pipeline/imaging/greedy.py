"""Affine and deformable registration by picsl-greedy, one thread, seeded, its failures heard."""

from __future__ import annotations

import ctypes
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np

from pipeline.core.errors import ToolError
from pipeline.core.transforms import apply_affine, displacement_mm, rigid_matrix
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.itk import Field, field_from_itk, to_itk
from pipeline.imaging.warp import grid_points_mm

SEED = 7
"""Of the noise that a deformable registration adds to its images."""
_REPEATABLE = f"-threads 1 -seed {SEED}"
_NUDGES_MM = (0.0, 0.5, -1.0)
_NOT_A_NUMBER = re.compile(r"(Metrics?|Energy) *=? *-?nan", re.IGNORECASE)


def register_affine(
    fixed: Volume,
    moving: Volume,
    initial: FloatArray,
    *,
    fixed_mask: Volume | None = None,
    dof: int = 12,
    iterations: str = "100x50x0",
) -> FloatArray:
    """Affine transform from *fixed* to *moving* that maximises normalised mutual information.

    Parameters
    ----------
    fixed, moving : Volume
        Images of any contrast.
    initial : (4, 4) array
        Where to start: points of *fixed* to points of *moving*, RAS+ mm.
    fixed_mask : Volume, optional
        Voxels of *fixed* that count.
    dof : {6, 7, 12}
        Rigid, similarity or affine.
    iterations : str
        Iterations per resolution, coarsest first, joined by ``x``; the last is full resolution.

    Returns
    -------
    (4, 4) array
        Points of *fixed* to points of *moving*, RAS+ mm.

    Raises
    ------
    ToolError
        If the optimiser fails.
    """
    command = (
        f"-a -dof {dof} -m NMI -n {iterations} -jitter 0 -i fixed moving -ia initial -o found"
    )
    images = {"fixed": to_itk(fixed), "moving": to_itk(moving), "found": None}
    if fixed_mask is not None:
        command += " -gm mask"
        images["mask"] = to_itk(fixed_mask)
    centre = fixed.affine[:3, :3] @ (np.array(fixed.shape) / 2) + fixed.affine[:3, 3]
    found = None
    for nudge_mm in _NUDGES_MM:
        # a rotation by this many mm at 100 mm from the centre, and a shift by as many
        start = initial if found is None else found
        nudge = rigid_matrix(np.full(3, nudge_mm), np.full(3, nudge_mm / 100), centre)
        before, (results, failed) = found, _execute(command, images | {"initial": start @ nudge})
        found = np.asarray(results["found"], float)
        if found.shape != (4, 4) or not np.all(np.isfinite(found)):
            break
        if not failed or (before is not None and _agree(before, found, fixed)):
            return found
    raise ToolError(
        "greedy could not optimise the affine registration (LINE SEARCH FAILED, and starts side by"
        " side end apart); check that the image shows a head and is not empty"
    )


def _agree(first: FloatArray, second: FloatArray, grid: Volume) -> bool:
    """Whether two affines differ by less than a millimetre at the corners of half the grid."""
    n = np.array(grid.shape, float) - 1
    corners = np.array(
        [[x, y, z] for x in (0.25, 0.75) for y in (0.25, 0.75) for z in (0.25, 0.75)]
    )
    points = apply_affine(grid.affine, corners * n)
    return bool(displacement_mm(first, second, points).max() < 1.0)


def register_deformable(
    fixed: Volume,
    moving: Volume,
    affine: FloatArray,
    *,
    fixed_mask: Volume | None = None,
    iterations: str = "100x50x10",
    smoothing: str = "1.732vox 0.7071vox",
) -> Field:
    """Displacements on the grid of *fixed* that lead into *moving*, by local correlation.

    The field holds everything, `affine` included.

    Parameters
    ----------
    fixed, moving : Volume
        Images of the same contrast; the field gets the grid of *fixed*.
    affine : (4, 4) array
        Points of *fixed* to points of *moving*, RAS+ mm, from `register_affine`.
    fixed_mask : Volume, optional
        Voxels of *fixed* that count.
    iterations : str
        Iterations per resolution, coarsest first, joined by ``x``.
    smoothing : str
        Standard deviations that updates and the whole field are smoothed by, with units.

    Returns
    -------
    Field

    Raises
    ------
    ToolError
        If the registration fails or its field is not finite.
    """
    command = (
        f"-m NCC 2x2x2 -n {iterations} -s {smoothing} -wp 0 -i fixed moving -it affine -o warp"
    )
    images = {"fixed": to_itk(fixed), "moving": to_itk(moving), "affine": np.asarray(affine)}
    if fixed_mask is not None:
        command += " -gm mask"
        images["mask"] = to_itk(fixed_mask)
    results, failed = _execute(command, images | {"warp": None})
    warp = field_from_itk(results["warp"])
    if failed or not np.all(np.isfinite(warp.displacement_mm)):
        raise ToolError(
            "greedy: the deformable registration is not finite; check the image for empty parts"
        )
    return _after_affine(warp, affine)


def _after_affine(warp: Field, affine: FloatArray) -> Field:
    """Field of ``affine @ (x + warp(x))``."""
    points = np.moveaxis(grid_points_mm(warp.shape, warp.affine), 0, 3)
    target = (points + warp.displacement_mm) @ affine[:3, :3].T.astype(np.float32)
    target += affine[:3, 3].astype(np.float32)
    return Field(target - points, warp.affine)


def _execute(command: str, images: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Run greedy; its results by name, and whether it said that the last resolution failed.

    Matrices go by file (greedy takes arrays for results only), images by memory.
    """
    from picsl_greedy import Greedy3D

    greedy = Greedy3D()
    with TemporaryDirectory() as folder, TemporaryFile() as printed:
        for name, value in images.items():
            if isinstance(value, np.ndarray):
                matrix = Path(folder) / f"{name}.mat"
                np.savetxt(matrix, value, fmt="%.15g")
                command = re.sub(rf"\b{name}\b", str(matrix), command)
        passed = {k: v for k, v in images.items() if not isinstance(v, np.ndarray)}
        stream = io.StringIO()
        try:
            with _stdout_to(printed.fileno()):
                greedy.execute(f"{command} {_REPEATABLE}", out=stream, err=stream, **passed)
        except RuntimeError as error:
            raise ToolError(f"greedy failed: {error}") from error
        printed.seek(0)
        said = printed.read().decode(errors="replace") + stream.getvalue()
    results = {name: greedy[name] for name, value in images.items() if value is None}
    return results, _failed(said)


def _failed(said: str) -> bool:
    """Whether the last resolution that ran was given up; a finer one mends a coarser one."""
    levels = said.split("END OF LEVEL")
    last = levels[-2] if len(levels) > 1 else said
    return "LINE SEARCH FAILED" in last or _NOT_A_NUMBER.search(said) is not None


@contextmanager
def _stdout_to(descriptor: int) -> Iterator[None]:
    """Send what compiled code prints to a file: the optimiser tells its failures nowhere else."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        flush(None)
        os.dup2(descriptor, 1)
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
