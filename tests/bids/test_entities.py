"""Names survive being taken apart and put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bids.entities import (
    ENTITY_ORDER,
    build_name,
    natural_key,
    parse_name,
    same_label,
)

labels = st.text("abcXYZ0189", min_size=1, max_size=6)
entity_sets = st.dictionaries(st.sampled_from(ENTITY_ORDER), labels, max_size=8)


@given(entities=entity_sets, suffix=st.sampled_from(["pet", "T1w", "xfm"]))
def test_format_then_parse(entities, suffix):
    name = build_name(entities, suffix, ".nii.gz")
    assert parse_name(str(name)) == name
    assert dict(name.entities) == entities


@given(entities=entity_sets, data=st.data())
def test_order_of_arguments_does_not_matter(entities, data):
    shuffled = dict(data.draw(st.permutations(list(entities.items()))))
    assert build_name(shuffled, "pet", ".json") == build_name(entities, "pet", ".json")


def test_order_is_that_of_the_schema():
    schema = pytest.importorskip("bidsschematools.schema").load_schema()
    short = [schema.objects.entities[entity].name for entity in schema.rules.entities]
    ours = [key for key in ENTITY_ORDER if key in short]
    assert ours == sorted(ours, key=short.index)


@pytest.mark.parametrize(
    "name",
    [
        "pet.nii.gz.",
        "sub-01_pet",
        "sub-01_pet_copy.nii.gz",
        "sub-01_sub-02_pet.nii.gz",
        "sub-_pet.nii.gz",
        "sub-01__pet.nii.gz",
        "._sub-01_pet.nii.gz",
        "sub-0 1_pet.nii.gz",
        "sub-a-b_pet.nii.gz",
    ],
)
def test_what_is_no_name(name):
    assert parse_name(name) is None


@pytest.mark.parametrize("entities", [{"sub": "a_b"}, {"sub": ""}, {"sub": "../x"}, {"foo": "1"}])
def test_what_cannot_be_a_name(entities):
    with pytest.raises(ValueError, match="BIDS name"):
        build_name(entities, "pet", ".json")


def test_runs_are_numbers_and_other_labels_are_not():
    assert same_label("run", "1", "01")
    assert not same_label("sub", "1", "01")


def test_natural_order():
    assert sorted(["b10", "b9", "a", "10", "9"], key=natural_key) == ["9", "10", "a", "b9", "b10"]
