"""What the GPU image of these tests holds beside the project: a stage puts away what it has at once instead of every
half minute, because a demo recording takes seconds; and then it waits while a test holds it there.
"""

import os
import time
from pathlib import Path

from caseprep_pipelines.speech import diarizer, transcription
from caseprep_pipelines.storage.saved_work import SavedWork

#: A file named after a stage in this folder holds the stage where it has just put something away.
HOLDS = Path(os.environ["TEST_HOLDS"])

diarizer.SAVE_SECONDS = transcription.SAVE_SECONDS = transcription.DETECTION_SECONDS = 0.0
_add = SavedWork.add


def _add_and_wait(self: SavedWork, kind: str, data: bytes) -> None:
    _add(self, kind, data)
    for hold in HOLDS.iterdir():
        while f"/{hold.name}/" in self._folder and hold.exists():
            time.sleep(0.05)


SavedWork.add = _add_and_wait  # type: ignore[method-assign]
