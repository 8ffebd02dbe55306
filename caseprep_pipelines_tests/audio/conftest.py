"""What the audio tests share: a registered recording, normalized into a fresh folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from caseprep_pipelines.audio.documents import NormalizedAudio, Origin, SourceRecording
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.normalize import normalize
from caseprep_pipelines.audio.reading import Samples, read_flac
from caseprep_pipelines.audio.register import register

ORIGIN = Origin(kind="file", received_at="2026-01-02T03:04:05Z")


def registered(path: Path, limits: Limits | None = None, **more: object) -> SourceRecording:
    return register(
        path,
        partition="matter-0123456789ab",
        matter="matter",
        original="originals/matter-0123456789ab",
        origin=ORIGIN,
        limits=limits or Limits(),
        **more,  # type: ignore[arg-type]
    )


Normalize = Callable[[Path], tuple[NormalizedAudio, list[Samples]]]


@pytest.fixture
def normalized(tmp_path: Path) -> Normalize:
    """Registers and normalizes a file; gives the document and the samples of every channel."""

    def run(path: Path) -> tuple[NormalizedAudio, list[Samples]]:
        folder = tmp_path / f"normalized-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        product = normalize(path, registered(path), folder, Limits())
        return product, [read_flac(folder / channel.file) for channel in product.channels]

    return run
