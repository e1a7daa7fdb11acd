"""Makes a campaign of the named values of a row, or an `invalid` result with the reason."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple, NoReturn, cast

import orjson

from bulkstop.errors import InputError
from bulkstop.ids import POSSIBLE, id_fault
from bulkstop.model import Campaign, CampaignType, Defaults, Outcome, Result, Row, Scope
from bulkstop.naming import name_setting
from bulkstop.source.clean import Cleaned, clean_id, is_likely, strip_unseen
from bulkstop.source.due.stop_at import STOP_AT, TIMEZONE, is_time_column, time_column
from bulkstop.source.understood import Finding, Understood
from bulkstop.text import SHOWN_CHARS, format_count, replace_controls, shorten

Values = tuple[object, ...]
"""The values of a row for FIELDS, in that order; None for a missing one."""

FIELDS = ("campaign_id", "campaign_type", "account_id", "stream_id", "iid", "priority", "name", "profile")
"""The columns and keys with a meaning; all others are carried along."""
ID_NAMES = ("campaign_id", "campaignId", "id", "_id")
"""Accepted names of the campaign id's column or key."""

_FIELD_OF = {
    "campaignid": "campaign_id",
    "id": "campaign_id",
    "campaigntype": "campaign_type",
    "type": "campaign_type",
    "accountid": "account_id",
    "streamid": "stream_id",
    "iid": "iid",
    "priority": "priority",
    "name": "name",
    "profile": "profile",
}
_NEEDED = frozenset(FIELDS) - {"priority", "name", "profile"}
"""Fields for which a second column is an error; for the others the first column counts."""
_TYPES = {str(kind): kind for kind in CampaignType}
_NEAR_ENOUGH = 0.9
"""Least similarity of a column name to the one probably meant: `campain_id` has it, `campaign` may be a name."""
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*|,0{1,2})?")  # spreadsheets write 1 as 1.0 or 1,0
_MORE_QUOTES = " '\"`"
_PRIORITY, _PROFILE = "priority", "profile"
SCOPE_FIELDS = ("campaign_type", "account_id", "stream_id", "iid", "profile")
"""Fields with few distinct values in a list, which are cached."""
MOST_SCOPES = 4096
"""Most cached scopes, which take about 2 MB."""
BY_HAND = "campaigns"
"""The source of campaigns that were made by hand without a key."""
_KINDS = {
    bool: "true or false",
    float: "a number with a fraction or too many digits (put it in quotes)",
    list: "a list",
    dict: "an object",
}


def key_of(name: str) -> str:
    """Return the letters and digits of a name in lower case, for comparisons."""
    return name.lower() if name.isalnum() else "".join(filter(str.isalnum, name.lower()))


@lru_cache(maxsize=1024)
def field_of(name: str) -> str | None:
    """Return the one of FIELDS that a column or key name means, or None."""
    return _FIELD_OF.get(key_of(name))


