"""Stopping the command at a chosen point, and what is then in the storage."""

from pathlib import Path

from caseprep_pipelines.demo import demo_recordings

SHORT = next(demo.path for demo in demo_recordings() if demo.path.name == "roadside-camera.mp4")

#: Runs the command in a process that sends itself a signal when it comes to the point that is named: in a stage, after
#: a stage's product, or after a stage has put away a part of its work.
STOPPED = """
import os, signal, sys
import caseprep_pipelines.assets as assets
from caseprep_pipelines.assets import stage as machinery
where, name, number = sys.argv[1].split(":")

def die(*_arguments, **_named):
    os.kill(os.getpid(), int(number))

if where == "saved":
    from caseprep_pipelines.speech import diarizer, transcription
    from caseprep_pipelines.storage.saved_work import SavedWork
    diarizer.SAVE_SECONDS = transcription.SAVE_SECONDS = transcription.DETECTION_SECONDS = 0.0
    real_add, seen = SavedWork.add, []

    def add(self, kind, data):
        real_add(self, kind, data)
        if f"/{name}/" in self._folder and not kind.startswith("speech") and not seen:
            seen.append(kind)
            die()

    SavedWork.add = add
elif where == "in":
    chosen = next(stage for stage in assets.STAGES if stage.name == name)
    object.__setattr__(chosen, "make_many" if chosen.make_many else "make", die)
else:
    real = machinery.append_custody
    machinery.append_custody = lambda catalog, partition, entry: (
        die() if entry.asset == name else real(catalog, partition, entry)
    )
sys.argv[1:] = sys.argv[2:]
from caseprep_pipelines.cli import main
main()
"""


def products(folder: Path) -> dict[str, bytes]:
    """Manifests of all product versions, by their place."""
    derived = folder / "storage" / "derived"
    return {str(path.relative_to(derived)): path.read_bytes() for path in derived.rglob("manifest.json")}
