"""Three times as many requests as can be taken, for a minute: who is taken is taken soon, others are told to come back.

Delays are those of requests on their way: a sender whose connections are all busy sends when one is free.

Run: PYTHONPATH=. python benchmarks/overload.py
"""

import time

import numpy as np
from load import PATH, Service, rows_of, send, serving, table_of
from machine import described
from sender import UNSENT, request

SEED, CONNECTIONS, TIMES, SECONDS = 0, 256, 3.0, 60.0
CAPACITY_CONNECTIONS, CAPACITY_SECONDS = 96, 10.0
CALM_SHARE, CALM_SECONDS = 0.1, 15.0
BACK_WITHIN_SECONDS = 30.0


def main() -> None:
    print(described())
    print(f"one row a request, one api, one worker, one store process, everysec; seed {SEED}\n")
    rows = [b"[" + row + b"]" for row in rows_of(table_of(np.random.default_rng(SEED), 50))]
    templates = [request(PATH, "application/json", row) for row in rows]
    with serving() as service:
        begun = send(templates, service.port, requests=2_000, connections=CAPACITY_CONNECTIONS, first=9_000_000)
        taken = int((begun["status"] == 202).sum()) + _run(service, templates)
        service.wait_until_counted()
        counted = service.deciding.counted()
        print(f"{taken:,} rows acknowledged, {counted:,} counted: {counted - taken:+,}")


def _run(service: Service, templates: list[bytes]) -> int:
    notes = send(templates, service.port, seconds=CAPACITY_SECONDS, connections=CAPACITY_CONNECTIONS, first=8_000_000)
    capacity = len(notes) / CAPACITY_SECONDS
    taken = _told(f"as fast as they are answered, {CAPACITY_CONNECTIONS} at once", notes)
    calm = send(
        templates,
        service.port,
        rate=capacity * CALM_SHARE,
        seconds=CALM_SECONDS,
        connections=CONNECTIONS,
        first=7_000_000,
    )
    taken += _told(f"{capacity * CALM_SHARE:,.0f} a second: calm", calm)
    before = service.cpu_seconds()
    flood = send(templates, service.port, rate=capacity * TIMES, seconds=SECONDS, connections=CONNECTIONS)
    ended = time.time()
    after = service.cpu_seconds()
    taken += _told(f"{capacity * TIMES:,.0f} a second for {SECONDS:g} s: {TIMES:g} times capacity", flood)
    p99 = {name: _p99(each[each["status"] == 202]) for name, each in (("calm", calm), ("flood", flood))}
    print(f"p99 of the taken is {p99['flood'] / p99['calm']:.1f} times that of a calm time")
    busy = ", ".join(f"{name} {(after[name] - before[name]) / SECONDS:.0%}" for name in after)
    print(f"processor used meanwhile, in cores: {busy}")
    drained = time.time() - ended + service.wait_until_counted()
    again = send(
        templates,
        service.port,
        rate=capacity * CALM_SHARE,
        seconds=CALM_SECONDS,
        connections=CONNECTIONS,
        first=6_000_000,
    )
    taken += _told(f"{capacity * CALM_SHARE:,.0f} a second again", again)
    usual = 2 * _p99(calm) / 1000
    late = again["due"][(again["seconds"] - again["waited"] > usual) | (again["status"] != 202)]
    # A calm time has a hundredth of such requests too: back is where a second has no more than a few in a hundred.
    seconds = np.unique((late - ended).astype(int), return_counts=True)
    slow = [int(second) for second, count in zip(*seconds, strict=True) if count > 0.05 * capacity * CALM_SHARE]
    print(f"log drained {drained:.1f} s after the flood; the last second with more than 5 % above twice the calm p99, "
          f"or refused: {max(slow) if slow else 'none'} (of {BACK_WITHIN_SECONDS:g} allowed)")  # fmt: skip
    return taken


def _p99(notes: np.ndarray) -> float:
    """Of the delay from a request on its way to its answer, in milliseconds."""
    return float(np.quantile(notes["seconds"] - notes["waited"], 0.99)) * 1000


def _told(name: str, notes: np.ndarray) -> int:
    """Prints what became of the requests; gives how many were taken."""
    unsent, notes = int((notes["status"] == UNSENT).sum()), notes[notes["status"] != UNSENT]
    good = notes[notes["status"] == 202]
    sent = good["seconds"] - good["waited"]
    others = {
        int(status): int(count) for status, count in zip(*np.unique(notes["status"], return_counts=True), strict=True)
    }
    others.pop(202, None)
    delays = f"p50 {np.quantile(sent, 0.5) * 1000:.1f} ms, p99 {np.quantile(sent, 0.99) * 1000:.1f} ms"
    print(
        f"{name}\n  {len(notes):,} sent, {len(good):,} taken, others by status {others}, {unsent} found no free "
        f"connection; of the taken {delays}"
    )
    return len(good)


if __name__ == "__main__":
    main()