class ColumnChoice(NamedTuple):
    """The options for columns: the name of the id column, those of other fields, and whether there is a header."""

    id_column: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    has_header: bool = True

    @classmethod
    def of(cls, id_column: str | None, columns: Iterable[str], *, has_header: bool = True) -> "ColumnChoice":
        """Return a choice from texts such as `campaign_type=Channel`."""
        pairs = (text.partition("=") for text in columns)
        return cls(id_column, tuple((field, name) for field, _, name in pairs), has_header)

    @property
    def chosen(self) -> Mapping[str, str]:
        """Return the name of the column that was chosen for each field."""
        return dict(self.columns) | ({"campaign_id": self.id_column} if self.id_column else {})


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a row: the index of each of FIELDS, and the columns that are carried along.

    `id_at` and `name_at` are the indices of the campaign id and the name, `width` if there is none.
    """

    width: int
    id_at: int
    name_at: int
    pick: Callable[[Sequence[object]], Values]
    others: tuple[tuple[str, int], ...]

    def values(self, cells: Sequence[object]) -> Values:
        """Return the values of FIELDS in the cells, of which there are at most `width`."""
        return self.pick([*cells, *[None] * (self.width + 1 - len(cells))])

    def carried(self, cells: Sequence[object]) -> dict[str, object] | None:
        """Return the cells that are carried along, by name; None if there are none."""
        count = len(cells)
        return {name: cells[place] for name, place in self.others if place < count} or None


@lru_cache(maxsize=32)
def find_layout(names: tuple[str, ...], choice: ColumnChoice = ColumnChoice()) -> Layout:  # noqa: B008 - immutable
    """Return the layout of columns with these names; raises ValueError if two of them mean the same."""
    chosen = {key_of(name): field for field, name in choice.chosen.items()}
    names = _name_times(names, chosen)
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        meaning = chosen.get(key_of(name)) or field_of(name)
        if meaning in chosen.values() and key_of(name) not in chosen:
            continue  # another column was chosen for it
        places.setdefault(meaning or "", []).append(place)
    taken = tuple(_only(field, places.get(field, []), names) for field in FIELDS)
    others = tuple((name, place) for place, name in enumerate(names) if place not in taken)
    return Layout(len(names), taken[0], taken[FIELDS.index("name")], itemgetter(*taken), others)


def _name_times(names: tuple[str, ...], chosen: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names, with the columns chosen for `stop_at` and `timezone` renamed to that, and no others.

    Raises ValueError if two columns that were not chosen mean the same.
    """
    meant = [chosen.get(key_of(name)) or time_column(name) for name in names]
    named = list(names)
    for column in (STOP_AT, TIMEZONE) if STOP_AT in meant else ():
        places = [place for place, meaning in enumerate(meant) if meaning == column]
        if column in chosen.values():
            for place in places:
                is_chosen = key_of(names[place]) in chosen
                named[place] = column if is_chosen else f"{names[place]} (column {place + 1})"
        elif len(places) > 1:
            raise ValueError(_explain_both(column, places, names))
    return tuple(named)


def _explain_both(field: str, places: Sequence[int], names: Sequence[str]) -> str:
    return f"{' and '.join(repr(names[place]) for place in places)} both give the {field}; keep one"


def _only(field: str, places: Sequence[int], names: Sequence[str]) -> int:
    if not places:
        return len(names)  # the index after the last column, where Layout.values puts None
    if field == "campaign_id":
        exact = [place for place in places if names[place].strip().lower() == field]
        places = exact or [place for place in places if key_of(names[place]) != "id"] or places
    if len(places) > 1 and field in _NEEDED:
        raise ValueError(_explain_both(field, places, names))
    return places[0]


def id_alone(value: object) -> Values:
    """Return the values of a row that has only an id."""
    return (value, *[None] * (len(FIELDS) - 1))


FindDefaults = Callable[[str], Defaults]
"""Returns the defaults for rows of a profile; raises ValueError for an unknown profile."""


def refuse_profile(name: str) -> Defaults:
    """Raise ValueError, because this reader has no profiles."""
    raise ValueError(f"profile {shorten(name)!r} is not known here")


