"""Tokens are obtained, kept while they are valid, and renewed once for all that wait."""

import asyncio
import base64
import contextlib
import logging
import math
import os
import re
import signal
import stat
import subprocess
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

import orjson

from bulkstop.errors import CredentialsError
from bulkstop.kore.connect.tls import explain_open_key, is_encrypted_key
from bulkstop.naming import name_setting
from bulkstop.text import decode_secret, strip_secret
from bulkstop.text.faults import explain_os

TokenSource = Callable[[], Awaitable[str]]
"""A way to obtain a token; raises CredentialsError."""

Algorithm = Literal["HS256", "HS512", "RS256", "RS512"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

TOKEN_BYTES = 64 * 1024
"""A longer text from a file or a command is not a token."""
JTI_LIFETIME_S = 300
"""The lifetime of a single-use token; the vendor allows an hour, one attempt needs far less."""
BACK_DATED_S = 60
"""How far a token's time of issue is dated back, so that it is not in the future for a service with a slow clock."""
MARGIN_S = 60.0
"""A token is renewed this long before its end, or in the last tenth of a short life."""
RETRY_S = 5.0
"""The pause after a renewal that failed."""
REFUSED_S = 60.0
"""A token obtained after a 401 is trusted for this long: a refusal then is due to the row, not the token."""

_KILLED_S = 1.0
_LAST_SECOND = 253402300800.0  # of the year 9999; later times cannot be printed
_PLAIN_WORD = re.compile(r"[\w./+:@%-]+", re.ASCII)
"""A first word of a command that a shell takes literally."""
_VISIBLE = re.compile(r"[\x21-\x7e]+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and its end in unix seconds, None if it states none."""

    value: str = field(repr=False)
    expires_at: float | None = None


def read_claims(token: str) -> dict[str, Any] | None:
    """Return the payload of a JWT without verifying it; None if the token is not a JWT."""
    # By hand: nothing is verified here, and a run with a ready-made token need not import PyJWT.
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def static_source(token: str, name: str = "BULKSTOP_TOKEN") -> TokenSource:
    """Return the same token each time; `name` is its name in an error."""
    value = _word(token, name)

    async def mint() -> str:
        return value

    return mint


def called_source(get_token: Callable[[], Awaitable[str]]) -> TokenSource:
    """Await the caller's function at each renewal; raises CredentialsError if it raises or returns no token."""

    async def mint() -> str:
        try:
            text = await get_token()
        except CredentialsError:
            raise
        except Exception as error:
            raise CredentialsError(f"the token function failed: {type(error).__name__}") from error
        if not isinstance(text, str):
            raise CredentialsError(f"the token function returned {type(text).__name__}, not a text")
        return _word(text, "what the token function returned")

    return mint


def file_source(path: str | Path) -> TokenSource:
    """Read the token from a file at each renewal."""
    name = f"token file {str(path)!r}"

    async def mint() -> str:
        return _text(_read(Path(path), name), name)

    return mint


def command_source(
    command: str, timeout_s: float = 30.0, *, environment: Mapping[str, str] | None = None
) -> TokenSource:
    """Run the operator's command in the shell at each renewal; it prints the token.

    It runs in this `environment`, by default that of this process.
    """

    async def mint() -> str:
        output = await _run(command, timeout_s, environment)
        if output.exit_code:
            raise CredentialsError(f"token command {_explain_exit(output.exit_code)}")
        return _text(bytes(output.stdout), "token command")

    return mint


def check_command(command: str, *, environment: Mapping[str, str] | None = None) -> None:
    """Raise CredentialsError, as the command would, if the shell cannot find or run its first word.

    It only runs the shell's own look-up; a command that begins with more than a word is not checked.
    """
    word = command.split(maxsplit=1)[0] if command.strip() else ""
    if not _PLAIN_WORD.fullmatch(word):
        return
    look_up = ["/bin/sh", "-c", 'command -v "$1"', "sh", word]
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.suppress(OSError, ValueError):
        is_there = subprocess.run(look_up, env=environment, check=False, **quiet).returncode == 0  # noqa: S603 - the shell's own look-up
        if "/" in word:  # a shell may find a path that cannot be run
            is_there = os.access(word, os.X_OK) and not Path(word).is_dir()
        if not is_there:
            raise CredentialsError(f"token command {_explain_exit(126 if Path(word).exists() else 127)}")


def signing_source(
    client_id: str,
    secret: str,
    algorithm: Algorithm = "HS256",
    subject: str = "bulkstop",
    *,
    jti: bool = False,
    now: Callable[[], float] = time.time,
) -> TokenSource:
    """Sign tokens with the client secret; with `jti` each one is different, for a single use.

    Without `jti` the documented payload has no time, so every token is the same and renewing changes nothing.
    """
    if algorithm not in ALGORITHMS:
        raise CredentialsError(f"no token can be signed with {algorithm!r}: use one of {', '.join(ALGORITHMS)}")
    key = cache(lambda: _key(secret, algorithm))

    async def mint() -> str:
        payload: dict[str, Any] = {"sub": subject, "appId": client_id}
        if jti:
            second = int(now())
            times = {"iat": second - BACK_DATED_S, "exp": second + JTI_LIFETIME_S}
            payload |= {"jti": str(uuid.uuid4()), **times}
        return _signed(payload, key, algorithm, secret)

    return mint


class Tokens:
    """The token for the next attempt; one renewal in time serves all that ask.

    `renewable`: asking the source again may return another token. `single_use`: every attempt needs its own token.
    """

    def __init__(
        self, source: TokenSource, *, renewable: bool, single_use: bool = False, now: Callable[[], float] = time.time
    ) -> None:
        self._source = source
        self._renewable = renewable
        self._single_use = single_use
        self._now = now
        self._lock = asyncio.Lock()
        self._token: Token | None = None
        self._good_until = -math.inf  # when to renew the current token
        self._fault: str | None = None  # why the last renewal failed
        self._fault_at = -math.inf
        self._refused_at = -math.inf  # when a 401 led to the current token

    @property
    def cached(self) -> Token | None:
        """The token that `get` would return without waiting; None if it would have to wait."""
        token = self._token
        return None if token is None or self._single_use or self._now() >= self._good_until else token

    async def get(self) -> Token:
        """Return the token for the next attempt; raises CredentialsError if every token has expired."""
        if self._single_use:
            return await self._mint()
        token = self._token
        # During a renewal a token in its margin still serves, so that a slow command delays nobody.
        if token and (self._now() < self._good_until or (self._lock.locked() and not self._expired(token))):
            return token
        async with self._lock:
            return await self._current()

    async def renew(self, refused: Token) -> bool:
        """Return whether, after a 401, the next get() returns another token than the refused one."""
        if self._single_use:
            return True
        async with self._lock:
            if self._differs(refused):
                return True
            if self._renewable and not self._within(self._refused_at, REFUSED_S):
                await self._renew()
            if not self._differs(refused):
                return False
            self._refused_at = self._now()
            return True

    async def _current(self) -> Token:
        if self._token is None or (self._renewable and self._now() >= self._good_until):
            await self._renew()
        token = self._token
        if token is None or self._expired(token):
            raise CredentialsError(self._fault or _expired_text(token))
        return token

    async def _renew(self) -> None:
        """Ask the source for another token; keep a failure as the fault."""
        if self._fault and self._within(self._fault_at, RETRY_S):
            return
        try:
            token = await self._mint()
        except CredentialsError as error:
            self._fault = str(error)
            if self._token and not self._expired(self._token):  # otherwise the error is raised
                _log.warning("the token in use is kept: %s", error)
        else:
            self._take(token)
        # Read after the source has responded: a slow command must not run again at once.
        self._fault_at = self._now()

    def _take(self, token: Token) -> None:
        if self._expired(token):
            self._fault = _expired_text(token)
        elif self._token and self._token.value == token.value:
            self._fault = f"{_expired_text(token)}; its source gives no newer one"
        else:
            self._token, self._fault, self._refused_at = token, None, -math.inf
            self._good_until = self._renewal_due(token)

    async def _mint(self) -> Token:
        value = await self._source()
        return Token(value, _expiry(value))

    def _renewal_due(self, token: Token) -> float:
        if token.expires_at is None:
            return math.inf
        left_s = token.expires_at - self._now()
        return token.expires_at - min(MARGIN_S, left_s / 10)

    def _expired(self, token: Token) -> bool:
        return token.expires_at is not None and self._now() >= token.expires_at

    def _differs(self, refused: Token) -> bool:
        return self._token is not None and self._token.value != refused.value

    def _within(self, start: float, seconds: float) -> bool:
        # Not negative: after the machine's clock was set back, the wait would never end.
        return 0 <= self._now() - start < seconds


def _expiry(token: str) -> float | None:
    exp = (read_claims(token) or {}).get("exp")
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        return None
    return float(exp) if 0 < exp < _LAST_SECOND else None


def _expired_text(token: Token | None) -> str:
    if token is None or token.expires_at is None:
        return "the token has no known end"
    end = datetime.fromtimestamp(token.expires_at, UTC)
    return f"the token expired at {end:%Y-%m-%dT%H:%M:%SZ} by this machine's clock: get a new one"


def _word(value: str, name: str) -> str:
    """Return a token that fits into a header, without surrounding white space."""
    word = strip_secret(value)
    if not word:
        raise CredentialsError(f"{name} is empty: a token is expected")
    if not _VISIBLE.fullmatch(word):
        raise CredentialsError(f"{name} is not one word of visible ASCII: give the bare token, without 'Bearer'")
    return word


def _text(data: bytes, name: str) -> str:
    if len(data) > TOKEN_BYTES:
        raise CredentialsError(f"{name} gives more than {TOKEN_BYTES} bytes: only the token is expected")
    # Invalid UTF-8 becomes a character that no token may contain; a decoding error would carry the bytes along.
    try:
        text = decode_secret(data)
    except UnicodeDecodeError:
        text = "\N{REPLACEMENT CHARACTER}"
    return _word(text, name)


def _read(path: Path, name: str) -> bytes:
    try:
        # A pipe can be read only once, and opening it again would block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            other = name_setting("token_command")
            raise CredentialsError(f"{name} is not a regular file; for anything else use {other}")
        with path.open("rb") as file:
            return file.read(TOKEN_BYTES + 1)
    except (OSError, ValueError) as error:
        raise CredentialsError(f"{name} cannot be read: {explain_os(error)}") from None


def _key(secret: str, algorithm: Algorithm) -> Any:
    # Parsed once: checking an RSA key takes longer than signing with it.
    import jwt  # imported here, because a run with a ready-made token does not need it

    return jwt.get_algorithm_by_name(algorithm).prepare_key(secret)


def _signed(payload: dict[str, Any], key: Callable[[], Any], algorithm: Algorithm, key_text: str) -> str:
    import jwt

    token = None
    # The vendor issues the secrets, so users cannot lengthen a short one: PyJWT need not warn.
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore", category=UserWarning):
        token = jwt.encode(payload, key(), algorithm=algorithm)
    # Raised outside, so that it is not chained to an exception that may contain the key.
    if token is None and is_encrypted_key(key_text):
        raise CredentialsError(f"no token can be signed: the key {explain_open_key()}")
    if token is None:
        need = (
            "an RSA private key in PEM form"
            if algorithm.startswith("RS")
            else "plain text, neither empty nor a key file"
        )
        raise CredentialsError(f"no token can be signed: for {algorithm} the client secret must be {need}")
    return token


class _Command:
    """A command of the operator: what it prints, up to a cap, and how it ends; it is done when it has exited."""

    # Not asyncio's subprocess: that one creates tasks, keeps all that an endless command prints, and if cancelled while
    # it starts one, ends the shell alone and then waits for the shell's children.

    def __init__(self, command: str, environment: Mapping[str, str] | None) -> None:
        self.exit_code: int | None = None
        self.stdout = bytearray()
        self._done = asyncio.Event()  # it has exited, or printed too much
        self._process = subprocess.Popen(  # noqa: S602 - the operator's own command line
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may contain a token in an unknown form
            start_new_session=True,  # a process group of its own, to be killed with all its children
            env=environment,
        )
        self._out = cast(IO[bytes], self._process.stdout)
        os.set_blocking(self._out.fileno(), False)
        self._exit_fd: int | None = None

    @property
    def too_long(self) -> bool:
        return len(self.stdout) > TOKEN_BYTES

    async def end(self) -> None:
        """Wait only for its exit: its children may hold the output open indefinitely."""
        asyncio.get_running_loop().add_reader(self._out, self._read)
        self._watch_exit()
        await self._done.wait()
        while self._read_some():
            pass
        if not self.too_long:
            self.exit_code = self._process.wait()

    def close(self) -> None:
        """Kill what has not ended, with its children; it awaits nothing, so it cannot be cancelled."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._out)
        self._out.close()
        if self._exit_fd is not None:
            loop.remove_reader(self._exit_fd)
            os.close(self._exit_fd)
        if self.exit_code is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILLED_S)

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._exit_fd = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # not available on every system
            loop.run_in_executor(None, self._process.wait).add_done_callback(lambda _: self._done.set())
        else:
            loop.add_reader(self._exit_fd, self._done.set)

    def _read(self) -> None:
        if not self._read_some():
            asyncio.get_running_loop().remove_reader(self._out)
        if self.too_long:
            self._done.set()

    def _read_some(self) -> bool:
        """Read what is available; return whether more may be needed."""
        try:
            data = os.read(self._out.fileno(), TOKEN_BYTES)
        except BlockingIOError:
            return False
        self.stdout += data[: TOKEN_BYTES + 1 - len(self.stdout)]
        return bool(data) and not self.too_long


def _explain_exit(exit_code: int) -> str:
    """Return how a command failed, without its own words."""
    hints = {126: " (it cannot be run)", 127: " (the shell has not found it)"}
    how = f"was ended by signal {-exit_code}" if exit_code < 0 else f"failed with exit code {exit_code}"
    return f"{how}{hints.get(exit_code, '')}; its words may hold a secret and are not shown: run it by hand to see them"


async def _run(command: str, timeout_s: float, environment: Mapping[str, str] | None) -> _Command:
    try:
        running = _Command(command, environment)
    except (OSError, ValueError) as error:
        why = explain_os(error) if isinstance(error, OSError) else "it holds a character that no command can"
        raise CredentialsError(f"token command cannot be run: {why}") from None
    try:
        async with asyncio.timeout(timeout_s):
            await running.end()
    except TimeoutError:
        raise CredentialsError(f"token command did not end within {timeout_s:g} s and was killed") from None
    finally:
        running.close()
    return running
