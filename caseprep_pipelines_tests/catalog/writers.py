"""What the other processes of the tests with several writers do. Imports little: each process does it again."""

from caseprep_pipelines.catalog import loading, registry
from caseprep_pipelines.catalog.database import open_catalog
from caseprep_pipelines.custody import chain
from caseprep_pipelines_tests.catalog.examples import recording, sha, transcript


def register_some(url: str, process: int, each: int) -> list[str]:
    """Registers recordings of its own and ones that every process registers; returns which were new."""
    catalog = open_catalog(url)
    done = []
    for number in range(each):
        new = [recording(f"{process}-{number}.mp3"), recording(f"shared-{number}.mp3")]
        done += [entry.partition for entry in registry.register(catalog, new, "test") if entry.new]
    catalog.close()
    return done


def load_versions(url: str, partition: str, process: int, each: int) -> None:
    """Loads versions of one recording's transcript; every process has others."""
    catalog = open_catalog(url)
    for number in range(each):
        ordinal = number * 10 + process
        document = transcript(partition, f"This is version {ordinal}.", "And more.")
        loading.load_transcript(catalog, document, f"{ordinal:06d}-{sha(str(ordinal))[:12]}", sha(str(ordinal)))
    catalog.close()


def append_some(url: str, partition: str, process: int, each: int) -> list[int]:
    """Appends accesses of its own and products that every process enters; returns all sequences."""
    catalog = open_catalog(url)
    sequences = []
    for number in range(each):
        access = chain.Access(action=f"read-{number}", actor=f"account-{process}")
        product = chain.Product(asset="transcript", version=f"{number:06d}", digest=sha(str(number)), software="x 1")
        sequences += [chain.append(catalog, partition, payload).sequence for payload in (access, product)]
    catalog.close()
    return sequences