@dataclass(frozen=True, slots=True)
class RowParser:
    """Makes the rows of one input, with defaults for missing values.

    Rows that name a profile get their defaults from `find_defaults`. Unusual findings are recorded in `understood`.
    `any_id` allows unusual characters in ids, which are then not cleaned.
    """

    source: str
    defaults: Defaults
    any_id: bool = False
    choice: ColumnChoice = field(default_factory=ColumnChoice)
    understood: Understood = field(default_factory=lambda: Understood(""))
    find_defaults: FindDefaults = refuse_profile
    scopes: dict[Values, Scope] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The scope of each combination of SCOPE_FIELDS, all of them texts, so far."""

    def layout(self, names: tuple[str, ...]) -> Layout:
        """Return the layout of columns with these names; raises ValueError if two of them mean the same."""
        return find_layout(names, self.choice)

    def note_columns(self, names: Sequence[str], layout: Layout | None = None) -> None:
        """Record the meanings of the first columns or keys."""
        if self.understood.columns or self.understood.others:
            return
        layout = layout or self.layout(tuple(names))
        meanings = zip(layout.values([*range(len(names))]), FIELDS, strict=True)
        others = tuple(name for name, _ in layout.others)
        times = [(place, time_column(name) or "") for name, place in layout.others if is_time_column(name, others)]
        places = sorted([*times, *((place, meaning) for place, meaning in meanings if isinstance(place, int))])
        self.understood.columns = {meaning: names[place] for place, meaning in places}
        self.understood.others = others
        if not self.choice.id_column:
            self.understood.id_not_taken = tuple(name for name in self.understood.others if field_of(name) == FIELDS[0])

    def row(self, line: int, values: Values, carried: Mapping[str, object] | None = None) -> Row:
        """Return the campaign of these values, or an `invalid` result with the reason.

        The id is cleaned; `carried` then has the original text.
        """
        value = values[0]
        if self.any_id or not isinstance(value, str) or is_likely(value):
            return self.plain_row(line, values, carried)
        ids, fault, is_changed = clean_id(value)
        if len(ids) > 1:
            fault = f"{shorten(value)!r} holds {format_count(len(ids), 'id')}; put each in its own row"
        if fault:
            return self._impossible(line, fault, values, carried)
        if is_changed:
            values, carried = (ids[0], *values[1:]), self._as_it_was(line, value, ids[0], carried)
        elif not POSSIBLE.fullmatch(ids[0]) and (why := id_fault(ids[0])) and ids[0]:
            return self._impossible(line, f"campaign id {why}", values, carried)
        elif not self.choice.id_column and (other := _other_id(carried)):
            why = f"{shorten(value)!r} is in the place of the id, and what looks like an id is under {shorten(other)!r}"
            remedy = f"correct the header, or give {name_setting('id_column', 'NAME')}"
            return self._impossible(line, f"{why}; {remedy}", values, carried)
        return self.plain_row(line, values, carried)

    def rows_of_line(self, line: int, text: str) -> Iterator[Row]:
        """Yield the rows of a line of a list, one for each id."""
        ids, fault, _ = Cleaned((text,)) if self.any_id else clean_id(text)
        if fault or len(ids) < 2:
            yield self.row(line, id_alone(text))
            return
        self.understood.note(Finding.SPLIT_LINES, line, shorten(text), format_count(len(ids), "row"))
        for campaign_id in ids:
            yield self.plain_row(line, id_alone(campaign_id), {FIELDS[0]: text})

    def likely_row(self, line: int, values: Values, carried: Mapping[str, object] | None = None) -> Row:
        """Return the campaign of a row with a likely id, or an `invalid` result with another fault."""
        try:
            return self._campaign(line, values, carried, is_usual=True)
        except ValueError as reason:
            return self.invalid(line, str(reason), values, carried)

    def plain_row(self, line: int, values: Values, carried: Mapping[str, object] | None = None) -> Row:
        """Return the campaign of unchanged values, or an `invalid` result with the reason."""
        try:
            return self._campaign(line, values, carried)
        except ValueError as reason:
            return self.invalid(line, str(reason), values, carried)

    def _impossible(self, line: int, why: str, values: Values, carried: Mapping[str, object] | None) -> Result:
        self.understood.note(Finding.IMPOSSIBLE_IDS, line, why)
        return self.invalid(line, why, values, carried)

    def _as_it_was(
        self, line: int, before: str, after: str, carried: Mapping[str, object] | None
    ) -> Mapping[str, object]:
        """Return the carried values of a row whose id was cleaned, with the original text, and record that."""
        self.understood.note(Finding.CLEANED, line, before, after)
        return {FIELDS[0]: before, **(carried or {})}

    def invalid(self, line: int, reason: str, values: Values, carried: Mapping[str, object] | None = None) -> Result:
        """Return the `invalid` result of a row, with as much of its values as is known."""
        campaign_id, campaign_type, account_id, stream_id, *_ = values
        return Result(
            campaign_id=_show_value(campaign_id),
            campaign_type=_TYPES.get(_show_value(campaign_type).lower())
            if campaign_type
            else self.defaults.campaign_type,
            account_id=_show_value(account_id) or self.defaults.account_id,
            stream_id=_show_value(stream_id) or self.defaults.stream_id,
            outcome=Outcome.INVALID,
            error=reason,
            source=self.source,
            line=line or None,
            row=carried,
        )

    def _campaign(
        self, line: int, values: Values, carried: Mapping[str, object] | None, *, is_usual: bool = False
    ) -> Campaign:
        campaign_id, campaign_type, account_id, stream_id, iid, priority, name, profile = values
        defaults, profile, carried = self.defaults, *_profile(profile, carried)
        if profile is not None:
            defaults = self.find_defaults(profile)
        if is_usual:
            text_id = cast("str", campaign_id)
        else:
            text_id = _text("campaign_id", campaign_id, any_id=self.any_id) or _missing("campaign_id", carried)
        kind = read_type(campaign_type) or defaults.campaign_type or _missing("campaign_type", carried, "type")
        account = _text("account_id", account_id) or defaults.account_id or _missing("account_id", carried)
        stream = _text("stream_id", stream_id) or defaults.stream_id or _missing("stream_id", carried)
        try:
            urgency = read_priority(priority)
        except ValueError:
            urgency, carried = None, _carrying(priority, carried)
        campaign = Campaign.of_row(
            text_id,
            kind,
            account,
            stream,
            _text("iid", iid) or defaults.iid or stream,
            self.source,
            line,
            urgency,
            _name(name),
            carried,
            profile,
        )
        if reason := (campaign.scope_fault if is_usual else campaign.fault_with)(any_id=self.any_id):
            if not self.any_id and (unquoted := _unquote_scope(values)) != values:
                return self._campaign(line, unquoted, carried)
            raise ValueError(reason)
        self._remember((campaign_type, account_id, stream_id, iid, values[7]), campaign)
        return campaign

    def _remember(self, said: Values, campaign: Campaign) -> None:
        if all(value is None or isinstance(value, str) for value in said):  # 1 and True are the same key
            if len(self.scopes) >= MOST_SCOPES:
                self.scopes.clear()
            self.scopes[said] = Scope(
                campaign.account_id, campaign.stream_id, campaign.iid, campaign.campaign_type, campaign.profile
            )


def _other_id(carried: Mapping[str, object] | None) -> str | None:
    """Return the column or key without a meaning that has a likely id."""
    for name, cell in (carried or {}).items():
        if isinstance(cell, str) and "cd-" in cell and is_likely(cell.strip()):
            return name
    return None


def _missing(field: str, carried: Mapping[str, object] | None, setting: str | None = None) -> NoReturn:
    near = near_column(field, tuple(carried or ()))
    column = f" ({shorten(near)!r} looks like it: name it {field})" if near else ""
    if field == "campaign_id":
        raise ValueError(f"no campaign id{column}")
    raise ValueError(f"no {field} in the row{column}; give {name_setting(setting or field)} for all such rows")


@lru_cache(maxsize=32)
def near_column(field: str, names: tuple[str, ...]) -> str | None:
    """Return the column or key outside FIELDS that is probably meant to be this one."""
    from bulkstop.text.likeness import find_near  # only a mistake needs it

    return find_near(field, [name for name in names if field_of(name) is None], _NEAR_ENOUGH)


def _text(field: str, value: object, *, any_id: bool = False) -> str:
    if isinstance(value, str):
        return value.strip() if any_id or value.isascii() else strip_unseen(value)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{field} is {_KINDS.get(type(value), type(value).__name__)}, not text")


def _unquote_scope(values: Values) -> Values:
    """Return values without quotes around account, stream and application, from another dialect than CSV's."""
    campaign_id, campaign_type, *scope, priority, name, profile = values
    plain = (value.strip(_MORE_QUOTES) if isinstance(value, str) else value for value in scope)
    return (campaign_id, campaign_type, *plain, priority, name, profile)


