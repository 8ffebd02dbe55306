"""Products as people meet them in notebooks, and other people's assets stored beside ours."""

from pathlib import Path
from typing import Any, Literal

import dagster as dg
import numpy as np
import pytest

from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.io_managers import io_managers
from caseprep_pipelines.io_managers.values import AudioFiles, ProductFiles, WithFiles, document_type
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines.renditions.formats import Rendition, RenditionSet
from caseprep_pipelines.speech.documents import SpeakerTurns
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.objects import open_store
from caseprep_pipelines.storage.products import CorruptProduct, ProductStore
from caseprep_pipelines_tests.s3_server import S3Server

KEYS = [f"2024-cv-00123-{number:012x}" for number in range(4)]


class Figures(Document):
    """What somebody else's asset makes of a recording."""

    document: Literal["figures"] = "figures"
    schema_version: Literal[1] = 1
    words: int


recordings = dg.DynamicPartitionsDefinition(name="recordings")
REJECTION = Rejection(partition=KEYS[0], stage="source_recording", reason=Reason.EMPTY, remedy=REMEDIES[Reason.EMPTY])


@pytest.fixture(params=["local", "s3"])
def products(request: pytest.FixtureRequest, tmp_path: Path) -> ProductStore:
    """A store in a directory, and one in S3 through `dagster_aws`."""
    if request.param == "local":
        return ProductStore(open_store(str(tmp_path / "root")))
    from dagster_aws.s3 import S3Resource

    server: S3Server = request.getfixturevalue("s3")
    client = S3Resource(endpoint_url=server.endpoint_url, region_name="us-east-1").get_client()
    return ProductStore(open_store(server.root, s3_client=client))


@pytest.fixture
def local(tmp_path: Path) -> ProductStore:
    return ProductStore(open_store(str(tmp_path / "root")))


@pytest.fixture
def instance() -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("recordings", KEYS)
        yield instance


def stage(name: str) -> dg.AssetsDefinition:
    """A stage as the project declares it: it writes through the store itself and returns no value."""

    @dg.asset(name=name, partitions_def=recordings, io_manager_key="products")
    def asset() -> None: ...

    return asset


def definitions(products: ProductStore, *assets: dg.AssetsDefinition, **options: str) -> dg.Definitions:
    return dg.Definitions(assets=assets, resources=io_managers(lambda: products, **options))


def load(instance: dg.DagsterInstance, defs: dg.Definitions, asset: str, key: str, kind: type | None = None) -> object:
    """As in a notebook. Dagster looks the key up in the instance before it asks the IO manager."""
    return defs.load_asset_value(asset, partition_key=key, python_type=kind, instance=instance)


def put(products: ProductStore, asset: str, key: str, document: Document, folder: Path | None = None) -> None:
    products.write(asset, key, document, folder, fingerprint="f", inputs={})


def figures(key: str) -> Figures:
    return Figures(words=KEYS.index(key) + 40)


def test_a_notebook_loads_a_document_by_name_and_key(products: ProductStore, instance: Any) -> None:
    put(products, "speaker_turns", KEYS[0], figures(KEYS[0]))
    defs = definitions(products, stage("speaker_turns"))
    assert load(instance, defs, "speaker_turns", KEYS[0]) == figures(KEYS[0])


def test_a_rejection_stands_in_the_documents_place(products: ProductStore, instance: Any) -> None:
    put(products, "speaker_turns", KEYS[0], REJECTION)
    defs = definitions(products, stage("speaker_turns"))
    assert load(instance, defs, "speaker_turns", KEYS[0]) == REJECTION
    assert load(instance, defs, "speaker_turns", KEYS[0], Figures) == REJECTION


def test_audio_is_loaded_with_its_measurements_and_opened_by_channel(
    products: ProductStore, tmp_path: Path, instance: Any
) -> None:
    import soundfile

    folder = tmp_path / "made"
    folder.mkdir()
    samples = np.arange(-800, 800, dtype=np.int16)
    soundfile.write(folder / "channel-1.flac", samples, 16000, subtype="PCM_16")
    channel = ChannelAudio(
        index=1,
        file="channel-1.flac",
        sha256="0" * 64,
        stream=0,
        channel_in_stream=1,
        samples=1600,
        loudness_lufs=None,
        peak_dbfs=-1.0,
        rms_dbfs=-9.0,
        clipped_ratio=0.0,
        silence_ratio=0.5,
    )
    document = NormalizedAudio(
        partition=KEYS[0],
        source_sha256="0" * 64,
        duration_seconds=0.1,
        container_duration_seconds=None,
        channels=(channel,),
        libraries={},
    )
    put(products, "normalized_audio", KEYS[0], document, folder)
    audio = load(instance, definitions(products, stage("normalized_audio")), "normalized_audio", KEYS[0])
    assert isinstance(audio, AudioFiles)
    assert audio.document == document
    with audio.open_channel(1) as sound:
        assert (sound.samplerate, sound.channels, sound.format) == (16000, 1, "FLAC")
        sound.seek(100)
        assert np.array_equal(sound.read(50, dtype="int16"), samples[100:150])
    with pytest.raises(KeyError):
        audio.open_channel(0)


