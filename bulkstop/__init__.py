"""Stop Kore.ai voice and SMS campaigns in bulk.

>>> from bulkstop import Settings, stop
>>> settings = Settings(host="platform.kore.ai", token_file="token")
>>> summary = stop(["campaigns.csv"], settings, output="results.jsonl")  # doctest: +SKIP

    stop, stop_async          a whole run in one call
    Engine, Run, Plan         many runs, observed and steered, over the same connections and quotas
    Settings, Limit           where the API is, who calls it, how hard
    Campaign, CampaignType    what is stopped
    Result, Outcome, Attempt  how that ended, one result a row
    Summary                   how a run ended
    Simulator                 the service, imitated on this machine
    BulkstopError             why a run cannot go on; its kinds are in `bulkstop.errors`

The types of an Engine's hooks are in `bulkstop.hooks`. Each use has an example in docs/python.md.

These names, those two modules, the fields of Result and the values of Outcome stay as they are: one that must go gives
a DeprecationWarning for at least one minor release. Everything else may change at any time.
"""

import sys
from importlib import import_module

from bulkstop.version import __version__ as __version__

TYPE_CHECKING = False  # a type checker takes it as True; importing `typing` would be half of the cost of this module
if TYPE_CHECKING:
    from bulkstop.errors import BulkstopError
    from bulkstop.model import Attempt, Campaign, CampaignType, Limit, Outcome, Result
    from bulkstop.report.summary import Summary
    from bulkstop.runs.api import stop, stop_async
    from bulkstop.runs.engine import Engine
    from bulkstop.runs.stop.run import Run
    from bulkstop.settings import Settings
    from bulkstop.simulator.server import Simulator
    from bulkstop.source.plan import Plan

__all__ = [
    "Attempt",
    "BulkstopError",
    "Campaign",
    "CampaignType",
    "Engine",
    "Limit",
    "Outcome",
    "Plan",
    "Result",
    "Run",
    "Settings",
    "Simulator",
    "Summary",
    "stop",
    "stop_async",
]

_HOMES = {
    **dict.fromkeys(("Attempt", "Campaign", "CampaignType", "Limit", "Outcome", "Result"), "model"),
    **dict.fromkeys(("stop", "stop_async"), "runs.api"),
    "BulkstopError": "errors",
    "Engine": "runs.engine",
    "Plan": "source.plan",
    "Run": "runs.stop.run",
    "Settings": "settings",
    "Simulator": "simulator.server",
    "Summary": "report.summary",
}
_FORMER_HOMES = {
    **dict.fromkeys(("CredentialsError", "InputError", "OutputError", "SettingsError"), "errors"),
    "NO_LIMIT": "settings",
}
"""Names that were public here; the next minor release removes them."""


if not TYPE_CHECKING:  # a type checker would accept any name

    def __getattr__(name: str) -> object:
        # Lazy: `bulkstop --help` must not pay for the HTTP client.
        if name in _HOMES:
            if sys.platform == "win32":  # file locks, limits on open files and signals need POSIX
                raise ImportError("bulkstop needs Linux or another POSIX system; on Windows run it in WSL")
            return getattr(import_module(f"bulkstop.{_HOMES[name]}"), name)
        if name in _FORMER_HOMES:
            import warnings

            instead = 'the text "none"' if name == "NO_LIMIT" else f"bulkstop.errors.{name}"
            warnings.warn(f"bulkstop.{name} goes; use {instead}", DeprecationWarning, stacklevel=2)
            return getattr(import_module(f"bulkstop.{_FORMER_HOMES[name]}"), name)
        raise AttributeError(f"module 'bulkstop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
