"""`docs/formats.md` shows what the code writes."""

import re
from pathlib import Path

from caseprep_pipelines.renditions.formats import FORMATS, render
from caseprep_pipelines_tests.samples import sample_raw, sample_transcript, sample_turns

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_every_example_is_a_part_of_the_sample_s_file(tmp_path):
    render(sample_transcript(), sample_turns(), sample_raw(), FORMATS, tmp_path, version="v1")
    examples = dict(re.findall(r"```(\S+)\n(.*?)```", PAGE, re.DOTALL))
    assert set(examples) == {format_.file for format_ in FORMATS.values()}
    for file, example in examples.items():
        assert example in (tmp_path / file).read_text(encoding="utf-8"), file


def test_the_table_names_every_format_and_its_file():
    assert dict(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", PAGE, re.MULTILINE)) == {
        format_.name: format_.file for format_ in FORMATS.values()
    }