def test_renditions_are_loaded_as_a_set_of_files(products: ProductStore, tmp_path: Path, instance: Any) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "transcript.txt").write_text("Q. Guten Tag, Frau Müller.\n", encoding="utf-8")
    document = RenditionSet(
        partition=KEYS[0],
        transcript_version="000001-0123456789ab",
        transcript_sha256="0" * 64,
        files=(
            Rendition(file="transcript.txt", format="txt", media_type="text/plain", sha256="0" * 64, size_bytes=28),
        ),
    )
    put(products, "transcript_exports", KEYS[0], document, folder)
    defs = definitions(products, stage("transcript_exports"))
    loaded = load(instance, defs, "transcript_exports", KEYS[0])
    assert isinstance(loaded, ProductFiles)
    assert loaded.document == document
    assert loaded.names == ("transcript.txt", "transcript_exports.json")
    assert loaded.read_text("transcript.txt") == "Q. Guten Tag, Frau Müller.\n"
    (path,) = loaded.fetch(tmp_path / "out", ("transcript.txt",))
    assert path.read_bytes() == (folder / "transcript.txt").read_bytes()


def test_any_product_is_loaded_with_its_files_on_request(local: ProductStore, tmp_path: Path, instance: Any) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "turns.rttm").write_bytes(b"")
    put(local, "speaker_turns", KEYS[0], figures(KEYS[0]), folder)
    defs = definitions(local, stage("speaker_turns"))
    loaded = load(instance, defs, "speaker_turns", KEYS[0], ProductFiles)
    assert isinstance(loaded, ProductFiles)
    assert loaded.document == figures(KEYS[0])
    assert loaded.names == ("figures.json", "turns.rttm")


def test_a_product_that_is_not_there_is_said_with_its_key(local: ProductStore, instance: Any) -> None:
    with pytest.raises(FileNotFoundError, match=f"speaker_turns of {KEYS[0]}"):
        load(instance, definitions(local, stage("speaker_turns")), "speaker_turns", KEYS[0])


@pytest.mark.parametrize("key", ["../../evil", "a/b", "", "A"])
def test_a_key_that_is_none_reaches_no_store(local: ProductStore, key: str, instance: Any) -> None:
    instance.add_dynamic_partitions("recordings", [key])  # Dagster takes any
    with pytest.raises(ConfigurationError, match="partition key"):
        load(instance, definitions(local, stage("speaker_turns")), "speaker_turns", key)


def test_a_spoilt_product_is_not_loaded(local: ProductStore, instance: Any) -> None:
    put(local, "speaker_turns", KEYS[0], figures(KEYS[0]))
    head = local.version("speaker_turns", KEYS[0])
    local.objects.write_bytes(f"derived/speaker_turns/{KEYS[0]}/{head.version}/figures.json", b"{}")
    with pytest.raises(CorruptProduct):
        load(instance, definitions(local, stage("speaker_turns")), "speaker_turns", KEYS[0])


def test_the_prefix_of_asset_keys_is_no_part_of_where_products_lie(local: ProductStore, instance: Any) -> None:
    @dg.asset(name="speaker_turns", key_prefix=["archive", "old"], partitions_def=recordings)
    def asset() -> None: ...

    put(local, "speaker_turns", KEYS[0], figures(KEYS[0]))
    defs = definitions(local, asset, asset_key_prefix="archive/old")
    loaded = defs.load_asset_value(["archive", "old", "speaker_turns"], partition_key=KEYS[0], instance=instance)
    assert loaded == figures(KEYS[0])


