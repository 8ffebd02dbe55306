"""Which model said so: the identity that products carry."""

from caseprep_pipelines.storage.document import Part


class ModelIdentity(Part):
    """A model directory as used."""

    name: str
    digest: str
    """Hex SHA-256 over the directory's files, by `models.digests.directory_digest`."""
    demo: bool = False
    """True for the models that ship with the project and know only the demo's language."""
    clip_seconds: float = 30.0
    """The longest clip that the model was trained for."""
