"""The watched folder: what is in force after any edit."""

import logging
from pathlib import Path

import pytest

from service.policy_files import PolicyFolder

GOOD = "model: {model}\ntask: {{kind: classification}}\n"
BAD = "persist: often\n"


@pytest.fixture
def folder(tmp_path: Path) -> PolicyFolder:
    return PolicyFolder(tmp_path)


def write(folder, name, text="", model="shop"):
    """A file of the folder, with another size each time, as an edit within one tick of the clock would have."""
    write.edits += 1
    file = folder.folder / name
    file.write_text(GOOD.format(model=model) + text + "#" * write.edits + "\n")
    return file


write.edits = 0


def persists(folder):
    return {model: state.policy.persist for model, state in folder.states().items()}


def test_each_good_file_is_in_force_for_its_model(folder):
    write(folder, "a.yaml", "persist: 3\n")
    write(folder, "b.yml", model="other")
    write(folder, "notes.txt", BAD)
    assert folder.reload() == ["other", "shop"]
    assert persists(folder) == {"shop": 3, "other": 2}
    assert folder.reload() == []
    assert (folder.policy("nobody"), folder.problems()) == (None, {})


def test_a_bad_edit_keeps_the_last_good_policy_until_it_is_mended(folder, caplog):
    write(folder, "a.yaml", "persist: 3\n")
    folder.reload()
    file = write(folder, "a.yaml", BAD)
    with caplog.at_level(logging.ERROR):
        assert folder.reload() == []
        folder.reload()
    state = folder.states()["shop"]
    assert (state.policy.persist, state.is_current, folder.is_current("shop")) == (3, False, False)
    assert state.problem.startswith(f"{file}:3:10: persist: expected a whole number")
    assert "persist: 3" in state.text
    assert len(caplog.records) == 1  # told once, not every two seconds
    write(folder, "a.yaml", "persist: 4\n")
    assert folder.reload() == ["shop"]
    assert (persists(folder), folder.is_current("shop")) == ({"shop": 4}, True)


def test_an_edit_that_says_the_same_changes_no_policy(folder):
    write(folder, "a.yaml", "persist: 2\n")
    folder.reload()
    write(folder, "a.yaml")
    assert folder.reload() == []
    assert "persist" not in folder.states()["shop"].text


def test_a_file_that_was_never_good_holds_nothing_and_is_told(folder):
    file = write(folder, "a.yaml", BAD)
    assert folder.reload() == []
    assert folder.states() == {}
    assert list(folder.problems()) == [str(file)]


def test_a_file_that_is_no_text_keeps_the_last_good_policy(folder):
    file = write(folder, "a.yaml", "persist: 3\n")
    folder.reload()
    file.write_bytes(b"model: \xff\n")
    folder.reload()
    assert "cannot be read" in folder.states()["shop"].problem
    assert persists(folder) == {"shop": 3}


def test_a_policy_goes_with_its_file(folder):
    file = write(folder, "a.yaml")
    folder.reload()
    file.unlink()
    assert folder.reload() == ["shop"]
    assert folder.states() == {}


def test_a_file_may_be_renamed(folder):
    file = write(folder, "a.yaml", "persist: 3\n")
    folder.reload()
    file.rename(file.with_name("z.yaml"))
    assert folder.reload() == []
    assert (persists(folder), folder.problems()) == ({"shop": 3}, {})


def test_a_model_may_be_renamed(folder):
    write(folder, "a.yaml")
    folder.reload()
    write(folder, "a.yaml", model="store")
    assert folder.reload() == ["shop", "store"]
    assert set(folder.states()) == {"store"}


def test_a_second_file_for_a_model_is_refused_and_takes_over_when_the_first_goes(folder):
    first = write(folder, "m.yaml", "persist: 3\n")
    folder.reload()
    second = write(folder, "a.yaml", "persist: 4\n")
    assert folder.reload() == []
    assert persists(folder) == {"shop": 3}
    assert f"already has its policy in {first}" in folder.problems()[str(second)]
    first.unlink()
    assert folder.reload() == ["shop"]
    assert (persists(folder), folder.problems()) == ({"shop": 4}, {})


def test_a_second_file_does_not_take_over_from_a_bad_edit(folder):
    write(folder, "m.yaml", "persist: 3\n")
    folder.reload()
    write(folder, "m.yaml", BAD)
    write(folder, "a.yaml", "persist: 4\n")
    folder.reload()
    assert persists(folder) == {"shop": 3}


def test_a_file_that_turns_to_anothers_model_keeps_its_own(folder):
    write(folder, "a.yaml", "persist: 3\n")
    write(folder, "b.yaml", "persist: 4\n", model="other")
    folder.reload()
    write(folder, "b.yaml", "persist: 5\n", model="shop")
    assert folder.reload() == []
    assert persists(folder) == {"shop": 3, "other": 4}
    assert "one file a model" in folder.states()["other"].problem


# ---- shadows


def test_a_shadow_stands_beside_the_policy_in_force(folder):
    write(folder, "shop.yaml", "persist: 3\n")
    write(folder, "shop-strict.yaml", "persist: 1\nshadow: true\n")
    write(folder, "shop-calm.yaml", "persist: 9\nshadow: true\n")
    assert folder.reload() == ["shop"]
    assert persists(folder) == {"shop": 3}
    shadows = folder.shadows("shop")
    assert {name: state.policy.persist for name, state in shadows.items()} == {"shop-calm": 9, "shop-strict": 1}
    assert (folder.shadows("nobody"), folder.problems()) == ({}, {})


