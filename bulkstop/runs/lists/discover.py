"""Write down the campaigns that run now, as an input for `stop`."""

import asyncio
import csv
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import orjson

from bulkstop.engine.shutdown import Shutdown, listening
from bulkstop.errors import BulkstopError, OutputError, SettingsError
from bulkstop.kore.ask import asker
from bulkstop.kore.calls import Group, Listed
from bulkstop.kore.token import Tokens
from bulkstop.model import Campaign, CampaignType
from bulkstop.runs import host
from bulkstop.runs.lists.listing import Heard, Listing, Wanted, listed
from bulkstop.runs.lists.states import worse
from bulkstop.runs.stop.forecast import Accounts, store_of
from bulkstop.runs.wiring import client_of, tokens_of
from bulkstop.settings import Settings
from bulkstop.source.line_reader import printable

COLUMNS = (
    "campaign_id",
    "campaign_type",
    "account_id",
    "stream_id",
    "iid",
    "name",
    "status",
    "priority",
    "recurring",
    "updated_at",
)
"""The columns of the file; `stop` reads the first six and `priority`, and carries the others into its results."""
FORMULA = ("=", "+", "-", "@", "\t", "'")
"""First characters of a cell that a spreadsheet would run (and of one that is marked as text)."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, each campaign once, and what a person must know of it: `notes`, a line each.

    With a `fault`, or when a signal (`signum`) ended it, the list was not read to its end, and is not to be used.
    """

    rows: tuple[tuple[Group, Listed], ...]
    notes: tuple[str, ...]
    calls: int
    fault: str | None = None
    signum: int | None = None


def discover(
    settings: Settings,
    wanted: Wanted,
    *,
    types: Sequence[CampaignType] = tuple(CampaignType),
    name: str | None = None,
    signals: Sequence[int] = (),
    heard: Heard = lambda group, seen, total: None,
    rests: Callable[[float], object] = lambda seconds: None,
) -> Discovery:
    """Read the lists of the settings' account and stream; `name` is a pattern (`Promo*`) that names must match.

    One of the `signals` ends it at once.
    Raises a BulkstopError, SettingsError for one, when no call could be made at all.
    """
    groups = _groups(settings, types)
    return host.run(_discover(settings, wanted, groups, name, signals, heard, rests), fast=False)


def to_csv(rows: Iterable[tuple[Group, Listed]]) -> bytes:
    """Write the list as CSV, header included, each campaign on a line of its own.

    Ids stand there as they are, else `stop` would call for others. Any other cell that a spreadsheet would run as a
    formula gets a leading `'`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for group, item in rows:
        ids, others = _cells(group, item)
        writer.writerow([*ids, *map(_safe_cell, others)])
    return text.getvalue().encode()


def to_jsonl(rows: Iterable[tuple[Group, Listed]]) -> bytes:
    """Write the list as JSON lines, all values as they are but for control characters."""
    keyed = (dict(zip(COLUMNS, [*ids, *others], strict=True)) for ids, others in (_cells(*row) for row in rows))
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in keyed)


def check_target(path: str, *, overwrite: bool) -> None:
    """Find out before any call is made what would keep the file from being written: raises OutputError."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{path}: is a directory; give -o FILE")
    if _is_device(target):
        return
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"{path}: exists already; give --overwrite, or -o with another file")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{path}: its directory is not there, or cannot be written to; give -o with another file")


