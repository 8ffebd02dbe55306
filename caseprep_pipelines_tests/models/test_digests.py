import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.models.digests import FileDigest, combined_digest, digests_of, directory_digest
from caseprep_pipelines_tests.models.made import make_diarization, make_whisper

FILES = st.dictionaries(
    st.text(min_size=1, max_size=4),
    st.builds(FileDigest, size=st.integers(0, 9), sha256=st.sampled_from("abc")),
    max_size=3,
)


def test_the_same_model_in_another_place_has_the_same_digest(tmp_path: Path) -> None:
    assert directory_digest(make_whisper(tmp_path / "one")) == directory_digest(make_whisper(tmp_path / "two"))


def test_any_changed_byte_makes_another_model(tmp_path: Path) -> None:
    model = make_diarization(tmp_path / "model")
    before = directory_digest(model)
    part = model / "plda" / "plda.npz"
    part.write_bytes(part.read_bytes() + b"\0")
    assert directory_digest(model) != before


def test_a_change_that_keeps_size_and_time_is_found_by_a_fresh_reading(tmp_path: Path) -> None:
    model = make_whisper(tmp_path / "model", b"weights")
    before, status = digests_of(model), (model / "model.bin").stat()
    with (model / "model.bin").open("r+b") as file:
        file.write((model / "model.bin").read_bytes().replace(b"weights", b"Weights"))
    os.utime(model / "model.bin", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests_of(model, fresh=True) != before


def test_documentation_and_caches_are_no_part_of_the_model(tmp_path: Path) -> None:
    model = make_whisper(tmp_path / "model")
    before = directory_digest(model)
    (model / ".cache" / "huggingface").mkdir(parents=True)
    (model / ".cache" / "huggingface" / "refs").write_text("x")
    for name in ("README.md", "LICENSE", "diarization.gif", ".gitattributes"):
        (model / name).write_text("about the model")
    assert directory_digest(model) == before


def test_links_count_as_what_they_lead_to_and_circles_end(tmp_path: Path) -> None:
    model = make_diarization(tmp_path / "model")
    linked = tmp_path / "linked"
    linked.mkdir()
    for entry in model.iterdir():
        (linked / entry.name).symlink_to(entry)
    assert directory_digest(linked) == directory_digest(model)
    (model / "again").symlink_to(model)
    assert directory_digest(model) == directory_digest(linked)


@given(FILES, FILES)
def test_digests_are_equal_just_when_names_sizes_and_contents_are(
    one: dict[str, FileDigest], other: dict[str, FileDigest]
) -> None:
    assert (combined_digest(one) == combined_digest(other)) == (one == other)


@given(FILES)
def test_the_order_of_the_files_does_not_matter(files: dict[str, FileDigest]) -> None:
    assert combined_digest(dict(reversed(files.items()))) == combined_digest(files)
