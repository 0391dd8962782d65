"""Tables of curves as other programs write them, and what is wrong with those that are not."""

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.io.tacs import read_tacs

PETPREP = """\
frame_start\tframe_end\tPutamen\tThalamus
0\t10\t0.5\tn/a
10\t30\t4.5\t3.5
30\t90\t8\t6
"""


def written(tmp_path, text, sidecar=None):
    path = tmp_path / "sub-01_seg-gtm_desc-preproc_tacs.tsv"
    path.write_text(text)
    if sidecar is not None:
        path.with_suffix(".json").write_text(sidecar)
    return path


def test_table_of_petprep_is_read_as_it_is(tmp_path):
    table = read_tacs(written(tmp_path, PETPREP, '{"Units": "Bq/mL"}'))
    np.testing.assert_array_equal(table.timing.start_s, [0, 10, 30])
    np.testing.assert_array_equal(table.timing.duration_s, [10, 20, 60])
    np.testing.assert_array_equal(table.curve("Putamen"), [0.5, 4.5, 8])
    np.testing.assert_array_equal(table.curve("Thalamus"), [np.nan, 3.5, 6])
    assert table.sidecar == {"Units": "Bq/mL"}


def test_frame_ends_that_overlap_by_rounding_are_accepted(tmp_path):
    """As sums of single-precision starts and durations come out; a real overlap is refused."""
    start_s = np.cumsum([0.1, 0.2, 0.3, 20.1], dtype=np.float32)
    end_s = np.r_[start_s[1:] + np.float32(3e-6), 90]
    lines = "".join(f"{a!r}\t{b!r}\t1\n" for a, b in zip(start_s.tolist(), end_s.tolist(),
                                                         strict=True))  # fmt: skip
    timing = read_tacs(written(tmp_path, f"frame_start\tframe_end\tA\n{lines}")).timing
    assert (timing.end_s[:-1] > timing.start_s[1:]).all()
    with pytest.raises(DataError, match="frame 0 ends 1 s after frame 1 starts"):
        read_tacs(written(tmp_path, PETPREP.replace("10\t0.5", "11\t0.5")))


def test_table_without_sidecar(tmp_path):
    assert read_tacs(written(tmp_path, PETPREP)).sidecar == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PETPREP.replace("frame_end", "end"), "no column frame_end"),
        (PETPREP.replace("4.5", "4,5"), r"column Putamen, row 3: '4,5' is not a number"),
        (PETPREP.replace("10\t30", "5\t30"), "frame 0 ends 5 s after frame 1 starts"),
        (PETPREP.replace("\t30\t4.5", "\tn/a\t4.5"), "seconds"),
        ("frame_start\tframe_end\n0\t10\n", "no column with a curve"),
        (PETPREP.replace("frame_start\t", "\tframe_start\t"), "column 1 has no name"),
        (PETPREP.replace("Thalamus", "Putamen"), "column Putamen is there twice"),
        (PETPREP.replace("\t", ","), "separated by tabs"),
        ("", "not a readable table"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_tacs(written(tmp_path, text))


def test_unknown_region_names_those_that_are_there(tmp_path):
    with pytest.raises(DataError, match="no curve named 'CBL'; found Putamen, Thalamus"):
        read_tacs(written(tmp_path, PETPREP)).curve("CBL")
