"""A matter's own settings, as a firm writes them."""

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.matters import Matter, parse_matter


def test_every_line_is_optional() -> None:
    assert parse_matter(b"", "2024-cv-1") == Matter()


def test_what_a_firm_writes_is_read() -> None:
    text = b'title = "Doe v. Roe"\nlanguage = "en"\nvocabulary = ["Xarelto", "subpoena"]\nprivileged = true\n'
    text += b"accept_truncated = true\n"
    matter = parse_matter(text, "2024-cv-1")
    assert matter.vocabulary == ("Xarelto", "subpoena")
    assert matter.privileged
    assert matter.accept_truncated


@pytest.mark.parametrize(
    "text", [b"title = ", b"\xff\xfe", b'min_speakers = "two"', b"colour = 3", b"min_speakers = 0"]
)
def test_a_mistake_names_the_matter_and_never_the_value(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match="2024-cv-1") as caught:
        parse_matter(text, "2024-cv-1")
    assert "two" not in str(caught.value)