def test_an_edit_of_a_shadow_changes_no_policy_in_force(folder):
    write(folder, "shop.yaml")
    write(folder, "strict.yaml", "persist: 1\nshadow: true\n")
    folder.reload()
    write(folder, "strict.yaml", "persist: 5\nshadow: true\n")
    assert folder.reload() == []
    assert folder.shadows("shop")["strict"].policy.persist == 5


def test_a_bad_edit_of_a_shadow_keeps_the_last_good_one_and_is_told(folder):
    write(folder, "shop.yaml")
    write(folder, "strict.yaml", "persist: 1\nshadow: true\n")
    folder.reload()
    file = write(folder, "strict.yaml", BAD)
    folder.reload()
    assert folder.shadows("shop")["strict"].policy.persist == 1
    assert list(folder.problems()) == [str(file)]
    assert (folder.states()["shop"].is_current, folder.is_current("shop")) == (True, False)


def test_a_shadow_without_a_policy_in_force_is_told_and_does_nothing(folder):
    file = write(folder, "strict.yaml", "shadow: true\n")
    folder.reload()
    assert "a shadow needs a policy in force beside it, and model shop has none" in folder.problems()[str(file)]
    assert (folder.states(), folder.shadows("shop")) == ({}, {})
    write(folder, "shop.yaml")
    assert folder.reload() == ["shop"]
    assert (list(folder.shadows("shop")), folder.problems()) == (["strict"], {})


def test_a_shadow_can_be_put_in_force(folder):
    live = write(folder, "shop.yaml")
    write(folder, "strict.yaml", "persist: 1\nshadow: true\n")
    folder.reload()
    live.unlink()
    write(folder, "strict.yaml", "persist: 1\n")
    assert folder.reload() == ["shop"]
    assert (persists(folder), folder.shadows("shop")) == ({"shop": 1}, {})


def test_two_shadows_of_one_name_are_one_too_many(folder):
    write(folder, "shop.yaml")
    write(folder, "strict.yaml", "shadow: true\n")
    second = write(folder, "strict.yml", "shadow: true\n")
    folder.reload()
    assert list(folder.problems()) == [str(second)]


# ---- defaults


def below(folder, text, name="defaults.yaml"):
    write.edits += 1
    file = folder.folder / name
    file.write_text(text + "#" * write.edits + "\n")
    return file


def test_every_file_inherits_the_defaults_and_an_edit_of_them_reaches_all(folder):
    write(folder, "a.yaml")
    write(folder, "b.yaml", "persist: 5\n", model="other")
    below(folder, "persist: 7\n")
    folder.reload()
    assert persists(folder) == {"shop": 7, "other": 5}
    below(folder, "persist: 8\n")
    assert folder.reload() == ["shop"]
    assert persists(folder) == {"shop": 8, "other": 5}
    (folder.folder / "defaults.yaml").unlink()
    assert folder.reload() == ["shop"]
    assert persists(folder) == {"shop": 2, "other": 5}


def test_a_bad_edit_of_the_defaults_keeps_every_last_good_policy_and_is_told_of_each(folder, caplog):
    write(folder, "a.yaml")
    write(folder, "b.yaml", model="other")
    write(folder, "strict.yaml", "shadow: true\n")
    below(folder, "persist: 7\n")
    folder.reload()
    file = below(folder, BAD)
    with caplog.at_level(logging.ERROR):
        assert folder.reload() == []
        folder.reload()
    assert persists(folder) == {"shop": 7, "other": 7}
    assert [state.problem.startswith(f"{file}:1:10: persist: ") for state in folder.states().values()] == [True] * 2
    assert not folder.is_current("shop")
    assert folder.problems() == {}  # each model says it
    assert len(caplog.records) == 1
    below(folder, "persist: 7\n")
    assert folder.reload() == []
    assert all(state.is_current for state in folder.states().values())


def test_a_policy_may_be_edited_while_the_defaults_are_bad(folder):
    write(folder, "a.yaml")
    below(folder, "persist: 7\nowner: ann\n")
    folder.reload()
    below(folder, BAD)
    write(folder, "a.yaml", "persist: 9\n")
    assert folder.reload() == ["shop"]
    state = folder.states()["shop"]
    assert (state.policy.persist, state.policy.owner, state.is_current) == (9, "ann", False)


def test_defaults_that_one_policy_cannot_have_leave_that_one_as_it_was(folder):
    write(folder, "a.yaml", "performance: {metric: accuracy}\n")
    write(folder, "b.yaml", model="other")
    folder.reload()
    file = below(folder, "persist: 7\nperformance: {metric: mae}\n")
    assert folder.reload() == ["shop"]
    assert persists(folder) == {"shop": 7, "other": 2}
    assert folder.states()["other"].problem.startswith(f"{file}:2:23: performance.metric: for a classification")
    assert (folder.is_current("shop"), folder.is_current("other")) == (True, False)


def test_without_good_defaults_ever_no_policy_is_taken(folder):
    file, top = write(folder, "a.yaml"), below(folder, BAD)
    folder.reload()
    assert folder.states() == {}
    told = folder.problems()
    assert told[str(top)].startswith(f"{top}:1:10: persist: ")
    assert "what it inherits cannot be" in told[str(file)]
    below(folder, "persist: 7\n")
    assert folder.reload() == ["shop"]
    assert folder.problems() == {}


def test_two_files_of_defaults_are_one_too_many(folder):
    write(folder, "a.yaml")
    first, second = below(folder, "persist: 7\n"), below(folder, "persist: 8\n", "defaults.yml")
    folder.reload()
    assert persists(folder) == {"shop": 7}
    assert f"the defaults are in {first} already" in folder.problems()[str(second)]
