"""`bulkstop simulate`: runs a simulator of the API until a signal ends it."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import click

from bulkstop.cli.log import log_to_stderr
from bulkstop.cli.options import GroupedCommand, ParsedText, refuse_empty_variables
from bulkstop.cli.terminal import print_err
from bulkstop.cli.words.naming import WordChoice
from bulkstop.errors import SettingsError
from bulkstop.runs import host
from bulkstop.runs.load.shapes import parse_rate
from bulkstop.settings.parse import parse_limit, parse_pause
from bulkstop.simulator import App, Simulator, SimulatorOptions, serve
from bulkstop.simulator.details.calling_hours import MIXED
from bulkstop.simulator.rate_limits import HEADER_FORMS
from bulkstop.units import parse_percentage

MAIN_OPTIONS = ("port", "api", "campaigns", "running", "accounts", "quota", "latency_ms", "failure_rate", "log")
EXAMPLE = """\b
Examples:
  # A service with a quota, latency and faults
  bulkstop simulate --port 8080 --quota 60/60s --latency 120 --fail 5% --log requests.jsonl
  # Forty accounts of two apps, each with a running emergency; one refuses its lists, and one is slow
  bulkstop simulate --accounts 40 --streams 3 --campaigns 20000 --running 800 --emergency \\
    --app north:north.key:account-0*,account-1* --app south:south.key:account-2*,account-3*,account-40 \\
    --refuse account-13 --slow account-27:1s --quota 60/60s

\b
The simulator writes its address to standard output when it is ready, and ends with Ctrl-C.
If BULKSTOP_CLIENT_SECRET is set, it accepts only tokens that are signed with it.
With --accounts, there are account-01, account-02 ... with stream-01-1, stream-01-2 ..., and each campaign
belongs to one of them. Without it, every campaign belongs to whichever account and stream a call names.

\b
Exit codes:
  0  ended by Ctrl-C or SIGTERM
  2  usage is wrong, or the port is not available
