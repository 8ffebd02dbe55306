"""Every setting, and the one place that reads the environment (`CASEPREP_*`).

A setting belongs here when an operator may want another value on another machine. What a matter adds (vocabulary,
number of speakers) stands in its `matter.toml`; what shapes the code stands in the code. The table in
`docs/configuration.md` is generated from the descriptions here.
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from platformdirs import user_data_path, user_state_path
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from caseprep_pipelines.errors import ConfigurationError

APPLICATION = "caseprep"

if TYPE_CHECKING:
    from sqlalchemy import URL

#: The renditions that are written when nobody asks for others.
DEFAULT_FORMATS = ("json", "txt", "srt", "vtt", "rttm", "ctm", "seglst")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="CASEPREP_", frozen=True, extra="ignore", hide_input_in_errors=True)

    storage: str = Field(
        default_factory=lambda: str(user_data_path(APPLICATION)),
        description="Storage root: a directory or `s3://bucket/prefix`.",
    )
    s3_endpoint_url: str | None = Field(default=None, description="S3 endpoint, where it is not AWS's own.")
    s3_region: str | None = Field(default=None, description="S3 region.")
    database_url: SecretStr | None = Field(
        default=None,
        description="Catalog database as an SQLAlchemy URL; by default SQLite in the storage root, or in the state "
        "directory where the storage root is S3.",
    )
    dagster_home: Path = Field(
        default_factory=lambda: user_state_path(APPLICATION) / "dagster",
        description="Directory of Dagster's own state, shared by `caseprep` and `make dev`. Never in S3.",
    )
    work_directory: Path | None = Field(
        default=None,
        description="Where files lie while they are worked on; by default the system's temporary directory.",
    )
    partition_set: str = Field(default="recordings", description="Name of the dynamic partition set.")
    stage_batches: str = Field(
        default="",
        description="Most recordings in one run of a stage, where [its own number](architecture.md#runs) does not fit: "
        "such as `raw_transcript=100,speaker_turns=80`; another number for every stage.",
    )
    asset_key_prefix: str = Field(
        default="",
        description="Prefix of every asset key, parts separated by `/`; lets an archive be split over code locations.",
    )

    model: str = Field(
        default="large-v3-turbo",
        description=(
            "Whisper model: `starter`, `demo`, a directory, or a name in the models directory or the local hub cache."
        ),
    )
    diarization: str = Field(
        default="pyannote/speaker-diarization-community-1",
        description=(
            "pyannote pipeline: `starter`, `demo`, a directory, or a name in the models directory or the local hub "
            "cache."
        ),
    )
    models_directory: Path = Field(
        default_factory=lambda: user_data_path(APPLICATION) / "models",
        description="Where `caseprep models fetch` puts models.",
    )
    model_store: str | None = Field(
        default=None,
        description="Where `caseprep models fetch` gets models: `hub`, a directory or `s3://bucket/prefix`.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where speech stages run.")
    compute_type: str = Field(
        default="auto", description="CTranslate2 compute type; `auto` is float16 on CUDA and int8 on a CPU."
    )
    language: str | None = Field(
        default=None,
        description="Language of all recordings, or several, separated by commas (`en,es`); by default whatever is "
        "likely, stretch by stretch.",
    )
    preferred_languages: tuple[str, ...] | str = Field(
        default=("en", "es"),
        description="Languages to expect where the sound leaves it open, separated by commas; nothing keeps other "
        "languages from being heard.",
    )
    beam_size: int = Field(
        default=5,
        ge=1,
        le=20,
        description="Beam size of the decoder. 1 is faster and errs more on short clips "
        "([figures](listening.md#figures)).",
    )
    batch_size: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Clips decoded together; halved by itself where a device's memory is too small.",
    )
    gpu_memory_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of a GPU's memory that a process may take where several use it: diarization is held to it, "
        "and transcription begins with batches that fit.",
    )
    min_speakers: int | None = Field(default=None, ge=1, description="Fewest speakers to look for.")
    max_speakers: int | None = Field(default=None, ge=1, description="Most speakers to look for.")
    diarization_window_seconds: float = Field(
        default=1800.0,
        ge=60,
        le=7200,
        description="Longest stretch that is diarized at once; clustering's memory grows with its square (0.8 GB for "
        "an hour, 3 GB for two).",
    )

    formats: tuple[str, ...] | str = Field(
        default=DEFAULT_FORMATS, description="Renditions to write, separated by commas."
    )
    max_recording_bytes: int = Field(default=200 * 10**9, ge=1, description="Larger files are rejected as `too-large`.")
    max_recording_hours: float = Field(default=26.0, gt=0, description="Longer recordings are rejected as `too-long`.")
    accept_truncated: bool = Field(
        default=False,
        description="Whether recordings that were cut off are worked on as far as they go, their transcripts saying "
        "so, instead of being rejected as `truncated`; a matter's `accept_truncated` says it for that matter.",
    )
    scanner_command: str | None = Field(
        default=None,
        description="Command that inspects each original before anything reads it, with the file's path appended; "
        "exit code 0 accepts, 1 refuses, any other is a fault.",
    )
    decode_memory_bytes: int = Field(
        default=2 * 10**9, ge=10**8, description="Memory that the decoding child process may use."
    )
    decode_speed_floor: float = Field(
        default=2.0,
        gt=0,
        description="Decoding slower than this many times real time is stopped (never before two minutes).",
    )

    incoming_prefix: str = Field(
        default="incoming/", description="Where the upload sensor looks, under the storage root."
    )
    incoming_settle_seconds: float = Field(
        default=30.0, ge=0, description="A file in a directory is taken up when it has not changed for this long."
    )
    sqs_queue_url: str | None = Field(
        default=None,
        description="Queue that the storage root's bucket announces uploads to; the `upload_events_sensor` reads it.",
    )
    sensor_interval_seconds: int = Field(default=30, ge=5, description="How often an upload sensor looks.")
    sensor_max_new: int = Field(default=200, ge=1, description="Most recordings that one sensor tick takes up.")

    executor: Literal["in-process", "kubernetes"] = Field(
        default="in-process",
        description="Where a run's steps are executed: all in the run's own process, or each in a pod of its own. The "
        "settings from here to `CASEPREP_KUBERNETES_NAMESPACE` are about those pods.",
    )
    cpu_image: str | None = Field(
        default=None, description="Image of the steps that need no GPU; by default the code location's own."
    )
    cpu_pool: Literal["cpu", "gpu"] = Field(
        default="cpu",
        description="Nodes of these steps, by the label `caseprep.io/pool`; `gpu` where one node does it all.",
    )
    gpu_image: str | None = Field(
        default=None, validate_default=True, description="Image of the steps that need a GPU; must be named for pods."
    )
    gpu_resource: str = Field(
        default="nvidia.com/gpu",
        description="What such a step asks a node for: a whole GPU, a slice such as `nvidia.com/mig-1g.10gb`, or a "
        "share as the device plugin calls it, such as `nvidia.com/gpu.shared`.",
    )
    gpu_product: str | None = Field(
        default=None, description="Only nodes with this GPU, as their label `nvidia.com/gpu.product` names it."
    )
    gpu_capacity: Literal["any", "spot", "prefer-spot", "on-demand"] = Field(
        default="any", description="Which nodes, by their label `caseprep.io/capacity` (`spot` or `on-demand`)."
    )
    gpu_runtime_class: str | None = Field(
        default=None, description="RuntimeClass of GPU pods, where the node's default runtime does not know GPUs."
    )
    models_volume: str = Field(
        default="claim:caseprep-models",
        description="What GPU pods mount at `/models`: `claim:NAME` or `image:REFERENCE`.",
    )
    work_gigabytes: int = Field(
        default=50, ge=1, description="Most disk space that a step's pod may fill, in GiB; longer recordings need more."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="Recordings that one CPU step works on at once; by default as many as the machine has cores.",
    )
    step_hours: float = Field(default=12.0, gt=0, description="A step's pod that runs for longer is stopped.")
    pending_minutes: float = Field(
        default=60.0,
        gt=0,
        description="A step whose pod finds no node for this long fails; a shortage of GPUs should end sooner.",
    )
    kubernetes_namespace: str = Field(
        default="caseprep", description="Namespace that `caseprep doctor --cluster` looks at."
    )

    gpu_instance: str = Field(
        default="g6.xlarge",
        description="Instance that GPU stages run on, whose price the report on cost counts with; a name from the "
        "[price table](reports.md#prices).",
    )
    cpu_instance: str = Field(default="c6i.xlarge", description="Instance that the other stages run on.")
    pricing: Literal["on-demand", "spot"] = Field(
        default="on-demand", description="Which of the table's prices counts; spot prices are for orientation only."
    )
    gpu_hour_price: float | None = Field(
        default=None,
        ge=0,
        description="Your own price, in USD, of an hour of one GPU with its machine; in place of the table's.",
    )
    cpu_hour_price: float | None = Field(
        default=None, ge=0, description="Your own price, in USD, of an hour of one CPU core; in place of the table's."
    )

    archive_window_start: str = Field(
        default="20:00", description="When the archive begins to run each day, by the clock of its time zone."
    )
    archive_window_end: str = Field(
        default="06:00",
        description="When it pauses until the next one; an end before the start is the next day's, equal is no pause.",
    )
    archive_time_zone: str = Field(
        default="UTC", description="Time zone of the archive's window, such as `Europe/Berlin`."
    )
    archive_budget_hours: float | None = Field(
        default=None, gt=0, description="Most hours of audio that one window of the archive begins."
    )
    archive_budget_usd: float | None = Field(
        default=None, gt=0, description="Most money that one window of the archive begins to spend, by measured cost."
    )
    archive_order: Literal["priority", "newest"] = Field(
        default="priority",
        description="What of the archive runs first, after `rush` matters: highest priority or last registered.",
    )

    hf_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("HF_TOKEN", "HUGGINGFACE_ACCESS_TOKEN"),
        description="Hub token for `caseprep models fetch`; read from `HF_TOKEN` or `HUGGINGFACE_ACCESS_TOKEN`.",
    )

    @field_validator("storage")
    @classmethod
    def _directory_or_bucket(cls, value: str) -> str:
        if value.startswith("s3://"):
            return value
        if not value or "://" in value:
            raise ValueError("must be a directory or s3://bucket/prefix")
        return str(Path(value).expanduser())

    @field_validator("gpu_image")
    @classmethod
    def _named_for_pods(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value and info.data.get("executor") == "kubernetes":
            raise ValueError("must name the image of GPU steps where CASEPREP_EXECUTOR is kubernetes")
        return value

    @field_validator("models_volume")
    @classmethod
    def _claim_or_image(cls, value: str) -> str:
        if not re.fullmatch(r"(claim:[a-z0-9][a-z0-9.-]*|image:\S+)", value):
            raise ValueError("must be claim:NAME or image:REFERENCE")
        return value

    @field_validator("stage_batches")
    @classmethod
    def _numbers_by_name(cls, value: str) -> str:
        if value and not re.fullmatch(r" *\w+ *= *[1-9]\d* *(, *\w+ *= *[1-9]\d* *)*", value):
            raise ValueError("must be names and numbers such as raw_transcript=100,speaker_turns=80")
        return value

    @field_validator("archive_window_start", "archive_window_end")
    @classmethod
    def _time_of_day(cls, value: str) -> str:
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
            raise ValueError("must be a time of day such as 20:00")
        return value

    @field_validator("archive_time_zone")
    @classmethod
    def _known_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("must be the name of a time zone such as Europe/Berlin") from None
        return value

    @field_validator("formats", "preferred_languages")
    @classmethod
    def _split(cls, value: tuple[str, ...] | str) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(part.strip() for part in parts if part.strip())

    @property
    def languages(self) -> tuple[str, ...]:
        """`language` by parts; none where it is to be found out."""
        return tuple(part.strip() for part in (self.language or "").split(",") if part.strip())

    @property
    def batches(self) -> dict[str, int]:
        """`stage_batches` by the stage's name."""
        pairs = (part.split("=") for part in self.stage_batches.split(",") if part)
        return {name.strip(): int(number) for name, number in pairs}

    @property
    def remote(self) -> bool:
        """Whether the storage root is S3."""
        return self.storage.startswith("s3://")

    @property
    def migrates(self) -> bool:
        """Whether who opens the catalog also brings its tables up to date. On a cluster one job does, before all."""
        return self.executor != "kubernetes"

    @property
    def hub_token(self) -> str | None:
        """The hub token in clear; for the hub alone."""
        return self.hf_token.get_secret_value() if self.hf_token else None

    @property
    def catalog_url(self) -> "str | URL":
        """SQLAlchemy URL of the catalog; may hold a password, so it is never printed."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        from sqlalchemy import URL

        folder = self.dagster_home.parent if self.remote else Path(self.storage)
        return URL.create("sqlite", database=str(folder / "catalog.sqlite"))


def read_settings(**overrides: object) -> Settings:
    """Settings from the environment and `overrides`; raises `ConfigurationError` naming the variable that is wrong."""
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"CASEPREP_{name}: {first['msg']}") from None


@cache
def settings() -> Settings:
    """The process's settings, read once."""
    return read_settings()


def table() -> str:
    """Every setting as a Markdown table: what `docs/configuration.md` holds."""
    lines = ["| variable | default | what it sets |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        variable = "HF_TOKEN" if field.validation_alias else f"CASEPREP_{name.upper()}"
        lines.append(f"| `{variable}` | {_shown_default(name)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _shown_default(name: str) -> str:
    # these depend on the machine and the user
    described = {
        "storage": "the user's data directory",
        "dagster_home": "`dagster` in the user's state directory",
        "models_directory": "`models` in the user's data directory",
    }
    if name in described:
        return described[name]
    default = Settings.model_fields[name].default
    if default in (None, ""):
        return ""
    return f"`{','.join(default) if isinstance(default, tuple) else default}`"
