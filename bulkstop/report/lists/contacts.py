"""The contacts of stopped campaigns: facts, and views of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulkstop.model import Scope, utc_text
from bulkstop.text import format_count, printable
from bulkstop.text.clock import format_clock

SHOWN = 20
"""The most campaigns that still call in a list for a person; the JSON has them all."""


class Calling(NamedTuple):
    """A stopped campaign that contacts people: how many contacts started after its stop, and how many still last.

    `last_s` is when the last of these started; all times are unix times of the service's clock.
    """

    scope: Scope
    campaign_id: str
    stopped_s: float
    started: int
    lasting: int
    last_s: float


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """The service's data on the contacts of `campaigns` that were stopped, as far as it could be read.

    `since_s` is the end of the last contact or the last stop, whichever is later; None if no account could be read.
    `without_scope` says why some accounts could not be read for lack of the scope, `faults` why others were not read
    completely. The `unstopped` campaigns were sent no stop.
    """

    campaigns: int
    contacts: int = 0
    from_s: float | None = None
    to_s: float | None = None
    since_s: float | None = None
    calling: tuple[Calling, ...] = ()
    unstopped: int = 0
    without_scope: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def is_in_the_way(self) -> bool:
        """Whether campaigns still call, or could not be checked for another reason than the scope."""
        return bool(self.calling or self.faults)

    @property
    def notes(self) -> tuple[str, ...]:
        """The remarks on the facts: what was not checked, and what proves little."""
        if self.contacts or self.from_s is None or self.faults:
            return self.without_scope
        why = "no contact of the stopped campaigns is known, not even from before their stops, so this proves little"
        return (*self.without_scope, why)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; every key is always present."""
        return {
            "campaigns": self.campaigns,
            "contacts": self.contacts,
            "from": _to_text(self.from_s),
            "to": _to_text(self.to_s),
            "no_contact_since": None if self.is_in_the_way else _to_text(self.since_s),
            "calling": list(map(_calling_to_json, self.calling)),
            "never_stopped": self.unstopped,
            "without_scope": list(self.without_scope),
            "faults": list(self.faults),
        }


def describe_contacts(of: ContactFacts | None, now_s: float) -> str:
    """Return what is known of contacts as the end of a verdict; empty if not requested, or if the faults say more."""
    if of is None or of.is_in_the_way:
        return ""
    if of.since_s is None:
        why = "the scope is missing" if of.without_scope else "no stop is known"
        return f"; contacts were not read, because {why}"
    some = f" (but for {format_count(len(of.without_scope), 'account')})" if of.without_scope else ""
    return f"; no contact{some} since {format_clock(of.since_s, now_s)}"


def list_contact_faults(of: ContactFacts | None) -> list[str]:
    """Return the problems with contacts as parts of a verdict."""
    if of is None:
        return []
    calling = [f"{len(of.calling):,} of {of.campaigns:,} stopped still {'calls' if len(of.calling) == 1 else 'call'}"]
    return [*(calling if of.calling else []), *(["contacts that could not be read"] if of.faults else [])]


def format_contacts(of: ContactFacts, now_s: float) -> list[tuple[str, str]]:
    """Return rows of a table: what was checked, and what was not."""
    rows = []
    if of.from_s is not None and of.to_s is not None:
        count = format_count(of.contacts, "contact")
        span = f"from {format_clock(of.from_s, now_s)} to {format_clock(of.to_s, now_s)}"
        rows.append(("contacts", f"{count} of {format_count(of.campaigns, 'stopped campaign')}, {span}"))
    rows += [("no contacts" if not number else "", printable(why)) for number, why in enumerate(of.faults)]
    if of.unstopped:
        rows.append(("never stopped", f"{of.unstopped:,}, of which the state alone counts"))
    return rows


def format_calling(calling: Sequence[Calling], now_s: float) -> list[list[str]]:
    """Return a table of the campaigns that still call, the most recent calls first."""
    if not calling:
        return []
    table = [["still calls", "type", "account", "stopped", "started since", "last start", "lasting"]]
    for each in calling[:SHOWN]:
        last, stopped = format_clock(each.last_s, now_s), format_clock(each.stopped_s, now_s)
        names = printable(each.campaign_id), each.scope.campaign_type.value, printable(each.scope.account_id)
        table.append([*names, stopped, f"{each.started:,}", last, f"{each.lasting:,}"])
    if len(calling) > SHOWN:
        table.append([f"and {len(calling) - SHOWN:,} more", *[""] * 6])
    return table


def _to_text(unix_s: float | None) -> str | None:
    return None if unix_s is None else _write_time(unix_s)


def _write_time(unix_s: float) -> str:
    return utc_text(unix_s + 0.0005)  # it truncates, and a time parsed as a float may lie just below its text


def _calling_to_json(calling: Calling) -> dict[str, Any]:
    scope = calling.scope
    return {
        "campaign_id": calling.campaign_id,
        "campaign_type": scope.campaign_type.value,
        "account_id": scope.account_id,
        "stream_id": scope.stream_id,
        "stopped": _write_time(calling.stopped_s),
        "started_since": calling.started,
        "lasting": calling.lasting,
        "last_start": _write_time(calling.last_s),
    }
