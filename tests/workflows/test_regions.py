"""Which regions the settings ask for."""

from pipeline.config.regions import Ellipsoid, MniImage, Regions
from workflows.regions import region_spec

FEW = {"HIP": (17, 53), "STEM": (16,)}


def names(**options):
    return region_spec(Regions(labels=FEW, mni={}, **options)).names


def test_regions_alone():
    assert names() == ("HIP", "STEM", "CBL")


def test_sides_of_what_has_sides():
    spec = region_spec(Regions(labels=FEW, mni={}, sides=True))
    assert spec.names == ("HIP", "STEM", "HIPL", "HIPR", "CBL")
    assert dict(spec.labels)["HIPL"] == (17,)


def test_every_label_is_a_region_with_a_plain_name():
    every = names(every_label=True)
    assert {"HIP", "LeftHippocampus", "ctxrhinsula", "3rdVentricle"} <= set(every)
    assert all(name.isalnum() for name in every)
    assert len(set(every)) == len(every) > 100


def test_grey_masked_regions_come_once_more():
    # a brain stem has no label of grey matter
    assert names(grey_masked=True) == ("HIP", "STEM", "gmHIP", "CBL")


def test_places_in_mni_space(tmp_path):
    mni = {
        "DBS": MniImage(image=tmp_path / "mask.nii.gz"),
        "ball": Ellipsoid(centre_mm=(0, 0, 0), radii_mm=(1, 1, 1)),
    }
    mask, ball = region_spec(Regions(mni=mni)).mni
    assert (mask.name, mask.labels) == ("DBS", (1,))
    assert mask.image == str(tmp_path / "mask.nii.gz")
    assert ball.radii_mm == (1, 1, 1)
