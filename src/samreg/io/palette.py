"""Colours of pairs: the same in the report, the viewer and 3D Slicer.

The ten colours lie far apart for everybody: CIEDE2000 of any two is at least 19 with normal sight and at least 11 with
protanopia, deuteranopia and tritanopia (Machado et al. 2009), and at least 9 from white and from black paper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["PALETTE", "RGB", "colours_apart", "pair_colour"]

RGB = tuple[int, int, int]

PALETTE: tuple[RGB, ...] = (
    (250, 250, 50),
    (225, 25, 150),
    (175, 175, 250),
    (0, 150, 100),
    (0, 225, 200),
    (150, 100, 250),
    (225, 50, 0),
    (250, 125, 150),
    (200, 175, 75),
    (200, 250, 175),
)
"""RGB, 0 to 255."""


def pair_colour(index: int) -> RGB:
    """RGB, 0 to 255, of what has no neighbours to differ from: the palette over and over."""
    return PALETTE[index % len(PALETTE)]


def colours_apart(neighbours: Sequence[Sequence[int]], known: Sequence[RGB | None] = ()) -> list[RGB]:
    """Colours for things in their order, so that each differs from its nearest neighbours.

    Without known colours the first ten things all differ. Each later one differs from its neighbours as long as fewer
    than ten of them have a colour; where more have one, from the nearest.

    Args:
        neighbours: of each thing the numbers of its neighbours, the nearest first.
        known: of each thing the colour that it is known by, or None; none by default. It is kept unless a neighbour
            before it is known by the same.
    """
    n = len(PALETTE)
    chosen: dict[int, int] = {}
    for i, colour in enumerate(known):
        if colour in PALETTE:
            index = PALETTE.index(colour)
            if all(chosen.get(other) != index for other in neighbours[i]):
                chosen[i] = index
    fresh = not chosen
    for i, near in enumerate(neighbours):
        if i in chosen:
            continue
        if fresh and i < n:
            chosen[i] = i
            continue
        taken: list[int] = []
        for other in near:
            if other in chosen and chosen[other] not in taken and len(taken) < n - 1:
                taken.append(chosen[other])
        counts = Counter(chosen.values())
        chosen[i] = min((c for c in range(n) if c not in taken), key=lambda colour: (counts[colour], colour))
    return [PALETTE[chosen[i]] for i in range(len(neighbours))]
