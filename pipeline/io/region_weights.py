"""Region weights on disk: sparse, so that a scan's regions take a few megabytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from pipeline.imaging.regions import RegionWeights


def write_region_weights(path: str | Path, regions: RegionWeights) -> Path:
    """Write as compressed npz; returns the path."""
    w = regions.weights
    np.savez_compressed(
        path,
        names=np.array(regions.names),
        volume_mm3=regions.volume_mm3,
        voxel_volume_mm3=np.array(regions.voxel_volume_mm3),
        t1w_mm3=regions.t1w_mm3,
        in_field=regions.in_field,
        data=w.data,
        indices=w.indices,
        indptr=w.indptr,
        shape=np.array(w.shape),
    )
    return Path(path)


def read_region_weights(path: str | Path) -> RegionWeights:
    """Read what `write_region_weights` wrote."""
    with np.load(path, allow_pickle=False) as content:
        weights = sparse.csr_array(
            (content["data"], content["indices"], content["indptr"]),
            shape=tuple(content["shape"].tolist()),
        )
        names = tuple(content["names"].tolist())
        voxel_mm3 = float(content["voxel_volume_mm3"])
        volumes = content["t1w_mm3"], content["in_field"]
        return RegionWeights(names, weights, content["volume_mm3"], voxel_mm3, *volumes)
