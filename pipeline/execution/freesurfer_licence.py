"""FreeSurfer runs with a licence file only; it is looked for as FreeSurfer itself does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import ConfigError


def require_licence(environ: Mapping[str, str]) -> None:
    """Refuse to start where FreeSurfer would.

    Parameters
    ----------
    environ : mapping
        The environment: ``$FS_LICENSE``, which goes before all else, and ``$FREESURFER_HOME``.

    Raises
    ------
    ConfigError
        If there is no licence file where FreeSurfer looks for it.
    """
    named, home = environ.get("FS_LICENSE", ""), environ.get("FREESURFER_HOME", "")
    if named:
        places = [Path(named)]
    else:
        places = [Path(home, name) for name in ("license.txt", ".license") if home]
    if any(_holds_something(place) for place in places):
        return
    empty = [place for place in places if place.is_file()]
    looked = (
        f"{empty[0]} is empty, or cannot be read"
        if empty
        else f"$FS_LICENSE names {named}, which is no file"
        if named
        else f"neither $FS_LICENSE is set nor is there {places[0]}"
        if places
        else "neither $FS_LICENSE nor $FREESURFER_HOME is set"
    )
    raise ConfigError(
        f"FreeSurfer needs its licence file: {looked}. It is free: register at "
        "https://surfer.nmr.mgh.harvard.edu/registration.html, save the file that comes by mail, "
        "and set FS_LICENSE to it"
    )


def _holds_something(place: Path) -> bool:
    try:
        return bool(place.read_bytes().strip())
    except OSError:
        return False