def range_tags(first: str, last: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def test_a_range_run_loads_a_dict_and_a_missing_neighbour_is_left_out(products: ProductStore, instance: Any) -> None:
    put(products, "speaker_turns", KEYS[0], figures(KEYS[0]))
    put(products, "speaker_turns", KEYS[2], REJECTION)
    seen = {}

    @dg.asset(partitions_def=recordings, backfill_policy=dg.BackfillPolicy.single_run())
    def mine(speaker_turns: dict[str, Document]) -> None:
        seen.update(speaker_turns)

    defs = definitions(products, stage("speaker_turns"), mine)
    job = defs.resolve_implicit_global_asset_job_def()
    ended = job.execute_in_process(
        asset_selection=[dg.AssetKey("mine")], tags=range_tags(KEYS[0], KEYS[3]), instance=instance
    )
    assert ended.success
    assert seen == {KEYS[0]: figures(KEYS[0]), KEYS[2]: REJECTION}


def test_another_asset_stores_documents_and_reads_them_back(
    products: ProductStore, instance: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "chart.png").write_bytes(b"png")

    @dg.asset(partitions_def=recordings)
    def counted() -> Figures:
        return Figures(words=7)

    @dg.asset(partitions_def=recordings)
    def drawn(counted: Figures) -> WithFiles:
        return WithFiles(Figures(words=counted.words + 1), folder)

    defs = definitions(products, counted, drawn)
    job = defs.resolve_implicit_global_asset_job_def()
    for again in (False, True):
        ended = job.execute_in_process(partition_key=KEYS[1], instance=instance)
        assert ended.success
        (event,) = ended.asset_materializations_for_node("counted")
        assert event.metadata["digest"].value == products.version("counted", KEYS[1]).digest
        assert len(products.versions("counted", KEYS[1])) == 1, again
    assert load(instance, defs, "counted", KEYS[1]) == Figures(words=7)
    loaded = load(instance, defs, "drawn", KEYS[1], ProductFiles)
    assert isinstance(loaded, ProductFiles)
    assert loaded.document == Figures(words=8)
    assert loaded.read_bytes("chart.png") == b"png"


def test_a_range_run_stores_one_document_for_each_key(products: ProductStore, instance: Any) -> None:
    @dg.asset(partitions_def=recordings, backfill_policy=dg.BackfillPolicy.single_run())
    def counted(context: dg.AssetExecutionContext) -> dict[str, Figures]:
        return {key: Figures(words=number) for number, key in enumerate(context.partition_keys)}

    defs = definitions(products, counted)
    job = defs.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(tags=range_tags(KEYS[1], KEYS[3]), instance=instance).success
    for number, key in enumerate(KEYS[1:]):
        assert load(instance, defs, "counted", key) == Figures(words=number)
    assert products.head("counted", KEYS[0]) is None


def test_an_asset_without_partitions_has_one_product(products: ProductStore, instance: Any) -> None:
    @dg.asset
    def report() -> Figures:
        return Figures(words=1)

    @dg.asset
    def reader(report: Figures) -> Figures:
        return Figures(words=report.words + 1)

    defs = definitions(products, report, reader)
    assert defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
    assert defs.load_asset_value("reader") == Figures(words=2)
    assert products.head("reader", "all") is not None


@pytest.mark.parametrize(
    "value", [{"words": 1}, "text", 3.5, object(), b"bytes"], ids=["dict", "str", "float", "object", "bytes"]
)
def test_what_is_no_document_is_refused_in_one_line(local: ProductStore, instance: Any, value: object) -> None:
    @dg.asset(partitions_def=recordings)
    def other() -> Any:
        return value

    defs = definitions(local, other)
    with pytest.raises(ConfigurationError, match="nothing is pickled") as error:
        defs.resolve_implicit_global_asset_job_def().execute_in_process(partition_key=KEYS[0], instance=instance)
    assert "\n" not in str(error.value)
    assert list(local.objects.list()) == []


def test_a_range_run_that_forgets_a_key_stores_nothing(local: ProductStore, instance: Any) -> None:
    @dg.asset(partitions_def=recordings, backfill_policy=dg.BackfillPolicy.single_run())
    def other() -> Any:
        return {KEYS[0]: Figures(words=1)}

    defs = definitions(local, other)
    with pytest.raises(ConfigurationError, match="2 partitions"):
        defs.resolve_implicit_global_asset_job_def().execute_in_process(
            tags=range_tags(KEYS[0], KEYS[1]), instance=instance
        )
    assert list(local.objects.list()) == []


def test_an_op_that_returns_a_value_is_refused(local: ProductStore) -> None:
    @dg.op
    def value() -> int:
        return 1

    @dg.job(resource_defs=io_managers(lambda: local))
    def job() -> None:
        value()

    with pytest.raises(ConfigurationError, match="ops"):
        job.execute_in_process()


def test_an_asset_that_returns_nothing_stores_nothing(local: ProductStore, instance: Any) -> None:
    @dg.asset(partitions_def=recordings)
    def unannotated():  # type: ignore[no-untyped-def]
        return None

    @dg.asset(partitions_def=recordings, io_manager_key="products", output_required=False)
    def like_a_stage() -> Any:
        yield dg.MaterializeResult(metadata={"words": 1})

    defs = definitions(local, unannotated, like_a_stage)
    assert (
        defs.resolve_implicit_global_asset_job_def()
        .execute_in_process(partition_key=KEYS[0], instance=instance)
        .success
    )
    assert list(local.objects.list()) == []


def test_the_store_is_not_opened_before_it_is_needed() -> None:
    def unavailable() -> ProductStore:
        raise AssertionError("opened")

    defs = dg.Definitions(assets=[stage("speaker_turns")], resources=io_managers(unavailable))
    assert defs.resolve_asset_graph().get_all_asset_keys() == {dg.AssetKey("speaker_turns")}


def test_a_document_knows_its_class_and_an_unknown_one_says_what_to_do(local: ProductStore, instance: Any) -> None:
    assert document_type("speaker_turns") is SpeakerTurns
    assert document_type("figures") is Figures
    assert document_type("nobody's") is None

    class Stranger(Document):
        document: str = "stranger"

    put(local, "counted", KEYS[0], Stranger.model_construct(document="stranger-2"))
    with pytest.raises(ConfigurationError, match="python_type"):
        load(instance, definitions(local, stage("counted")), "counted", KEYS[0])


def test_nothing_here_can_read_a_pickle() -> None:
    """The default IO manager of Dagster unpickles whatever lies in storage; ours takes its place."""
    managers = io_managers(lambda: ProductStore(open_store("nowhere")))
    assert managers["io_manager"] is managers["products"]
