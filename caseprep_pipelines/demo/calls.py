"""Short calls to try an archive with: `python -m caseprep_pipelines.demo.calls FOLDER COUNT` writes them, by matter.

They are cut from the speech of the demo's recordings, so that the demo models know the words. No file is another's
equal, so each is a recording of its own.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from caseprep_pipelines.demo import demo_recordings

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000
SECONDS = 20
MATTERS = ("demo-2019-cv-001", "demo-2019-cv-002", "demo-2019-cv-003", "demo-2019-cv-004")


def demo_speech() -> "np.ndarray":
    """About four minutes of the demo's own speech: float32, mono, 16 kHz."""
    import av
    import numpy as np

    pieces: list[np.ndarray] = []
    for demo in demo_recordings():
        if demo.status != "done":
            continue
        with av.open(str(demo.path)) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            for frame in container.decode(audio=0):
                pieces.extend(out.to_ndarray().reshape(-1) for out in resampler.resample(frame))
    return np.concatenate(pieces)


def write_calls(folder: Path, count: int, seconds: int = SECONDS) -> list[Path]:
    """`count` WAV files of that length, 16 kHz mono, each another stretch of the speech."""
    import numpy as np
    import soundfile

    speech = demo_speech()
    files = []
    for number in range(count):
        # a sample further each time: no stretch comes twice, however often the speech is gone through
        start = number * (7 * RATE + 1)
        files.append(folder / f"call-{number + 1:03}.wav")
        soundfile.write(files[-1], np.take(speech, range(start, start + seconds * RATE), mode="wrap"), RATE)
    return files


def write_archive(folder: Path, count: int) -> None:
    """The calls in a folder for each matter."""
    for matter in MATTERS:
        (folder / matter).mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(write_calls(folder, count)):
        file.rename(folder / MATTERS[number % len(MATTERS)] / file.name)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdigit():
        sys.exit("say: python -m caseprep_pipelines.demo.calls FOLDER COUNT")
    write_archive(Path(sys.argv[1]), int(sys.argv[2]))
