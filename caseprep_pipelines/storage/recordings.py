"""Which files are meant as recordings, wherever they lie. What is in them is found out in `audio`."""

#: Files that are no recordings, and the names that programs give to files they are still writing.
NOT_RECORDINGS = frozenset({"matter.toml", "thumbs.db", "desktop.ini"})
UNFINISHED_SUFFIXES = frozenset({".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".download"})

#: The matter of files that lie in no matter's folder.
UNFILED = "unfiled"


def is_recording(name: str) -> bool:
    """Whether a file with this name, relative to where one looks, is meant as a recording; hidden and unfinished
    files are not."""
    last = name.rpartition("/")[2].lower()
    return (
        not f"/{name}".count("/.")
        and last not in NOT_RECORDINGS
        and f".{last.rpartition('.')[2]}" not in UNFINISHED_SUFFIXES
        and not last.endswith("~")
    )
