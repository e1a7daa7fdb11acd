"""Settings become parts: what all that make calls for an account have in common."""

from contextlib import closing

from bulkstop.runs.lists.roster import Roster
from bulkstop.runs.stop.plan import make_plan
from bulkstop.runs.stop.precheck import KnownStates, narrow_plan
from bulkstop.runs.stop.work import make_lanes
from bulkstop.runs.wiring import Accounts
from bulkstop.settings import Settings
from tests.engine.parts import accounts


def test_whoever_calls_for_an_account_shares_its_rest() -> None:
    """Once a call for an account was told to wait its lane rests too, whether lists were read before or not."""
    settings = Settings(host="api.example", token="t")
    shared = Accounts(settings, None)
    shared.rest("a1").extend(7.0)
    with closing(make_plan(accounts(["a1", "a2"], 2), settings)) as plan:
        left = narrow_plan(plan, KnownStates(Roster({})), lambda campaign: None)
        for first, second in (make_lanes(plan, shared), make_lanes(left, shared)):
            assert first.rest.until == 7.0
            assert second.rest.until < 7.0
