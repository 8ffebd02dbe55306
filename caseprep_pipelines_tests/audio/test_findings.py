"""A stated length is held against all that explains it, and no further."""

from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.audio.findings import TOLERANCE, Heard, Kind, PieceHeard, cut_off, of_lengths, sentence
from caseprep_pipelines.audio.stated_lengths import Stated

SECONDS = st.floats(1, 90_000)


def piece(sound: float, *stated: Stated, span: float | None = None, start: float = 0.0, **more: object) -> PieceHeard:
    heard = Heard(sound=sound, span=sound if span is None else span)
    return PieceHeard((heard,), start, more.get("picture", 0.0), more.get("stamps", ()), stated)  # type: ignore[arg-type]


def kinds(about: PieceHeard) -> list[str]:
    return [found["kind"] for found in of_lengths(about)]


@given(SECONDS, st.floats(-0.49, 0.49))
def test_what_fits_within_half_a_second_is_no_finding(sound: float, difference: float) -> None:
    assert kinds(piece(sound, Stated("header", max(0.0, sound + difference)))) == []


@given(SECONDS, st.floats(TOLERANCE + 0.01, 90_000))
def test_every_other_difference_is_one(sound: float, difference: float) -> None:
    assert kinds(piece(sound, Stated("header", sound + difference))) == ["shorter-than-stated"]
    if difference < sound:
        assert kinds(piece(sound, Stated("header", sound - difference))) == ["longer-than-stated"]


@given(SECONDS, st.floats(TOLERANCE + 0.01, 90_000))
def test_pauses_and_a_late_beginning_explain_a_containers_length_and_not_a_count_of_samples(
    sound: float, pause: float
) -> None:
    assert kinds(piece(sound, Stated("header", sound + pause), span=sound + pause)) == []
    assert kinds(piece(sound, Stated("header", sound + pause), start=pause)) == []
    assert kinds(piece(sound, Stated("header", sound + pause, samples=True), span=sound + pause)) == [
        "shorter-than-stated"
    ]


@given(st.floats(30, 90_000), st.floats(0.05, 0.89))
def test_a_promise_that_is_not_kept_cuts_the_file_off(stated: float, share: float) -> None:
    promised, implied = Stated("header", stated), Stated("frames", stated, promised=False)
    found = cut_off([piece(stated * share, promised)])
    assert found is not None
    assert found[0] == "header"
    assert cut_off([piece(stated * share, implied)]) is None
    # what pauses fill was damaged, not cut off
    assert cut_off([piece(stated * share, promised, span=stated)]) is None


def test_one_lost_ending_of_many_joined_files_is_told_and_rejects_nothing() -> None:
    whole, half = piece(600, Stated("header", 600)), piece(30, Stated("header", 60))
    assert cut_off([whole, half, whole]) is None
    assert kinds(half) == ["shorter-than-stated"]


def test_bytes_stand_for_seconds() -> None:
    about = piece(30.0, Stated("data chunk", of_bytes=(2_000, 1_000)))
    (found,) = of_lengths(about)
    assert (found["stated"], found["held"]) == (60, 30)
    assert cut_off([about]) == ("data chunk", 60, 30)


def test_stamps_that_nobody_believed_explain_a_header_that_did() -> None:
    assert kinds(piece(6, Stated("header", 3_602.1), stamps=(3_602.1,))) == []


def test_every_kind_has_words() -> None:
    for kind in Kind:
        said = sentence(kind, by="header", stated=7_500.0, held=3.2, seconds=61.0, count=2)
        assert said.endswith((".", "it."))
        assert len(said) <= 110
