"""The settings of a study: frozen sections that refuse what they do not know."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from pipeline.config.anatomy import AnatomyOptions, EmbeddedAnatomy
from pipeline.config.coregistration import CoregistrationOptions, EmbeddedCoregistration
from pipeline.config.group import Group
from pipeline.config.kinetics import Kinetics
from pipeline.config.motion import EmbeddedMotion, MotionOptions
from pipeline.config.normalisation import AnatomyNormalisation, NormalisationOptions
from pipeline.config.parcellation import EmbeddedParcellation, ParcellationOptions
from pipeline.config.partial_volume import NoPartialVolume, PartialVolumeOptions
from pipeline.config.regions import Regions
from pipeline.config.scan import Scan
from pipeline.config.section import Section


class SpmProgram(Section):
    """How SPM12 is started, for backends named `spm`."""

    command: str = ""
    """MATLAB (`matlab`), GNU Octave (`octave`), or the standalone with its runtime
    (`/opt/spm12/run_spm12.sh /opt/mcr/v97 script`); by default what `$SPMMCRCMD` or `$MATLABCMD`
    says, else `matlab`."""
    folder: str = ""
    """Where SPM12 lies; by default what `$SPM_PATH` says. The standalone needs none."""
    standalone: bool = False
    """Whether `command` is the standalone; where no command is set, `$FORCE_SPMMCR` decides."""


class Resources(Section):
    """What a run may take of the machine, and where it finds other programs."""

    n_procs: int = Field(default=1, ge=1)
    """Processes at the same time."""
    mem_gb: float = Field(default=8, gt=0)
    """Memory all of them may take together."""
    omp_nthreads: int = Field(default=1, ge=1)
    """Threads that deepbet's network may use; all else takes one, whatever is said here or in the
    environment, so that results do not depend on it."""
    spm: SpmProgram = SpmProgram()


class Settings(Section):
    """Everything a study can set."""

    scan: Scan = Scan()
    anatomy: AnatomyOptions = EmbeddedAnatomy()
    normalisation: NormalisationOptions = AnatomyNormalisation()
    parcellation: ParcellationOptions = EmbeddedParcellation()
    motion: MotionOptions = EmbeddedMotion()
    coregistration: CoregistrationOptions = EmbeddedCoregistration()
    regions: Regions = Regions()
    partial_volume: PartialVolumeOptions = NoPartialVolume()
    kinetics: Kinetics = Kinetics()
    group: Group = Group()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _default_backend(cls, content: Any) -> Any:
        """A section that names no backend means the embedded one, or the anatomy's own way."""
        if not isinstance(content, dict):
            return content
        several = ("anatomy", "parcellation", "motion", "coregistration", "partial_volume")
        usual = dict.fromkeys(several, "embedded") | {"normalisation": "anatomy"}
        return content | {
            step: {"backend": backend} | content[step]
            for step, backend in usual.items()
            if isinstance(content.get(step), dict)
        }
