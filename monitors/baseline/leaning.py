"""Leaning: how many rows' worth of a wider group's shares a part may borrow.

A part with few rows (a small segment, one hour of the day) knows its own shares badly. Where the parts of a group are
alike, the group's shares say much about each of them; where they are not, nothing. How alike they are is learned from
the parts themselves, so that what differs by nature borrows nothing.
"""

import numpy as np

from monitors.readings import FloatArray

_STRANGE = 3.0
"""A part this many standard deviations less alike than its group's parts are leans by its own likeness."""


def rows_to_borrow(parts: FloatArray, whole: FloatArray, together: tuple[int, ...]) -> FloatArray:
    """Rows' worth of the group's shares that each part may borrow: k of a Dirichlet prior k q.

    X2 = sum of (m - M q)^2 / (M q) has the mean (B - 1) (1 - M / M_group) (1 + (M - 1) rho) where the parts' shares
    differ from the group's q by the variance rho q (1 - q); rho, with one standard deviation of its chance added, is
    pooled over the axes `together`, and k = 1 / rho - 1. Never more than the group's own rows.

    Args:
        parts: counts of the parts [..., B].
        whole: counts of the group of each part [..., B], the part's own among them.
        together: axes of [...] whose parts are taken to be equally alike.

    Source: the Dirichlet-multinomial's moments (Mosimann, 1962), pooled as in empirical Bayes (Robbins, 1956).

    >>> import numpy as np
    >>> alike = np.array([[50.0, 50.0], [48.0, 52.0], [55.0, 45.0], [49.0, 51.0]])
    >>> different = np.array([[90.0, 10.0], [5.0, 95.0], [60.0, 40.0], [47.0, 53.0]])
    >>> a, d = (rows_to_borrow(x, x.sum(axis=0) + 0 * x, (0,)) for x in (alike, different))
    >>> bool(a.min() > 50), bool(d.max() < 5)
    (True, True)
    """
    shares = whole / np.maximum(whole.sum(axis=-1, keepdims=True), 1)
    rows, group = parts.sum(axis=-1), whole.sum(axis=-1)
    expected = rows[..., None] * shares
    square = ((parts - expected) ** 2 / np.maximum(expected, 1e-12)).sum(axis=-1, where=expected > 0)
    bins = np.maximum((whole > 0).sum(axis=-1) - 1, 0)
    freedom = np.where(rows > 1, bins * (1 - rows / np.maximum(group, 1)), 0.0)
    all_freedom = freedom.sum(axis=together, keepdims=True)
    typical = (freedom * rows).sum(axis=together, keepdims=True) / np.maximum(all_freedom, 1e-9)
    ratio = np.where(freedom > 0, square, 0.0).sum(axis=together, keepdims=True) / np.maximum(all_freedom, 1e-9)
    chance = np.sqrt(2 / np.maximum(all_freedom, 1e-9))
    rho = np.maximum(ratio * (1 + chance) - 1, 1e-9) / np.maximum(typical - 1, 1)
    own = square / np.maximum(freedom, 1e-9)
    usual = 1 + (rows - 1) * rho
    strange = own > usual * (1 + _STRANGE * np.sqrt(2 / np.maximum(freedom, 1e-9)))
    rho = np.where(strange, np.maximum(rho, (own - 1) / np.maximum(rows - 1, 1)), rho)
    borrowed = np.maximum(1 / np.minimum(rho, 1.0) - 1, 0.0)
    borrowed = 1 / (1 / np.maximum(borrowed, 1e-9) + 1 / np.maximum(group - rows, 1e-9))
    return np.where(all_freedom > 0, borrowed, 0.0)
