from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.documents import RawTranscript, Span, Suspicion
from caseprep_pipelines.speech.transcriber import Clip, Heard, TranscribeOptions
from caseprep_pipelines.speech.transcription import Job, recognise_channel, transcribe, transcribe_many
from caseprep_pipelines.speech.whisper import (
    HOTWORD_TOKENS,
    BatchSize,
    WhisperTranscriber,
    batches,
    clip_bytes,
    fitting_batch,
    fitting_hotwords,
    load_transcriber,
    to_segment,
)
from caseprep_pipelines.transcript.joining import join
from caseprep_pipelines_tests.speech.conftest import DemoRecording, normalized
from caseprep_pipelines_tests.spoken import bare

CLIP = Span(start=100.032, end=110.0)


def said(*words: tuple[str, float, float]) -> list[dict[str, Any]]:
    return [{"word": word, "start": start, "end": end, "probability": 0.9} for word, start, end in words]


def test_words_are_timed_in_the_recording() -> None:
    segment = to_segment(said((" Yes,", 0.1, 0.5), (" sir.", 0.5, 1.0)), CLIP, "en")
    assert segment is not None
    assert segment.language == "en"
    assert [(word.text, word.start, word.end) for word in segment.words] == [
        ("Yes,", 100.132, 100.532),
        ("sir.", 100.532, 101.032),
    ]


def test_a_word_split_at_its_hyphen_is_one_word() -> None:
    given_words = said((" a", 0.1, 0.2), (" well", 0.2, 0.5), ("-known", 0.5, 1.0), (" $1,", 1, 1.1), ("000", 1.1, 1.2))
    segment = to_segment(given_words, CLIP, "en")
    assert segment is not None
    assert [word.text for word in segment.words] == ["a", "well-known", "$1,000"]
    assert segment.words[1].end == 101.032


def test_languages_without_spaces_keep_their_words() -> None:
    segment = to_segment(said(("我", 0.1, 0.2), ("们", 0.2, 0.5)), CLIP, "zh")
    assert segment is not None
    assert [word.text for word in segment.words] == ["我", "们"]


def test_what_a_language_without_spaces_was_cut_into_comes_out_as_it_was_written() -> None:
    pieces = ("ผ", "ม", "ช", "ื่", "อ", " John", "ny", " ", "อ", "าย", "ุ", " 2", "5", "ป", "ี")
    segment = to_segment(said(*((piece, at / 10, at / 10 + 0.1) for at, piece in enumerate(pieces))), CLIP, "th")
    assert segment is not None
    assert join((word.text for word in segment.words), "th") == "ผมชื่อ Johnny อายุ 25 ปี"


def test_a_clip_without_words_has_no_segment() -> None:
    assert to_segment(said(), CLIP, "en") is None
    assert to_segment(said((" ", 0.0, 0.1)), CLIP, "en") is None


def test_a_decoder_that_ran_into_its_limit_is_flagged() -> None:
    segment = to_segment(said((" so", 0.1, 0.2)), CLIP, "en", full=True)
    assert segment is not None
    assert segment.flags == (Suspicion.TOKEN_LIMIT,)


moments = st.floats(-5, 50, allow_nan=False)


@given(st.lists(st.tuples(st.sampled_from([" yes", "-no", " ", "."]), moments, moments), max_size=8))
def test_whatever_times_come_back_words_lie_in_their_clip_and_in_order(words: list[tuple[str, float, float]]) -> None:
    segment = to_segment(said(*words), CLIP, "en")
    if segment is None:
        assert not any(word.strip() for word, *_ in words)
        return
    assert all(CLIP.start <= word.start <= word.end <= CLIP.end for word in segment.words)
    starts = [word.start for word in segment.words]
    assert starts == sorted(starts)
    assert "".join(word.text for word in segment.words) == "".join(word.strip() for word, *_ in words)


def letters(text: str) -> int:
    return len(text)


def test_vocabulary_is_kept_by_priority_while_there_is_room() -> None:
    kept, left_out = fitting_hotwords(["Okonkwo", " Okonkwo ", "", "x" * 300, "Nguyen"], letters)
    assert kept == ("Okonkwo", "Nguyen")
    assert left_out == ("x" * 300,)


@given(st.lists(st.text("abc ", max_size=90), max_size=20))
def test_no_vocabulary_is_cut_in_the_middle_or_lost_unsaid(words: list[str]) -> None:
    kept, left_out = fitting_hotwords(words, letters)
    assert not kept or letters(" " + ", ".join(kept)) <= HOTWORD_TOKENS
    assert sorted((*kept, *left_out)) == sorted({word.strip() for word in words if word.strip()})


class Multilingual:
    """As much of a multilingual `WhisperModel` as settings need."""

    supported_languages = ("en", "es", "yue")
    model = SimpleNamespace(is_multilingual=True, compute_type="int8", device="cpu")
    hf_tokenizer = SimpleNamespace(
        encode=lambda text, add_special_tokens: SimpleNamespace(ids=list(text)),
        get_vocab=lambda with_added_tokens: {},
        token_to_id={"<|en|>": 1, "<|es|>": 2}.get,
    )


IDENTITY = ModelIdentity(name="fake", digest="0" * 64)


def test_a_language_that_the_model_does_not_know_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="'xx'"):
        WhisperTranscriber(IDENTITY, Multilingual()).settings(TranscribeOptions(languages=("en", "xx")))


def test_languages_are_kept_as_they_were_asked_for() -> None:
    whisper = WhisperTranscriber(IDENTITY, Multilingual())
    settings = whisper.settings(TranscribeOptions(("en", "es"), preferred_languages=("es", "xx")))
    assert (settings.language, settings.languages, settings.preferred_languages) == (None, ("en", "es"), ("es",))
    assert whisper.settings(TranscribeOptions(("es",))).language == "es"


