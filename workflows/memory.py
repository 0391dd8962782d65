"""How much memory nodes are given: by the size of the images they work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nipype.pipeline import engine as pe

PROCESS_GB = 0.7
"""What a process takes that holds the libraries and no image."""
_MEGAVOXEL = 1e6
_GB_PER_MEGAVOXEL: Mapping[str, tuple[str, float]] = {
    "find_brain": ("t1w", 0.05),
    "normalise": ("t1w", 0.05),
    "acpc": ("t1w", 0.03),
    "tissues": ("t1w", 0.08),
    "label": ("t1w", 0.1),
    "correct_motion": ("pet", 1.0),
    "keep_frames": ("pet", 1.0),
    "coregister": ("t1w", 0.04),
    "keep_place": ("t1w", 0.04),
    "carry_regions": ("t1w", 0.08),
    "extract_tacs": ("pet", 0.3),
    "fit_voxels": ("pet", 0.3),
    "page": ("t1w", 0.06),
}
"""Node to the image that counts, and memory per million voxels of a frame of it: peaks measured at
0.6 million voxels of PET and 11 million of T1w, with some room. What is not here is given what its
builder says; that is also the most, as figures for the largest scanners are there."""


def declare_memory(workflow: Any, voxels: Mapping[str, int], most_gb: float) -> None:
    """Give the nodes of a workflow memory by the size of its images, as far as it is known.

    Parameters
    ----------
    workflow : nipype Workflow
        Of a session, an anatomy or the group level.
    voxels : mapping of str to int
        Voxels of a frame of the ``pet``, and of the ``t1w``.
    most_gb : float
        What a run may take.
    """
    for node in _nodes(workflow):
        image, rate = _GB_PER_MEGAVOXEL.get(node.name, ("", 0.0))
        given = float(node.mem_gb)
        if image in voxels:
            given = min(given, PROCESS_GB + rate * voxels[image] / _MEGAVOXEL)
        node._mem_gb = min(max(given, PROCESS_GB), most_gb)


def _nodes(workflow: Any) -> Iterator[Any]:
    for node in workflow._graph.nodes():
        if isinstance(node, pe.Workflow):
            yield from _nodes(node)
        else:
            yield node
