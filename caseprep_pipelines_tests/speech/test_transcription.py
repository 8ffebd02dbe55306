from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.documents import DecodeSettings, RawTranscript, Segment, Span, Suspicion, Word
from caseprep_pipelines.speech.transcriber import Heard, Progress, TranscribeOptions, no_progress
from caseprep_pipelines.speech.transcription import draft_text, transcribe
from caseprep_pipelines_tests.speech.conftest import DemoRecording, normalized

IDENTITY = ModelIdentity(name="fake", digest="0" * 64, clip_seconds=10.0)


@dataclass
class CountsClips:
    """A recogniser that says the number of each clip, but nothing for the clips in `deaf`."""

    identity: ModelIdentity = IDENTITY
    deaf: frozenset[int] = frozenset()

    def libraries(self) -> dict[str, str]:
        return {"fake": "1"}

    def settings(self, options: TranscribeOptions) -> DecodeSettings:
        return DecodeSettings(
            language=options.language,
            beam_size=1,
            temperature=0.0,
            hotwords=options.hotwords,
            hotwords_left_out=(),
            word_timestamps=True,
            without_timestamps=True,
            max_new_tokens=220,
            batch_size=8,
            compute_type="int8",
            clip_seconds=10.0,
            speech_threshold=0.35,
            silence_threshold=0.2,
            min_silence_seconds=0.16,
            speech_pad_seconds=0.32,
            max_pause_seconds=2.0,
        )

    def transcribe(
        self, channel: Path, clips: Sequence[Span], options: TranscribeOptions, progress: Progress = no_progress
    ) -> Heard:
        done = 0.0
        segments = []
        for number, clip in enumerate(clips):
            done += clip.end - clip.start
            progress(done)
            if number not in self.deaf:
                word = Word(text=f"clip {number}", start=clip.start, end=clip.end, probability=0.9)
                segments.append(
                    Segment(
                        clip=number,
                        start=clip.start,
                        end=clip.end,
                        words=(word,),
                        average_log_probability=-0.1,
                        no_speech_probability=0.0,
                        compression_ratio=1.0,
                    )
                )
        return Heard(options.language or "en", 0.9, tuple(segments))


def heard(recording: DemoRecording, transcriber: CountsClips | None = None, **options: object) -> RawTranscript:
    return transcribe(
        recording.audio,
        recording.folder,
        transcriber or CountsClips(),
        TranscribeOptions(**options),  # type: ignore[arg-type]
    )


def test_every_clip_is_recognised_and_said_where_it_is(deposition: DemoRecording) -> None:
    (channel,) = heard(deposition).channels
    assert len(channel.segments) == len(channel.clips) > 5
    assert all(clip.end - clip.start <= 10.0 for clip in channel.clips)
    assert channel.flagged == ()
    assert 0.4 < channel.speech_ratio < 0.9
    assert channel.snr_db is not None
    assert 20 < channel.snr_db < 40


def test_speech_for_which_no_words_come_back_is_flagged(deposition: DemoRecording) -> None:
    whole = heard(deposition).channels[0]
    (channel,) = heard(deposition, CountsClips(deaf=frozenset({2}))).channels
    assert channel.flagged
    for span in channel.flagged:
        assert span.flag is Suspicion.SPEECH_WITHOUT_WORDS
        assert whole.clips[2].start <= span.start < span.end <= whole.clips[2].end


def test_what_was_asked_is_kept(deposition: DemoRecording) -> None:
    raw = heard(deposition, language="fr", hotwords=("Okonkwo",))
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
    raw = transcribe(twice, deposition.folder, CountsClips())
    assert [channel.channel for channel in raw.channels] == [0]


def test_progress_never_goes_back_and_ends_with_all_channels(jail_call: DemoRecording) -> None:
    seconds: list[float] = []
    transcribe(jail_call.audio, jail_call.folder, CountsClips(), progress=seconds.append)
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(2 * jail_call.audio.duration_seconds)


def test_silence_becomes_an_empty_transcript(tmp_path: Path) -> None:
    audio = normalized(tmp_path, np.zeros(160_000, dtype=np.float32))
    raw = transcribe(audio, tmp_path, CountsClips())
    (channel,) = raw.channels
    assert (channel.speech, channel.clips, channel.segments, channel.flagged) == ((), (), (), ())
    assert draft_text(raw) == ""


def test_a_recording_of_one_sample(tmp_path: Path) -> None:
    audio = normalized(tmp_path, np.zeros(1, dtype=np.float32))
    assert transcribe(audio, tmp_path, CountsClips()).channels[0].clips == ()


def test_the_draft_is_in_order_of_time_and_names_channels_where_there_are_several(jail_call: DemoRecording) -> None:
    lines = draft_text(heard(jail_call)).splitlines()
    assert lines == sorted(lines, key=lambda line: line[:10])
    assert all(line.startswith("[00:00:") and "] channel " in line for line in lines)


def test_the_document_survives_being_written(deposition: DemoRecording) -> None:
    raw = heard(deposition)
    assert RawTranscript.from_bytes(raw.to_bytes()) == raw
    assert raw.digest() == heard(deposition).digest()


def test_a_file_that_vanished_is_an_error_of_the_system(deposition: DemoRecording, tmp_path: Path) -> None:
    with pytest.raises((OSError, soundfile.LibsndfileError)):
        transcribe(deposition.audio, tmp_path, CountsClips())
