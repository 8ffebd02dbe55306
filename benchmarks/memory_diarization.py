"""Peak memory of the largest process for telling the speakers of an eight-hour recording apart, demo model."""

import sys
import tempfile
from pathlib import Path

from benchmarks import Result
from benchmarks.common import clean_environment, run_watched, write_long_recording

HOURS = 8.0

#: As the stage does it, without the graph around it.
WORK = """
import sys
from pathlib import Path
from benchmarks.short_clips import normalized
from caseprep_pipelines.models.directories import resolve_diarization
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.speech.diarization import Job, diarize
from caseprep_pipelines.speech.diarizer import DiarizeOptions
from caseprep_pipelines.speech.documents import ChannelTranscript, RawTranscript
from caseprep_pipelines.speech.pyannote_diarizer import load_diarizer
from caseprep_pipelines.speech.voice_activity import detect
path = Path(sys.argv[1])
channel = ChannelTranscript.model_construct(channel=0, speech=detect(path).speech)
demo = resolve_diarization("demo", path.parent / "none")
options = DiarizeOptions(window_seconds=read_settings().diarization_window_seconds)
raw = RawTranscript.model_construct(channels=(channel,))
turns = diarize(
    Job(normalized(path), path.parent, raw, lambda: load_diarizer(demo.path, demo.identity, device="cpu"), options)
)
assert len(turns.turns) > 10 and len(turns.speakers) > 1
"""


def run() -> Result:
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        recording = Path(name) / "long.wav"
        write_long_recording(recording, HOURS, 1)
        wall, largest, _ = run_watched([sys.executable, "-c", WORK, str(recording)], environment)
    return Result(
        figures={
            "hours": HOURS,
            "memory_diarization_mb": round(largest),
            "times_real_time": round(HOURS * 3600 / wall, 1),
        }
    )
