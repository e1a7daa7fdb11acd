"""Which part of a list is wrong as a whole: an account's stream and type whose first campaigns all fail alike."""

from collections import Counter

from bulkstop.engine.guard import shown
from bulkstop.model import LEFT, WORTH_A_RETRY, Campaign, CampaignType, Outcome

FIRST = 5
"""So many campaigns that end alike are taken for their whole group."""

_JUDGED = frozenset({Outcome.UNAUTHORIZED, Outcome.NOT_FOUND})
_SAYS_NOTHING = WORTH_A_RETRY | LEFT
_Group = tuple[str, str, CampaignType]


class Groups:
    """Closes a group (account, stream, type) when the first FIRST of its campaigns that tell are all refused, or gone.

    What a busy or broken service answers tells nothing of a group; any other end opens it for the rest of the run.
    """

    def __init__(self, first: int = FIRST) -> None:
        self._first = first
        self._alike: dict[_Group, tuple[Outcome, int] | None] = {}  # None: it works
        self._closed: dict[_Group, str] = {}
        self._skipped: Counter[_Group] = Counter()

    @property
    def has_skipped(self) -> bool:
        """Tell whether a campaign was not sent for its group."""
        return bool(self._skipped)

    def settled(self, campaign: Campaign, outcome: Outcome, error: str | None = None) -> None:
        """Note how a campaign that was sent has ended."""
        group = _group(campaign)
        so_far = self._alike.get(group, (outcome, 0))
        if so_far is None or outcome in _SAYS_NOTHING:
            return
        if outcome not in _JUDGED or outcome is not so_far[0]:
            self._alike[group] = None
            return
        self._alike[group] = (outcome, so_far[1] + 1)
        if so_far[1] + 1 == self._first:
            self._closed[group] = _reason(group, self._first, outcome, error)

    def closed(self, campaign: Campaign) -> str | None:
        """Say why a campaign is not to be sent, as its group is closed; None when it is not."""
        return self._closed.get(_group(campaign)) if self._closed else None

    def skipped(self, campaign: Campaign) -> None:
        """Count a campaign that is not sent, as its group is closed."""
        self._skipped[_group(campaign)] += 1

    def faults(self) -> list[str]:
        """Give one line for each closed group: what is wrong, how many were not sent for it, and what to do."""
        return [
            f"{reason}; {skipped:,} more of them were not sent: put it right, then go on with --resume"
            if (skipped := self._skipped[group])
            else reason
            for group, reason in self._closed.items()
        ]


def _group(campaign: Campaign) -> _Group:
    return campaign.account_id, campaign.stream_id, campaign.campaign_type


def _reason(group: _Group, first: int, outcome: Outcome, error: str | None) -> str:
    account_id, stream_id, kind = group
    what = f"the first {first} of account {shown(account_id)}, stream {shown(stream_id)}, {kind}"
    said = f" ({shown(error)})" if error else ""
    if outcome is Outcome.UNAUTHORIZED:
        return f'{what} were refused{said}: wrong stream id or missing scope "Campaign Management"'
    option = "--voice-path" if kind is CampaignType.VOICE else "--sms-path"
    return (
        f"{what} were not found{said}: the path template may be wrong for your deployment ({option}), "
        "or the list is of another environment"
    )
