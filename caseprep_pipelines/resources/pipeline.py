"""What every stage works with: the stores, the catalog and the engines that the settings name, opened when first used.

One `Pipeline` is one Dagster resource. Engines are kept by the process, not by the run, so that models load once
however many runs a process executes. Policy (what runs when) does not belong here.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.matters import Matter, read_matter
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.storage.objects import ObjectStore, open_store
from caseprep_pipelines.storage.products import ProductStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from caseprep_pipelines.catalog.database import Catalog
    from caseprep_pipelines.models.identity import ModelDirectory
    from caseprep_pipelines.report.prices import Rates
    from caseprep_pipelines.speech.diarizer import Diarizer
    from caseprep_pipelines.speech.transcriber import Transcriber

#: Called with stage, partition, audio seconds done and audio seconds in all.
ProgressListener = Callable[[str, str, float, float], None]


def _silent(_stage: str, _partition: str, _done: float, _total: float) -> None:
    return None


def _need(*packages: str) -> None:
    """Raises `ConfigurationError` where the speech packages are missing, as in the image for the other stages."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigurationError(
            f"the speech packages are not installed here ({', '.join(missing)}): run this stage in the gpu or the "
            "cpu-speech image, or pip install 'caseprep-pipelines[speech]'"
        )


@dataclass
class Pipeline:
    settings: Settings
    progress: ProgressListener = field(default=_silent)

    @cached_property
    def objects(self) -> ObjectStore:
        return open_objects(self.settings)

    @cached_property
    def products(self) -> ProductStore:
        return ProductStore(self.objects)

    @cached_property
    def catalog(self) -> "Catalog":
        from caseprep_pipelines.catalog.database import open_catalog

        return open_catalog(self.settings.catalog_url, migrate=self.settings.migrates)

    def matter(self, matter: str) -> Matter:
        return read_matter(self.objects, self.settings.incoming_prefix, matter)

    @cached_property
    def rates(self) -> "Rates":
        """What cost is counted with. Raises `ConfigurationError` where the settings name an unknown instance."""
        from caseprep_pipelines.report.prices import rates

        wanted = self.settings
        return rates(
            wanted.gpu_instance, wanted.cpu_instance, wanted.pricing, wanted.gpu_hour_price, wanted.cpu_hour_price
        )

    @cached_property
    def transcription_model(self) -> "ModelDirectory":
        from caseprep_pipelines.models.directories import resolve_whisper

        return resolve_whisper(self.settings.model, self.settings.models_directory)

    @cached_property
    def diarization_model(self) -> "ModelDirectory":
        from caseprep_pipelines.models.directories import resolve_diarization

        return resolve_diarization(self.settings.diarization, self.settings.models_directory)

    @cached_property
    def transcriber(self) -> "Transcriber":
        """Loads the model, whose files are checked against their digests first."""
        _need("faster_whisper", "ctranslate2", "onnxruntime")
        from caseprep_pipelines.models.pins import checked
        from caseprep_pipelines.speech.whisper import load_transcriber

        model = checked(self.transcription_model, self.settings.models_directory)
        return load_transcriber(
            model.path,
            model.identity,
            device=self.settings.device,
            compute_type=self.settings.compute_type,
            beam_size=self.settings.beam_size,
            batch_size=self.settings.batch_size,
            memory_fraction=self.settings.gpu_memory_fraction,
        )

    @cached_property
    def diarizer(self) -> "Diarizer":
        """Loads the pipeline, whose files are checked against their digests first."""
        _need("torch", "pyannote")
        from caseprep_pipelines.models.pins import checked
        from caseprep_pipelines.speech.pyannote_diarizer import load_diarizer

        model = checked(self.diarization_model, self.settings.models_directory)
        return load_diarizer(
            model.path,
            model.identity,
            device=self.settings.device,
            memory_fraction=self.settings.gpu_memory_fraction,
        )

    def work_folder(self) -> tempfile.TemporaryDirectory[str]:
        """A folder that vanishes with the work; raises `Fault` where none can be made."""
        directory = self.settings.work_directory
        try:
            if directory is not None:
                directory.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(prefix="caseprep-", dir=directory)
        except OSError as error:
            raise Fault(
                f"no working folder can be made ({error.strerror}); free some space or set CASEPREP_WORK_DIRECTORY"
            ) from error


def s3_client(settings: Settings) -> "S3Client":
    """An S3 client of Dagster's own resource, so that ours and other people's assets are configured alike, with the
    time limits and retries that it has no fields for.
    """
    from dagster_aws.s3 import S3Resource

    from caseprep_pipelines.storage.s3 import make_client

    class LimitedS3Resource(S3Resource):
        def get_client(self) -> "S3Client":
            return make_client(self.endpoint_url, self.region_name)

    return LimitedS3Resource(endpoint_url=settings.s3_endpoint_url, region_name=settings.s3_region).get_client()


def open_objects(settings: Settings) -> ObjectStore:
    """The storage root."""
    if settings.remote:
        return open_store(settings.storage, s3_client=s3_client(settings))
    return open_store(settings.storage)
