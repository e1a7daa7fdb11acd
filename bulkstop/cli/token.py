"""`bulkstop token`: what the credentials in use say of themselves."""

import json
import time
from functools import partial

import click

from bulkstop.cli.options import OF_CALLS, OF_STOP, settings_of, with_settings
from bulkstop.cli.terminal import say, tell_last
from bulkstop.kore.token import claims
from bulkstop.runs import host
from bulkstop.runs.wiring import tokens_of
from bulkstop.text import duration

EXAMPLE = """\b
Example:
  bulkstop token --profile prod

\b
Exit codes:
  0  a token could be had
  2  it could not, or the settings are wrong
  3  with --print: standard output cannot be written
"""


@click.command("token", epilog=EXAMPLE)
@click.option("--print", "print_token", is_flag=True, help="Write the token itself to standard output.")
@partial(with_settings, but=OF_STOP | OF_CALLS)
@click.pass_context
def command(ctx: click.Context, /, *, print_token: bool, **_: object) -> int:
    """Show the claims and the time left of the credentials in use."""
    token = host.run(tokens_of(settings_of(ctx, calls=False)).get(), fast=False)
    if print_token:
        return tell_last(token.value, 0)
    found = claims(token.value)
    say("no claims: the token is no JWT" if found is None else json.dumps(found, indent=2))
    if token.expires_at is None:
        say("expires: not said")
    else:
        say(f"expires: in {duration(max(0.0, token.expires_at - time.time()))}")
    return 0
