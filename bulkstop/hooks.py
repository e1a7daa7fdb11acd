"""The types of what an Engine is given to do in its place.

GetToken gives a token, Transport carries a call and returns a Response or a TransportFailure, Around wraps the Send
that sends one attempt, Classify says what a Response means, OnResult is given each result. A RetryHint says in an
Attempt what another try could change.
"""

from bulkstop.kore.exchange import Response, Transport, TransportFailure
from bulkstop.kore.session import Classify
from bulkstop.model import OnResult, RetryHint, Send
from bulkstop.runs.parts import Around, GetToken

__all__ = [
    "Around",
    "Classify",
    "GetToken",
    "OnResult",
    "Response",
    "RetryHint",
    "Send",
    "Transport",
    "TransportFailure",
]
