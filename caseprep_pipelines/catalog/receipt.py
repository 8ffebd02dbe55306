"""The product of the stage that loads the catalog. The rows themselves are in `tables`."""

from typing import Literal

from caseprep_pipelines.storage.document import Document


class CatalogReceipt(Document):
    """What was loaded: the product of this stage is rows, and this says which."""

    document: Literal["transcript_catalog"] = "transcript_catalog"
    schema_version: Literal[1] = 1
    partition: str
    transcript_version: str
    transcript_digest: str
    utterances: int
    words: int
