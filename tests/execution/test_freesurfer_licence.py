"""FreeSurfer's licence is looked for where FreeSurfer does: utils/chklc.cpp of its repository."""

import pytest

from pipeline.core.errors import ConfigError
from pipeline.execution.freesurfer_licence import require_licence


@pytest.mark.parametrize("name", ["license.txt", ".license"])
def test_a_licence_beside_freesurfer(tmp_path, name):
    (tmp_path / name).write_text("me@here\n")
    require_licence({"FREESURFER_HOME": str(tmp_path)})


def test_a_licence_elsewhere(tmp_path):
    (tmp_path / "my licence").write_text("me@here\n")
    require_licence({"FS_LICENSE": str(tmp_path / "my licence")})


def test_the_named_one_goes_before_the_one_in_its_place(tmp_path):
    (tmp_path / "license.txt").write_text("me@here\n")
    with pytest.raises(ConfigError, match=r"\$FS_LICENSE names /no/where, which is no file"):
        require_licence({"FREESURFER_HOME": str(tmp_path), "FS_LICENSE": "/no/where"})
    with pytest.raises(ConfigError, match="which is no file"):
        require_licence({"FS_LICENSE": str(tmp_path)})


def test_without_one_it_says_how_to_get_it(tmp_path):
    for environ, told in (
        ({}, r"neither \$FS_LICENSE nor \$FREESURFER_HOME is set"),
        ({"FREESURFER_HOME": str(tmp_path)}, r"nor is there .*license\.txt"),
    ):
        with pytest.raises(ConfigError, match=f"{told}.*nmr.mgh.harvard.edu/registration.html"):
            require_licence(environ)


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_one_is_none(tmp_path, content):
    (tmp_path / "license.txt").write_text(content)
    for environ in (
        {"FREESURFER_HOME": str(tmp_path)},
        {"FS_LICENSE": str(tmp_path / "license.txt")},
    ):
        with pytest.raises(ConfigError, match=r"/license\.txt is empty.*registration\.html"):
            require_licence(environ)
