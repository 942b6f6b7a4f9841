"""Updates with REPLICA IDENTITY DEFAULT beside FULL: WAL to silver.

    python bench/identity.py [--rows 500000] [--rounds 3]

The same updates are written twice, with each identity, and read in turns: by `pg_recvlogical -f /dev/null` and by the
pipeline into an empty lake. Goal: DEFAULT is no slower than FULL (it sends half as much).
"""

from __future__ import annotations

import argparse
import json
import statistics

from shop import open_shop
from wal_to_silver import Drain, pipeline, recvlogical

IDENTITIES = ("full", "default")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    drains: dict[str, list[tuple[Drain, Drain]]] = {}
    with open_shop() as shop:
        shop.sql("select tx(100000, 0, 0, 0)")
        for identity in IDENTITIES:
            shop.sql(f"alter table orders replica identity {identity}")
            shop.slot("master")
            shop.backlog(options.rows, (0, 1000, 0, 0))
            end = shop.end()
            shop.sql("select pg_logical_emit_message(true, 'bench', 'end')")
            for _ in range(options.rounds):
                both = recvlogical(shop, end), pipeline(shop, end, feed="auto", gold=False)
                drains.setdefault(identity, []).append(both)
            shop.drop_slot("master")
    result = {identity: summed(given) for identity, given in drains.items()}
    result["ratio"] = {"cpu": round(result["default"]["cpu_us"] / result["full"]["cpu_us"], 3),
                       "seconds": round(result["default"]["us"] / result["full"]["us"], 3)}  # fmt: skip
    if options.json:
        print(json.dumps(result))
        return
    for identity in IDENTITIES:
        line = result[identity]
        print(f"{identity:<8} {1e6 / line['us']:>10,.0f} rows/s ({line['peer']:.2f} of pg_recvlogical), "
              f"{line['cpu_us']:.2f} us of CPU per row, server and pipeline")  # fmt: skip
    print(f"default / full: {result['ratio']['seconds']:.2f} of the time, {result['ratio']['cpu']:.2f} of the CPU")


def summed(drains: list[tuple[Drain, Drain]]) -> dict[str, float]:
    rows = drains[0][1].rows
    seconds = statistics.median(ours.seconds for _, ours in drains)
    return {
        "rows": rows,
        "us": round(seconds / rows * 1e6, 3),
        "peer": round(statistics.median(peer.seconds for peer, _ in drains) / seconds, 3),
        "cpu_us": round(statistics.median(ours.server + ours.client for _, ours in drains) / rows * 1e6, 3),
    }


if __name__ == "__main__":
    main()
