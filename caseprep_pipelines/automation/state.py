"""The state of recordings as `decisions` wants it, read from the catalog. Decides nothing."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from caseprep_pipelines.automation.decisions import StageState

if TYPE_CHECKING:
    from caseprep_pipelines.assets.stage import Stage
    from caseprep_pipelines.catalog.progress import Product
    from caseprep_pipelines.resources.pipeline import Pipeline


def read_states(
    pipeline: "Pipeline", partitions: Collection[str], *, settings_matter: bool, look_again: bool = False
) -> dict[str, dict[str, StageState]]:
    """How every stage stands for these recordings.

    With `settings_matter` a product that other settings, models or inputs made counts as stale: a person who asks
    again with another model wants its result. The sensors leave old products alone, since doing an archive again is
    a decision about money. With `look_again` a rejection counts as stale at the stage that found it: whoever asks
    again may have changed a limit or the scanner.
    """
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.catalog import progress

    products = progress.products(pipeline.catalog, partitions)
    faults = progress.faults(pipeline.catalog, partitions)
    stale = _stale(pipeline, products) if settings_matter else set()
    if look_again:
        stale |= {(partition, stage) for partition, done in products.items() for stage in _rejected_here(done)}
    states: dict[str, dict[str, StageState]] = {}
    for partition in partitions:
        for stage in STAGES:
            fault = faults.get(partition, {}).get(stage.name)
            states.setdefault(partition, {})[stage.name] = StageState(
                done=stage.name in products.get(partition, {}),
                stale=(partition, stage.name) in stale,
                faults=fault.attempts if fault else 0,
                last_fault=fault.last_at if fault else None,
            )
    return states


def _stale(pipeline: "Pipeline", products: "dict[str, dict[str, Product]]") -> set[tuple[str, str]]:
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.assets.stage import MATTER_INPUT
    from caseprep_pipelines.catalog import registry

    matters = {partition: row.matter for partition, row in registry.recordings(pipeline.catalog, products).items()}
    settings = {matter: pipeline.matter(matter) for matter in set(matters.values())}
    code_versions = {stage.name: stage.code_version(pipeline.settings) for stage in STAGES}

    def is_stale(partition: str, stage: "Stage") -> bool:
        product = products[partition].get(stage.name)
        if product is None:
            return False
        current = {name: other.digest for name, other in products[partition].items()}
        if MATTER_INPUT in product.inputs:
            current[MATTER_INPUT] = stage.matter_digest(settings[matters[partition]])
        return product.code_version != code_versions[stage.name] or any(
            current.get(name) != digest for name, digest in product.inputs.items()
        )

    return {(partition, stage.name) for partition in products for stage in STAGES if is_stale(partition, stage)}


def _rejected_here(done: "dict[str, Product]") -> list[str]:
    """The stages that rejected the recording themselves; the others passed an earlier stage's rejection on."""
    return [
        stage
        for stage, product in done.items()
        if product.rejected and not any(name in done and done[name].rejected for name in product.inputs)
    ]
