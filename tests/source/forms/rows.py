"""The rows of an input as short texts for a table: `2 A sms a1 s2; 3 ! no campaign id`."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Row
from bulkstop.source import read
from bulkstop.source.rows import ColumnChoice
from tests.source.forms.campaigns import ACCOUNTS, IDS, STREAMS

ACCOUNT, STREAM = "a" * 24, "st-default"
DEFAULTS = Defaults(CampaignType.VOICE, ACCOUNT, STREAM)
REFUSED = "exit 2: "
NOTHING = "nothing"
"""Stands for any number of rows that are all unusable."""
_SHORT = {value: short for table in (IDS, ACCOUNTS, STREAMS) for short, value in table.items()}
_UNSAID = {"voice", ACCOUNT, STREAM}


def read_rows(path: Path, options: Mapping[str, Any]) -> list[Row]:
    """Return all rows of one file, with defaults that no file here names; options are texts, as they are typed."""
    named = dict(options)
    columns = [named.pop("column")] if "column" in named else []
    choice = ColumnChoice.of(named.pop("id_column", None), columns, has_header=named.pop("no_header", None) is None)
    return list(read([str(path)], defaults=DEFAULTS, choice=choice, **named))


def outcome_of(path: Path, options: Mapping[str, Any]) -> list[str]:
    """Return what each row is, or why the file is refused, without its folder."""
    try:
        rows = read_rows(path, options)
    except InputError as error:
        return [f"{REFUSED}{error}".replace(f"{path.parent}/", "")]
    return list(format_rows(rows, path))


def format_rows(rows: Iterable[Row], path: Path) -> Iterable[str]:
    """Yield each row: its line, behind the name of a member of an archive, and what it is."""
    for row in rows:
        member = (row.source or "").removeprefix(str(path)).removeprefix("/")
        where = f"{member}:{row.line}" if member else str(row.line)
        yield f"{where} {_campaign(row)}" if isinstance(row, Campaign) else f"{where} ! {row.error}"


def _campaign(row: Campaign) -> str:
    words = (row.campaign_id, row.campaign_type, row.account_id, row.stream_id)
    return " ".join(_SHORT.get(word, word) for word in words if word not in _UNSAID)


def differences(outcome: Sequence[str], expected: Sequence[str]) -> list[str]:
    """Return where the rows are not those of the table; of a reason the table names some words."""
    if expected == [NOTHING]:
        return [row for row in outcome if " ! " not in row]
    return [
        f"{row or 'no row'}, expected {wanted or 'none'}"
        for row, wanted in zip_longest(outcome, expected)
        if row is None or wanted is None or not _fits(row, wanted)
    ]


def _fits(row: str, wanted: str) -> bool:
    mark = next((mark for mark in (REFUSED, " ! ") if mark in f"{wanted} "), None)
    if mark is None:
        return row == wanted
    where, _, words = f"{wanted} ".partition(mark)
    return row.startswith(where + mark) and words.strip() in row
