"""All settings, each with its default, its unit, its check.

`Settings` is frozen and valid: every instance can be used. The command line, the environment and profiles share its
definitions, so that an option, its variable and its key agree.
"""

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from datetime import datetime
from pathlib import PurePath
from typing import Any, Never, Unpack
from urllib.parse import urlsplit

from bulkstop.errors import SettingsError
from bulkstop.ids import id_fault
from bulkstop.model import ApiVersion, CampaignType, FailureCap, Limit, Order, Pace, WarningKind
from bulkstop.naming import name_setting, name_variable
from bulkstop.settings.finish_by import find_moment, has_own_zone, parse_finish_by
from bulkstop.settings.machine_zone import explain_machine_zone
from bulkstop.settings.options import SettingsOptions
from bulkstop.settings.parse import (
    ALGORITHMS,
    TransportName,
    one_of,
    parse_address,
    parse_campaign_type,
    parse_column,
    parse_count,
    parse_encoding,
    parse_failure_cap,
    parse_limit,
    parse_list_template,
    parse_notify_url,
    parse_path,
    parse_pause,
    parse_proxy_address,
    parse_seconds,
    parse_secret,
    parse_size,
    parse_template,
    parse_waves,
    parse_zone,
)
from bulkstop.settings.spec import (
    CONCURRENCY,
    CONNECTION,
    CREDENTIALS,
    DEADLINE,
    GRACE,
    GUARDS,
    INPUT,
    NOTIFICATIONS,
    PATHS,
    PROTECTION,
    QUOTA,
    RETRY_AFTER,
    SCOPE,
    SELECTION,
    TARGETS,
    TYPE,
    Group,
    OptionSpec,
    setting,
)
from bulkstop.settings.values import read_value

LOOPBACK = ("localhost", "127.0.0.1", "::1")
DEFAULT_QUOTA = (Limit(60, 60.0),)
"""The calls per minute of an account, over all APIs, by the vendor's page on rate limits."""


class NoLimit(tuple[Limit, ...]):
    """A quota that was explicitly set to no limits; a plain empty tuple may be one that somebody forgot to fill."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return it as it is written in code."""
        return repr("none")


NO_LIMIT = NoLimit()
"""The `quota` of an account without a limit of calls; its text is `none`."""