class Small:
    """A device whose memory holds so many clips at once; a stand-in for what only a GPU does."""

    def __init__(self, holds: int) -> None:
        self.holds, self.asked = holds, list[int]()

    def __call__(self, heard: Sequence[Any]) -> list[Heard]:
        self.asked.append(len(heard))
        if len(heard) > self.holds:
            raise RuntimeError("CUDA failed with error out of memory")
        return [Heard(None)] * len(heard)


def test_a_batch_that_does_not_fit_is_halved_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Small(holds=3)
    monkeypatch.setattr(WhisperTranscriber, "_said", device)
    normalized(tmp_path, np.zeros(16_000 * 60, dtype=np.float32))
    whisper = WhisperTranscriber(IDENTITY, Multilingual(), batch=BatchSize(8))
    clips = [Span(start=float(at), end=at + 1.0) for at in range(24)]
    assert recognise_channel(whisper, tmp_path / "0.flac", clips, TranscribeOptions(("en",))) == ()
    assert whisper.batch_size == 2
    assert sum(asked for asked in device.asked if asked <= 3) == 24


@given(st.integers(0, 300), st.integers(1, 20), st.integers(1, 4))
def test_batches_hold_every_clip_and_few_clips_are_dealt_out_evenly(count: int, size: int, workers: int) -> None:
    clips = [
        Clip(Path("x"), Span(start=0.0, end=1.0 + n), ("en",), (), (), True, False, lambda said, seconds: None)
        for n in range(count)
    ]
    made = [[round(clip.span.end) - 1 for clip in batch] for batch in batches(clips, lambda: size, workers)]
    assert sorted(number for batch in made for number in batch) == list(range(count))
    assert all(len(batch) <= size for batch in made)
    if workers <= count <= size * workers:
        assert max(map(len, made)) == -(-count // workers)


@pytest.mark.parametrize(("frames", "width", "layers", "mb"), [(1500, 1280, 32, 500), (1500, 512, 6, 120)])
def test_a_batch_begins_as_large_as_its_share_of_the_memory_holds(
    frames: int, width: int, layers: int, mb: int
) -> None:
    engine = SimpleNamespace(
        model=SimpleNamespace(n_mels=128),
        feature_extractor=SimpleNamespace(nb_max_frames=2 * frames),
        encode=lambda features: np.zeros((len(features), frames, width), np.float16),
    )
    clip = clip_bytes(engine, layers, beam_size=1)
    assert clip == pytest.approx(mb * 10**6, rel=0.2)
    assert clip < clip_bytes(engine, layers, beam_size=5) < 3 * clip
    assert fitting_batch(16, 100 * clip, clip) == 16
    assert fitting_batch(16, 5 * clip + 1, clip) == 5
    assert fitting_batch(16, -1, clip) == 1


def test_the_engine_says_what_a_clip_of_its_takes(transcriber: WhisperTranscriber) -> None:
    assert 10**6 < clip_bytes(transcriber.engine, 2, beam_size=1) < 10**8


def test_one_clip_that_does_not_fit_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WhisperTranscriber, "_said", Small(0))
    normalized(tmp_path, np.zeros(16_000 * 9, dtype=np.float32))
    whisper = WhisperTranscriber(IDENTITY, Multilingual(), batch=BatchSize(8))
    with pytest.raises(Fault):
        recognise_channel(whisper, tmp_path / "0.flac", [Span(start=0.0, end=1.0)] * 5, TranscribeOptions(("en",)))


def test_a_directory_without_a_tokenizer_never_asks_a_hub(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        load_transcriber(tmp_path, IDENTITY.model_copy(update={"digest": "1" * 64}), device="cpu")


def test_the_demo_model_hears_what_was_said(deposition: DemoRecording, transcriber: WhisperTranscriber) -> None:
    raw = transcribe(Job(deposition.audio, deposition.folder, transcriber))
    heard = [bare(word.text) for segment in raw.channels[0].segments for word in segment.words]
    assert jiwer.wer(" ".join(deposition.words), " ".join(heard)) <= 0.1
    assert raw.channels[0].language == "en"
    assert raw.model.demo


def test_results_do_not_depend_on_batches_threads_or_neighbours(
    roadside: DemoRecording, jail_call: DemoRecording, deposition: DemoRecording, transcriber: WhisperTranscriber
) -> None:
    def heard(batch_size: int, workers: int, *recordings: DemoRecording) -> list[bytes]:
        bent = replace(transcriber, batch=BatchSize(batch_size), workers=workers)
        outcomes = list(transcribe_many(recordings, lambda given: Job(given.audio, given.folder, bent)))
        done = {id(outcome.item): outcome.result for outcome in outcomes}
        results = [done[id(recording)] for recording in recordings]
        return [raw.to_bytes() for raw in results if isinstance(raw, RawTranscript)]

    recordings = (roadside, jail_call, deposition)
    alone = [raw for recording in recordings for raw in heard(1, 1, recording)]
    for batch_size, workers in ((2, 2), (8, 1), (16, 2)):
        assert heard(batch_size, workers, *recordings) == alone
    assert heard(16, 1, *recordings[::-1]) == alone[::-1]


def test_a_model_is_loaded_once(transcriber: WhisperTranscriber) -> None:
    from caseprep_pipelines.models.directories import resolve_whisper

    model = resolve_whisper("demo", Path("none"))
    assert load_transcriber(model.path, model.identity, device="cpu", batch_size=2).engine is transcriber.engine


def test_the_demo_model_knows_english_only(transcriber: WhisperTranscriber) -> None:
    with pytest.raises(ConfigurationError, match="'de'"):
        transcriber.settings(TranscribeOptions(("de",)))
