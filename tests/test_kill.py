"""Real processes, killed at random: what was acknowledged is counted, and counted once."""

import pytest
from kill_loop import KillLoop, check


def test_what_was_acknowledged_is_counted_once_whoever_is_killed(tmp_path):
    with KillLoop(tmp_path) as loop:
        intake, batches = loop.play(320, 11)
        check(intake, batches)
        assert batches > 20
        assert loop.joined > 0
        assert min(loop.kills.values()) >= 10
        assert list(tmp_path.glob("archive/predictions/**/*.parquet"))


def test_the_check_finds_a_commit_in_two_steps(tmp_path):
    with KillLoop(tmp_path, "two-steps") as loop:
        intake, batches = loop.play(90, 12)
        with pytest.raises(AssertionError):
            check(intake, batches)