@dataclass(frozen=True, slots=True, init=False)
class Settings:
    """Where the API is, who calls it, and how fast; raises SettingsError for invalid values.

    Each setting is given by name, as a value or as the text of its option; names that end in `_s` are in seconds.
    """

    host: str = setting(
        CONNECTION, "", "Address of the API, such as platform.kore.ai.", read=parse_address, metavar="URL"
    )
    account_id: str | None = setting(SCOPE, None, "Account of the rows that name none.", metavar="ID")
    stream_id: str | None = setting(SCOPE, None, "Stream (application) of the rows that name none.", metavar="ID")
    iid: str | None = setting(
        SCOPE, None, "Application id that is sent in the iid header; default: the stream id.", metavar="ID"
    )
    targets: str | None = setting(
        TARGETS,
        None,
        "File that lists many accounts and streams: profile, account_id, stream_id, iid, type.",
        read=parse_path,
        metavar="FILE",
    )
    any_id: bool = setting(
        SCOPE, False, "Accept ids with characters other than letters, digits, - _ . ~ (never / \\ or %)."
    )
    max_input_size: int | None = setting(
        INPUT,
        None,
        "Largest input after unpacking; default: 2GB, or 200 times the size of a packed file.",
        read=parse_size,
        metavar="SIZE",
    )
    encoding: str | None = setting(
        INPUT,
        None,
        "Encoding of the input, such as cp1252 or utf-16; default: detected, else UTF-8.",
        read=parse_encoding,
        metavar="NAME",
    )
    no_header: bool = setting(INPUT, False, "Read tables that have no header row; the ids are in the first column.")
    id_column: str | None = setting(
        INPUT, None, "Column or key that has the campaign ids; a number if there is no header.", metavar="NAME"
    )
    column: tuple[str, ...] = setting(
        INPUT,
        (),
        "Column or key of another field, such as campaign_type=Channel; repeatable.",
        read=parse_column,
        metavar="FIELD=NAME",
        repeatable=True,
    )
    sheet: str | None = setting(
        INPUT, None, "Sheet of a workbook, by name or number; default: the first visible one.", metavar="NAME"
    )
    type: CampaignType | None = setting(
        TYPE, None, "Campaign type of the rows that name none.", read=parse_campaign_type, metavar="voice|sms"
    )
    api: ApiVersion = setting(
        PATHS,
        ApiVersion.V2,
        "API version whose documented paths are used; check says which one answers.",
        read=one_of(*ApiVersion),
        metavar="|".join(ApiVersion),
    )
    voice_path: str | None = setting(
        PATHS,
        None,
        "Path of the voice stop call, if it differs from the documented one.",
        read=parse_template,
        metavar="PATH",
    )
    sms_path: str | None = setting(
        PATHS,
        None,
        "Path of the SMS stop call, if it differs from the documented one.",
        read=parse_template,
        metavar="PATH",
    )
    list_path: str | None = setting(
        PATHS,
        None,
        "Path of the list call, if it differs from the documented one.",
        read=parse_list_template,
        metavar="PATH",
    )
    status_path: str | None = setting(
        PATHS,
        None,
        "Path of the status call, if it differs from the documented one.",
        read=parse_template,
        metavar="PATH",
    )
    get_path: str | None = setting(
        PATHS,
        None,
        "Path of the call that reads one campaign, if it differs from the documented one.",
        read=parse_template,
        metavar="PATH",
    )
    schedule_path: str | None = setting(
        PATHS,
        None,
        "Path of the call that disables a schedule; v1 documents none.",
        read=parse_list_template,
        metavar="PATH",
    )
    ca: str | None = setting(
        CONNECTION,
        None,
        "PEM file of the authority that signed the server's certificate.",
        read=parse_path,
        metavar="FILE",
    )
    cert: str | None = setting(
        CONNECTION,
        None,
        "PEM file of the client certificate, if the server requires one.",
        read=parse_path,
        metavar="FILE",
    )
    key: str | None = setting(
        CONNECTION,
        None,
        "PEM file of the client certificate's private key, if it is in a separate file.",
        read=parse_path,
        metavar="FILE",
    )
    proxy: str | None = setting(
        CONNECTION, None, "HTTP proxy to use.", read=parse_proxy_address, metavar="URL", visible=False
    )
    proxy_password: str | None = setting(
        CONNECTION, None, "Password of the user that --proxy names.", read=parse_secret, secret=True
    )
    proxy_password_file: str | None = setting(
        CONNECTION,
        None,
        "File that contains the password of the user that --proxy names.",
        read=parse_path,
        metavar="FILE",
    )
    transport: TransportName | None = setting(
        CONNECTION,
        None,
        "HTTP client; wire is faster; default: aiohttp, but wire for load.",
        read=one_of(*TransportName),
        metavar="|".join(TransportName),
    )
    timeout_s: float = setting(
        CONNECTION, 30.0, "Longest time for one call, until its answer is complete.", read=parse_seconds, metavar="TIME"
    )
    insecure_http: bool = setting(CONNECTION, False, "Allow plain http:// to a host other than this machine.")

    token: str | None = setting(CREDENTIALS, None, "Access token.", read=parse_secret, secret=True)
    token_file: str | None = setting(
        CREDENTIALS,
        None,
        "File that contains a token; it is read again when the token has to be renewed.",
        read=parse_path,
        metavar="FILE",
    )
    token_command: str | None = setting(
        CREDENTIALS,
        None,
        "Command that prints a token; it is run again when the token has to be renewed.",
        metavar="CMD",
        visible=False,
    )
    client_id: str | None = setting(
        CREDENTIALS, None, "Client id of the app whose secret signs the tokens.", read=parse_secret, metavar="ID"
    )
    client_secret: str | None = setting(CREDENTIALS, None, "Client secret.", read=parse_secret, secret=True)
    client_secret_file: str | None = setting(
        CREDENTIALS, None, "File that contains the client secret or the RSA key.", read=parse_path, metavar="FILE"
    )
    jwt_alg: str = setting(
        CREDENTIALS, "HS256", "Algorithm that signs the tokens.", read=one_of(*ALGORITHMS), metavar="|".join(ALGORITHMS)
    )
    jwt_sub: str = setting(CREDENTIALS, "bulkstop", "User id in the signed tokens.", metavar="ID")
    jti: bool = setting(CREDENTIALS, False, "Sign a new single-use token for every attempt.")

    quota: tuple[Limit, ...] = setting(
        QUOTA,
        DEFAULT_QUOTA,
        "Calls that one account may make in a time, or none; repeatable.",
        read=parse_limit,
        metavar="N/TIME",
        repeatable=True,
    )
    quota_store: str | None = setting(
        QUOTA,
        None,
        "Where calls are counted across runs: FILE, redis://..., or memory; default: a file of this user.",
        read=parse_path,
        metavar="STORE",
        visible=False,
    )
    adaptive: bool = setting(QUOTA, False, "Find and keep an unknown rate limit; needs --quota none.")
    pace: Pace = setting(
        QUOTA,
        Pace.AUTO,
        "How calls are spread: burst (at once), even, or auto (bursts until the service refuses one).",
        read=one_of(*Pace),
        metavar="|".join(Pace),
    )
    order: Order = setting(
        SELECTION,
        Order.INPUT,
        "Order of an account's campaigns; priority: highest (5) first; impact: most harmful first.",
        read=one_of(*Order),
        metavar="|".join(Order),
    )
    protect: tuple[str, ...] = setting(
        PROTECTION,
        (),
        "File of campaigns that are never stopped: ids, patterns, name:PATTERN; repeatable.",
        read=parse_path,
        metavar="FILE",
        repeatable=True,
    )
    max_campaigns: int | None = setting(
        PROTECTION,
        None,
        "Send nothing if there are more campaigns to stop than this, even with --yes.",
        read=parse_count,
        metavar="N",
    )
    expect_accounts: int | None = setting(
        PROTECTION,
        None,
        "Send nothing if the input has more accounts than this; warn if it has fewer.",
        read=parse_count,
        metavar="N",
    )
    expect_warnings: tuple[WarningKind, ...] = setting(
        PROTECTION,
        (),
        "Hide a warning that you expect, and warn if it does not come; repeatable.",
        read=one_of(*WarningKind),
        metavar="NAME",
        repeatable=True,
    )
    max_failures: FailureCap | None = setting(
        GUARDS,
        None,
        "End the run when this many campaigns have failed.",
        read=parse_failure_cap,
        metavar="N|N%",
    )
    waves: str | None = setting(
        GUARDS,
        None,
        "Stop a few campaigns first, and continue only if all went well: 1,10%,100%.",
        read=parse_waves,
        metavar="N|N%,...",
    )
    soak_s: float = setting(GUARDS, 0.0, "Wait between two waves.", read=parse_pause, metavar="TIME")
    max_outage_s: float = setting(
        GUARDS, 300.0, "End the run after the service has been down for this long.", read=parse_seconds, metavar="TIME"
    )
    only_running: bool = setting(
        SELECTION, False, "Read the service's list first, and skip campaigns that are completed or stopped."
    )
    disable_schedule: bool = setting(
        SELECTION, False, "Also disable the recurring schedule of each stopped campaign, found by its name."
    )
    finish_by: str | None = setting(
        DEADLINE,
        None,
        "Send nothing after this time: 18:00, 2026-12-01T18:00, 18:00+05:30, or +2h from now.",
        read=parse_finish_by,
        metavar="TIME",
    )
    tz: str | None = setting(
        DEADLINE,
        None,
        "Time zone of --finish-by, or in which it is shown; default: this machine's zone.",
        read=parse_zone,
        metavar="ZONE",
    )
    concurrency: int = setting(CONCURRENCY, 32, "Largest number of calls in flight.", read=parse_count, metavar="N")
    attempts: int = setting(QUOTA, 5, "Largest number of attempts per campaign.", read=parse_count, metavar="N")
    max_retry_after_s: float = setting(
        RETRY_AFTER, 120.0, "Longest wait that the service may ask for.", read=parse_seconds, metavar="TIME"
    )
    grace_s: float = setting(
        GRACE, 20.0, "Longest wait for calls in flight after Ctrl-C.", read=parse_seconds, metavar="TIME"
    )
    notify: tuple[str, ...] = setting(
        NOTIFICATIONS,
        (),
        "Webhooks notified at the start, when it is behind, when a guard ends it, and at the end; repeatable.",
        read=parse_notify_url,
        metavar="URL",
        repeatable=True,
        secret=True,
        in_profile=True,
    )
    on_success: tuple[str, ...] = setting(
        NOTIFICATIONS,
        (),
        "URLs that are called (GET) once all is done: exit code 0; repeatable.",
        read=parse_notify_url,
        metavar="URL",
        repeatable=True,
        secret=True,
        in_profile=True,
    )
    on_failure: tuple[str, ...] = setting(
        NOTIFICATIONS,
        (),
        "URLs that are called (GET) for any other end; repeatable.",
        read=parse_notify_url,
        metavar="URL",
        repeatable=True,
        secret=True,
        in_profile=True,
    )

    def __init__(self, *values: Never, **options: Unpack[SettingsOptions]) -> None:
        """Parse every value as its text would be, and check values that depend on each other."""
        if values:
            raise SettingsError("pass settings by name, such as Settings(host=...)")
        check_names(options)
        for name in OPTION_SPECS:
            object.__setattr__(self, name, options.get(name, default_of(name)))
        for check in (_check_empty, _check_host):
            check(self)
        for name in OPTION_SPECS:
            object.__setattr__(self, name, read(name, getattr(self, name)))
        for check in _CHECKS:
            check(self)

    @classmethod
    def load(
        cls, profile: str | None = None, *, config: str | PurePath | None = None, **options: Unpack[SettingsOptions]
    ) -> "Settings":
        """Return settings from these options, else from the environment (`BULKSTOP_HOST`), else from a profile.

        The profile is `[profile.NAME]` of the file `config`, by default `[profile.default]` of bulkstop.toml, if it
        exists.
        """
        from bulkstop.settings.load import load_settings  # that module imports this one

        return load_settings(profile, config, options)

    def seconds_left(self, now: datetime) -> float | None:
        """Return the seconds from `now` (with a zone) to `finish_by`, negative after it; None without a deadline."""
        if self.finish_by is None:
            return None
        return find_moment(self.finish_by, self.tz, now).timestamp() - now.timestamp()


