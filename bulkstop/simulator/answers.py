"""The responses of the service, in the documented words."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson

OVER_LIMIT: Final = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
NOT_ACTIVE: Final = "Campaign is not active"
_JSON: Final = "application/json; charset=utf-8"
_HTML: Final = "text/html"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is ready to send."""

    status: int
    body: bytes
    content_type: str = _JSON
    retry_after_s: float | None = None
    headers: tuple[tuple[str, str], ...] = ()


def success(fields: dict[str, object]) -> Answer:
    """Return a 200 response with these fields."""
    return Answer(200, orjson.dumps(fields))


def errors(status: int, message: str, code: int | None = None) -> Answer:
    """Return a response of the shape `{"errors":[{"msg":…,"code":…}]}`; the code only where one is documented."""
    error: dict[str, object] = {"msg": message} if code is None else {"msg": message, "code": code}
    return Answer(status, orjson.dumps({"errors": [error]}))


def failure(status: int, message: str) -> Answer:
    """Return a response of the shape `{"status":"failure","message":…}`."""
    return Answer(status, orjson.dumps({"status": "failure", "message": message}))


def throttled(status: int, retry_after_s: float | None) -> Answer:
    """Return the response for an account over its limit."""
    return Answer(status, orjson.dumps({"errors": [{"msg": OVER_LIMIT}]}), retry_after_s=retry_after_s)


def out_of_order(status: int) -> Answer:
    """Return a failure on demand: a gateway's page for 502, 503 and 504, else the service's own words."""
    if status not in (502, 503, 504):
        return failure(status, "failed on demand")
    title = f"{status} {HTTPStatus(status).phrase}"
    page = f"<html><head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body></html>\r\n"
    return Answer(status, page.encode(), _HTML)
