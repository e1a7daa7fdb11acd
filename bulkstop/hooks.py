"""The types of the functions and objects that replace parts of an Engine.

GetToken returns a token. Transport carries a call and returns a Response or a TransportFailure. Around wraps the Send
that makes one attempt. Classify interprets a Response. OnResult receives each result. The RetryHint of an Attempt says
whether to try again.
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
