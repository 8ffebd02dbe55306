import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.storage.keys import (
    check_partition_key,
    matter_id,
    origin_digest_of_file,
    origin_digest_of_object,
    output_folder_name,
    partition_key,
)

KEY = re.compile(r"^[a-z0-9][a-z0-9._-]{0,127}$")
SHA256 = hashlib.sha256(b"bytes of a recording").hexdigest()

matters = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,100}", fullmatch=True)
digests = st.binary().map(lambda data: hashlib.sha256(data).hexdigest())
hostile = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="./\\'\"`$;&|<>*?~%\n\r\t\0\u202e\u200f\ufeff-_ é漢", max_size=300),
    st.sampled_from(
        ["", ".", "..", "../../etc/passwd", "-rf", "--help", "CON", "nul.txt", "a" * 300, "é" * 300, "\u202egpj.exe",
         "Jane's \"call\" (1)", "\udcff\udcfe", "a\0b", "／etc／passwd", "e\u0301" * 200, "..", " ", "👩‍👧‍👦" * 50]
    ),
)  # fmt: skip


@settings(deadline=None)
@given(matters, digests)
def test_a_partition_key_is_the_matter_and_twelve_digits(matter: str, digest: str) -> None:
    key = partition_key(matter, digest)
    assert KEY.fullmatch(key)
    assert ".." not in key
    assert key == f"{matter}-{digest[:12]}"
    assert check_partition_key(key) == key


@settings(deadline=None)
@given(hostile)
def test_no_hostile_matter_becomes_a_key(text: str) -> None:
    if KEY.fullmatch(text) and ".." not in text and len(text) <= 115:
        assert KEY.fullmatch(partition_key(text, SHA256))
        return
    with pytest.raises(ConfigurationError) as refused:
        partition_key(text, SHA256)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isascii()


@pytest.mark.parametrize("matter", ["2024-cv-00123", "a", "0", "people-v.-doe_2", "x" * 115])
def test_a_firms_number_is_a_matter(matter: str) -> None:
    assert matter_id(matter) == matter


@pytest.mark.parametrize(
    "matter", ["", "2024-CV-00123", "-a", ".a", "_a", "a..b", "a/b", "a b", "a\n", "é", "x" * 116, "a\x00", "a,b"]
)
def test_what_is_no_matter_is_refused_with_an_example(matter: str) -> None:
    with pytest.raises(ConfigurationError, match="2024-cv-00123"):
        matter_id(matter)


@pytest.mark.parametrize("key", ["", "../evil", "a..b", "A", "a/b", "a\n", "...", "x" * 129, "a,b", "a\u0000"])
def test_what_dagster_would_take_is_no_partition_key(key: str) -> None:
    with pytest.raises(ConfigurationError):
        check_partition_key(key)


def test_the_same_file_is_one_origin_and_other_bytes_are_another() -> None:
    other = hashlib.sha256(b"other bytes").hexdigest()
    assert origin_digest_of_file(SHA256) == origin_digest_of_file(SHA256)
    assert origin_digest_of_file(SHA256) != origin_digest_of_file(other)
    with pytest.raises(ValueError, match="SHA-256"):
        origin_digest_of_file("no digest")


def test_the_same_object_is_one_origin_and_new_bytes_under_its_key_are_another() -> None:
    seen = origin_digest_of_object("calls", "a.wav", None, '"abc"', 10)
    assert origin_digest_of_object("calls", "a.wav", None, "abc", 10) == seen
    assert origin_digest_of_object("calls", "a.wav", "null", "abc", 10) == seen
    others = {
        origin_digest_of_object("calls", "a.wav", None, "abd", 10),
        origin_digest_of_object("calls", "a.wav", None, "abc", 11),
        origin_digest_of_object("calls", "b.wav", None, "abc", 10),
        origin_digest_of_object("other", "a.wav", None, "abc", 10),
        origin_digest_of_object("calls", "a.wav", "v1", "abc", 10),
        origin_digest_of_object("calls", "a.wav", "v2", "abc", 10),
    }
    assert seen not in others
    assert len(others) == 6


def test_where_versions_are_kept_the_version_alone_decides() -> None:
    """An object restored from an archive keeps its version, not always its ETag."""
    first = origin_digest_of_object("calls", "a.wav", "v1", "abc", 10)
    assert origin_digest_of_object("calls", "a.wav", "v1", "abc-2", 10) == first


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8)), min_size=2, unique=True))
def test_no_two_origins_share_a_digest(origins: list[tuple[str, str, str]]) -> None:
    digests = {origin_digest_of_object(bucket, key, None, f"e{etag}", 1) for bucket, key, etag in origins}
    stripped = {(bucket, key, f"e{etag}".strip('"')) for bucket, key, etag in origins}
    assert len(digests) == len(stripped)


@settings(deadline=None)
@given(hostile)
@example("../" * 100)
@example("\u202e\u2066evil")
def test_an_output_folder_is_one_safe_component_that_ends_in_the_key(stem: str) -> None:
    key = partition_key("2024-cv-00123", SHA256)
    name = output_folder_name(stem, key)
    assert name.endswith(f"--{key}")
    assert PurePosixPath(name).parts == (name,)
    assert len(name.encode()) <= 255
    assert not name.startswith(("-", ".", "~", "_"))
    readable = name.removesuffix(f"--{key}")
    assert readable
    assert all(char in "-_" or unicodedata.category(char)[0] in "LMN" for char in readable)
    assert unicodedata.is_normalized("NFC", readable)


@pytest.mark.parametrize(
    ("stem", "readable"),
    [
        ("Deposition of J. Smith (2024-03-01)", "Deposition_of_J_Smith_2024-03-01"),
        ("../../etc/passwd", "etc_passwd"),
        ("--help", "help"),
        ('O\'Brien "final"', "O_Brien_final"),
        ("Anhörung №3 漢字", "Anhörung_3_漢字"),
        ("\u202egpj.exe", "gpj_exe"),
        ("a\nb\x1b[31m", "a_b_31m"),
        ("CON", "CON"),
        ("", "recording"),
        ("...", "recording"),
        ("x" * 300, "x" * 80),
    ],
)
def test_an_output_folder_keeps_what_people_recognise(stem: str, readable: str) -> None:
    assert output_folder_name(stem, "m-0123456789ab") == f"{readable}--m-0123456789ab"


def test_an_output_folder_needs_a_real_key() -> None:
    with pytest.raises(ConfigurationError):
        output_folder_name("a", "../b")
