"""What was counted of a champion, as far as it is looked at."""

from dataclasses import replace
from datetime import timedelta

from test_replay import rows
from test_retrain import POLICY_VALUE, open_shop

from service.deciding.counted import Counts
from service.ledger.records import Release


def test_after_a_rollback_only_what_came_since_is_looked_at(tmp_path):
    """What a version served before it was replaced was of the world that it was replaced for."""
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 2000)
        before = Counts(shop.house).load(POLICY_VALUE, shop.clock())
        back = shop.world.column("timestamp")[1999].as_py()
        shop.house.ledger.put_baseline(replace(shop.house.ledger.baseline("flip", "1"), version="2"))
        for kind, version, previous in (("release", "2", "1"), ("rollback", "1", "2")):
            shop.house.ledger.move_champion(Release("flip", version, previous, back, kind, "as told"))
        at_once = Counts(shop.house).load(POLICY_VALUE, shop.clock())
        shop.serve(2000, 3000)
        after = Counts(shop.house).load(POLICY_VALUE, shop.clock() + timedelta(hours=1))
    hour = int(back.timestamp()) // 3600 * 3600
    assert (len(before.profiles) > 10, before.labels > 900, min(before.profiles) < hour) == (True, True, True)
    assert (max(at_once.profiles, default=hour), at_once.labels <= 60) == (hour, True)
    assert min(after.profiles) >= hour
    assert 900 < after.labels <= 1060