"""


def parse_share(text: str) -> float:
    """Return a share between 0 and 1, from a text such as `5%` or `0.05`."""
    share = parse_percentage(text)
    try:
        value = float(text) if share is None else share
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a share such as 5% or 0.05")
    return value


def parse_app(text: str) -> App:
    """Return an app with the secret read from its file, from `CLIENT_ID:SECRET_FILE[:ACCOUNT,…]`."""
    client_id, _, rest = text.partition(":")
    path, _, accounts = rest.partition(":")
    if not client_id or not path:
        raise ValueError(f"{text!r} is not an app such as cs-1:secret.key or cs-1:secret.key:account-01,account-02")
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the secret cannot be read from {path}: {getattr(error, 'strerror', 'no UTF-8')}") from None
    if not secret:
        raise ValueError(f"{path} is empty; it must hold the secret of {client_id}")
    return App(client_id, secret, tuple(each.strip() for each in accounts.split(",") if each.strip()))


def parse_slow(text: str) -> tuple[str, float]:
    """Return an account and the latency of its calls in milliseconds, from `ACCOUNT:TIME`."""
    account_id, _, time = text.rpartition(":")
    if not account_id:
        raise ValueError(f"{text!r} is not an account with a time such as account-01:2s")
    return account_id, parse_milliseconds(time)


def parse_milliseconds(text: str) -> float:
    """Return a time in milliseconds, which is also the unit of a number without one."""
    return parse_pause(f"{text.strip()}ms" if text.strip()[-1:].isdigit() else text) * 1e3


SHARE: Any = {"type": ParsedText(parse_share, "SHARE"), "default": 0.0, "metavar": "SHARE", "show_default": "0%"}


@click.command("simulate", cls=GroupedCommand, epilog=EXAMPLE, main=MAIN_OPTIONS)
@click.option("--bind", "host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=int, default=0, show_default="a free one", metavar="PORT", help="Port to listen on.")
@click.option(
    "--client-id",
    envvar="BULKSTOP_CLIENT_ID",
    metavar="ID",
    help="Client id (appId) that tokens must contain; needs BULKSTOP_CLIENT_SECRET.",
)
@click.option(
    "--api", type=WordChoice(["v1", "v2"]), default="v2", show_default=True, help="API version whose paths it serves."
)
@click.option(
    "--app",
    "apps",
    multiple=True,
    type=ParsedText(parse_app, "ID:FILE[:ACCOUNTS]"),
    metavar="ID:FILE[:ACCOUNTS]",
    help="App that may call: client id, file with its secret, and its accounts (a-1,b-*); repeatable.",
)
@click.option("--require-jti", is_flag=True, help="Accept only single-use tokens.")
@click.option(
    "--quota",
    multiple=True,
    type=ParsedText(parse_limit, "N/TIME"),
    metavar="N/TIME",
    help="Calls that one account may make, such as 60/60s; repeatable.",
)
@click.option(
    "--throttle-status", type=int, default=429, show_default=True, help="HTTP status of calls over the quota."
)
@click.option(
    "--retry-after",
    "retry_after_s",
    type=ParsedText(parse_pause, "TIME"),
    metavar="TIME",
    help="Retry-After header of calls over the quota.",
)
@click.option(
    "--rate-limit-headers",
    type=WordChoice(HEADER_FORMS),
    default="none",
    show_default=True,
    help="Headers that say how much of the quota is left.",
)
@click.option(
    "--latency",
    "latency_ms",
    type=ParsedText(parse_milliseconds, "TIME"),
    default=0.0,
    show_default="0",
    metavar="TIME",
    help="Latency of every answer: 120 (milliseconds), 120ms or 0.5s.",
)
@click.option(
    "--sigma",
    "latency_sigma",
    type=float,
    default=0.0,
    show_default=True,
    help="Spread (sigma) of a log-normal latency.",
)
@click.option(
    "--slow",
    multiple=True,
    type=ParsedText(parse_slow, "ACCOUNT:TIME"),
    metavar="ACCOUNT:TIME",
    help="Latency of one account, instead of --latency; repeatable.",
)
@click.option(
    "--refuse", "refused", multiple=True, metavar="ACCOUNT", help="Account whose list calls get HTTP 403; repeatable."
)
@click.option("--fail", "failure_rate", **SHARE, help="Share of calls that fail.")
@click.option("--fail-first", "fail_first_rate", **SHARE, help="Share of campaigns whose first call fails.")
@click.option(
    "--fail-status", "failure_status", type=int, default=503, show_default=True, help="HTTP status of failing calls."
)
@click.option(
    "--second-stop",
    type=WordChoice(["conflict", "success"]),
    default="conflict",
    show_default=True,
    help="Answer to a stop of a campaign that does not run.",
)
@click.option(
    "--unknown",
    type=WordChoice(["active", "not_found"]),
    default="active",
    show_default=True,
    help="State of a campaign whose id is not among --campaigns.",
)
@click.option("--campaigns", type=int, default=0, show_default=True, metavar="N", help="Number of campaigns to create.")
@click.option("--accounts", type=int, default=0, metavar="N", help="Number of accounts that share the campaigns.")
@click.option(
    "--streams", type=int, default=1, show_default=True, metavar="N", help="Number of streams of each account."
)
@click.option("--running", type=int, metavar="N", help="Number of campaigns that run; default: random.")
@click.option("--emergency", is_flag=True, help="Run one SMS campaign of each account as an emergency.")
@click.option("--other-status", metavar="STATUS", help="Give some campaigns this undocumented status.")
@click.option(
    "--churn", type=int, default=0, show_default=True, metavar="N", help="Change N campaigns after each list call."
)
@click.option(
    "--contacts",
    "contacts",
    type=ParsedText(parse_rate, "RATE"),
    default=0.0,
    show_default="0",
    metavar="RATE",
    help="Contacts that each running campaign starts, such as 6/min.",
)
@click.option(
    "--contacts-after-stop",
    "contacts_after_stop_s",
    type=ParsedText(parse_pause, "TIME"),
    default=0.0,
    show_default="0",
    metavar="TIME",
    help="Time for which a stopped campaign still starts contacts.",
)
@click.option("--analytics/--no-analytics", default=True, show_default=True, help="Allow the app to read contacts.")
@click.option(
    "--calling-hours",
    default=MIXED,
    show_default=True,
    metavar="HOURS",
    help="Calling hours of the campaigns: mixed, none, or of all, such as '9:00 AM-6:00 PM Asia/Kolkata'.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything random.")
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Write one JSON line for each request.")
@click.pass_context
def command(
    ctx: click.Context, /, *, quota: tuple[Any, ...], client_id: str | None, contacts: float, **options: Any
) -> int:
    """Run a simulator of the API on this machine, with faults on demand."""
    refuse_empty_variables(ctx, ["client_secret"])
    secret = os.environ.get("BULKSTOP_CLIENT_SECRET")
    if secret and options["apps"]:
        raise SettingsError("--app: BULKSTOP_CLIENT_SECRET is set as well; unset it, and give that app with --app, too")
    secrets = [*([secret] if secret else []), *(app.client_secret for app in options["apps"])]
    ctx.with_resource(log_to_stderr("warning", as_json=False, secrets=secrets))
    chosen = SimulatorOptions(
        client_id=client_id if secret else None,
        client_secret=secret,
        quota=tuple((each.calls, each.window_s) for each in quota if each is not None),
        contacts_per_minute=contacts * 60,
        **options | {"slow": dict(options["slow"])},
    )
    simulator = Simulator(chosen)  # made before the loop runs, because many campaigns take a while and would block it
    try:
        host.run(_serve(simulator), fast=False)
    except OSError as error:
        where = f"--log {chosen.log}" if error.filename else f"--port {chosen.port}"
        raise SettingsError(f"{where}: {error.strerror}") from None
    return 0


async def _serve(simulator: Simulator) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await serve(simulator, ready=_ready, stop=stop)
    print_err("simulator: ended")


def _ready(url: str) -> None:
    click.echo(url)
    print_err(f"simulator: listening on {url}; Ctrl-C ends it")