def read_type(value: object) -> CampaignType | None:
    """Return the type of a campaign, None for an empty cell; raises ValueError for an unknown type."""
    text = _text("campaign_type", value)
    kind = _TYPES.get(text) or _TYPES.get(text.strip(_MORE_QUOTES).lower())
    if text and kind is None:
        raise ValueError(f"campaign_type is {shorten(text)!r}; it can be voice or sms")
    return kind


def read_priority(value: object) -> int | None:
    """Return a whole number in any usual form, None for an empty value; raises ValueError for others."""
    if value is None:
        return None
    text = str(value).strip()
    if match := _WHOLE.fullmatch(text):
        return int(match[1])
    if text:
        raise ValueError("a priority is a whole number")
    return None


read_urgency = lru_cache(maxsize=1024)(read_priority)
"""Reads the text of a priority, with a cache, because a list has few different ones."""


def unreadable_priority(campaign: Campaign) -> str | None:
    """Return the carried text of a campaign's priority if it cannot be read; else None."""
    if campaign.priority is not None or not campaign.row or _PRIORITY not in campaign.row:
        return None
    value = campaign.row[_PRIORITY]
    try:
        read_priority(value)
    except ValueError:
        return shorten(str(value).strip())
    return None


def read_campaigns(
    items: Iterable[object], *, defaults: Defaults, any_id: bool = False, find_defaults: FindDefaults = refuse_profile
) -> Iterator[Row]:
    """Yield campaigns made by hand, completed with defaults, or an `invalid` result with the reason.

    A campaign without a key has its number, from 1. Raises InputError for an item that is not a campaign.
    """
    understood = Understood("")
    for number, item in enumerate(items, start=1):
        if not isinstance(item, Campaign):
            raise InputError(f"{item!r} is not a Campaign; give paths, or campaigns")
        source, line = (item.source, item.line) if item.source else (BY_HAND, number)
        ids = item.campaign_id, item.campaign_type, item.account_id or None, item.stream_id or None, item.iid or None
        parser, values, row = (
            RowParser(source, defaults, any_id, understood=understood, find_defaults=find_defaults),
            (*ids, item.priority, item.name, item.profile),
            item.row,
        )
        if row is None or isinstance(row, Mapping):
            yield parser.plain_row(line, values, row)
        else:
            yield parser.invalid(line, f"its row is {type(row).__name__}, not a mapping", values)


def _carrying(priority: object, carried: Mapping[str, object] | None) -> Mapping[str, object]:
    """Return the carried values with a priority that cannot be read, so that it is not lost."""
    return {**(carried or {}), _PRIORITY: priority}


def _name(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return (value.strip() or None) if value else None
    return orjson.dumps(value).decode()  # a name of another type becomes its JSON text


def _profile(value: object, carried: Mapping[str, object] | None) -> tuple[str | None, Mapping[str, object] | None]:
    """Return the profile in a row, and the carried values with it; a value that is not text is only carried."""
    if value is None or value == "":
        return None, carried
    name = (value.strip() or None) if isinstance(value, str) else None
    return name, {**(carried or {}), _PROFILE: name or value}


def carry_profile(text: str, carried: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """Return the carried values with the text of the profile column."""
    return _profile(text, carried)[1]


def _show_value(value: object) -> str:
    if value is None:
        return ""
    text = value.strip() if isinstance(value, str) else orjson.dumps(value).decode()
    return replace_controls(text[:SHOWN_CHARS])
