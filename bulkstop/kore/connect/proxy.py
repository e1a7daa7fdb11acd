"""A proxy that refuses is asked once, and ends the run: repeated requests may lock an account."""

import asyncio
import os
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import orjson

from bulkstop.errors import CredentialsError
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.naming import name_setting, name_variable
from bulkstop.redact import hide_password

REFUSED_S = 60.0
"""How long a refusal answers equal calls without asking the proxy again."""
LOGIN_WANTED = 407
FORBIDDEN = 403
_OK = 200


class ProxyGate:
    """Permits one call at a time to a proxy until one succeeds, and none for a while after a refusal.

    A refusal raises CredentialsError: the same password, or the same host, would be refused for every call.
    """

    def __init__(self, proxy: str, host: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._proxy, self._host = proxy, host
        self._clock = clock
        self._turn = asyncio.Lock()
        self._is_open = False
        self._refusal = ""
        self._refused_until = 0.0

    @asynccontextmanager
    async def pass_through(self) -> AsyncIterator[None]:
        """Wait for permission; the block passes the proxy's response to `answered`."""
        if not self._is_open:
            async with self._turn:
                self._check()
                if not self._is_open:
                    yield
                    return
        self._check()
        yield

    def answered(self, status: int | None, schemes: str | None = None) -> None:
        """Note the proxy's response, and the login schemes that it accepts; raises CredentialsError for a refusal."""
        if status not in (LOGIN_WANTED, FORBIDDEN):
            self._is_open = self._is_open or status is not None
            return
        self._is_open = False
        self._refusal = self._explain(status, schemes)
        self._refused_until = self._clock() + REFUSED_S
        self._check()

    def judge(self, response: Response | TransportFailure) -> None:
        """Note the response to a plain call, which comes from the service or from the proxy itself."""
        if (
            isinstance(response, TransportFailure)
            or response.status == LOGIN_WANTED
            or (response.status == FORBIDDEN and not _is_object(response.body))
        ):
            self.answered(response.status)
        else:
            self.answered(200)

    def _check(self) -> None:
        if self._refusal and self._clock() < self._refused_until:
            raise CredentialsError(self._refusal)

    def _explain(self, status: int, schemes: str | None) -> str:
        proxy, option = hide_password(self._proxy), name_setting("proxy")
        if status == FORBIDDEN:
            remedy = f"have it allow that host, or give another one ({find_variable(self._proxy) or option})"
            return f"the proxy {proxy} lets no call pass to {self._host} (HTTP 403), which ended the run: {remedy}"
        ways = "" if schemes is None or re.search(r"\bbasic\b", schemes, re.IGNORECASE) else _name_schemes(schemes)
        variable = find_variable(self._proxy)
        if variable and urlsplit(self._proxy).username is None:
            remedy = f"put the user and the password into {variable} (http://user:password@host:port)"
            return f"the proxy {proxy} asks for a login (HTTP 407), which ended the run{ways}: {remedy}"
        if urlsplit(self._proxy).username is None:
            remedy = f"name the user in {option}, and give the password as {name_variable('proxy_password')}"
            return f"the proxy {proxy} asks for a login (HTTP 407), which ended the run{ways}: {remedy}"
        password, file = name_variable("proxy_password"), name_setting("proxy_password_file")
        remedy = f"put them right ({variable or option}, {password} or {file})"
        return f"the proxy {proxy} refuses the user or the password (HTTP 407), which ended the run{ways}: {remedy}"


def find_variable(proxy: str) -> str | None:
    """Return the environment variable that names a proxy; None if there is none."""
    place = _place_of(proxy)
    names = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")
    return next((name for name in names if place and _place_of(os.environ.get(name, "")) == place), None)


def _place_of(url: str) -> str:
    return url.strip().rpartition("://")[2].rpartition("@")[2].rstrip("/").lower()


def make_login(proxy: str | None) -> Mapping[str, str]:
    """Return the login header for a proxy, empty without a user; a password may be in any script."""
    via = urlsplit(proxy or "")
    if via.username is None:
        return {}
    words = f"{unquote(via.username)}:{unquote(via.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(words.encode()).decode()}"}


def strip_login(proxy: str) -> str:
    """Return a proxy's URL without user and password."""
    via = urlsplit(proxy)
    return via._replace(netloc=via.netloc.rpartition("@")[2]).geturl()


def _name_schemes(schemes: str) -> str:
    words = re.findall(r"(?:^|,)\s*([A-Za-z][\w-]*)(?=\s|,|$)", schemes)[:3]
    return f" (it takes {' and '.join(words)}, and not the Basic that is given)" if words else ""


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body.removeprefix(b"\xef\xbb\xbf")), dict)
    except orjson.JSONDecodeError:
        return False
