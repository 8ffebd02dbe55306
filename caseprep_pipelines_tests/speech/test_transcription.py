from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from caseprep_pipelines.errors import Fault
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.documents import DecodeSettings, RawTranscript, Segment, Span, Suspicion, Word
from caseprep_pipelines.speech.listening import Question
from caseprep_pipelines.speech.transcriber import Clip, Heard, TranscribeOptions
from caseprep_pipelines.speech.transcription import Answers, Job, draft_text, transcribe, transcribe_many
from caseprep_pipelines.speech.voice_activity import VoiceActivity
from caseprep_pipelines_tests.samples import sample_raw
from caseprep_pipelines_tests.speech.conftest import DemoRecording, normalized

IDENTITY = ModelIdentity(name="fake", digest="0" * 64, clip_seconds=10.0)


@dataclass
class CountsClips:
    """A recogniser that says a word every half second, but nothing between the seconds in `deaf`."""

    identity: ModelIdentity = IDENTITY
    deaf: tuple[float, float] = (0.0, 0.0)
    asked: list[Span] = field(default_factory=list)
    again: list[Span] = field(default_factory=list)
    device: str = "cpu"
    batch_size: int = 1

    def libraries(self) -> dict[str, str]:
        return {"fake": "1"}

    def settings(self, options: TranscribeOptions) -> DecodeSettings:
        languages = options.languages or ("en",)
        return DecodeSettings(
            language=languages[0] if len(languages) == 1 else None,
            languages=languages,
            beam_size=1,
            temperature=0.0,
            hotwords=options.hotwords,
            hotwords_left_out=(),
            word_timestamps=True,
            without_timestamps=True,
            max_new_tokens=None,
            compute_type="int8",
            clip_seconds=10.0,
            speech_threshold=0.35,
            silence_threshold=0.2,
            min_silence_seconds=0.16,
            speech_pad_seconds=0.32,
            max_pause_seconds=2.0,
        )

    def recognise(self, clips: Iterable[Clip]) -> Iterator[None]:
        for clip in clips:
            (self.again if clip.again else self.asked).append(clip.span)
            clip.deliver(Heard(self.said(clip.span)), 0.5)
            yield

    def said(self, span: Span) -> Segment | None:
        words = tuple(
            Word(text=f"word{round(start * 1000)}", start=start, end=min(start + 0.4, span.end), probability=0.9)
            for start in (round(span.start + 0.5 * at, 3) for at in range(int((span.end - span.start) / 0.5)))
            if not self.deaf[0] <= start + 0.2 < self.deaf[1]
        )
        if not words:
            return None
        return Segment(
            clip=0,
            language="en",
            start=words[0].start,
            end=words[-1].end,
            words=words,
            average_log_probability=-0.1,
            compression_ratio=1.0,
        )


def heard(recording: DemoRecording, transcriber: CountsClips | None = None, **options: object) -> RawTranscript:
    asked = TranscribeOptions(**options)  # type: ignore[arg-type]
    return transcribe(Job(recording.audio, recording.folder, transcriber or CountsClips(), asked))


def test_every_clip_is_recognised_and_said_where_it_is(deposition: DemoRecording) -> None:
    (channel,) = heard(deposition).channels
    assert len(channel.segments) == len(channel.clips) > 5
    assert all(clip.end - clip.start <= 10.0 for clip in channel.clips)
    assert channel.flagged == ()
    assert 0.4 < channel.speech_ratio < 0.9
    assert channel.snr_db is not None
    assert 20 < channel.snr_db < 40


def test_speech_for_which_no_words_come_back_is_flagged(deposition: DemoRecording) -> None:
    deaf = CountsClips(deaf=(20.0, 24.0))
    (channel,) = heard(deposition, deaf).channels
    assert channel.flagged
    for span in channel.flagged:
        assert span.flag is Suspicion.SPEECH_WITHOUT_WORDS
        assert 19.0 <= span.start < span.end <= 25.0
        # in its clip, by itself, and with what is around it
        assert sum(asked.start < span.end and span.start < asked.end for asked in deaf.asked + deaf.again) >= 3


