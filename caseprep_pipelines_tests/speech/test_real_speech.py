"""A few minutes of real people through a real Whisper: no word is lost that faster-whisper keeps.

Needs the starter models (`make test` fetches them) and recordings: the telephone call inside pyannote.audio is always
there; those of `../shared/real` and Debian's telephone prompts where they are installed, in CI always.
"""

import json
from pathlib import Path

import pytest

from benchmarks import Unavailable
from benchmarks._real_baselines import WAYS
from benchmarks._real_corpus import NO_SPEECH, RATE, Item, corpus
from benchmarks._real_fixed import GROUPS, Known, group, known, wanted
from benchmarks._real_measure import STRETCH, Ours, read_ours, reference_tokens
from benchmarks._real_ours import transcribe
from caseprep_pipelines.evaluation.alignment import align, stretches
from caseprep_pipelines_tests.conftest import starter_models

#: Of the words that the reference has and faster-whisper heard; and what may come on top of the better one's errors, as
#: a share of the words. int8 differs between processors, which the margins are for.
MOST_LOST = 0.01
MARGIN = 0.005
#: Words that one group may lose or get wrong besides: of few words one is a large share.
FEW = 4


@pytest.fixture(scope="module")
def models() -> tuple[Path, Path]:
    from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper

    directory = starter_models()
    return resolve_whisper("starter", directory).path, resolve_diarization("starter", directory).path


@pytest.fixture(scope="module")
def heard(
    models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[Item, Known, Ours]]]:
    """What ours made of the recordings that are at hand, by group."""
    folder = tmp_path_factory.mktemp("real-speech")
    measured = known()[1]
    items = []
    for start in GROUPS:
        try:
            items += corpus(folder, lambda recipe, start=start: wanted(recipe) and recipe.name.startswith(start))  # type: ignore[misc]
        except Unavailable:
            continue
    transcribe(items, folder, *models, folder / "ours")
    by: dict[str, list[tuple[Item, Known, Ours]]] = {}
    for item in items:
        own = measured[item.name]
        assert item.sha256 == own.sha256, f"{item.name} came out otherwise; run python -m benchmarks._real_fixed again"
        by.setdefault(str(group(item.name)), []).append((item, own, read_ours(folder / "ours" / f"{item.name}.json")))
    return by


@pytest.fixture(params=sorted(set(GROUPS.values())))
def one_group(
    request: pytest.FixtureRequest, heard: dict[str, list[tuple[Item, Known, Ours]]]
) -> list[tuple[Item, Known, Ours]]:
    if request.param not in heard:
        pytest.skip(f"the recordings of {request.param!r} are not at hand")
    return heard[request.param]


def lost_words(group: list[tuple[Item, Known, Ours]]) -> tuple[int, int]:
    """How many words are known to be there, and how many of them ours lacks. No stretch of them is without a mark."""
    agreed = lost = 0
    for item, own, ours in group:
        reference = reference_tokens(item) or []
        pairs = align(reference, ours.tokens()).pairs
        gone = [pairs[place] is None for place in own.agreed]
        agreed += len(gone)
        lost += sum(gone)
        for first, last in stretches(gone, STRETCH):
            middle = reference[own.agreed[(first + last) // 2]]
            assert ours.marked(middle), f"{item.name}: {last - first + 1} words are lost at {middle.start} s, unmarked"
    return agreed, lost


def test_no_words_are_lost_that_faster_whisper_keeps(one_group: list[tuple[Item, Known, Ours]]) -> None:
    agreed, lost = lost_words(one_group)
    assert lost <= (MOST_LOST + MARGIN) * agreed + FEW


def test_of_what_both_ways_heard_hardly_anything_is_lost(heard: dict[str, list[tuple[Item, Known, Ours]]]) -> None:
    agreed = lost = 0
    for item, own, ours in (each for several in heard.values() for each in several):
        pairs = align(reference_tokens(item) or [], ours.tokens()).pairs
        agreed += len(own.agreed_by_both)
        lost += sum(pairs[place] is None for place in own.agreed_by_both)
    assert lost <= (MOST_LOST + MARGIN) * agreed + (0 if len(heard) == len(set(GROUPS.values())) else FEW)


def test_no_more_words_are_wrong_than_with_the_better_of_faster_whisper_s_ways(
    one_group: list[tuple[Item, Known, Ours]],
) -> None:
    words = sum(own.words for _, own, _ in one_group)
    better = min(sum(own.errors[way] for _, own, _ in one_group) for way in WAYS)
    wrong = sum(align(reference_tokens(item) or [], ours.tokens()).errors for item, _, ours in one_group)
    assert wrong <= better + MARGIN * words + FEW


def test_an_interpreted_hearing_comes_out_in_its_languages(
    heard: dict[str, list[tuple[Item, Known, Ours]]],
) -> None:
    if "interpreted" not in heard:
        pytest.skip("Debian's recorded prompts are not installed")
    for item, _, ours in heard["interpreted"]:
        assert {word["language"] for word in ours.words} == set(item.languages)


def test_nothing_is_invented_unmarked_where_nobody_speaks(models: tuple[Path, Path], tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    items = []
    for name, _, make in NO_SPEECH:
        samples = make(20 * RATE, np.random.default_rng(12))
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE)
        items.append(Item(name, "no-speech", (), f"{name}.wav", 20.0, "", (), ()))
    transcribe(items, tmp_path, *models, tmp_path / "ours")
    for item in items:
        ours = read_ours(tmp_path / "ours" / f"{item.name}.json")
        assert all(ours.marked(token) for token in ours.tokens()), item.name


def test_the_figures_say_when_they_were_measured() -> None:
    from benchmarks._real_fixed import FIGURES

    day, measured = known()
    assert json.loads(FIGURES.read_text())["measured"] == day
    assert all(set(own.errors) == set(WAYS) for own in measured.values())
