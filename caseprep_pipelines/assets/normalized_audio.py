"""Stage 2, `normalized_audio`: every channel as 16 kHz FLAC, second t where the player has second t."""

from caseprep_pipelines.assets.source_recording import limits, local_original
from caseprep_pipelines.assets.stage import Made, Recording, Stage
from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.checks.outcome import Outcome

#: How far the audio may be from what the container declares before a person should look, in seconds.
DURATION_PARITY_SECONDS = 0.5


def make(recording: Recording) -> Made:
    from caseprep_pipelines.audio.normalize import normalize

    source = recording.document("source_recording", SourceRecording)
    folder = recording.folder / "product"
    folder.mkdir()
    audio = normalize(
        local_original(recording, source),
        source,
        folder,
        limits(recording.settings),
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
            "most_clipped_ratio": max(c.clipped_ratio for c in audio.channels),
            "most_silent_ratio": max(c.silence_ratio for c in audio.channels),
            **({"loudness_lufs": loudest} if loudest is not None else {}),
        },
        outcomes=(duration_parity(audio),),
        audio_seconds=audio.duration_seconds,
    )


def duration_parity(audio: NormalizedAudio) -> Outcome:
    """Whether the decoded audio is as long as the container said; passes where it said nothing."""
    declared = audio.container_duration_seconds
    difference = 0.0 if declared is None else audio.duration_seconds - declared
    return Outcome(
        "duration_parity", abs(difference) <= DURATION_PARITY_SECONDS, {"difference_seconds": round(difference, 3)}
    )


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
    checks=(("duration_parity", "The decoded audio is as long as its container declares, within half a second."),),
)
