"""What the IO manager hands over and takes: documents, and documents with files beside them. No Dagster here."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from caseprep_pipelines.audio.documents import NormalizedAudio
from caseprep_pipelines.storage.document import Document

if TYPE_CHECKING:
    import soundfile

    from caseprep_pipelines.storage.products import ProductStore, ProductVersion

D = TypeVar("D", bound=Document)

#: Where the project's own documents are declared; other people's are known once their module is imported.
_DOCUMENT_MODULES = (
    "caseprep_pipelines.audio.documents",
    "caseprep_pipelines.speech.documents",
    "caseprep_pipelines.transcript.document",
    "caseprep_pipelines.renditions.formats",
    "caseprep_pipelines.catalog.receipt",
    "caseprep_pipelines.report.documents",
)


@dataclass(frozen=True)
class WithFiles:
    """What an asset returns to store files beside its document: plain files in a folder, which is read, not kept."""

    document: Document
    folder: Path


@dataclass(frozen=True)
class ProductFiles(Generic[D]):
    """A loaded product that is more than its document. Files are read when asked for, digests checked."""

    document: D
    version: "ProductVersion"
    store: "ProductStore"

    @property
    def names(self) -> tuple[str, ...]:
        """The files, the document's own among them."""
        return tuple(file.name for file in self.version.manifest.files)

    def read_bytes(self, name: str) -> bytes:
        return self.store.read_bytes(self.version.asset, self.version.partition, name, self.version.version)

    def read_text(self, name: str) -> str:
        return self.read_bytes(name).decode()

    def fetch(self, folder: Path, names: tuple[str, ...] | None = None) -> list[Path]:
        """Copies files (by default all) into `folder`, streaming."""
        return self.store.fetch(self.version.asset, self.version.partition, folder, names, self.version.version)


class AudioFiles(ProductFiles[NormalizedAudio]):
    """Normalized audio: the measurements in `document`, the channels as FLAC."""

    def open_channel(self, index: int) -> "soundfile.SoundFile":
        """The channel with that index, to be read in pieces; the caller closes it. Raises `KeyError`."""
        import soundfile

        files = {channel.index: channel.file for channel in self.document.channels}
        with tempfile.TemporaryDirectory(prefix="caseprep-") as folder:
            (path,) = self.fetch(Path(folder), (files[index],))
            # The open handle keeps the bytes until it is closed; nothing has to be cleaned up later.
            return soundfile.SoundFile(path.open("rb"))


def document_type(kind: str) -> type[Document] | None:
    """The class whose documents say `kind` of themselves, or None where no imported module declares one."""
    found = _declared(kind)
    for module in () if found else _DOCUMENT_MODULES:
        import_module(module)
        found = found or _declared(kind)
    return found


def _declared(kind: str) -> type[Document] | None:
    return next((model for model in _subclasses(Document) if _kind(model) == kind), None)


def _kind(model: type[Document]) -> object:
    declared = model.model_fields.get("document")
    return declared.default if declared is not None else None


def _subclasses(model: type[Document]) -> Iterator[type[Document]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