OPTION_SPECS: Mapping[str, OptionSpec] = {f.name: f.metadata["spec"] for f in fields(Settings)}
"""The definition of every setting, by name."""
GROUPS: tuple[Group, ...] = tuple(dict.fromkeys(spec.group for spec in OPTION_SPECS.values()))
"""Every group of settings."""


def is_loopback(host: str | None) -> bool:
    """Return whether a name or an address is this machine."""
    return host in LOOPBACK or bool(host and host.startswith("127.") and host.replace(".", "").isdigit())


def is_hidden(name: str) -> bool:
    """Return whether a setting may hold a secret, so that its value must not be shown."""
    return OPTION_SPECS[name].secret or not Settings.__dataclass_fields__[name].repr


def default_of(name: str) -> Any:
    """Return a setting's default."""
    field: Field[Any] = Settings.__dataclass_fields__[name]
    return field.default


def key_of(name: str) -> str:
    """Return the key of a setting in a profile: the name of its option, with underscores."""
    return OPTION_SPECS[name].option(name)[2:].replace("-", "_")


def check_names(options: Iterable[str]) -> None:
    """Raise SettingsError for an unknown setting."""
    for name in options:
        if name not in OPTION_SPECS:
            from bulkstop.text.likeness import suggest_near  # only a mistake needs it

            words = [each for each in OPTION_SPECS if each in name.split("_")]  # `campaign_type` means `type`
            near = f"; did you mean {words[0]}?" if words else suggest_near(name, OPTION_SPECS)
            raise SettingsError(f"{name}: there is no such setting{near}")


