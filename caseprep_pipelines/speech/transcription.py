"""The stage `raw_transcript`: speech map, words and suspicions for every channel of one recording, and its draft.

No engine belongs here, and nothing that knows of many recordings.
"""

from pathlib import Path

from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.speech.documents import ChannelTranscript, RawTranscript, Segment
from caseprep_pipelines.speech.flags import flag_segment, speech_without_words
from caseprep_pipelines.speech.transcriber import Progress, TranscribeOptions, Transcriber, no_progress
from caseprep_pipelines.speech.voice_activity import detect


def transcribe(
    audio: NormalizedAudio,
    folder: Path,
    transcriber: Transcriber,
    options: TranscribeOptions = TranscribeOptions(),  # noqa: B008 - frozen
    progress: Progress = no_progress,
) -> RawTranscript:
    """Every distinct channel of a recording as words; `folder` holds the FLAC files that `audio` names.

    A channel that repeats another is not transcribed. `progress` gets seconds of audio, of all channels together.
    Raises `ConfigurationError` or `Fault`.
    """
    settings = transcriber.settings(options)
    channels = audio.distinct_channels
    return RawTranscript(
        partition=audio.partition,
        audio_sha256=tuple(channel.sha256 for channel in channels),
        duration_seconds=audio.duration_seconds,
        model=transcriber.identity,
        settings=settings,
        libraries=transcriber.libraries(),
        channels=tuple(
            _channel(
                channel,
                folder,
                transcriber,
                options,
                lambda seconds, before=number * audio.duration_seconds: progress(before + seconds),  # type: ignore[misc]
            )
            for number, channel in enumerate(channels)
        ),
    )


def draft_text(raw: RawTranscript) -> str:
    """The words without speakers, a line for each segment with its start: readable before speakers are known."""
    several = len(raw.channels) > 1
    segments = sorted(
        ((segment.start, channel.channel, segment) for channel in raw.channels for segment in channel.segments),
        key=lambda placed: placed[:2],
    )
    return "".join(
        f"[{_clock(start)}]{f' channel {channel + 1}:' if several else ''} {_text(segment)}\n"
        for start, channel, segment in segments
    )


def _channel(
    channel: ChannelAudio, folder: Path, transcriber: Transcriber, options: TranscribeOptions, progress: Progress
) -> ChannelTranscript:
    activity = detect(folder / channel.file)
    speech = activity.speech
    clips = activity.clips(transcriber.identity.clip_seconds)
    clip_total = sum(clip.end - clip.start for clip in clips)
    heard = transcriber.transcribe(
        folder / channel.file,
        clips,
        options,
        lambda done: progress(activity.seconds * done / clip_total),
    )
    progress(activity.seconds)
    segments = tuple(flag_segment(segment, speech) for segment in heard.segments)
    return ChannelTranscript(
        channel=channel.index,
        language=heard.language,
        language_probability=heard.language_probability,
        speech=speech,
        clips=clips,
        speech_ratio=activity.speech_ratio,
        snr_db=activity.snr_db,
        segments=segments,
        flagged=speech_without_words(speech, [word for segment in segments for word in segment.words]),
    )


def _text(segment: Segment) -> str:
    return " ".join(word.text for word in segment.words)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
