"""Attribution: how much of a loss came with other rows, and how much with another answer to the same rows."""

import numpy as np

from monitors.counting.labelled_cells import LabelledCells
from monitors.counting.scores import METRICS
from monitors.reading.estimates import stratified, stratum_means
from monitors.readings import FloatArray, IntArray


def attribute(
    cells: LabelledCells, metric: str, window: FloatArray, older: FloatArray, parents: IntArray
) -> tuple[FloatArray, FloatArray]:
    """The covariate and the concept part [S] of the drop of a metric; together they are the drop.

    With q_k the window's shares of the strata, a_k what older labels showed of each and a_k' what the window shows:
    covariate = a - sum of q_k a_k, concept = sum of q_k (a_k - a_k'). For errors that are judged by their relative
    rise both are divided by the older error. Strata are predicted class x group of confidence for accuracy, the
    confidence's bins for log loss and Brier score, the leaves of `expected_error` for a regression.

    Read it: a covariate part says that harder rows came, which new rows alone may teach; a concept part that the same
    rows have other labels now, or that confidences stopped telling. NaN for metrics that are no mean over rows.
    Source: the decomposition of Oaxaca, 1973, and Blinder, 1973; for predictions Cai, Namkoong and Yadlowsky, 2023.

    >>> import numpy as np
    >>> cells = LabelledCells("regression", strata=2, classes=1)
    >>> def profile(easy, hard, error_easy, error_hard):
    ...     total = easy * error_easy + hard * error_hard
    ...     return np.array([[easy + hard, total, 0, 0, 0, easy, hard, easy * error_easy, hard * error_hard, 0, 0]])
    >>> older, harder, other = profile(9e6, 1e6, 1, 5), profile(5e6, 5e6, 1, 5), profile(9e6, 1e6, 2, 10)
    >>> for window in (harder, other):
    ...     print([round(float(part[0]), 2) + 0.0 for part in attribute(cells, "mae", window, older, np.array([-1]))])
    [1.14, 0.0]
    [0.0, 1.0]
    """
    how = METRICS[metric]
    if how.mean_of is None:
        nothing = np.full(len(parents), np.nan)
        return nothing, nothing
    sums, rows = _strata(cells, older, how.mean_of)
    means = stratum_means(sums, rows, parents)
    _, rows_now = _strata(cells, window, how.mean_of)
    total = rows_now.sum(axis=-1)
    mean = np.where(total > 0, (rows_now * means).sum(axis=-1) / np.maximum(total, 1), np.nan)
    met = np.sqrt(mean) if metric == "rmse" else mean
    before, value = how.score(cells, older), how.score(cells, window)
    covariate = how.drop(before, met)
    return covariate, how.drop(before, value) - covariate


def _strata(cells: LabelledCells, profile: FloatArray, part: str) -> tuple[FloatArray, FloatArray]:
    if part == "correct":
        crossed = (cells.read(profile, f"crossed_{name}") for name in ("correct", "rows"))
        sums, rows = (values.reshape(*values.shape[:-2], -1) for values in crossed)
        return sums, rows
    return stratified(cells, profile, part)
