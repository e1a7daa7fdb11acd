"""Verifies tokens as the service documents it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

import orjson

JTI_LIFETIME_S: Final = 3600


@dataclass(frozen=True, slots=True)
class App:
    """An app: its client id (None is any), its secret, and its accounts, as ids or patterns with `*`.

    Without accounts it may call for all.
    """

    client_id: str | None
    client_secret: str = field(repr=False)
    accounts: tuple[str, ...] = ()

    def may_call(self, account_id: str) -> bool:
        """Return whether the app may call for an account."""
        return not self.accounts or any(fnmatchcase(account_id, each) for each in self.accounts)


class Access:
    """Accepts tokens that are signed with an app's secret for its client id; one with a `jti` only once.

    Without apps it accepts any token.
    """

    def __init__(self, apps: Sequence[App], *, require_jti: bool) -> None:
        self._require_jti = require_jti
        self._apps = [(app, _reader(app.client_secret)) for app in apps]
        self._used: dict[str, float] = {}  # jti to expiry, oldest use first

    def fault(self, token: str | None, account_id: str, unix_s: float) -> str | None:
        """Return what is wrong with a token for an account, or None; a valid `jti` is then used up."""
        if not token:
            return "auth token is missing"
        if not self._apps:
            return None
        invalid = ""
        for app, read in self._apps:
            try:
                claims = read(token)
            except ValueError as error:
                invalid = invalid or f"auth token is invalid: {error}"
                continue
            fault = self._claims_fault(claims, app, unix_s) or self._jti_fault(claims, unix_s)
            return fault or (None if app.may_call(account_id) else "the app has no access to this account")
        return invalid

    def _claims_fault(self, claims: Mapping[str, object], app: App, unix_s: float) -> str | None:
        if not claims.get("sub"):
            return "auth token has no sub"
        if not claims.get("appId"):
            return "auth token has no appId"
        if app.client_id is not None and claims["appId"] != app.client_id:
            return "auth token has another appId"
        if "exp" not in claims:
            return None
        exp = _number(claims["exp"])
        if exp is None:
            return "auth token has an exp that is not a number"
        return "auth token has expired" if exp <= unix_s else None

    def _jti_fault(self, claims: Mapping[str, object], unix_s: float) -> str | None:
        if "jti" not in claims:
            return "auth token has no jti, which this app enforces" if self._require_jti else None
        jti, exp = claims["jti"], _number(claims.get("exp"))
        if not isinstance(jti, str) or not jti:
            return "auth token has a jti that is not a string"
        if exp is None or exp > unix_s + JTI_LIFETIME_S:
            return "auth token with a jti must expire within 1 hour"
        if jti in self._used:
            return "auth token was used before, possibly a replay"
        self._forget(unix_s)
        self._used[jti] = exp
        return None

    def _forget(self, unix_s: float) -> None:
        # An expired token is refused anyway; dropping from the front takes constant time per call.
        while self._used and self._used[oldest := next(iter(self._used))] <= unix_s:
            del self._used[oldest]


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _reader(secret: str) -> Callable[[str], Mapping[str, object]]:
    """Return a function that reads the claims of a token, and raises ValueError for a wrong signature."""
    # Imported late: a service without secrets verifies nothing.
    from jwt import PyJWS, PyJWTError
    from jwt.algorithms import HMACAlgorithm

    class Secret(HMACAlgorithm):
        """Accepts a secret of any length, as the account has it, without a warning in the log."""

        def prepare_key(self, key: str | bytes) -> bytes:
            return key.encode() if isinstance(key, str) else key

        def check_key_length(self, key: bytes) -> str | None:
            return None

    verifier = PyJWS(algorithms=[])
    verifier.register_algorithm("HS256", Secret(HMACAlgorithm.SHA256))
    verifier.register_algorithm("HS512", Secret(HMACAlgorithm.SHA512))

    # A run sends the same token with thousands of calls.
    @lru_cache(maxsize=64)
    def read(token: str) -> Mapping[str, object]:
        try:
            claims = orjson.loads(verifier.decode(token, secret, algorithms=["HS256", "HS512"]))
        except PyJWTError as error:
            raise ValueError(error) from None
        if not isinstance(claims, dict):
            raise ValueError("claims are not an object")  # noqa: TRY004 - one error for any bad token
        return claims

    return read
