"""`bulkstop token`: shows what the token in use contains."""

import json
import time

import click

from bulkstop.cli.options import GroupedCommand, read_settings, with_settings
from bulkstop.cli.terminal import end_at_signals, print_err, print_last
from bulkstop.kore.token import read_claims
from bulkstop.runs import host
from bulkstop.runs.wiring import make_tokens
from bulkstop.settings.spec import CREDENTIALS
from bulkstop.text import format_duration

EXAMPLE = """\b
Examples:
  # Show the claims and the expiry of the token
  bulkstop token --profile prod

\b
Exit codes:
  0  the token was shown
  2  there is no token, or the settings are wrong
  3  with --print: standard output cannot be written
"""


@click.command("token", cls=GroupedCommand, epilog=EXAMPLE, main=("profile", "print_token"))
@click.option("--print", "print_token", is_flag=True, help="Write the token itself to standard output.")
@with_settings(CREDENTIALS)
@click.pass_context
def command(ctx: click.Context, /, *, print_token: bool, **_: object) -> int:
    """Show the claims and the expiry of the token in use."""
    ctx.with_resource(end_at_signals("; no token was shown"))
    token = host.run(make_tokens(read_settings(ctx)).get(), fast=False)
    if print_token:
        return print_last(token.value, 0)
    claims = read_claims(token.value)
    print_err("no claims: the token is not a JWT" if claims is None else json.dumps(claims, indent=2))
    if token.expires_at is None:
        print_err("expires: unknown")
    else:
        print_err(f"expires: in {format_duration(max(0.0, token.expires_at - time.time()))}")
    return 0
