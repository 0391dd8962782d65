"""Contents tell files apart, and what is remembered of them is never wrong."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.code import code_version
from pipeline.execution.digests import Digests, value_digest


def settle(path):
    """Give a file times that are past, so that it counts as at rest."""
    os.utime(path, (1e9, 1e9))


def test_a_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    assert Digests().sha256(path) == hashlib.sha256(b"content").hexdigest()


def test_what_is_remembered_is_not_read_again(tmp_path, monkeypatch):
    path, memo = tmp_path / "a", tmp_path / "memo" / "x.jsonl"
    path.write_bytes(b"content")
    monkeypatch.setattr("pipeline.execution.digests._YOUNG_NS", -1)
    first = Digests(memo).sha256(path)
    monkeypatch.setattr("hashlib.file_digest", None)
    assert Digests(memo).sha256(path) == first
    # lines cut short, or no file at all, cost time only
    with memo.open("ab") as file:
        file.write(b'["/a/b", [1, 2')
    assert Digests(memo).sha256(path) == first


def test_a_byte_is_seen_whatever_time_the_file_shows(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.execution.digests._YOUNG_NS", -1)
    path, memo = tmp_path / "a", tmp_path / "x.jsonl"
    path.write_bytes(b"content")
    settle(path)
    first = Digests(memo).sha256(path)
    path.write_bytes(b"CONTENT")
    settle(path)
    assert Digests(memo).sha256(path) != first


@dataclass(frozen=True)
class Holder:
    number: float
    path: Path


def test_places_do_not_count_but_names_and_contents_do(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text("1")
    (tmp_path / "y" / "b").write_text("1")
    sha = Digests().sha256

    def digest(*parts):
        return value_digest(["s", str(tmp_path.joinpath(*parts))], sha)

    assert digest("x", "a") == digest("y", "a")
    assert digest("y", "a") != digest("y", "b")
    before = digest("x", "a")
    (tmp_path / "x" / "a").write_text("2")
    assert digest("x", "a") != before
    assert value_digest(Holder(1.0, tmp_path / "q"), sha) == value_digest(
        Holder(1.0, Path("q")), sha
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_equal_digests_mean_equal_values(first, second):
    same = value_digest(first, str) == value_digest(second, str)
    # Python takes 1, 1.0 and True, and 0.0 and -0.0, for equal; results may not
    assert same == (repr(first) == repr(second)) or (isinstance(first, dict) and first == second)


def test_arrays_count_by_content_shape_and_type():
    array = np.arange(6.0)
    assert value_digest(array, str) == value_digest(array.copy(), str)
    others = [array.astype(np.float32), array.reshape(2, 3), array + 1]
    assert len({value_digest(a, str) for a in (array, *others)}) == 4


def test_what_cannot_be_told_is_refused():
    with pytest.raises(TypeError, match="cannot be keyed by a object"):
        value_digest(object(), str)


def test_code_counts_with_what_it_imports():
    motion = code_version("pipeline.interfaces.motion")
    libraries = dict(motion.libraries)
    assert {"numpy", "scipy", "nibabel", "nipype"} <= set(libraries)
    assert all(libraries[name] for name in ("numpy", "scipy"))
    assert "jinja2" not in libraries
    assert motion.sources != code_version("pipeline.interfaces.kinetics").sources
    assert dict(code_version("nipype.interfaces.utility.base").libraries) == {
        "nipype": libraries["nipype"]
    }
