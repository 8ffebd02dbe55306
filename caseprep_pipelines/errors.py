"""The two ways in which work stops that are not the recording's fault.

A recording that can never be processed is a rejection (see `rejections`), not an error of these kinds.
"""


class Fault(Exception):
    """A passing failure of the world: storage, database, accelerator, process. Retried, never a verdict."""


class ConfigurationError(Exception):
    """Wrong usage or configuration; the message is one line that says what to do. The command exits with 2."""
