"""Which speakers of separately diarized windows are the same person, from their centroids. Arrays in, labels out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LINKING_THRESHOLD = 0.35
"""Cosine distance up to which two windows' speakers are one. With the demo models one voice in two windows is 0.04 to
0.18 from itself and 0.55 or more from others, where windows hold it unmixed; with the starter's at most 0.14, and 0.58
or more, but for a judge who said two sentences (0.42) and two alike voices on the telephone (0.25)."""

Centroids = NDArray[np.float64]


def link(
    windows: Sequence[Centroids],
    seconds: Sequence[Sequence[float]],
    *,
    threshold: float = LINKING_THRESHOLD,
    min_speakers: int | None = None,
    max_speakers: int | None = None,
) -> list[list[int]]:
    """For every speaker of every window the number of the person, from 0 in order of appearance here.

    `windows` holds one array of shape `(speakers, dimension)` for each window and `seconds` how long each spoke, which
    is the weight of its centroid. The two closest clusters are joined, by cosine distance of their weighted mean
    directions, until they are farther apart than `threshold`; two speakers of one window are never joined. Joining
    stops before fewer than `min_speakers` are left and goes on beyond the threshold while more than `max_speakers`
    are, as far as windows allow. Of equally close pairs the earlier one is joined. Centroids of zeros are near nobody.
    """
    members = [[(window, row)] for window, centroids in enumerate(windows) for row in range(len(centroids))]
    if not members:
        return [[] for _ in windows]
    sums = np.stack(
        [
            _unit(np.asarray(windows[window][row], dtype=np.float64)) * max(seconds[window][row], 1e-3)
            for ((window, row),) in members
        ]
    )
    apart = np.array([[a[0][0] == b[0][0] for b in members] for a in members])
    while len(members) > (min_speakers or 1):
        directions = _unit(sums)
        distances = np.where(apart, np.inf, 1.0 - directions @ directions.T)
        one, other = divmod(int(np.argmin(distances)), len(members))
        within = distances[one, other] <= threshold or (max_speakers is not None and len(members) > max_speakers)
        if not (within and np.isfinite(distances[one, other])):
            break
        members[one] += members.pop(other)
        sums[one] += sums[other]
        apart[one] |= apart[other]
        apart[:, one] = apart[one]
        apart[one, one] = True
        sums = np.delete(sums, other, axis=0)
        apart = np.delete(np.delete(apart, other, axis=0), other, axis=1)
    labels = [[0] * len(centroids) for centroids in windows]
    for person, cluster in enumerate(sorted(members, key=min)):
        for window, row in cluster:
            labels[window][row] = person
    return labels


def _unit(vectors: Centroids) -> Centroids:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    units: Centroids = vectors / np.where(lengths > 0, lengths, 1.0)
    return units
