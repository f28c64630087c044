"""Requests of one row, against two endpoints in the same process: one that answers at once, one that only appends.

Requests per core-second count the processor time of all three processes until every row is folded, joined and, where it
is its time, archived; then latency at half of what one process can take.

Run: PYTHONPATH=. python benchmarks/one_row.py
"""

from statistics import median

import numpy as np
from load import PATH, Service, milliseconds, rows_of, send, serving, table_of
from machine import described
from sender import request

SEED, CONNECTIONS, ROUNDS, REQUESTS = 0, 96, 5, 4_000
LATENCY_ROUNDS, LATENCY_SECONDS = 3, 8.0
EMPTY, APPEND, OURS = "an endpoint that answers at once", "an endpoint that only appends", "rows"


def main() -> None:
    print(described())
    print(f"one api, one worker, one store process, everysec; {CONNECTIONS} connections, seed {SEED}\n")
    rows = [b"[" + row + b"]" for row in rows_of(table_of(np.random.default_rng(SEED), 50))]
    paths = {EMPTY: "/v1/bare/bench/empty", APPEND: "/v1/bare/bench/append", OURS: PATH}
    templates = {name: [request(path, "application/json", row) for row in rows] for name, path in paths.items()}
    with serving(bare=True) as service:
        capacity = _throughput(service, templates)
        _latency(service, templates, capacity / 2)


def _throughput(service: Service, templates: dict[str, list[bytes]]) -> float:
    """Prints requests per core-second, interleaved; gives how many of ours are answered in a second."""
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in templates}
    walls, first = [], 0
    for turn in range(ROUNDS + 1):
        for name, requests in templates.items():
            before = service.cpu_seconds()
            notes = send(requests, service.port, requests=REQUESTS, connections=CONNECTIONS, first=first)
            first += REQUESTS
            service.wait_until_counted()
            after = service.cpu_seconds()
            assert (notes["status"] == 202).all()  # noqa: S101  else something else was measured
            if turn:  # the first warms up
                spent[name].append({each: after[each] - before[each] for each in after})
                if name == OURS:
                    answered = notes["due"] + notes["seconds"]
                    walls.append(float(answered.max() - notes["due"].min()))
    print(f"Requests per core-second, medians of {ROUNDS} turns of {REQUESTS:,}, with their idempotency keys")
    totals = {name: median(sum(each.values()) for each in turns) for name, turns in spent.items()}
    for name, turns in spent.items():
        parts = ", ".join(f"{part} {median(e[part] for e in turns) / REQUESTS * 1e6:.0f}" for part in turns[0])
        print(f"  {name:<34} {REQUESTS / totals[name]:>7,.0f}  {totals[EMPTY] / totals[name]:5.2f} x   us: {parts}")
    capacity = REQUESTS / median(walls)
    print(f"  answered in a second of the clock: {capacity:,.0f}\n")
    return capacity


def _latency(service: Service, templates: dict[str, list[bytes]], rate: float) -> None:
    names = (APPEND, OURS)
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}
    first = 5_000_000
    for _ in range(LATENCY_ROUNDS):
        for name in names:
            notes = send(
                templates[name], service.port, rate=rate, seconds=LATENCY_SECONDS, connections=CONNECTIONS, first=first
            )
            first += len(notes)
            service.wait_until_counted()
            seen[name].append(notes)
    print(
        f"Delay at half of capacity, {rate:,.0f} requests a second, medians of {LATENCY_ROUNDS} x {LATENCY_SECONDS:g} s"
    )
    p99 = {}
    for name in names:
        refused = sum(int((notes["status"] != 202).sum()) for notes in seen[name])
        p50, p99[name] = (median(milliseconds(notes, q) for notes in seen[name]) for q in (0.5, 0.99))
        print(f"  {name:<34} p50 {p50:6.1f} ms   p99 {p99[name]:6.1f} ms   {refused} refused")
    print(f"  p99 of ours is {p99[OURS] / p99[APPEND]:.2f} times that of appending")


if __name__ == "__main__":
    main()
