"""The question of a policy: what it wants read of the counts. Policies that ask alike have the same readings."""

from monitors.baseline.baselines import Baseline
from monitors.compare import Question
from policies.file.policy import Policy


def question_of(policy: Policy, baseline: Baseline) -> Question:
    """What a policy asks of the columns that the baseline counts."""
    statistics = {c.name: policy.drift_rule(c.name).statistic or "" for c in baseline.layout.columns}
    return Question(statistics, policy.drift.statistic, policy.performance.metric, policy.performance.estimate)
