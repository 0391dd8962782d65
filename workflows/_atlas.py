"""The atlas in the template's space: the same for everyone, computed once per work directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.interfaces.anatomy import AlignAtlas
from pipeline.io.atlas import atlas_path, template_path
from workflows._graph import SharedNode


class _WorkDirectoryNode(SharedNode):
    """Node whose directory lies at the top of the work directory, whatever graph it is in."""

    def output_dir(self) -> str:
        """Path that depends on the work directory and the node's name only."""
        if self.base_dir is None:
            return str(super().output_dir())
        return str((Path(self.base_dir) / self.name).resolve())


def atlas_node() -> Any:
    """Node whose output ``atlas`` holds FreeSurfer-numbered labels on the template's grid."""
    return _WorkDirectoryNode(
        AlignAtlas(atlas=str(atlas_path()), template=str(template_path())),
        name="align_atlas",
        mem_gb=1.3,
        n_procs=1,
    )
