"""What must not be shown, masked wherever it occurs."""

import re

from bulkstop.kore.redaction import MASK, forms, passwords, without_jwts
from bulkstop.settings import Settings

_LINE_CHARS = 20  # of a key in several lines, each line this long is a secret of its own


class Secrets:
    """Masks in any text what was told to be secret, however it is escaped there, and whatever looks like a JWT."""

    def __init__(self, *secrets: str | None) -> None:
        self._known: set[str] = set()
        self._either: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str | None) -> None:
        """Mask this from now on."""
        # A JWT is masked by its looks, and single-use ones come by the thousand.
        if not secret or without_jwts(secret) == MASK:
            return
        found = _forms(secret) - self._known
        if not found:
            return
        self._known |= found
        longest_first = sorted(self._known, key=len, reverse=True)
        self._either = re.compile("|".join(map(re.escape, longest_first)))

    def masked(self, text: str) -> str:
        """Give a text without what is secret in it."""
        known = text if self._either is None else self._either.sub(MASK, text)
        return without_jwts(known)


SECRETS = Secrets()
"""What this process has learnt that no log may show."""


def secrets_of(settings: Settings) -> list[str]:
    """Give what is secret in settings: credentials, and the passwords in addresses."""
    given = (settings.token, settings.client_secret, settings.token_command)
    addresses = (settings.proxy, settings.quota_store)
    return [*filter(None, given), *(word for url in addresses if url for word in passwords(url))]


def _forms(secret: str) -> set[str]:
    """Give a secret in all its forms; a key also line by line."""
    lines = (line.strip() for line in secret.splitlines())
    return set(forms(secret)) | {line for line in lines if len(line) >= _LINE_CHARS}
