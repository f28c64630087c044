"""What cannot be meant is said; what may be is not."""

from datetime import UTC, datetime

import pytest

from policies.file.advice import advise
from policies.file.parse import parse

NOW = datetime(2026, 12, 1, tzinfo=UTC)
HEAD = "model: shop\ntask: {kind: classification}\n"

IN_VAIN = {
    "drift: {statistic: jensenshannon, threshold: 0.9}": "drift.threshold: jensenshannon is at most 0.833, so 0.9 is",
    "drift: {columns: {a: {statistic: ks, threshold: 2}}}": "drift.columns.a.threshold: ks is at most 1, so 2 is never",
    "drift: {statistic: TVD}\noverrides: [{segment: all, drift: {threshold: 1.5}}]": "overrides[0].drift.threshold",
    "retrain: {when: []}": "retrain.when is empty: only a person can start a retraining",
    "retrain: {when: [{drift: {segments: 2}}]}": "retrain.when[0] asks for 2 segments, and `segments` makes no cut",
    "retrain: {when: [drift, {drift: {columns: 3}}]}": "retrain.when[1] adds nothing: another drift trigger fires",
    "retrain: {when: [{drift: {columns: 1}, and: estimated_drop}, drift]}": "retrain.when[0] adds nothing",
    "retrain: {when: [drift, drift]}": "retrain.when[1] adds nothing",
    "retrain: {when: [twin, twin]}": "retrain.when has twin more than once",
    "performance: {metric: macro_f1}": "performance.metric: macro_f1 has no estimate, so the estimated drop is that of",
    "retrain: {cooldown: 20d, budget: {count: 3, per: 30d}}": "retrain.budget: a cooldown of 20d leaves room for 2",
    "retrain: {freeze: [2026-11-01/2026-12-01]}": "retrain.freeze[0] ended at 2026-12-01T00:00:00Z: it can go",
    "retrain: {trainer: {kind: kubernetes, image: 'trainer:1'}}": "retrain.trainer.image: trainer:1 has no digest",
    "gate: {max_size: 5MB}\nretrain: {trainer: {kind: command, command: [train]}}": "gate.max_size: measured where the",
    "silences: [{column: a, until: 2026-11-30, who: b, reason: c}]": "silences[0] ended at 2026-11-30T00:00:00Z",
}

SOUND = (
    "",
    "drift: {statistic: ks, threshold: 1}",
    "drift: {threshold: 5}",
    "gate: {max_size: 5MB, latency_p95: 50ms}",
    "drift: {columns: {'a*': {statistic: ks, threshold: 2}, b: ignore}}",
    "segments: [[a]]\nretrain: {when: [{drift: {segments: 2}}]}",
    "retrain: {when: [{drift: {columns: 3}}, {drift: {columns: 1}, and: estimated_drop}]}",
    "segments: [[a]]\nretrain: {when: [{drift: {segments: 2}}, {drift: {columns: 2}}]}",
    "performance: {metric: macro_f1}\nretrain: {when: [performance]}",
    "retrain: {cooldown: 20d, budget: {count: 2, per: 30d}}",
    "retrain: {cooldown: 0s, budget: {count: 99, per: 30d}}",
    "retrain: {freeze: [2026-11-01/2026-12-02]}",
    "retrain: {trainer: {kind: kubernetes, image: 'trainer@sha256:1'}}",
    "retrain: {trainer: {kind: kubernetes}}",
    "drift: {statistic: TVD}\noverrides: [{segment: all, drift: {threshold: 1}}, {segment: a*, persist: 3}]",
)


@pytest.mark.parametrize("text", IN_VAIN)
def test_what_is_in_vain_is_said(text):
    (said,) = advise(parse(HEAD + text), NOW)
    assert said.startswith(IN_VAIN[text])


@pytest.mark.parametrize("text", SOUND)
def test_what_may_be_meant_is_not_said(text):
    assert advise(parse(HEAD + text), NOW) == []
