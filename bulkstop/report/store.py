"""The quota store of a run: facts, and words for them."""

from enum import StrEnum
from typing import NamedTuple

from bulkstop.naming import name_setting
from bulkstop.text import printable


class SharedBy(StrEnum):
    """Who shares the counts of an account's calls."""

    RUN = "run"
    USER = "user"
    GROUP = "group"
    SERVER = "server"


class StoreFacts(NamedTuple):
    """A quota store: a path, the URL of a server without its password, or `memory`, and who shares it."""

    where: str
    shared_by: SharedBy


def format_store(store: StoreFacts) -> str:
    """Return where calls are counted, and whose calls are not."""
    shared = name_setting("quota_store", "DIR/quota.sqlite")
    words = {
        SharedBy.RUN: "this run counts alone; other runs for the same accounts do not know of its calls",
        SharedBy.USER: f"your own runs only; to share it with other users: {shared}",
        SharedBy.GROUP: "shared with the users of its group",
        SharedBy.SERVER: "shared with all who use this server",
    }
    return f"{printable(store.where)} ({words[store.shared_by]})"


def store_to_json(store: StoreFacts | None) -> dict[str, str | None]:
    """Return it as JSON values, for the object that contains it."""
    return {
        "quota_store": store.where if store else None,
        "quota_store_shared_by": store.shared_by.value if store else None,
    }
