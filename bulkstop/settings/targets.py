"""The targets of a command: accounts, each with the profile that reaches it."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol
from urllib.parse import urlsplit

from bulkstop.errors import SettingsError
from bulkstop.ids import id_fault
from bulkstop.model import CampaignType, Scope
from bulkstop.settings import OPTION_SPECS, Settings
from bulkstop.settings.load import open_profile
from bulkstop.settings.parse import parse_campaign_type
from bulkstop.settings.profiles import Profile
from bulkstop.settings.spec import CONNECTION, CREDENTIALS, PATHS, QUOTA, RETRY_AFTER
from bulkstop.text import format_count, printable, shorten
from bulkstop.text.likeness import find_near

KEYS = ("profile", "account_id", "stream_id", "iid", "type")
"""The columns of a file of targets, and the keys of a target in a profile."""
AT = " at "
"""Separates an account and its host in the account's name; ids contain no blanks."""
FILE_BYTES = 16 * 1024 * 1024
"""Largest size of a file of targets."""
_NEAR_ENOUGH = 0.8
_IDS = ("account_id", "stream_id", "iid", "type")
_CREDENTIALS = frozenset(name for name, spec in OPTION_SPECS.items() if spec.group is CREDENTIALS)
_PATHS = frozenset(name for name, spec in OPTION_SPECS.items() if spec.group is PATHS)
_TOGETHER = (
    _CREDENTIALS,
    _PATHS,
    frozenset({"ca"}),
    frozenset({"cert", "key"}),
    frozenset({"proxy", "proxy_password", "proxy_password_file"}),
    frozenset({"host"}),
    *(frozenset({name}) for name in _IDS),
)
"""Settings that locate a profile's accounts and authenticate; each group is taken from one source only."""
_WHERE_AND_WHO = frozenset(name for group in _TOGETHER for name in group)
_REACH = _WHERE_AND_WHO - frozenset(_IDS)
"""Those of them about the connection, not about the campaigns."""
_OF_ACCOUNTS = frozenset(name for name, spec in OPTION_SPECS.items() if spec.group in (CONNECTION, QUOTA, RETRY_AFTER))
"""Further settings that apply to the accounts of a profile instead of a whole run."""


class Target(NamedTuple):
    """What to list with a profile's credentials; None stands for the profile's own value."""

    profile: str | None = None
    account_id: str | None = None
    stream_id: str | None = None
    iid: str | None = None
    type: CampaignType | None = None
    where: str = "target"
    """The place of the target in its file."""


class HasAccount(Protocol):
    """An account, and the profile that reaches it."""

    @property
    def account_id(self) -> str:
        """The id of the account."""
        ...

    @property
    def profile(self) -> str | None:
        """The profile; None is that of the command."""
        ...


class Profiles:
    """The settings of every profile that a target or a row names, loaded when first needed.

    `own` are those of the command, under the name of its profile or none; `load` reads another profile.
    """

    def __init__(
        self, own: Settings, own_name: str | None = None, load: Callable[[str], Settings] | None = None
    ) -> None:
        self.own = own
        self.own_name = own_name
        self.others: dict[str, Settings] = {}
        """The settings of the other profiles so far."""
        self._load = load or _refuse_profile
        self._faults: dict[str, str] = {}

    def name_account(self, where: HasAccount) -> str:
        """Return the name of the account of a campaign or a scope."""
        return name_account(where.account_id, self.others.get(where.profile or "", self.own), self.own)

    def settings(self, name: str | None) -> Settings:
        """Return the settings of a profile, None being that of the command; raises SettingsError for an invalid one."""
        if name is None or name == self.own_name:
            return self.own
        if name in self._faults:
            raise SettingsError(self._faults[name])
        if name not in self.others:
            try:
                self.others[name] = self._load(name)
            except SettingsError as fault:
                self._faults[name] = str(fault)
                raise
        return self.others[name]


def name_account(account_id: str, settings: Settings, own: Settings) -> str:
    """Return a name that is unique across hosts: the id, followed by the host unless it is the command's own.

    The same id at another host is another account, with its own quota and back-off.
    """
    host = _find_address(settings.host)
    return account_id if host == _find_address(own.host) else f"{account_id}{AT}{host}"


def account_id_of(name: str) -> str:
    """Return the id in the name of an account."""
    return name.partition(AT)[0]


