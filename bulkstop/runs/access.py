"""From settings to a client and its tokens: what every command that calls the API plugs in first."""

from pathlib import Path
from typing import cast

from bulkstop import __version__
from bulkstop.errors import CredentialsError, SettingsError
from bulkstop.kore import token
from bulkstop.kore.client import Client
from bulkstop.runs.events import token_renewed
from bulkstop.runs.masking import SECRETS
from bulkstop.settings import Settings

SECRET_BYTES = 64 * 1024


def client_of(settings: Settings) -> Client:
    """Make the HTTP client; it connects only inside its `async with`."""
    return Client(
        settings.host,
        timeout_s=settings.timeout_s,
        connect_timeout_s=min(10.0, settings.timeout_s),
        connections=settings.concurrency,
        ca=settings.ca,
        proxy=settings.proxy,
        user_agent=f"bulkstop/{__version__}",
    )


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
