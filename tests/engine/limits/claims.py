"""A process that claims calls as fast as it can, and what is to be true of all that such processes were given.

python -m tests.engine.limits.claims WHERE LIMIT ...    # a LIMIT is 20/2s

It says "ready", and begins once it is told until when, on the monotonic clock: a busy machine takes long to start it.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from bulkstop.engine.limits.blocks import MOST_PLACES, Blocks
from bulkstop.engine.limits.store import QuotaStore, open_store
from bulkstop.engine.limits.windows import Change, Take
from bulkstop.model import Limit
from tests.processes import ROOT, environment

HOST = "https://platform.kore.ai"
ACCOUNT = "644e9b61138c7160307450fa"
LEASE_S = 30.0


class Call(NamedTuple):
    """A call that was permitted at some moment between the two, in seconds of the clock that all processes share."""

    earliest: float
    latest: float


async def claim(store: QuotaStore, account_id: str = ACCOUNT) -> float:
    """Take a place for a call that is answered at once, and return 0.0; or return the seconds to ask again after."""
    (grant,) = await store.settle([Take(account_id, 1)], [], {})
    if not grant.places:
        return grant.wait_s
    await store.settle([], [Change(account_id, grant.places[0], 0.0)], {})
    return 0.0


async def claims(store: QuotaStore, count: int, account_id: str = ACCOUNT) -> list[float]:
    """Claim a few times in a row."""
    return [await claim(store, account_id) for _ in range(count)]


async def counted(store: QuotaStore, account_id: str = ACCOUNT) -> int:
    """Return how many calls are in the windows of an account."""
    (ages,) = await store.ages([account_id])
    return len(ages)


async def claim_until_told(where: str, limits: Sequence[Limit]) -> None:
    """Claim in blocks, and print the time of each grant; wait only as requested."""
    blocks = Blocks(await open_store(where, host=HOST, limits=limits, lease_s=LEASE_S))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ends_at = float(sys.stdin.readline())
    account = blocks.account(ACCOUNT)
    while (asked := time.monotonic()) < ends_at:
        wait_s = await account.take(MOST_PLACES)
        if wait_s:
            await asyncio.sleep(min(wait_s, max(0.0, ends_at - time.monotonic())))
        else:
            sys.stdout.write(f"{asked} {time.monotonic()}\n")
            sys.stdout.flush()
            account.answered()
            await asyncio.sleep(0)
    await blocks.close()


def start_claimers(count: int, where: str, limits: Sequence[Limit]) -> list["subprocess.Popen[str]"]:
    """Start such processes, and return when all are ready."""
    command = [sys.executable, "-m", "tests.engine.limits.claims", where, *map(str, limits)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=pipe, stdout=pipe, text=True) for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return processes


def claim_until(ends_at: float, processes: Sequence["subprocess.Popen[str]"]) -> None:
    """Let them claim until then."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{ends_at}\n")
        process.stdin.flush()


def read_grants(process: "subprocess.Popen[str]", count: int | None = None) -> list[Call]:
    """Read the next `count` grants of a process; without a count, all until it ends."""
    assert process.stdout is not None
    if count is None:
        lines = process.communicate()[0].splitlines(keepends=True)
    else:
        lines = [process.stdout.readline() for _ in range(count)]
    return [Call(*map(float, line.split())) for line in lines if line.endswith("\n")]


def assert_never_over(grants: Sequence[Call], limits: Sequence[Limit]) -> None:
    """No window of the limits' lengths, wherever it starts, holds more grants than the limit."""
    in_order = sorted(grants, key=lambda grant: grant.latest)
    for limit in limits:
        for first, beyond in zip(in_order, in_order[limit.calls :], strict=False):
            assert beyond.latest - first.earliest >= limit.window_s, limit


def assert_never_over_whenever(calls: Sequence[Call], limits: Sequence[Limit]) -> None:
    """No window has more calls than the limit, for any counting times between departure and answer."""
    for limit in limits:
        for first in calls:
            until = first.latest + limit.window_s
            at_once = [call for call in calls if call.latest >= first.latest and call.earliest < until]
            assert len(at_once) <= limit.calls, (limit, at_once)


if __name__ == "__main__":
    asyncio.run(
        claim_until_told(
            sys.argv[1],
            [Limit(int(calls), float(window[:-1])) for calls, window in (given.split("/") for given in sys.argv[2:])],
        )
    )


def windows_used(grants: Sequence[Call], ends_at: float, window_s: float) -> int:
    """Return how many windows, three at most, could be filled between the first grant and the end."""
    first = min(grant.latest for grant in grants)  # a process may take a while to begin
    return min(3, 1 + int((ends_at - first) / (1.05 * window_s)))
