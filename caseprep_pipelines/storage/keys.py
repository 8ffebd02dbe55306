"""The one function each for partition keys, matter ids and the names of output folders.

Dagster validates no partition key and file names can be hostile, so nothing else in the project composes these.
Object names as such are checked in `objects`; which objects make up a product is known to `products`.
"""

import hashlib
import json
import re
import unicodedata

from caseprep_pipelines.errors import ConfigurationError

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY_DIGITS = 12
#: Longest matter id that still leaves room for the dash and the digits in a key of 128 characters.
_MATTER_LENGTH = 128 - 1 - _KEY_DIGITS
#: File systems allow names of 255 bytes; a key takes up to 128 and the two dashes 2. Shorter stays readable.
_STEM_BYTES = 80


def matter_id(text: str) -> str:
    """`text` as a matter id; raises `ConfigurationError` where it is none.

    A matter id is the firm's number, such as `2024-cv-00123`: lower-case letters, digits, `.`, `_` and `-`. It is
    never silently changed, because two numbers must not become one matter.
    """
    if len(text) <= _MATTER_LENGTH and _KEY.fullmatch(text) and ".." not in text:
        return text
    raise ConfigurationError(
        f"{_quoted(text)} is no matter id: use the firm's number in lower-case letters, digits, dots, dashes and "
        f"underscores, beginning with a letter or digit, at most {_MATTER_LENGTH} characters (like 2024-cv-00123)"
    )


def origin_digest_of_file(sha256: str) -> str:
    """Hex digest that identifies a local file by its content: the same file given twice is one origin."""
    if not _DIGEST.fullmatch(sha256):
        raise ValueError("not a hex SHA-256")
    return _digest("file", sha256)


def origin_digest_of_object(bucket: str, key: str, version_id: str | None, etag: str, size: int) -> str:
    """Hex digest that identifies one version of one object.

    The version is the S3 version id where the bucket keeps versions (unversioned buckets say None or `null`), else
    the ETag, with or without its quotes, and the size in bytes.
    """
    if version_id and version_id != "null":
        return _digest("object", bucket, key, "version", version_id)
    return _digest("object", bucket, key, "etag", etag.strip('"'), size)


def partition_key(matter: str, origin_digest: str) -> str:
    """The partition key of a recording: its matter's id, a dash and twelve hex digits of `origin_digest`.

    Raises `ConfigurationError` for a bad matter id and `ValueError` for what is no hex SHA-256.
    """
    if not _DIGEST.fullmatch(origin_digest):
        raise ValueError("not a hex SHA-256")
    return check_partition_key(f"{matter_id(matter)}-{origin_digest[:_KEY_DIGITS]}")


def check_partition_key(key: str) -> str:
    """`key` itself; raises `ConfigurationError` where it could not have come from `partition_key`'s alphabet."""
    if _KEY.fullmatch(key) and ".." not in key:
        return key
    raise ConfigurationError(
        f"{_quoted(key)} is no partition key: at most 128 lower-case letters, digits, dots, dashes and underscores, "
        "beginning with a letter or digit and without two dots in a row"
    )


def output_folder_name(stem: str, key: str) -> str:
    """`STEM--KEY`: what a person recognises of a file's name, made safe, and the key that makes it unique.

    Letters, marks and digits of any script stay; everything else (separators, quotes, dots, control and
    direction-changing characters) becomes `_`. At most 210 bytes in UTF-8, one path component.
    """
    kept = (
        char if char in "-_" or unicodedata.category(char)[0] in "LMN" else "_"
        for char in unicodedata.normalize("NFC", stem)
    )
    readable = re.sub("_+", "_", "".join(kept))
    readable = readable.encode()[:_STEM_BYTES].decode(errors="ignore").strip("-_")
    return f"{readable or 'recording'}--{check_partition_key(key)}"


def _digest(*parts: str | int) -> str:
    # JSON rather than joined text: no two lists of parts can then spell the same bytes.
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
