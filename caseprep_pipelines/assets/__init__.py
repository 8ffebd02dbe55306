"""The seven stages as Dagster assets, one module each, and the machinery that runs a stage over many recordings."""

from collections import Counter

from caseprep_pipelines.assets import (
    normalized_audio,
    raw_transcript,
    source_recording,
    speaker_turns,
    transcript,
    transcript_catalog,
    transcript_exports,
)
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.settings import Settings

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


def batches(settings: Settings) -> dict[str, int]:
    """Most recordings in one run of each stage.

    Every stage has another number: with equal ones Dagster merges stages into one run, where one failure fails the
    later stages of all its recordings. Raises `ConfigurationError` where the settings make two equal or name no stage.
    """
    found = {stage.name: stage.batch_in(settings) for stage in STAGES}
    for name in settings.batches:
        if name not in found:
            raise ConfigurationError(f"CASEPREP_STAGE_BATCHES: there is no stage {name}; stages are {', '.join(found)}")
    number, times = Counter(found.values()).most_common(1)[0]
    if times > 1:
        same = " and ".join(name for name in found if found[name] == number)
        raise ConfigurationError(
            f"CASEPREP_STAGE_BATCHES: {same} would both have {number}; give every stage another number, or one failure "
            "would fail what follows for a whole run"
        )
    return found
