"""The search for a limit at services that count over other times than a step: what is written is never too much."""

from collections.abc import Mapping

import pytest

from bulkstop.engine.load.rate_search import TrialResult
from bulkstop.engine.load.refusals import Refusals, Sent
from bulkstop.kore.exchange import Response
from bulkstop.report.load.limit import LimitSummary
from bulkstop.runs.load.search import PROOF_S, Search, execute
from bulkstop.settings import Settings
from bulkstop.simulator.faults import RollingQuota
from tests.engine.parts import now_s
from tests.loads import OK, Service, endless
from tests.virtual_time import run

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
SETTINGS = Settings(host="http://127.0.0.1:1", token=TOKEN)
Windows = tuple[tuple[int, float], ...]


class Limited(Service):
    """Counts as the simulator does."""

    def __init__(self, windows: Windows) -> None:
        super().__init__()
        self._quota = RollingQuota(windows)

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Answer, or refuse."""
        self.seen.append((now_s(), target, headers["auth"]))
        return OK if self._quota.admit("a", now_s()) else Response(429, b"{}", 1.0)


def searched(windows: Windows, **how: object) -> LimitSummary:
    """Search at such a service, to write a quota."""
    search = Search(**{"proof_s": PROOF_S, "top": 200.0, **how})  # type: ignore[arg-type]
    return run(execute(search, endless(), SETTINGS, connect=Limited(windows).connect))[0]


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(
    "step_s", [2.0, *(pytest.param(step_s, marks=pytest.mark.full) for step_s in (1.0, 4.0, 10.0))]
)
@pytest.mark.parametrize(
    "windows",
    [
        ((60, 10.0),),
        ((60, 60.0),),
        ((5, 1.0), (100, 60.0)),
        ((20, 1.0), (300, 30.0)),
        ((25, 1.0),),
        ((100, 7.0),),
        pytest.param(((1000, 60.0),), marks=pytest.mark.full),
    ],
    ids=str,
)
def test_never_too_much(windows: Windows, step_s: float) -> None:
    """Whatever the step, the quota is not above what the service takes for ever, nor far below it."""
    found = searched(windows, step_s=step_s)
    true = min(calls / window_s for calls, window_s in windows)
    if found.quota is None:
        assert found.exit_code in (1, 3)
    else:
        assert found.quota.calls / found.quota.window_s <= true * (1 + 1e-9)
        assert found.quota.calls / found.quota.window_s >= true * 0.85


@pytest.mark.usefixtures("virtual")
def test_says_so() -> None:
    """A step whose first request was refused says nothing of its rate: it is told, and tried again later."""
    found = searched(((60, 10.0),), step_s=2.0)
    unclear = [probe for probe in found.probes if probe.trial == TrialResult.UNCLEAR]
    assert unclear
    assert "requests of earlier steps still count; steps take " in unclear[0].why


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(("how", "why"), [({"length_s": 30.0}, "duration 30 s: is over"), ({"count": 90}, "count 90")])
def test_no_time_left(how: dict[str, object], why: str) -> None:
    """Where longer steps do not fit, the limit is not known: exit 3, and nothing to write."""
    found = searched(((60, 10.0),), step_s=2.0, **how)
    assert (found.exit_code, found.quota) == (3, None)
    assert found.reason.startswith(why)


def test_window() -> None:
    """A rate that is too high is refused within its step; a refusal after a rest looks back beyond it."""
    fast = Refusals()
    fast.record(Sent(0.0, 0.1, 100))
    fast.record(Sent(20.0, 0.05, 20))
    assert fast.find_window_s(21.0) <= 1.06
    slow = Refusals()
    slow.record(Sent(0.0, 0.1, 60))
    assert 8.0 <= slow.find_window_s(8.0) <= 8.5
    assert Refusals().find_window_s(1.0) == 0.0
