"""From settings to a client, its tokens and what stops a campaign: what every command that calls the API plugs in."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bulkstop import __version__
from bulkstop.errors import CredentialsError, SettingsError
from bulkstop.kore import interpret, token
from bulkstop.kore.session import Post, Transport, stopper
from bulkstop.model import Send
from bulkstop.runs.events import logged, token_renewed
from bulkstop.runs.masking import SECRETS
from bulkstop.settings import Settings, TransportName

if TYPE_CHECKING:
    from bulkstop.kore.aiohttp_transport import Client
    from bulkstop.kore.wire.transport import Wire

SECRET_BYTES = 64 * 1024


def client_of(settings: Settings) -> Transport:
    """Make the transport that the settings name, aiohttp's if none; it connects only inside its `async with`."""
    return _transport(settings.transport or TransportName.AIOHTTP)(
        settings.host,
        timeout_s=settings.timeout_s,
        connect_timeout_s=min(10.0, settings.timeout_s),
        connections=settings.concurrency,
        ca=settings.ca,
        proxy=settings.proxy,
        user_agent=f"bulkstop/{__version__}",
    )


def load_client_of(settings: Settings) -> Transport:
    """Make the transport of a load test: the wire, unless the settings name another."""
    return client_of(replace(settings, transport=settings.transport or TransportName.WIRE))


def send_of(settings: Settings, post: Post, tokens: token.Tokens) -> Send:
    """Make the Send that stops campaigns at the paths of the settings; each try is logged."""
    voice_path, sms_path = settings.voice_path or interpret.VOICE_PATH, settings.sms_path or interpret.SMS_PATH
    return logged(stopper(post, tokens, voice_path=voice_path, sms_path=sms_path))


def _transport(name: TransportName) -> "type[Client] | type[Wire]":
    # Each is imported where it is wanted: aiohttp alone takes longer than the rest of a start-up.
    if name == TransportName.WIRE:
        from bulkstop.kore.wire.transport import Wire

        return Wire
    from bulkstop.kore.aiohttp_transport import Client

    return Client


def tokens_of(settings: Settings) -> token.Tokens:
    """Make the token source that the settings name; raises SettingsError when they name none."""
    if settings.token:
        return token.Tokens(token.ready_made(settings.token), renewable=False)
    if settings.token_file:
        return token.Tokens(_learnt(token.from_file(settings.token_file)), renewable=True)
    if settings.token_command:
        return token.Tokens(_learnt(token.from_command(settings.token_command)), renewable=True)
    if settings.client_id and (settings.client_secret or settings.client_secret_file):
        return token.Tokens(_minted(settings, settings.client_id), single_use=settings.jti, renewable=True)
    raise SettingsError(
        "no credentials: set BULKSTOP_TOKEN, give --token-file or --token-command, "
        "or set BULKSTOP_CLIENT_ID with BULKSTOP_CLIENT_SECRET or --client-secret-file"
    )


def _learnt(source: token.Mint) -> token.Mint:
    """Let no log show a token, and log when it is another one than before."""
    last = ""

    async def mint() -> str:
        nonlocal last
        value = await source()
        SECRETS.add(value)
        if last not in ("", value):
            token_renewed()
        last = value
        return value

    return mint


def _minted(settings: Settings, client_id: str) -> token.Mint:
    secret = settings.client_secret or _secret(settings.client_secret_file or "")
    algorithm = cast("token.Algorithm", settings.jwt_alg)
    return token.minted(client_id, secret, algorithm, settings.jwt_sub, jti=settings.jti)


def _secret(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            secret = file.read(SECRET_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise CredentialsError(f"--client-secret-file {path}: cannot be read ({said})") from None
    SECRETS.add(secret)
    if not 0 < len(secret) <= SECRET_BYTES:
        raise CredentialsError(f"--client-secret-file {path}: is empty or no secret")
    return secret
