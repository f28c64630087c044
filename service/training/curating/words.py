"""A curation in words, from its account as the record holds it."""

from collections.abc import Iterator, Mapping
from typing import Any


def words_of(manifest: Mapping[str, Any]) -> list[str]:
    """A line for all rows, one for each candidate that curation changed, one for suspicious labels; none for none.

    >>> words_of({"rows": 9, "training": 5, "excluded": {"relabelled": 1}, "parts": {
    ...     "holdout": {"rows": 2}, "validation": {"rows": 1}}})
    ['Of 9 labelled rows 5 teach, 1 choose and 2 judge; left out: 1 relabelled']
    """
    return list(_lines(manifest)) if "training" in manifest else []


def _lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    parts = manifest["parts"]
    chosen, judged = (parts[name]["rows"] for name in ("validation", "holdout"))
    yield (
        f"Of {manifest['rows']:,} labelled rows {manifest['training']:,} teach, {chosen:,} choose and {judged:,} judge"
        f"; left out: {_counts(manifest['excluded'])}"
    )
    for name, part in parts.items():
        if "considered" in part:
            filled = f"; {part['filled']:,} older rows fill small segments up" if part["filled"] else ""
            yield (
                f"{name}: {part['rows']:,} rows teach of {part['considered']:,}; left out: "
                f"{_counts(part['left_out'])}{filled}"
            )
        if "weights" in part:
            yield f"{name}: weighted by age, its rows say as much as {part['weights']['effective_rows']:,.0f} new ones"
    suspicious = manifest.get("suspicious", {})
    if suspicious.get("rows"):
        first = ", ".join(f"{each['id']} ({each['label']}, rather {each['rather']})" for each in suspicious["labels"])
        counted = f"{suspicious['rows']:,} of {suspicious['looked_at']:,} labels that were looked at"
        yield f"{counted} are suspicious: {first}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.items() if count) or "none"