def test_what_was_asked_is_kept(deposition: DemoRecording) -> None:
    raw = heard(deposition, languages=("fr",), hotwords=("Okonkwo",))
    assert raw.settings.language == "fr"
    assert raw.settings.hotwords == ("Okonkwo",)
    assert raw.model.name == "fake"
    assert raw.libraries == {"fake": "1"}
    assert raw.audio_sha256 == (deposition.audio.channels[0].sha256,)


def test_a_channel_that_repeats_another_is_not_recognised(deposition: DemoRecording) -> None:
    (channel,) = deposition.audio.channels
    twice = deposition.audio.model_copy(
        update={"channels": (channel, channel.model_copy(update={"index": 1, "duplicate_of": 0}))}
    )
    raw = transcribe(Job(twice, deposition.folder, CountsClips()))
    assert [channel.channel for channel in raw.channels] == [0]


def test_progress_never_goes_back_and_ends_with_all_channels(jail_call: DemoRecording) -> None:
    seconds: list[float] = []
    transcribe(Job(jail_call.audio, jail_call.folder, CountsClips(), progress=seconds.append))
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(2 * jail_call.audio.duration_seconds)


def test_silence_becomes_an_empty_transcript(tmp_path: Path) -> None:
    audio = normalized(tmp_path, np.zeros(160_000, dtype=np.float32))
    raw = transcribe(Job(audio, tmp_path, CountsClips()))
    (channel,) = raw.channels
    assert (channel.speech, channel.clips, channel.segments, channel.flagged) == ((), (), (), ())
    assert draft_text(raw) == ""


def test_a_recording_of_one_sample(tmp_path: Path) -> None:
    audio = normalized(tmp_path, np.zeros(1, dtype=np.float32))
    assert transcribe(Job(audio, tmp_path, CountsClips())).channels[0].clips == ()


def test_the_draft_is_in_order_of_time_and_names_channels_where_there_are_several(jail_call: DemoRecording) -> None:
    lines = draft_text(heard(jail_call)).splitlines()
    assert lines == sorted(lines, key=lambda line: line[:10])
    assert all(line.startswith("[00:00:") and "] channel " in line for line in lines)


def test_the_draft_does_not_tear_words_of_a_language_without_spaces_apart() -> None:
    raw = sample_raw()
    (channel,) = raw.channels
    words = [Word(text=text, start=1, end=2, probability=1) for text in ["ผม", "อายุ", "25", "ปี"]]
    segment = channel.segments[0].model_copy(update={"words": tuple(words)})
    thai = channel.model_copy(update={"language": "th", "segments": (segment,)})
    assert draft_text(raw.model_copy(update={"channels": (thai,)})).endswith("] ผมอายุ 25 ปี\n")


def test_the_document_survives_being_written(deposition: DemoRecording) -> None:
    raw = heard(deposition)
    assert RawTranscript.from_bytes(raw.to_bytes()) == raw
    assert raw.digest() == heard(deposition).digest()


def test_a_file_that_vanished_is_an_error_of_the_system(deposition: DemoRecording, tmp_path: Path) -> None:
    with pytest.raises((OSError, soundfile.LibsndfileError)):
        transcribe(Job(deposition.audio, tmp_path, CountsClips()))


class Kept:
    """Savings in memory."""

    def __init__(self) -> None:
        self.parts: list[Answers] = []
        self.activities: dict[int, VoiceActivity] = {}

    def load(self) -> Answers:
        return {place: said for part in self.parts for place, said in part.items()}

    def save(self, heard: Answers) -> None:
        self.parts.append(dict(heard))

    def load_activity(self, channel: int) -> VoiceActivity | None:
        return self.activities.get(channel)

    def save_activity(self, channel: int, activity: VoiceActivity) -> None:
        self.activities[channel] = activity


