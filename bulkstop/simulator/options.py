"""What a simulated service is like: every option with its default, unit and check."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bulkstop.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """One service; raises SettingsError, naming the option, for a value that makes no sense.

    Without `client_secret` any token will do. `quota` holds (calls, window_s) pairs, each a rolling window per account.
    `latency_ms` is fixed, or with `latency_sigma` the median of a log-normal distribution. `failure_rate` is a share of
    calls, `fail_first_rate` a share of campaigns of which only the first call fails. `second_stop` is the answer for a
    campaign that does not run, `unknown` what becomes of an id that is not among the `campaigns` generated from `seed`.
    Of those, `churn` change their status after each answered list call.
    """

    host: str = "127.0.0.1"
    port: int = 0
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    require_jti: bool = False
    quota: tuple[tuple[int, float], ...] = ()
    throttle_status: int = 429
    retry_after_s: float | None = None
    latency_ms: float = 0.0
    latency_sigma: float = 0.0
    failure_rate: float = 0.0
    failure_status: int = 503
    fail_first_rate: float = 0.0
    second_stop: Literal["conflict", "success"] = "conflict"
    unknown: Literal["active", "not_found"] = "active"
    campaigns: int = 0
    churn: int = 0
    seed: int = 0
    log: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        self._check_ranges()
        self._check_quota()
        self._check_choices()
        self._check_credentials()

    def _check_ranges(self) -> None:
        for name in ("throttle_status", "failure_status"):
            _check(name, getattr(self, name), 200, 599)
        for name in ("failure_rate", "fail_first_rate"):
            _check(name, getattr(self, name), 0, 1)
        for name in ("latency_ms", "latency_sigma", "campaigns", "churn"):
            _check(name, getattr(self, name), 0, 1e9)
        _check("port", self.port, 0, 65535)
        if self.retry_after_s is not None:
            _check("retry_after_s", self.retry_after_s, 0, 1e9)

    def _check_quota(self) -> None:
        for calls, window_s in self.quota:
            _check("quota calls", calls, 1, 1e9)
            if not 0 < window_s < float("inf"):
                raise SettingsError(f"quota window of {window_s} s; give more than 0 seconds")

    def _check_choices(self) -> None:
        if self.second_stop not in ("conflict", "success"):
            raise SettingsError(f"second_stop is {self.second_stop!r}; give conflict or success")
        if self.unknown not in ("active", "not_found"):
            raise SettingsError(f"unknown is {self.unknown!r}; give active or not_found")

    def _check_credentials(self) -> None:
        if self.client_secret == "":
            raise SettingsError("client_secret is empty; give a secret, or none at all to accept any token")
        if self.client_secret is None and (self.client_id is not None or self.require_jti):
            raise SettingsError("client_id and require_jti need client_secret; without it any token is accepted")


def _check(name: str, value: float, low: float, high: float) -> None:
    # Written so that NaN, which compares false with everything, is refused too.
    if not low <= value <= high:
        raise SettingsError(f"{name} is {value}; give a value from {low} to {high:g}")
