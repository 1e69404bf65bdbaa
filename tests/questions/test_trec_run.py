"""Lines of a run are what TREC's tools read."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from ragcore.errors import QuestionError
from ragcore.questions.trec_run import run_lines


def test_a_line_has_six_fields() -> None:
    assert list(run_lines("q1", ["d7", "d3"], [2.5, -1.0], "mine")) == [
        "q1 Q0 d7 1 2.5 mine",
        "q1 Q0 d3 2 -1 mine",
    ]


def test_equal_scores_have_the_order_of_their_ranks() -> None:
    lines = list(run_lines("q", ["b", "c", "a"], [1.0, 1.0, 1.0], "t"))
    assert [line.split()[2:4] for line in lines] == [["b", "1"], ["c", "2"], ["a", "3"]]
    scores = [float(line.split()[4]) for line in lines]
    assert scores[0] == 1.0 > scores[1] > scores[2] > 0.999999


def test_a_score_is_read_as_it_was_in_single_precision() -> None:
    (score,) = struct.unpack("f", struct.pack("f", 1.1e-30))
    (line,) = run_lines("q", ["a"], [score], "t")
    assert np.float32(line.split()[4]) == np.float32(score)


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\u00a0", "\u2028", "\x1c"])
@pytest.mark.parametrize("field", ["question id", "passage id", "tag"])
def test_white_space_in_a_field_is_refused(field: str, space: str) -> None:
    fields = {"question id": "q", "passage id": "d", "tag": "t"}
    fields[field] = f"a{space}b"
    with pytest.raises(QuestionError, match=f"^{field} 'a.*b' has white space in it"):
        list(run_lines(fields["question id"], [fields["passage id"]], [1.0], fields["tag"]))


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_field_is_refused(value: str) -> None:
    with pytest.raises(QuestionError, match=r"^passage id .* is empty"):
        list(run_lines("q", [value], [1.0], "t"))


def test_a_field_with_space_at_its_end_is_refused() -> None:
    with pytest.raises(QuestionError, match="white space"):
        list(run_lines("q ", ["a"], [1.0], "t"))
