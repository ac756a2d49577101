"""What a failed call means: stop everything, give the call up, wait for the endpoint, or try again."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from lapilli.core.terminal import one_line

_EXCERPT = 300  # characters of a message of the endpoint

_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|credit_balance|(insufficient|out of|no) (credit|balance|funds)"
    r"|billing|spend(ing)?[ _]limit|per[ _]day|daily",
    re.I,
)
_REMEDIES = {
    401: "; check the key in OPENAI_API_KEY",
    403: "; check the key in OPENAI_API_KEY, and what it may do",
    404: "; check the model's name, and that the endpoint's address ends as its documentation says, mostly in /v1",
}

_TOO_FAST = re.compile(r"rate.?limit|too many requests|overloaded", re.I)


class Effect(Enum):
    """What a failure means for the calls to come."""

    STOP = "stop"  # no call will succeed: a wrong key, no credit
    REFUSED = "refused"  # this call will never succeed
    THROTTLED = "throttled"  # the endpoint asks for fewer calls
    TRANSIENT = "transient"  # the same call may succeed


@dataclass(frozen=True)
class Failure:
    """A failed call: what it means, the reason in a line, and the seconds for which the endpoint asks to be left alone.

    `overloaded` is a sign that fewer calls should be under way; `perhaps_paid` says that an answer may have been made.
    """

    effect: Effect
    reason: str
    wait: float | None = None
    overloaded: bool = False
    perhaps_paid: bool = False


def of_status(status: int, body: str, headers: Mapping[str, str]) -> Failure:
    """What a response with an error's status means."""
    reason = f"status {status}: {one_line(body, _EXCERPT)}" if body.strip() else f"status {status}"
    wait = retry_after(headers)
    if status in (429, 400) and _QUOTA.search(body):
        return Failure(Effect.STOP, reason)
    if status in (429, 503, 529) or (status == 400 and _TOO_FAST.search(body)):
        return Failure(Effect.THROTTLED, reason, wait, overloaded=True)
    if status in (401, 402, 403, 404, 405) or status < 400:
        return Failure(Effect.STOP, reason + _REMEDIES.get(status, ""))
    if status in (408, 409, 425) or status >= 500:
        return Failure(Effect.TRANSIENT, reason, wait, overloaded=status in (408, 504))
    return Failure(Effect.REFUSED, reason)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds of Retry-After (or its form in milliseconds); None where there is none that can be read."""
    for name, unit in (("retry-after-ms", 1_000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", text):
            return max(0.0, float(text) / unit)
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
