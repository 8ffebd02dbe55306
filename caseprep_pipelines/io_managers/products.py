"""The IO manager: Dagster's way to load the project's products, and to store other people's documents beside them.

A thin face of `storage.products.ProductStore`; versions, digests and atomic writes happen there. Bound as the default
(`io_manager`) as well, so that nothing in the code location is ever pickled.
See https://docs.dagster.io/guides/build/io-managers.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dagster import InputContext, IOManagerDefinition, OutputContext, UPathIOManager

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.io_managers.values import AudioFiles, ProductFiles, WithFiles, document_type
from caseprep_pipelines.rejections import Rejection
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.keys import check_partition_key
from caseprep_pipelines.storage.products import MissingProduct, ProductStore, ProductVersion

if TYPE_CHECKING:
    from upath import UPath

#: Under this name lies the product of an asset that has no partitions.
UNPARTITIONED = "all"

#: Products that are handed over with their files; of all others the document is what people want.
_WITH_FILES: Mapping[str, type[ProductFiles[Any]]] = {
    "normalized_audio": AudioFiles,
    "transcript_exports": ProductFiles,
}


def io_managers(store: Callable[[], ProductStore], asset_key_prefix: str = "") -> dict[str, IOManagerDefinition]:
    """Resources for `Definitions`: one IO manager, under `products` and as the default.

    `store` is called when something is first loaded or stored; `asset_key_prefix` (parts separated by `/`) is what
    asset keys begin with that the store's asset names do not.
    """
    manager = IOManagerDefinition(lambda _context: ProductIOManager(store, asset_key_prefix))
    return {"products": manager, "io_manager": manager}


class ProductIOManager(UPathIOManager):
    """Loads and stores products, one partition at a time.

    One key loads one value, several keys a dict from which those without a product are left out. A value is the
    `Document`, `AudioFiles` for normalized audio, `ProductFiles` for rendition sets (or wherever it is asked for by
    type), or the `Rejection` that stands in its place. Stored are a `Document`, or `WithFiles`; in a run over several
    partitions a dict of them by key. Everything else is refused: nothing is pickled.
    """

    def __init__(self, store: Callable[[], ProductStore], asset_key_prefix: str = "") -> None:
        super().__init__()
        self._store = store
        self._prefix = tuple(part for part in asset_key_prefix.split("/") if part)

    def load_from_path(self, context: InputContext, path: "UPath") -> Any:
        asset, partition = _parts(path, context)
        wanted = context.dagster_type.typing_type
        store = self._store()
        try:
            version = store.version(asset, partition)
            return _value(store, version, wanted if isinstance(wanted, type) else object)
        except MissingProduct as missing:
            raise FileNotFoundError(str(missing)) from None

    def load_partitions(self, context: InputContext) -> Any:
        if len(context.asset_partition_keys) == 1:
            return super().load_partitions(context)
        loaded = {}
        for key, path in self._get_paths_for_partitions(context).items():
            try:
                loaded[key] = self.load_from_path(context, path)
            except FileNotFoundError as missing:
                # Recordings fail on their own; one that has no product yet costs its neighbours nothing.
                context.log.warning(f"left out: {missing}")
        return loaded

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        if obj is None:
            return
        if not context.has_asset_key:
            raise ConfigurationError("Only assets are stored here, not the outputs of ops; let the op return nothing.")
        if not context.has_asset_partitions:
            self.dump_to_path(context, obj, self._get_path(context))
            return
        paths = self._get_paths_for_partitions(context)
        values = obj if len(paths) > 1 else {next(iter(paths)): obj}
        if not isinstance(values, Mapping) or set(values) != set(paths):
            raise ConfigurationError(
                f"A run over {len(paths)} partitions must return a dict with one document for each partition key; "
                "where some may fail, write through the product store and log what was written."
            )
        for key, path in paths.items():
            self.dump_to_path(context, values[key], path)

    def dump_to_path(self, context: OutputContext, obj: Any, path: "UPath") -> None:
        asset, partition = _parts(path, context)
        document, folder = (obj.document, obj.folder) if isinstance(obj, WithFiles) else (obj, None)
        if not isinstance(document, Document):
            raise ConfigurationError(
                f"{asset} returned a {type(obj).__name__}: assets stored here return a "
                "caseprep_pipelines.storage.document.Document (nothing is pickled). Declare one, name another "
                "io_manager_key, or return nothing."
            )
        store = self._store()
        # What shaped the document is known to the asset only, so an equal document counts as the same product.
        version = store.write(asset, partition, document, folder, fingerprint="", inputs={})
        if not context.has_asset_partitions or len(context.asset_partition_keys) == 1:
            context.add_output_metadata(
                {"version": version.version, "digest": version.digest, "uri": store.uri(version)}
            )

    def get_asset_relative_path(self, context: InputContext | OutputContext) -> "UPath":
        parts = tuple(context.asset_key.path)
        if parts[: len(self._prefix)] == self._prefix:
            parts = parts[len(self._prefix) :]
        return self._base_path / ".".join(parts)

    def get_path_for_partition(self, context: InputContext | OutputContext, path: "UPath", partition: str) -> "UPath":
        return path / check_partition_key(partition)

    def path_exists(self, path: "UPath") -> bool:
        asset, _, partition = path.as_posix().partition("/")
        return self._store().head(asset, partition or UNPARTITIONED) is not None


def _parts(path: "UPath", context: InputContext | OutputContext) -> tuple[str, str]:
    if not context.has_asset_partitions:
        return path.as_posix(), UNPARTITIONED
    return path.parent.as_posix(), path.name


def _value(store: ProductStore, version: ProductVersion, wanted: type) -> Any:
    asset, partition = version.asset, version.partition
    if version.rejected:
        return store.read(asset, partition, Rejection, version.version)
    asked = issubclass(wanted, Document) and wanted is not Document
    model = wanted if asked else document_type(version.manifest.kind)
    if model is None:
        raise ConfigurationError(
            f"{asset} holds a {version.manifest.kind} document that no imported module declares: import the module, "
            "or ask for the value with its type (python_type=…)"
        )
    document = store.read(asset, partition, model, version.version)
    files: type[ProductFiles[Any]] | None = (
        wanted if issubclass(wanted, ProductFiles) else None if asked else _WITH_FILES.get(version.manifest.kind)
    )
    return document if files is None else files(document, version, store)
