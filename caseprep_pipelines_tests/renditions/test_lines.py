"""Lines of a given width, in any script."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.renditions.lines import columns, wrap
from caseprep_pipelines.transcript.joining import unbreakable

_texts = st.text(st.sampled_from(list("abc กเาิ่น你好。「ー２ပ်ခ្ 　")), max_size=80)


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("word", 4), ("café", 4), ("你好", 4), ("ﾌｧｲﾙ", 4), ("กิ่น", 2), ("Ａ１", 4), ("e\u0301", 1)],
)
def test_a_wide_character_takes_two_columns_and_a_mark_none(text, width):
    assert columns(text) == width


@given(st.lists(st.text("abc-.é", min_size=1, max_size=30)), st.integers(1, 40))
def test_words_with_spaces_are_wrapped_as_ever(words, width):
    text = " ".join(words)
    assert wrap(text, width) == textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


@given(_texts, st.integers(2, 40))
def test_nothing_is_lost_and_only_what_cannot_be_parted_is_wider(text, width):
    lines = wrap(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert line == line.strip()
        assert columns(line) <= width or len(unbreakable(line)) == 1


def test_a_line_rather_ends_where_a_reader_breathes():
    assert wrap("好" * 8 + " " + "好" * 8, 20) == ["好" * 8, "好" * 8]
    assert wrap("สวัสดีครับผมชื่อสมชายและผมเป็นทนายความของจำเลยในคดีนี้", 20) == [
        "สวัสดีครับผมชื่อสมชาย",
        "และผมเป็นทนายความของ",
        "จำเลยในคดีนี้",
    ]
