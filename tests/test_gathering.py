import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.web.routes.gathering import MOST_AT_ONCE, Gathering
from service.web.routes.refusals import Crowded


class Work:
    """Gives each item back, once it may; notes what was done together."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.turns: list[list[int]] = []

    def __call__(self, items: list[int]) -> list[int | Exception]:
        self.turns.append(list(items))
        assert self.may.wait(10)
        return [KeyError(item) if item < 0 else item for item in items]


def run(scene: Callable[[Gathering[int, int], Work], Coroutine[Any, Any, None]], most_waiting: int = 1000) -> Work:
    work = Work()

    async def play() -> None:
        await scene(Gathering(work, most_waiting), work)

    asyncio.run(play())
    return work


async def begin(gathering: Gathering[int, int], items: range | list[int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(gathering.add(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


def test_what_comes_while_others_are_at_work_is_done_together():
    async def scene(gathering: Gathering[int, int], work: Work) -> None:
        tasks = await begin(gathering, range(10))
        work.may.set()
        assert await asyncio.gather(*tasks) == list(range(10))

    assert run(scene).turns == [[0], list(range(1, 10))]


def test_nothing_waits_for_company():
    async def scene(gathering: Gathering[int, int], work: Work) -> None:
        work.may.set()
        for item in range(3):
            assert await gathering.add(item) == item

    assert run(scene).turns == [[0], [1], [2]]


def test_an_error_meets_only_the_one_it_is_for():
    async def scene(gathering: Gathering[int, int], work: Work) -> None:
        tasks = await begin(gathering, [1, 2, -3, 4])
        work.may.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [int, int, KeyError, int]

    run(scene)


def test_a_turn_is_bounded_and_so_is_what_waits():
    async def scene(gathering: Gathering[int, int], work: Work) -> None:
        tasks = await begin(gathering, range(MOST_AT_ONCE + 11))
        with pytest.raises(Crowded):
            await gathering.add(99)
        with pytest.raises(Crowded):
            gathering.check_room()
        work.may.set()
        assert await asyncio.gather(*tasks) == list(range(MOST_AT_ONCE + 11))
        assert await gathering.add(99) == 99

    turns = run(scene, MOST_AT_ONCE + 10).turns
    assert [len(turn) for turn in turns] == [1, MOST_AT_ONCE, 10, 1]


def test_a_sender_that_goes_away_takes_nobody_with_it():
    async def scene(gathering: Gathering[int, int], work: Work) -> None:
        tasks = await begin(gathering, range(4))
        tasks[2].cancel()
        work.may.set()
        assert await asyncio.gather(tasks[0], tasks[1], tasks[3]) == [0, 1, 3]

    run(scene)


def test_work_that_breaks_is_told_to_all_of_its_turn_and_the_next_turn_is_tried():
    calls = []

    def work(items: list[int]) -> list[int | Exception]:
        calls.append(items)
        if len(calls) == 1:
            raise ZeroDivisionError
        return list(items)

    async def play() -> None:
        gathering: Gathering[int, int] = Gathering(work, 10)
        with pytest.raises(ZeroDivisionError):
            await gathering.add(1)
        assert await gathering.add(2) == 2

    asyncio.run(play())
