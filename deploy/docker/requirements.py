"""Prints what of requirements.lock one image holds: `python requirements.py slim|speech` in the checkout's folder.

Which packages those are stands in `slim.txt` and `speech.txt`, names only, written by `make lock`; versions and hashes
stand in requirements.lock alone.
"""

import re
import sys
from pathlib import Path


def chosen(lock: str, names: set[str]) -> str:
    """The lock's entries of these names, each with its hashes. Raises `ValueError` where one is missing."""
    entries = re.findall(r"^([a-z0-9._-]+)(==.*(?:\n[ ]+--hash.*)*)$", lock, re.MULTILINE)
    missing = names - {name for name, _ in entries}
    if missing:
        raise ValueError(f"not in requirements.lock: {', '.join(sorted(missing))}; run `make lock`")
    return "\n".join(name + rest for name, rest in entries if name in names) + "\n"


if __name__ == "__main__":
    here = Path(__file__).parent
    wanted = set((here / f"{sys.argv[1]}.txt").read_text(encoding="utf-8").split())
    print(chosen(Path("requirements.lock").read_text(encoding="utf-8"), wanted), end="")