@lru_cache(maxsize=256)
def _find_address(host: str) -> str:
    """Return one spelling for all forms of the same host."""
    parts = urlsplit(host)
    port = "" if parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme)) else f":{parts.port}"
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{name}{port}{parts.path}"


def _refuse_profile(name: str) -> NoReturn:
    raise SettingsError(f"profile {shorten(name)!r} is not known here")


def load_other_profile(
    name: str, own: Settings, options: Mapping[str, Any], variables: Mapping[str, Any], config: str | None
) -> Settings:
    """Return the settings of a profile that a target or a row names.

    Credentials and accounts come from one source: the profile itself, else options and variables; those of several
    profiles are never mixed. Its host, paths and other settings default to the command's (`own`); for the other
    settings, options and variables override the profile.
    """
    profile = open_profile(name, config)
    says = frozenset(profile.settings)
    nearer = {**variables, **options}
    values = {each: getattr(own, each) for each in OPTION_SPECS if each not in _CREDENTIALS and each not in _IDS}
    values |= {each: value for each, value in nearer.items() if each in _CREDENTIALS or each in _IDS}
    for group in _TOGETHER:
        if group & says:
            values = {each: value for each, value in values.items() if each not in group}
    kept = {each for each in says if each in _WHERE_AND_WHO or (each in _OF_ACCOUNTS and each not in nearer)}
    values |= {each: profile.value(each) for each in kept}
    try:
        return Settings(**values)
    except SettingsError as fault:
        raise SettingsError(f"profile {printable(name)}: {fault}") from None


def read_targets(path: str) -> tuple[Target, ...]:
    """Return the targets of a file: a table with a header, or JSON lines.

    Raises SettingsError for a file that cannot be read, with the line of an invalid row.
    """
    text = _read_text(path)
    rows = _read_json(path, text) if text.lstrip().startswith(("{", "[")) else _read_table(path, text)
    targets = tuple(make_target(row, where) for where, row in rows)
    if not targets:
        raise SettingsError(f" {path}: has no targets", setting="targets")
    return targets


def targets_of(profile: Profile) -> tuple[Target, ...]:
    """Return the targets in the tables `[[profile.NAME.target]]` of a profile."""
    where = profile.where("target")
    return tuple(make_target(table, f"{where}: target {number}") for number, table in enumerate(profile.targets, 1))


def borrow_reach(profile: Profile, values: Mapping[str, Any], config: str | None) -> dict[str, Any]:
    """Return host and credentials of the first target, if all targets of a profile name another profile; else nothing.

    They are used only for that target. Nothing is returned if `values` has a host or a target names no profile: the
    profile must then have its own. Raises SettingsError for credentials in `values` without a host.
    """
    targets = targets_of(profile)
    if not targets or any(each.profile is None for each in targets) or "host" in values:
        return {}
    if own := sorted(values.keys() & _CREDENTIALS):
        raise SettingsError(
            f": is set, but profile {profile.name} has no host: its targets have profiles of their own; "
            "unset it, or give the profile a host",
            setting=own[0],
        )
    try:
        first = open_profile(targets[0].profile, config)
    except SettingsError as fault:
        raise SettingsError(f"{targets[0].where}: {fault}") from None
    return {name: first.value(name) for name in first.settings if name in _REACH and name not in values}


def make_target(row: Mapping[str, object], where: str) -> Target:
    """Return the target of a row with KEYS; raises SettingsError for an invalid one."""
    cells: dict[str, str] = {}
    for name, value in row.items():
        key = _key_of(name, where)
        if key is None or value is None:
            continue
        if not isinstance(value, str) or key in cells:
            why = f"names the {key} twice" if key in cells else f"{key} must be a text; put it in quotes"
            raise SettingsError(f"{where}: {why}")
        if value.strip():
            cells[key] = value.strip()
    if not cells:
        raise SettingsError(f"{where}: is empty; give at least one of {', '.join(KEYS)}")
    try:
        kind = parse_campaign_type(cells["type"]) if "type" in cells else None
    except ValueError as fault:
        raise SettingsError(f"{where}: type: {fault}") from None
    profile, account_id, stream_id, iid = map(cells.get, KEYS[:-1])
    return Target(profile, account_id, stream_id, iid, kind, where)


