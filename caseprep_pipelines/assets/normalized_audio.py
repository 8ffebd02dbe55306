"""Stage 2, `normalized_audio`: every channel as 16 kHz FLAC, second t where the player has second t."""

from caseprep_pipelines.assets.source_recording import limits, local_original
from caseprep_pipelines.assets.stage import Made, Recording, Stage
from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.checks.outcome import Outcome


def make(recording: Recording) -> Made:
    from caseprep_pipelines.audio.normalize import normalize

    source = recording.document("source_recording", SourceRecording)
    folder = recording.folder / "product"
    folder.mkdir()
    audio = normalize(
        local_original(recording, source),
        source,
        folder,
        limits(recording.settings, recording.matter(source.matter)),
        recording.progress(source.duration_seconds or 0.0),
    )
    loudest = max((c.loudness_lufs for c in audio.channels if c.loudness_lufs is not None), default=None)
    return Made(
        audio,
        folder,
        metadata={
            "channels": len(audio.channels),
            "dual_mono": audio.dual_mono,
            "gaps_filled": len(audio.gaps),
            "damaged_packets": audio.damaged_packets,
            "clock_resets": audio.clock_resets,
            "trimmed_seconds": audio.trimmed_seconds,
            "undecoded_streams": len(audio.undecoded_streams),
            **({"findings": ", ".join(finding.kind for finding in audio.findings)} if audio.findings else {}),
            "most_clipped_ratio": max(c.clipped_ratio for c in audio.channels),
            "most_silent_ratio": max(c.silence_ratio for c in audio.channels),
            **({"loudness_lufs": loudest} if loudest is not None else {}),
        },
        outcomes=(sound_complete(audio),),
        notes=tuple(finding.sentence for finding in audio.findings),
        audio_seconds=audio.duration_seconds,
    )


def sound_complete(audio: NormalizedAudio) -> Outcome:
    """Whether what was decoded is what the file states in every way; what is explained passes."""
    amiss = [finding for finding in audio.findings if not finding.explained]
    declared = audio.container_duration_seconds
    figures: dict[str, float | str] = {"findings": ", ".join(finding.kind for finding in audio.findings)}
    if declared is not None:
        figures["difference_seconds"] = round(audio.duration_seconds - declared, 3)
    return Outcome("sound_complete", not amiss, figures)


STAGE = Stage(
    name="normalized_audio",
    upstream=("source_recording",),
    make=make,
    description=(
        "Each channel as 16 kHz mono FLAC, timestamp gaps filled with silence, with loudness, clipping, silence and "
        "dual-mono measured."
    ),
    kinds=frozenset({"flac", "json", "python"}),
    batch=100,
    in_children=True,
    checks=(
        (
            "sound_complete",
            "All sound that the file states, or that its bytes imply, was decoded, within half a second.",
        ),
    ),
    matter_fields=("accept_truncated",),
    revision=2,
)
