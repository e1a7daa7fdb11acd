"""A typical script for the job: reads the CSV, posts each campaign with aiohttp, reads the JSON, counts.

python benchmarks/naive_loop.py http://127.0.0.1:8080 list.csv 50 uvloop      # or asyncio: asyncio.run
"""

import asyncio
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from bare_loop import HEADERS, TARGET


async def stop_all(host: str, rows: Iterator[dict[str, str]], connections: int) -> int:
    """Post for each row with this many workers and return the number of stopped campaigns."""
    stopped = 0

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal stopped
        for row in rows:
            async with session.post(host + TARGET.format(row["campaign_id"]), json={}, headers=HEADERS) as response:
                stopped += (await response.json())["status"] == "Stopped"

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        await asyncio.gather(*(worker(session) for _ in range(connections)))
    return stopped


def main() -> None:
    """Stop a list and print the number of stopped campaigns."""
    host, path, connections, loop = sys.argv[1:]
    with Path(path).open(newline="") as file:
        job = stop_all(host, iter(csv.DictReader(file)), int(connections))
        if loop == "uvloop":
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                stopped = runner.run(job)
        else:
            stopped = asyncio.run(job)
    print(json.dumps({"stopped": stopped}))


if __name__ == "__main__":
    main()
