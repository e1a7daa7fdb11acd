"""The upper bound of aiohttp: workers post to the URLs of a list and ignore the responses.

    python benchmarks/bare_loop.py http://127.0.0.1:8080 ids.txt 50 5      # 50 connections, 5 seconds

Runs on uvloop, and repeats the list until the time is over.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path

ACCOUNT, STREAM = "64f0a1b2c3d4e5f60718293a", "st-5c8e21d4-6a1f-4b7e-9d2c-3f8a5e7b1c0d"
TARGET = f"/api/v2/public/{STREAM}/campaign/trigger/{{}}?accountId={ACCOUNT}&campaignType=voice&trigger=stop"
TOKEN = "x" * 36 + "." + "y" * 120 + "." + "z" * 43
"""As long as the vendor's tokens, but not valid anywhere."""
HEADERS = {"auth": TOKEN, "accountid": ACCOUNT, "iid": STREAM}


def posted(host: str, ids: Iterable[str], connections: int) -> tuple[int, float]:
    """Post for each id; return the number of 200 responses, and the seconds."""
    import aiohttp
    import uvloop

    todo, url = iter(ids), host + TARGET

    async def main() -> tuple[int, float]:
        answered = 0

        async def worker() -> None:
            nonlocal answered
            for campaign_id in todo:
                async with session.post(url.format(campaign_id), json={}, headers=HEADERS) as response:
                    await response.read()
                    answered += response.status == 200

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
            began = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(connections)))
            return answered, time.perf_counter() - began

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def for_a_while(ids: Iterable[str], seconds: float) -> Iterator[str]:
    """Yield the ids repeatedly until the time is over."""
    end = time.monotonic() + seconds
    for campaign_id in cycle(ids):
        if time.monotonic() > end:
            return
        yield campaign_id


if __name__ == "__main__":
    host, path, connections, seconds = sys.argv[1:]
    ids = Path(path).read_text().splitlines()
    answered, elapsed_s = posted(host, for_a_while(ids, float(seconds)), int(connections))
    print(json.dumps({"requests": answered, "rate": answered / elapsed_s}))