def is_empty(value: object) -> bool:
    """Return whether a value is empty: a blank text, or a list or table of empty values."""
    if isinstance(value, Mapping):
        return all(map(is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_empty, value))
    return isinstance(value, str) and not value.strip()


def suggest_value(name: str) -> str:
    """Return what to write instead of an empty value."""
    return 'write "none" for no limit' if name == "quota" else "give it a value, or leave it out"


def _check_empty(settings: Settings) -> None:
    for name in OPTION_SPECS:
        value = getattr(settings, name)
        for each in value if isinstance(value, list | tuple) else (value,):
            if name != "quota" and isinstance(each, str) and is_empty(each) and each != default_of(name):
                raise SettingsError(f": is empty; {suggest_value(name)}", setting=name)


def read(name: str, value: object) -> Any:
    """Return the parsed value of a setting; raises SettingsError, which names the setting."""
    if name == "quota" and isinstance(value, NoLimit):
        return value
    try:
        parsed = read_value(OPTION_SPECS[name], default_of(name), value)
        return join_limits(parsed) if name == "quota" else parsed
    except ValueError as error:
        advice = '; give Limit values, such as (Limit(60, 60),), or "none"' if name == "quota" else ""
        raise SettingsError(f": {error}{advice}", setting=name) from None


def join_limits(limits: Iterable[Limit | None]) -> tuple[Limit, ...]:
    """Return the quota of these limits, None being `none`; raises ValueError for none and others, or nothing."""
    parsed = tuple(limits)
    finite = tuple(limit for limit in parsed if limit is not None)
    if not parsed:
        raise ValueError("is empty")
    if len(finite) == len(parsed):
        return finite
    if len(parsed) > 1:
        raise ValueError("none cannot be combined with other limits")
    return NO_LIMIT


