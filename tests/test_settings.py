from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from service import settings
from service.errors import BadSetting
from service.settings import Durability, Settings


def test_everything_has_a_default():
    read = Settings.read({})
    assert (read.port, read.partitions, read.durability) == (8321, 4, Durability("always"))
    assert read.archive_place == read.data_dir / "archive"


def test_every_setting_can_be_read_from_the_environment():
    assert set(settings._PARSERS) == {field.name for field in fields(Settings)}


def test_every_setting_has_a_comment_for_people():
    lines = Path(settings.__file__).read_text().splitlines()
    for name in settings.SETTING_NAMES:
        at = next(number for number, line in enumerate(lines) if line.startswith(f"    {name}: "))
        assert lines[at - 1].strip().startswith("#:"), name


def test_a_flag_stands_above_the_environment():
    read = Settings.read({"TIDEGATE_PORT": "1000", "TIDEGATE_LABEL_HORIZON": "2w"}, port="2000", host=None)
    assert (read.port, read.host, read.label_horizon) == (2000, "127.0.0.1", timedelta(days=14))


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("TIDEGATE_PORT", "eighty", "whole numbers from 0 to 65535"),
        ("TIDEGATE_PORT", "65536", "whole numbers"),
        ("TIDEGATE_ROLE", "boss", "all, api, worker, scheduler"),
        ("TIDEGATE_DURABILITY", "wait:0", "always, everysec, and wait:N"),
        ("TIDEGATE_DURABILITY", "sometimes", "wait:N"),
        ("TIDEGATE_STORE", "http://x", "redis://"),
        ("TIDEGATE_PARTITIONS", "0", "from 1 to 256"),
        ("TIDEGATE_LABEL_HORIZON", "soon", "durations"),
        ("TIDEGATE_LEASE", "0s", "above zero"),
        ("TIDEGATE_DATA_DIR", "", "a folder"),
        ("TIDEGATE_HOST", "a b", "host name"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(name, value, hint):
    with pytest.raises(BadSetting, match=hint) as caught:
        Settings.read({name: value})
    assert caught.value.name == name


def test_the_embedded_store_cannot_be_asked_to_wait_for_replicas():
    with pytest.raises(BadSetting, match="no replicas"):
        Settings.read({"TIDEGATE_DURABILITY": "wait:1"})
    assert Settings.read({"TIDEGATE_DURABILITY": "wait:1"}, store="redis://db").durability.replicas == 1
    assert str(Settings.read({}, store="redis://db", durability="wait:2").durability) == "wait:2"
