"""The seven stages as Dagster assets, one module each, and the machinery that runs a stage over many recordings."""

from caseprep_pipelines.assets import (
    normalized_audio,
    raw_transcript,
    source_recording,
    speaker_turns,
    transcript,
    transcript_catalog,
    transcript_exports,
)

#: In graph order.
STAGES = (
    source_recording.STAGE,
    normalized_audio.STAGE,
    raw_transcript.STAGE,
    speaker_turns.STAGE,
    transcript.STAGE,
    transcript_exports.STAGE,
    transcript_catalog.STAGE,
)
