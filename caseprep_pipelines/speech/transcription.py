"""The stage `raw_transcript`: speech map, words and suspicions for every channel of one recording, and its draft.

No engine belongs here, and nothing that knows of many recordings.
"""

from collections.abc import Sequence
from pathlib import Path

from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.speech.channels import ChannelSpeech, channel_turns, channels_are_speakers
from caseprep_pipelines.speech.documents import ChannelTranscript, RawTranscript, Segment, Span
from caseprep_pipelines.speech.flags import flag_segment, speech_without_words
from caseprep_pipelines.speech.transcriber import Progress, TranscribeOptions, Transcriber, no_progress
from caseprep_pipelines.speech.voice_activity import VoiceActivity, detect


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
    activities = [detect(folder / channel.file) for channel in channels]
    bleed = _bleed(channels, activities, audio.duration_seconds)
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
                activity,
                bleed[channel.index],
                folder,
                transcriber,
                options,
                lambda seconds, before=number * audio.duration_seconds: progress(before + seconds),  # type: ignore[misc]
            )
            for number, (channel, activity) in enumerate(zip(channels, activities, strict=True))
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


def _bleed(
    channels: Sequence[ChannelAudio], activities: Sequence[VoiceActivity], seconds: float
) -> dict[int, tuple[Span, ...]]:
    """By channel, what it carries of speech that another channel carries louder; nothing where a channel is no speaker.

    It is transcribed there and not here: faint copies of one sentence on every microphone of a courtroom come out as
    other sentences, which nobody said.
    """
    heard = [
        ChannelSpeech(channel.index, activity.speech, activity.powers)
        for channel, activity in zip(channels, activities, strict=True)
    ]
    _, turns = channel_turns(heard, seconds) if channels_are_speakers(heard) else ((), ())
    return {
        channel.index: tuple(Span(start=t.start, end=t.end) for t in turns if t.channel == channel.index)
        for channel in channels
    }


def _channel(
    channel: ChannelAudio,
    activity: VoiceActivity,
    bleed: tuple[Span, ...],
    folder: Path,
    transcriber: Transcriber,
    options: TranscribeOptions,
    progress: Progress,
) -> ChannelTranscript:
    speech = activity.speech
    own = _without(speech, bleed)
    clips = activity.clips(transcriber.identity.clip_seconds, bleed)
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
        bleed=bleed,
        clips=clips,
        speech_ratio=activity.speech_ratio,
        snr_db=activity.snr_db,
        segments=segments,
        flagged=speech_without_words(own, [word for segment in segments for word in segment.words]),
    )


def _without(speech: Sequence[Span], bleed: Sequence[Span]) -> list[Span]:
    """What of the speech map is the channel's own; every bleed span is a part of one of its stretches."""
    own = []
    for stretch in speech:
        edges = [stretch.start]
        for bled in bleed:
            if stretch.start <= bled.start and bled.end <= stretch.end:
                edges += [bled.start, bled.end]
        edges.append(stretch.end)
        own += [Span(start=a, end=b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
    return own


def _text(segment: Segment) -> str:
    return " ".join(word.text for word in segment.words)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
