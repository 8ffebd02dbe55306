"""Memory in large pages for the engines on a CPU, where the C library is glibc.

Every layer of a network asks for its results' memory anew, hundreds of megabytes a second, and the system hands that
out in pages of 4 kB, each of them cleared and mapped by itself: a fifth of the time that Whisper and the embedding of
voices take on a processor. glibc asks for large pages where `GLIBC_TUNABLES` says so when a process starts; nothing can
say so later. Nothing else is imported here: the command answers at once.
"""

import os
import sys

VARIABLE, LARGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def for_children() -> bool:
    """Gives the processes that this one starts large pages; whether this one was started without.

    What somebody chose who knows the variable stays.
    """
    if sys.platform != "linux" or VARIABLE in os.environ:
        return False
    os.environ[VARIABLE] = LARGE
    return True


def for_this_process() -> None:
    """Starts the program anew where it was started without, before it did anything; returns where it has them."""
    if for_children():
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the same program with the same arguments
