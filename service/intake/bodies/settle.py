"""Columns as sent to columns as kept, each checked as a whole.

Sent columns have dotted names (`features.x`) and the types string, bool, double, any integer, list of doubles or
floats, timestamp, or null. A row that the columns cannot vouch for is in doubt: what is kept of it means nothing, and
the exact check must look at it.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.intake.bodies import names, values
from service.intake.bodies.doubts import Doubts, Rules, extremes, sizes
from service.intake.bodies.limits import Limits
from service.intake.bodies.times import kept_times
from service.intake.columns import NUMBERS
from service.storage.keys import is_safe_name

Columns = Mapping[str, pa.Array]

_DOUBLE = pa.float64()
# Above this, a double does not tell whether an integer beyond 64 bits was written.
_LARGE = 2.0**63


def predictions(sent: Columns, rows: int, rules: Rules, doubts: Doubts) -> dict[str, pa.Array]:
    """Columns of predictions, as `wire` describes them."""
    kept = {
        "prediction_id": _ids(sent["prediction_id"], rules, doubts),
        "timestamp": kept_times(sent.get("timestamp"), rows, rules, doubts),
        "model_version": _versions(sent.get("model_version"), rows, doubts),
        "prediction": _outcomes(sent["prediction"], rules, doubts),
    }
    scores = {}
    for name, column in sent.items():
        group, dot, _ = name.partition(".")
        if group == "scores":
            scores[names.kept(name)] = _numbers(column, rules, doubts)
        elif dot:
            kept[names.kept(name)] = _value(column, rules, doubts, may_be_list=group == "features")
    kept["confidence"] = _confidence(sent.get("confidence"), scores, rows, rules, doubts)
    return kept | scores


def labels(sent: Columns, rows: int, rules: Rules, doubts: Doubts) -> dict[str, pa.Array]:
    """Columns of labels; `outcome` is sent as text already."""
    outcome = sent.get("outcome")
    if outcome is None or pa.types.is_null(outcome.type):
        outcome = pa.nulls(rows, pa.string())
    return {
        "prediction_id": _ids(sent["prediction_id"], rules, doubts),
        "label": _outcomes(sent["label"], rules, doubts),
        "timestamp": kept_times(sent.get("timestamp"), rows, rules, doubts),
        "outcome": _of_length(outcome, rules.limits.text_bytes, doubts),
    }


def _ids(column: pa.Array, rules: Rules, doubts: Doubts) -> pa.Array:
    if pa.types.is_integer(column.type):
        column = pc.cast(column, pa.string())
    if not pa.types.is_string(column.type):
        doubts.add_all()
        return pa.nulls(len(column), pa.string())
    if column.null_count:
        doubts.add(column.is_null())
    found = sizes(column)
    if found.min() == 0 or found.max() > rules.limits.id_bytes:
        doubts.add((found == 0) | (found > rules.limits.id_bytes))
    _look_for_nul(column, rules, doubts)
    return column


def _texts(column: pa.Array, rules: Rules, doubts: Doubts) -> pa.Array:
    _look_for_nul(column, rules, doubts)
    return _of_length(column, rules.limits.text_bytes, doubts)


def _look_for_nul(column: pa.Array, rules: Rules, doubts: Doubts) -> None:
    if rules.may_hold_nul:
        doubts.add(pc.match_substring(column, "\0"))


def _of_length(column: pa.Array, most_bytes: int, doubts: Doubts) -> pa.Array:
    found = sizes(column)
    if found.max() > most_bytes:
        doubts.add(found > most_bytes)
    return column


def _versions(column: pa.Array | None, rows: int, doubts: Doubts) -> pa.Array:
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(rows, pa.string())
    if pa.types.is_integer(column.type):
        column = pc.cast(column, pa.string())
    if not pa.types.is_string(column.type):
        doubts.add(pc.is_valid(column))
        return pa.nulls(rows, pa.string())
    wrong = [name for name in pc.unique(column).to_pylist() if name is not None and not is_safe_name(name)]
    if wrong:
        doubts.add(pc.is_in(column, pa.array(wrong, pa.string())))
    return column


def _outcomes(column: pa.Array, rules: Rules, doubts: Doubts) -> pa.Array:
    """Predictions or labels: doubles for a regression, else text."""
    if column.null_count:
        doubts.add(pc.is_null(column))
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if rules.task == "regression":
        if is_number:
            return _numbers(column, rules, doubts)
        doubts.add_all()
        return pa.nulls(len(column), pa.float64())
    if pa.types.is_floating(kind):
        # Arrow writes numbers in another way than JSON does.
        found = _numbers(column, rules, doubts).dictionary_encode()
        texts = [values.json_text(value) for value in found.dictionary.to_pylist()]
        return pa.array(texts, pa.string()).take(found.indices)
    if is_number or pa.types.is_boolean(kind):
        return pc.cast(column, pa.string())
    if not pa.types.is_string(kind):
        doubts.add_all()
        return pa.nulls(len(column), pa.string())
    return _texts(column, rules, doubts)


def _value(column: pa.Array, rules: Rules, doubts: Doubts, *, may_be_list: bool) -> pa.Array:
    """A feature or tag."""
    kind = column.type
    if kind == _DOUBLE:
        return _numbers(column, rules, doubts)
    if pa.types.is_string(kind):
        return _texts(column, rules, doubts)
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_list(kind) and may_be_list:
        return _lists(column, rules.limits, doubts)
    return _numbers(column, rules, doubts)


def _numbers(column: pa.Array, rules: Rules, doubts: Doubts) -> pa.Array:
    kind = column.type
    if kind != _DOUBLE:
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            column = pc.cast(column, _DOUBLE, safe=False)
        else:
            doubts.add(pc.is_valid(column))
            return pa.nulls(len(column), _DOUBLE)
    bound = _LARGE if rules.is_json else np.inf
    # One product tells of a whole column that no value is too large, nor infinite, nor NaN.
    if column.null_count:
        column = column if rules.is_json else _without_nan(column)
        squares = pc.sum(pc.multiply(column, column), min_count=0).as_py()
    else:
        # Not `dot`: of many rows it is taken by all processors at once, which wait for one another.
        seen = column.to_numpy()
        squares = np.einsum("i,i->", seen, seen)
    if not squares < bound * bound:
        column = column if rules.is_json else _without_nan(column)
        doubts.add(pc.greater_equal(pc.abs(column), bound))
    return column


def _without_nan(column: pa.Array) -> pa.Array:
    """NaN is what numpy and pandas write for a missing number."""
    return pc.if_else(pc.is_nan(column), None, column)


def _lists(column: pa.Array, limits: Limits, doubts: Doubts) -> pa.Array:
    held = pc.list_value_length(column)
    least_held, most_held = extremes(held.drop_null())
    if least_held == 0 or most_held > limits.list_numbers:
        doubts.add(pc.or_(pc.equal(held, 0), pc.greater(held, limits.list_numbers)))
    flat = pc.list_flatten(column)
    least, most = extremes(flat)
    if flat.null_count or not -values.LARGEST_IN_LIST <= least <= most <= values.LARGEST_IN_LIST:
        wrong = pc.fill_null(pc.invert(pc.less_equal(pc.abs(flat), values.LARGEST_IN_LIST)), True)
        mask = np.zeros(len(column), dtype=bool)
        mask[pc.list_parent_indices(column).filter(wrong).to_numpy()] = True
        doubts.add(mask)
    return column if column.type == NUMBERS else pc.cast(column, NUMBERS, safe=False)


def _confidence(given: pa.Array | None, scores: Columns, rows: int, rules: Rules, doubts: Doubts) -> pa.Array:
    """The highest score if it is a probability; without scores, what was given."""
    best = pc.max_element_wise(*scores.values()) if scores else pa.nulls(rows, pa.float64())
    if given is None or pa.types.is_null(given.type) or (scores and not best.null_count):
        given = pa.nulls(rows, pa.float64())
    elif not _is_number(given.type):
        doubts.add(pc.and_(pc.is_valid(given), pc.is_null(best)))
        given = pa.nulls(rows, pa.float64())
    else:
        given = given if given.type == _DOUBLE else pc.cast(given, _DOUBLE, safe=False)
        if not _is_probable(given):
            given = given if rules.is_json else _without_nan(given)
            doubts.add(pc.and_(pc.invert(_within(given)), pc.is_null(best)))
    if not scores:
        return given
    if not best.null_count and _is_probable(best):
        return best
    return pc.if_else(pc.is_null(best), given, pc.if_else(_within(best), best, None))


def _within(column: pa.Array) -> pa.Array:
    return pc.and_(pc.greater_equal(column, 0.0), pc.less_equal(column, 1.0))


def _is_probable(column: pa.Array) -> bool:
    least, most = extremes(column)
    return least >= 0 and most <= 1


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
