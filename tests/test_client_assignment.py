"""The client's assignment: the same draw as the service's, never waited for, and kept while the service is away."""

import socket

import pytest
from houses import client_of
from hypothesis import given
from hypothesis import strategies as st
from stage import CANARY, MODEL, open_stage
from test_trying import begin
from tidegate_client import Assignment, Assignments, BadOption

from service.retraining.assignment import Split


@given(st.text(max_size=30), st.floats(0, 1))
def test_the_client_draws_as_the_service_does(unit, share):
    split = Split(MODEL, "1", trial="r-1", challenger="2", share=share)
    assert Assignment("1", "2", "r-1", share).version_for(unit) == split.version_for(unit)


def test_what_the_service_says_is_known_after_it_was_asked_and_kept_while_it_is_away(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage, client_of(stage.house) as client:
        begin(stage)
        asked = Assignments(str(client.base_url), MODEL, default="0")
        assert asked.ask()
        versions = {asked.version_for(f"customer {n}") for n in range(50)}
        assert versions == {"1", "2"}
        asked._route = _nowhere()
        assert not asked.ask()
        assert asked.known == Assignment("1", "2", "r-1", 0.3)


def test_without_an_answer_the_default_serves():
    asked = Assignments(_nowhere(), MODEL, default="7")
    assert asked.version_for("anybody") == "7"
    assert not asked.ask()
    assert asked.version_for("anybody") == "7"


def test_options_that_cannot_be_used_are_refused():
    with pytest.raises(BadOption, match="address"):
        Assignments("tidegate", MODEL)
    with pytest.raises(BadOption, match="default"):
        Assignments("http://tidegate:8321", MODEL, default="")


def _nowhere() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"
