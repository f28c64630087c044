"""Memory of the three processes while many rows go through: posted, folded, joined and archived.

Run: PYTHONPATH=. python benchmarks/memory.py 10000000
"""

import argparse

import numpy as np
from ingest import ARROW, COLUMNAR, NDJSON, bodies_of
from load import PATH, Service, send, serving, table_of
from machine import described
from sender import request

SEED, ROWS, CONNECTIONS, PARTS = 0, 1_000, 4, 20
MEGABYTE = 1 << 20
# What caches and allocators may still add after the first quarter.
FLAT = 1.1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    wanted = max(parser.parse_args().rows // ROWS // PARTS, 1)
    print(described())
    print(f"{wanted * PARTS * ROWS:,} rows in bodies of {ROWS:,}: two of NDJSON, one of columns, one of Arrow in turn")
    print(f"each with an idempotency key; seed {SEED}")
    rng = np.random.default_rng(SEED)
    made = bodies_of([table_of(rng, ROWS) for _ in range(4)])
    order = (NDJSON, COLUMNAR, NDJSON, ARROW)
    templates = [request(PATH, made[name][0], made[name][1][place]) for place, name in enumerate(order)]
    with serving() as service:
        peaks = _peaks(service, templates, wanted)
        counted = service.deciding.counted()
    assert counted == wanted * PARTS * ROWS, counted  # noqa: S101  else something else was measured
    print("\nthe most of the second quarter and of the last")
    for name, values in peaks.items():
        second, last = max(values[PARTS // 4 : PARTS // 2]), max(values[-PARTS // 4 :])
        verdict = "flat" if last <= second * FLAT else "GROWS"
        print(f"  {name:<18} {second:7.1f} → {last:7.1f} MB  {last / second - 1:+.1%}  {verdict}")


def _peaks(service: Service, templates: list[bytes], wanted: int) -> dict[str, list[float]]:
    """Prints and gives, in MB, the most that each process held in each part, and what the store says its data takes."""
    peaks: dict[str, list[float]] = {name: [] for name in (*service.pids, "data of the store")}
    print(f"\n{'rows':>12} " + " ".join(f"{name:>18}" for name in peaks) + "   MB at most")
    for part in range(PARTS):
        service.forget_peaks()
        notes = send(templates, service.port, requests=wanted, connections=CONNECTIONS, first=part * wanted)
        if (notes["status"] != 202).any():
            raise ValueError(f"answered {np.unique(notes['status'])}")
        service.wait_until_counted()
        found = {**service.peak_bytes(), "data of the store": service.stored_bytes()}
        for name, value in found.items():
            peaks[name].append(value / MEGABYTE)
        rows = (part + 1) * wanted * ROWS
        print(f"{rows:>12,} " + " ".join(f"{peaks[name][-1]:>18.1f}" for name in peaks), flush=True)
    return peaks


if __name__ == "__main__":
    main()