class Interrupts(CountsClips):
    """A recogniser that somebody stops after so many clips."""

    def recognise(self, clips: Iterable[Clip]) -> Iterator[None]:
        for number, _ in enumerate(super().recognise(clips), 1):
            yield
            if number == 4:
                raise KeyboardInterrupt


def test_an_interruption_loses_nothing_and_the_next_attempt_does_only_the_rest(deposition: DemoRecording) -> None:
    kept = Kept()
    job = Job(deposition.audio, deposition.folder, Interrupts(), savings=lambda _settings: kept)
    with pytest.raises(KeyboardInterrupt):
        transcribe(job)
    assert len(kept.load()) == 4
    second = CountsClips()
    resumed = transcribe(replace(job, transcriber=second))
    assert resumed == transcribe(replace(job, transcriber=CountsClips(), savings=None))
    assert second.asked == list(resumed.channels[0].clips[4:])


def test_what_is_recognised_is_put_away_now_and_then(
    deposition: DemoRecording, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept()
    monkeypatch.setattr("caseprep_pipelines.speech.transcription.SAVE_SECONDS", 0.0)
    raw = transcribe(Job(deposition.audio, deposition.folder, CountsClips(), savings=lambda _settings: kept))
    assert len(kept.parts) >= len(raw.channels[0].clips)
    assert all(len(part) == 1 for part in kept.parts)


def test_what_the_detector_took_long_for_is_not_detected_again(
    jail_call: DemoRecording, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(kept: Kept) -> Job:
        return Job(jail_call.audio, jail_call.folder, CountsClips(), savings=lambda _settings: kept)

    quick, slow = Kept(), Kept()
    raw = transcribe(job(quick))
    assert not quick.activities
    monkeypatch.setattr("caseprep_pipelines.speech.transcription.DETECTION_SECONDS", 0.0)
    assert transcribe(job(slow)) == raw
    assert sorted(slow.activities) == [0, 1]
    monkeypatch.setattr("caseprep_pipelines.speech.transcription.detect", pytest.fail)
    assert transcribe(job(slow)) == raw


def test_saved_clips_that_the_recording_does_not_have_are_left_out(deposition: DemoRecording) -> None:
    kept = Kept()
    nowhere = Question(Span(start=9999.0, end=9999.5), ("en",))
    kept.save({(7, nowhere): Heard(None), (0, nowhere): Heard(None)})
    job = Job(deposition.audio, deposition.folder, CountsClips(), savings=lambda _settings: kept)
    assert transcribe(job) == transcribe(replace(job, savings=None))


def test_a_recording_that_fails_costs_its_neighbours_nothing(
    deposition: DemoRecording, jail_call: DemoRecording, tmp_path: Path
) -> None:
    def job(recording: DemoRecording | None) -> Job:
        if recording is None:
            raise Fault("storage is away")
        return Job(recording.audio, recording.folder, CountsClips())

    silence = DemoRecording(tmp_path, normalized(tmp_path, np.zeros(16_000, np.float32)), [])
    items = [None, deposition, silence, None, jail_call]
    outcomes = list(transcribe_many(items, job))
    assert sorted(type(outcome.result).__name__ for outcome in outcomes) == ["Fault"] * 2 + ["RawTranscript"] * 3
    done = {id(outcome.item): outcome.result for outcome in outcomes}
    for recording in (deposition, silence, jail_call):
        assert done[id(recording)] == transcribe(job(recording))


def test_shares_of_the_recognisers_time_add_up(deposition: DemoRecording, jail_call: DemoRecording) -> None:
    whisper = CountsClips()
    outcomes = transcribe_many([deposition, jail_call], lambda given: Job(given.audio, given.folder, whisper))
    assert sum(outcome.seconds for outcome in outcomes) == 0.5 * len(whisper.asked + whisper.again)