def write_file(path: str, data: bytes, *, overwrite: bool) -> None:
    """Write a file that is there whole or not at all, private to the user; raises OutputError."""
    try:
        if _is_device(Path(path)):
            Path(path).write_bytes(data)
            return
        target = Path(path).resolve()  # of a link, what it leads to is replaced
        draft = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
        try:
            _write_draft(draft, data)
            if overwrite:
                draft.replace(target)
            else:
                _place_new(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise OutputError(f"{path}: exists already; give --overwrite, or -o with another file") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


async def _discover(
    settings: Settings,
    wanted: Wanted,
    groups: Sequence[Group],
    name: str | None,
    signals: Sequence[int],
    heard: Heard,
    rests: Callable[[float], object],
) -> Discovery:
    tokens, shutdown = tokens_of(settings), Shutdown(grace_s=0.0, lost="nothing was written")
    with listening(shutdown, signals):
        try:
            await tokens.get()  # without credentials there is nothing to begin with
            return await _found(settings, tokens, wanted, groups, name, heard, rests)
        except asyncio.CancelledError:
            if shutdown.signum is None:
                raise
            return Discovery((), (), 0, signum=shutdown.signum)


async def _found(
    settings: Settings,
    tokens: Tokens,
    wanted: Wanted,
    groups: Sequence[Group],
    name: str | None,
    heard: Heard,
    rests: Callable[[float], object],
) -> Discovery:
    try:
        return _discovery(await _lists(settings, tokens, wanted, groups, heard, rests), name)
    except SettingsError:
        raise
    except BulkstopError as fault:
        return Discovery((), (), 0, fault=str(fault))


async def _lists(
    settings: Settings,
    tokens: Tokens,
    wanted: Wanted,
    groups: Sequence[Group],
    heard: Heard,
    rests: Callable[[float], object],
) -> list[Listing]:
    async with store_of(settings) as store, client_of(settings) as client:
        accounts = Accounts(settings, store, rests=rests)
        return await listed(
            groups, asker(client.post, tokens), accounts.caller, wanted, heard=heard, any_id=settings.any_id
        )


def _groups(settings: Settings, types: Sequence[CampaignType]) -> list[Group]:
    account_id = settings.account_id or _missing("--account-id")
    stream_id = settings.stream_id or _missing("--stream-id")
    iid = settings.iid or stream_id
    if fault := Campaign("cd-1", types[0], account_id, stream_id, iid, "", 0).fault_with(any_id=settings.any_id):
        raise SettingsError(f"{fault}; nothing was asked for")
    return [Group(account_id, stream_id, iid, kind) for kind in types]


def _missing(option: str) -> str:
    raise SettingsError(f"{option}: not given; the list is that of one account and one stream")


def _discovery(found: Sequence[Listing], name: str | None) -> Discovery:
    rows: dict[str, tuple[Group, Listed]] = {}
    twice = changed = 0
    for listing in found:
        for item in listing.items:
            if name is None or fnmatchcase(item.name or "", name):
                twice += item.campaign_id in rows
                known = rows.setdefault(item.campaign_id, (listing.group, item))
                if worse(known[1], item) is not known[1]:
                    rows[item.campaign_id] = (listing.group, item)
                    changed += 1
    calls, fault = sum(listing.calls for listing in found), next(filter(None, map(_fault, found)), None)
    return Discovery(tuple(rows.values()), tuple(_notes(found, rows, twice, changed)), calls, fault)


def _fault(listing: Listing) -> str | None:
    if listing.failure is None:
        return None
    said = f" ({listing.failure.message})" if listing.failure.message else ""
    return f"{_told(listing.group)}: {listing.failure.error}{said}"


def _notes(found: Sequence[Listing], rows: Iterable[str], twice: int, changed: int) -> Iterable[str]:
    for listing in found:
        if listing.doubt:
            yield f"{_told(listing.group)}: {listing.doubt}"
        if listing.doubled:
            yield f"{_told(listing.group)}: listed more than once: {listing.doubled:,}; one row that runs counts"
        if listing.unusable:
            many, first = len(listing.unusable), listing.unusable[0]
            yield f"{_told(listing.group)}: left out, because they cannot be used: {many:,}; first: {first}"
    if twice:
        but = f", but for {changed:,} of which only the other one runs" if changed else ""
        yield f"campaigns listed as of both types: {twice:,}; each is written once, as of the type listed first{but}"
    if risky := sum(campaign_id.startswith(FORMULA) for campaign_id in rows):
        yield f"ids that look like formulas to a spreadsheet: {risky:,}; they are written as they are"


def _told(group: Group) -> str:
    return f"{group.campaign_type} campaigns of account {printable(group.account_id)}"


def _cells(group: Group, item: Listed) -> tuple[list[object], list[object]]:
    """Give the cells of a row in the order of COLUMNS: the ids, which nobody may touch, and the others."""
    ids: list[object] = [item.campaign_id, group.campaign_type, group.account_id, group.stream_id, group.iid]
    return ids, [_shown(item.name), _shown(item.status), item.priority, item.recurs, _shown(item.updated_at)]


def _shown(text: str | None) -> str | None:
    return None if text is None else printable(text)


def _safe_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_draft(draft: Path, data: bytes) -> None:
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _place_new(draft: Path, target: Path) -> None:
    """Give a finished draft its name, unless something has that name; raises FileExistsError."""
    try:
        os.link(draft, target)  # the one way to a name that never replaces anything
    except FileExistsError:
        raise
    except OSError:  # a file system without such links
        if os.path.lexists(target):
            raise FileExistsError from None
        draft.replace(target)
