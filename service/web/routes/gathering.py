"""Gather what arrives while earlier work is done, and do it together: one step of a thread for many requests.

Nothing waits on purpose. What comes while nothing is at work is begun at once, alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from service.web.routes.refusals import Crowded

Item = TypeVar("Item")
Answer = TypeVar("Answer")
MOST_AT_ONCE = 64


class Gathering(Generic[Item, Answer]):
    """`work` gives an answer, or an error to raise, for each item; it runs in a thread. Used in one event loop.

    At most `most_waiting` items wait: more would wait longer than anyone should for an answer.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Answer | Exception]], most_waiting: int) -> None:
        self._work = work
        self._most_waiting = most_waiting
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._is_busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gathering")

    def check_room(self) -> None:
        """Raises Crowded where as many wait as may."""
        if len(self._waiting) >= self._most_waiting:
            raise Crowded

    async def add(self, item: Item) -> Answer:
        """The answer to this item.

        Raises:
            Crowded: too many are waiting.
        """
        self.check_room()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if not self._is_busy:
            self._begin()
        return await future

    def _begin(self) -> None:
        together, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        self._is_busy = bool(together)
        if together:
            items = [item for item, _ in together]
            futures = [future for _, future in together]
            done = asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)
            done.add_done_callback(lambda done: self._end(done, futures))

    def _end(
        self,
        done: asyncio.Future[Sequence[Answer | Exception]],
        futures: Sequence[asyncio.Future[Answer]],
    ) -> None:
        self._begin()
        error = done.exception()
        answers = [error] * len(futures) if error is not None else done.result()
        for future, answer in zip(futures, answers, strict=True):
            if future.cancelled():
                continue  # its sender has gone; what was appended stays
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