def list_scopes(
    targets: Iterable[Target], profiles: Profiles, types: Sequence[CampaignType] | None = None
) -> list[Scope]:
    """Return the scopes of all targets without duplicates; `types` overrides the types that targets name.

    Raises SettingsError for a target with an unknown profile, and for one without account or stream.
    """
    scopes = dict.fromkeys(scope for target in targets for scope in _scopes_of(target, profiles, types))
    if not scopes:
        raise SettingsError("no target has a type that was asked for; nothing was read")
    return list(scopes)


def _scopes_of(target: Target, profiles: Profiles, types: Sequence[CampaignType] | None) -> Iterator[Scope]:
    try:
        settings = profiles.settings(target.profile)
    except SettingsError as fault:
        raise SettingsError(f"{target.where}: {fault}") from None
    account_id, stream_id = target.account_id or settings.account_id, target.stream_id or settings.stream_id
    for name, value in (("account_id", account_id), ("stream_id", stream_id)):
        if value is None:
            whose = f"profile {printable(target.profile)}" if target.profile else "the profile of the command"
            raise SettingsError(f"{target.where}: has no {name}, and {whose} has none either; add it to one of them")
    assert account_id is not None and stream_id is not None  # noqa: S101, PT018 - otherwise it has raised
    iid = target.iid or settings.iid or stream_id
    for name, value in (("account_id", account_id), ("stream_id", stream_id), ("iid", iid)):
        if value and (why := id_fault(value, any_id=profiles.own.any_id, in_header=True)):
            raise SettingsError(f"{target.where}: {name} {why}")
    named = target.type or settings.type
    kinds = tuple(CampaignType) if named is None else (named,)
    if types is not None:
        kinds = tuple(kind for kind in types if target.type in (None, kind))
    profile = target.profile or profiles.own_name
    yield from (Scope(account_id, stream_id, iid, kind, profile) for kind in kinds)


def _key_of(name: str, where: str) -> str | None:
    """Return the one of KEYS that a column means, None for others; raises SettingsError for a probable mistake."""
    known = {"".join(filter(str.isalnum, key)): key for key in KEYS} | {"campaigntype": "type"}
    plain = "".join(filter(str.isalnum, name.lower()))
    if plain not in known and (near := find_near(plain, known, _NEAR_ENOUGH)):
        raise SettingsError(f"{where}: {shorten(name)!r} looks like {known[near]}; rename it, or leave it out")
    return known.get(plain)


def _read_text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise SettingsError(
                f" {path}: has more than {FILE_BYTES:,} bytes; that is not a file of targets", setting="targets"
            )
        return data.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f" {path}: cannot be read ({error.strerror})", setting="targets") from None
    except UnicodeDecodeError:
        raise SettingsError(f" {path}: is not UTF-8; save it as UTF-8", setting="targets") from None


def _read_table(path: str, text: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the rows of a table, each with its place."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if _is_row(line)), len(lines))
    header = lines[start] if start < len(lines) else ""
    delimiter = max(",;\t|", key=header.count)
    reader = csv.reader((line if _is_row(line) else "" for line in lines[start:]), delimiter=delimiter)
    names = [name.strip() for name in next(reader, [])]
    if not any(_key_of(name, f"{path} line {start + 1}") for name in names):
        raise SettingsError(
            f" {path} line {start + 1}: does not name the columns; begin with {','.join(KEYS)}", setting="targets"
        )
    for cells in reader:
        where = f"{path} line {start + reader.line_num}"
        if len(cells) > len(names):
            raise SettingsError(
                f"{where}: has {format_count(len(cells), 'cell')}, and the header {format_count(len(names), 'name')}"
            )
        if any(map(str.strip, cells)):
            yield where, dict(zip(names, cells, strict=False))


def _is_row(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _read_json(path: str, text: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the objects of JSON lines or of an array, each with its place."""
    if text.lstrip().startswith("["):
        values = _load(path, text)
        rows: Iterable[tuple[str, Any]] = ((f"{path}: target {number}", row) for number, row in enumerate(values, 1))
    else:
        lines = enumerate(text.splitlines(), 1)
        rows = ((where := f"{path} line {number}", _load(where, line)) for number, line in lines if _is_row(line))
    for where, row in rows:
        if not isinstance(row, dict):
            raise SettingsError(f"{where}: is not an object with {', '.join(KEYS)}")
        yield where, row


def _load(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{where}: is not JSON ({error})") from None
