"""Label shift: what the shares of the labels must be now, from the predictions alone."""

import numpy as np

from monitors.counting.layouts import Layout
from monitors.counting.segments import OTHER
from monitors.readings import FloatArray, LabelShift

LEAST_SINGULAR = 0.1
"""Below it the classes are predicted too much alike: an error of the counts would come back ten times as large."""
FEWEST_ROWS = 200


def label_shift(confusion: FloatArray, predicted: FloatArray) -> tuple[FloatArray, str]:
    """Shares of the labels now, [B], from the counts of the predictions now [B]; NaN with the reason where unknown.

    A p = m, with A[i, j] = P(predicted i | label j) of the baseline and m the shares of the predictions now, is solved
    by least squares for p >= 0, sum 1. The weight of a class is w = p / its share in the baseline.

    Read it: a class with w = 2 is twice as frequent as it was. True where classes changed their shares and each class
    looks as it did; where the concept or the looks of a class changed, it is not. Source: Lipton, Wang and Smola, 2018
    (black box shift estimation); non-negative least squares by Lawson and Hanson, 1974.

    >>> import numpy as np
    >>> confusion = np.array([[450.0, 50.0], [50.0, 450.0]])
    >>> label_shift(confusion, np.array([260.0, 740.0]))[0].round(2).tolist()
    [0.2, 0.8]
    """
    from scipy.optimize import nnls  # noqa: PLC0415  a third of a second that most processes never need

    unknown = np.full(len(confusion), np.nan)
    labels = confusion.sum(axis=0)
    if not labels.any():
        return unknown, "the baseline has no labels"
    if predicted.sum() < FEWEST_ROWS:
        return unknown, f"fewer than {FEWEST_ROWS} rows"
    seen = labels > 0
    alike = confusion[:, seen] / labels[seen]
    if np.linalg.svd(alike, compute_uv=False).min() < LEAST_SINGULAR:
        return unknown, "some classes are predicted too much alike to tell their shares apart"
    solved, _ = nnls(alike, predicted / predicted.sum())
    unknown[seen] = solved / max(float(solved.sum()), 1e-12)
    return unknown, ""


def read_label_shift(layout: Layout, confusion: FloatArray, profile: FloatArray) -> LabelShift | None:
    """The shares of the labels for one profile [width]; None for a regression or a baseline without labels."""
    if not confusion.any():
        return None
    place = next(i for i, c in enumerate(layout.columns) if c.name == "prediction")
    now, problem = label_shift(confusion, layout.column_bins(profile, place))
    labels = confusion.sum(axis=0)
    return LabelShift((*layout.columns[place].categories, OTHER), now, labels / labels.sum(), problem)
