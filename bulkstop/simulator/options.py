"""The options of a simulated service, each with its default, unit and check."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, TypeVar, cast, get_args, get_origin

from bulkstop.errors import SettingsError
from bulkstop.model import Limit
from bulkstop.simulator.auth import App
from bulkstop.simulator.details.calling_hours import MIXED, check_form
from bulkstop.simulator.rate_limits import RateLimitHeaders
from bulkstop.text.likeness import find_near

T = TypeVar("T")
Quota = Limit | Iterable[Limit | tuple[int, float]]
"""One or several limits, each possibly as (calls, window_s)."""
_READ_APART: Final = frozenset({"quota", "apps", "refused"})


class Faults(TypedDict, total=False):
    """The options of a service as keywords; see `SimulatorOptions`."""

    host: str
    port: int
    client_id: str | None
    client_secret: str | None
    apps: Iterable[App]
    require_jti: bool
    quota: Quota
    throttle_status: int
    retry_after_s: float | None
    rate_limit_headers: RateLimitHeaders
    latency_ms: float
    latency_sigma: float
    slow: Mapping[str, float]
    failure_rate: float
    failure_status: int
    fail_first_rate: float
    refused: Iterable[str]
    api: Literal["v1", "v2"]
    second_stop: Literal["conflict", "success"]
    unknown: Literal["active", "not_found"]
    campaigns: int
    accounts: int
    streams: int
    running: int | None
    emergency: bool
    other_status: str | None
    churn: int
    contacts_per_minute: float
    contacts_after_stop_s: float
    analytics: bool
    calling_hours: str
    seed: int
    log: str | Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """The options of a service; raises SettingsError, naming the option, for an invalid value.

    `api` is the version whose paths respond, and no others. Without `client_secret` any token is accepted; `apps` are
    several apps, each with its accounts. Each limit of `quota` is a rolling window per account; `rate_limit_headers` is
    the form in which responses report what is left of it. `latency_ms` is fixed, or with `latency_sigma` the median of
    a log-normal distribution; accounts in `slow` have their own. Lists of `refused` accounts are 403. `failure_rate` is
    a share of calls, `fail_first_rate` a share of campaigns whose first call fails. `second_stop` is the response for a
    campaign that does not run, `unknown` the treatment of an id outside the `campaigns` generated from `seed`. With
    `accounts` these are spread over account-01 and so on, each with its `streams`, stream-01-1 and so on; without, they
    are in any. `running` is the number of running ones, by default random; with `emergency` one SMS campaign of each
    account is a running emergency; `other_status` is an undocumented status of some. `churn` of them change their
    status after each answered list call. A running campaign makes `contacts_per_minute` contacts, until
    `contacts_after_stop_s` seconds after its stop; without `analytics` the app lacks the scope to read them.
    `calling_hours` are mixed, none, or the same for all, such as "9:00 AM-6:00 PM Asia/Kolkata".
    """

    host: str = "127.0.0.1"
    port: int = 0
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    apps: Iterable[App] = ()
    require_jti: bool = False
    quota: Quota = ()
    throttle_status: int = 429
    retry_after_s: int | float | None = None
    rate_limit_headers: RateLimitHeaders = "none"
    latency_ms: int | float = 0.0
    latency_sigma: int | float = 0.0
    slow: Mapping[str, float] = field(default_factory=dict)
    failure_rate: int | float = 0.0
    failure_status: int = 503
    fail_first_rate: int | float = 0.0
    refused: Iterable[str] = ()
    api: Literal["v1", "v2"] = "v2"
    second_stop: Literal["conflict", "success"] = "conflict"
    unknown: Literal["active", "not_found"] = "active"
    campaigns: int = 0
    accounts: int = 0
    streams: int = 1
    running: int | None = None
    emergency: bool = False
    other_status: str | None = None
    churn: int = 0
    contacts_per_minute: int | float = 0.0
    contacts_after_stop_s: int | float = 0.0
    analytics: bool = True
    calling_hours: str = MIXED
    seed: int = 0
    log: str | Path | None = None

    def __post_init__(self) -> None:
        """Raise SettingsError for options that cannot be simulated."""
        for each in fields(self):
            _check_kind(each.name, each.type, getattr(self, each.name))
        object.__setattr__(self, "quota", _read_quota(self.quota))
        object.__setattr__(self, "apps", _read_each("apps", self.apps, App))
        object.__setattr__(self, "refused", _read_each("refused", self.refused, str))
        self._check_ranges()
        self._check_credentials()

    @property
    def windows(self) -> tuple[tuple[int, float], ...]:
        """The quota as (calls, window_s)."""
        return tuple((limit.calls, limit.window_s) for limit in cast("tuple[Limit, ...]", self.quota))

    def list_apps(self) -> tuple[App, ...]:
        """Return the apps whose tokens are accepted; without any, all tokens are."""
        own = () if self.client_secret is None else (App(self.client_id, self.client_secret),)
        return (*own, *self.apps)

    def _check_ranges(self) -> None:
        for name in ("throttle_status", "failure_status"):
            _check(name, getattr(self, name), 200, 599)
        for name in ("failure_rate", "fail_first_rate"):
            _check(name, getattr(self, name), 0, 1)
        for name in ("latency_ms", "latency_sigma", "campaigns", "churn", "contacts_after_stop_s"):
            _check(name, getattr(self, name), 0, 1e9)
        for name, low in (("accounts", 0), ("streams", 1)):
            _check(name, getattr(self, name), low, 10_000)
        if self.running is not None:
            _check("running", self.running, 0, self.campaigns)
        for account_id, median_ms in self.slow.items():
            _check(f"slow: {account_id}", median_ms, 0, 1e9)
        _check("contacts_per_minute", self.contacts_per_minute, 0, 6000)
        _check("port", self.port, 0, 65535)
        if self.retry_after_s is not None:
            _check("retry_after_s", self.retry_after_s, 0, 1e9)
        if fault := check_form(self.calling_hours):
            raise SettingsError(f"calling_hours is {self.calling_hours!r}; {fault}")

    def _check_credentials(self) -> None:
        if self.client_secret == "":
            raise SettingsError("client_secret is empty; give a secret, or none at all to accept any token")
        is_open = not self.list_apps()
        if (self.client_secret is None and self.client_id is not None) or (is_open and self.require_jti):
            raise SettingsError("client_id and require_jti need client_secret; without it any token is accepted")


def make_options(options: SimulatorOptions | None, faults: Mapping[str, object]) -> SimulatorOptions:
    """Return options with these faults; raises SettingsError for an unknown one, with the nearest known option."""
    names = [each.name for each in fields(SimulatorOptions)]
    for name in faults:
        if name not in names:
            raise SettingsError(f"{name} is not an option of the simulator; {_suggest(name, names)}")
    if options is not None and not isinstance(options, SimulatorOptions):
        raise SettingsError("the simulator takes its options by name, such as Simulator(campaigns=10)")
    return replace(options or SimulatorOptions(), **cast("dict[str, Any]", faults))


def _suggest(name: str, names: list[str]) -> str:
    near = find_near(name, names)
    return f"did you mean {near}?" if near else f"it has {', '.join(names)}"


def _check_kind(name: str, kind: Any, value: object) -> None:
    kind = Mapping if get_origin(kind) is Mapping else kind
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise SettingsError(f"{name} is {value!r}; give {' or '.join(get_args(kind))}")
    elif name not in _READ_APART and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        words = getattr(kind, "__name__", str(kind).replace("pathlib.", ""))
        raise SettingsError(f"{name} is of type {type(value).__name__}; give {words}")


def _read_each(name: str, values: Iterable[T], kind: type[T]) -> tuple[T, ...]:
    each = () if isinstance(values, str) or not isinstance(values, Iterable) else tuple(values)
    if not all(isinstance(value, kind) for value in each) or (values and not each):
        raise SettingsError(f"{name}: give a list of {kind.__name__}")
    return each


def _read_quota(quota: Quota) -> tuple[Limit, ...]:
    try:
        limits = (quota,) if isinstance(quota, Limit) else tuple(quota)
        return tuple(each if isinstance(each, Limit) else Limit(*each) for each in limits)
    except (TypeError, ValueError):
        raise SettingsError("quota: give limits of at least 1 call in more than 0 s, such as Limit(60, 60)") from None


def _check(name: str, value: float, low: float, high: float) -> None:
    # The condition also refuses NaN, which compares false with everything.
    if not low <= value <= high:
        raise SettingsError(f"{name} is {value}; give a value from {low} to {high:g}")
