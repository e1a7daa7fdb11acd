"""The errors of a network, with one wording for every transport."""

import asyncio
import errno
import ssl
from collections.abc import Awaitable
from typing import TypeVar

from bulkstop.errors import NO_THREAD, is_short_of_threads
from bulkstop.kore.connect.tls import explain_refused_identity, explain_tls
from bulkstop.kore.exchange import TransportFailure
from bulkstop.model import Outcome, RetryHint
from bulkstop.naming import name_setting

LOOKUP_S = 5
"""How long a name's addresses are cached: a service that moves is found soon."""
LOOKUP_WAIT_S = 1.0
"""How long a name that was resolved before may take to be resolved again."""
LATE = "no connection in time; nothing was sent"
SPOKE_UNASKED = "the server spoke before it was asked; nothing was sent"
_UNSENT = "; nothing was sent"

T = TypeVar("T")


async def look_up(addresses: Awaitable[T], known: T | None) -> T:
    """Return the addresses of a name, the `known` ones while the look-up fails; raises OSError without any."""
    # If the look-up fails, the service is rarely down.
    try:
        async with asyncio.timeout(LOOKUP_WAIT_S if known else None):
            return await addresses
    except (OSError, UnicodeError) as error:  # including TimeoutError
        if known:
            return known
        raise OSError(str(error)) from error


def name_error(error: Exception) -> str:
    """Return one word for an error."""
    number = error.errno if isinstance(error, OSError) else None
    # uvloop reports a reset as a failed write, without its number.
    if number is None and isinstance(error.__cause__, ConnectionResetError):
        number = errno.ECONNRESET
    return errno.errorcode.get(number, str(number)) if number else type(error).__name__


def explain_lookup(name: str) -> str:
    """Return the message for a name without an address."""
    return f"the name {name} could not be looked up; nothing was sent"


def explain_connect(error: Exception, hop: str, *, is_proxy: bool = False) -> tuple[str, RetryHint]:
    """Return why there is no connection to `hop`, and whether a retry could help."""
    if isinstance(error, ssl.SSLError):
        return explain_tls(error, hop.rpartition(":")[0].strip("[]").rstrip("."))
    if has_no_descriptor(error):
        lower = name_setting("concurrency")
        return f"no file descriptor left (lower {lower} or raise ulimit -n); nothing was sent", RetryHint.LATER
    if is_short_of_threads(error):
        return f"{NO_THREAD}; nothing was sent", RetryHint.LATER
    return f"no connection to {'the proxy ' * is_proxy}{hop} ({name_error(error)}); nothing was sent", RetryHint.LATER


def add_unsent(why: str) -> str:
    """Append to a reason that nothing was sent, unless it says so."""
    return why if why.endswith(_UNSENT) else f"{why}{_UNSENT}"


def has_no_descriptor(error: Exception) -> bool:
    """Return whether this process cannot open more files."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def explain_break(reason: str, status: int | None) -> str:
    """Return that an exchange broke off, before or after its response had a status."""
    return f"the connection broke ({reason})" if status is None else f"the answer broke off after HTTP {status}"


def break_off(error: Exception, latency_ms: float, status: int | None) -> TransportFailure:
    """Return the failure of a call whose connection was ended by an error."""
    if refused := explain_refused_identity(error):  # TLS 1.3 reports it after the call was sent; nobody read it
        return TransportFailure(
            Outcome.CONNECTION_ERROR, f"{refused}; nothing arrived", latency_ms, status, RetryHint.NEVER
        )
    return lost_answer(explain_break(name_error(error), status), latency_ms, status)


def lost_answer(
    error: str, latency_ms: float, status: int | None = None, outcome: Outcome = Outcome.CONNECTION_ERROR
) -> TransportFailure:
    """Return the failure of a call that was sent, completely or in part, and has no usable response."""
    return TransportFailure(outcome, error, latency_ms, status, may_have_arrived=True)


def late_connection(timeout_s: float, latency_ms: float) -> TransportFailure:
    """Return the failure of a call that had no connection in time."""
    return TransportFailure(Outcome.TIMEOUT, f"no connection within {timeout_s:g} s; nothing was sent", latency_ms)


def late_answer(timeout_s: float, latency_ms: float, status: int | None) -> TransportFailure:
    """Return the failure of a call whose response was not complete in time."""
    what = "no answer" if status is None else "the answer was not complete"
    return lost_answer(f"{what} within {timeout_s:g} s", latency_ms, status, Outcome.TIMEOUT)