def _check_host(settings: Settings) -> None:
    if not settings.host:
        example = name_setting("host", "platform.kore.ai")
        raise SettingsError(
            f": is missing; give, for example, {example}, set BULKSTOP_HOST, or use a profile", setting="host"
        )


def _check_scheme(settings: Settings) -> None:
    parts = urlsplit(settings.host)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and not settings.insecure_http:
        raise SettingsError(
            f" {settings.host}: plain http would show the token to the network; use https, or "
            f"{name_setting('insecure_http', True)}",
            setting="host",
        )


def _check_ids(settings: Settings) -> None:
    for name in ("account_id", "stream_id", "iid"):
        value = getattr(settings, name)
        if value is not None and (fault := id_fault(value, any_id=settings.any_id, in_header=True)):
            raise SettingsError(f": {fault}", setting=name)


def _check_proxy(settings: Settings) -> None:
    """Raise SettingsError for a proxy that would send an unencrypted token for this machine elsewhere."""
    host, proxy = urlsplit(settings.host), urlsplit(settings.proxy or "")
    if not settings.proxy or host.scheme != "http":
        return
    if is_loopback(host.hostname) and not is_loopback(proxy.hostname):
        raise SettingsError(
            f": {settings.host} is this machine, and plain http through a remote proxy would show it the token; "
            "leave out the proxy, or use https",
            setting="proxy",
        )


def _check_proxy_password(settings: Settings) -> None:
    names = [name for name in ("proxy_password", "proxy_password_file") if getattr(settings, name)]
    if len(names) > 1:
        variable, file = name_variable("proxy_password"), name_setting("proxy_password_file")
        raise SettingsError(f"{variable} and {file} are both set; keep one")
    if not names or not settings.proxy:
        return
    if urlsplit(settings.proxy).password:
        raise SettingsError(
            f": contains a password, and {name_setting(names[0])} gives another; keep one", setting="proxy"
        )
    if not urlsplit(settings.proxy).username:
        raise SettingsError(": has a password but no user; name one, as in http://USER@proxy:3128", setting="proxy")


def _check_key(settings: Settings) -> None:
    if settings.key is not None and settings.cert is None:
        raise SettingsError(
            f": is the key of a certificate; give {name_setting('cert', 'FILE')} with it", setting="key"
        )


def _check_transport(settings: Settings) -> None:
    is_secure = (settings.proxy or "").lower().startswith("https:")
    if settings.transport == TransportName.WIRE and is_secure:
        raise SettingsError(
            f": the wire only supports http:// proxies; give {name_setting('transport', 'aiohttp')} with this one",
            setting="proxy",
        )


def _check_soak(settings: Settings) -> None:
    if settings.soak_s and not settings.waves:
        raise SettingsError(f": is the wait between waves; give {name_setting('waves')} with it", setting="soak_s")


def _check_schedule_path(settings: Settings) -> None:
    if settings.disable_schedule and settings.api is ApiVersion.V1 and settings.schedule_path is None:
        raise SettingsError(
            f": {settings.api} documents no path for it; give {name_setting('schedule_path', 'PATH')}",
            setting="disable_schedule",
        )


def _check_zone(settings: Settings) -> None:
    if settings.finish_by is None or settings.tz is not None or has_own_zone(settings.finish_by):
        return
    if fault := explain_machine_zone():
        raise SettingsError(
            f" {settings.finish_by}: {fault}; give {name_setting('tz')}, or correct it", setting="finish_by"
        )


def _check_credentials(settings: Settings) -> None:
    minted = bool(settings.client_secret or settings.client_secret_file)
    ways = [bool(settings.token), bool(settings.token_file), bool(settings.token_command), minted]
    if sum(ways) > 1:
        token, file, command = name_variable("token"), name_setting("token_file"), name_setting("token_command")
        raise SettingsError(f"more than one of {token}, {file}, {command} and a client secret is set; keep one")
    if minted and not settings.client_id:
        raise SettingsError(f"a client secret is set without a client id; set {name_variable('client_id')}")
    if settings.jti and not minted:
        why = "only signed tokens can be new for every call; give a client id and its secret"
        raise SettingsError(f": {why}", setting="jti")


_CHECKS = (
    *(_check_scheme, _check_ids, _check_proxy, _check_proxy_password, _check_key, _check_transport),
    *(_check_schedule_path, _check_soak, _check_zone, _check_credentials),
)
