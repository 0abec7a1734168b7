"""The closing table of a run on Ray."""

from __future__ import annotations

from typing import Any


def closing_table(record: dict[str, Any]) -> list[str]:
    """Lines: each worker with its rows, rate, utilisation (share of its time that it scored) and deaths;
    retries.

    Args:
        record: as `Cluster.record` gives it.
    """
    workers = [worker for worker in record["workers"] if worker["parts"] or worker["deaths"]]
    if not workers:
        return []
    width = max(len("worker"), *(len(worker["worker"]) for worker in workers))
    lines = [f"{'worker':<{width}}  {'rows':>12}  {'parts':>6}  {'rows/s':>9}  {'busy':>5}  {'deaths':>6}"]
    for worker in workers:
        rate = worker["rows"] / worker["busy_s"] if worker["busy_s"] else 0.0
        lines.append(
            f"{worker['worker']:<{width}}  {worker['rows']:>12,}  {worker['parts']:>6,}  {rate:>9,.1f}  "
            f"{worker['utilisation']:>5.0%}  {worker['deaths']:>6,}"
        )
    lines.append(f"retries: {record['retries']:,}")
    return lines
