"""Stop Kore.ai voice and SMS campaigns in bulk.

>>> from bulkstop import Settings, stop
>>> settings = Settings(host="platform.kore.ai", token_file="token")
>>> summary = stop(["campaigns.csv"], settings, output="results.jsonl")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkstop.version import __version__ as __version__

if TYPE_CHECKING:
    from bulkstop.errors import BulkstopError, CredentialsError, InputError, OutputError, SettingsError
    from bulkstop.model import Campaign, CampaignType, Limit, Outcome, Result
    from bulkstop.report.summary import Summary
    from bulkstop.runs.api import stop, stop_async
    from bulkstop.settings import NO_LIMIT, Settings

__all__ = [
    "NO_LIMIT",
    "BulkstopError",
    "Campaign",
    "CampaignType",
    "CredentialsError",
    "InputError",
    "Limit",
    "Outcome",
    "OutputError",
    "Result",
    "Settings",
    "SettingsError",
    "Summary",
    "stop",
    "stop_async",
]

_HOMES = {
    "errors": ("BulkstopError", "CredentialsError", "InputError", "OutputError", "SettingsError"),
    "model": ("Campaign", "CampaignType", "Limit", "Outcome", "Result"),
    "runs.api": ("stop", "stop_async"),
    "report.summary": ("Summary",),
    "settings": ("NO_LIMIT", "Settings"),
}


def __getattr__(name: str) -> Any:
    # Lazy: `bulkstop --help` must not pay for the HTTP client.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"bulkstop.{home}"), name)
    raise AttributeError(f"module 'bulkstop' has no attribute {name!r}")
