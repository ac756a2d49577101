"""An OpenAI-compatible endpoint: one request, one body or one failure, within a deadline. It never tries again."""

import asyncio
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.llm.call import Call
from lapilli.core.llm.failure import Effect, Failure, of_status
from lapilli.core.terminal import one_line

if TYPE_CHECKING:
    import openai

KEY_VARIABLE = "OPENAI_API_KEY"
"""The environment variable that holds the key: an argument would stand in the list of processes."""

_PATH = "/chat/completions"
_NO_KEY = "none"  # servers on one's own machine want none, but the client wants a text
_HIDDEN = "[key]"
_SHORTEST = 8  # characters of a key that is looked for in texts; a shorter one is a word such as "none"


class FailedError(LapilliError):
    """A request that failed, with what that means."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Endpoint:
    """A client of the endpoint at `base_url`, which ends in /v1; it holds the key, and hides it in what it returns."""

    def __init__(self, base_url: str, deadline: float) -> None:
        require_address(base_url)
        self._key = read_key()
        self._deadline = deadline
        self._client = _client(base_url, self._key or _NO_KEY, deadline)

    async def send(self, call: Call) -> str:
        """Return the body of the response to a call. Raises FailedError for anything but success in time."""
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self._deadline):  # the client's own counts from byte to byte
                # Not chat.completions.create, which spends as much time on its types as on the request.
                response = await self._client.post(_PATH, body=call.request(), cast_to=httpx2.Response)
                return self.hide(response.text)
        except (TimeoutError, openai.APITimeoutError) as error:
            reason = f"no answer in {self._deadline:g} s"
            raise FailedError(Failure(Effect.TRANSIENT, reason, overloaded=True, perhaps_paid=True)) from error
        except openai.APIStatusError as error:
            body = self.hide(error.response.text)
            raise FailedError(of_status(error.status_code, body, error.response.headers)) from None
        except openai.APIError as error:  # no connection, or one that broke
            cause = error.__cause__ or error
            text = self.hide(f"no connection: {type(cause).__name__}: {cause}")
            reason = one_line(text, 300)  # after the key is out, of which a cut would leave a part
            if never_sent := "ConnectError" in type(cause).__name__:
                reason += "; check --base-url, and that a server listens there"
            raise FailedError(Failure(Effect.TRANSIENT, reason, perhaps_paid=not never_sent)) from None

    def hide(self, text: str) -> str:
        """The text without the key, which some endpoints repeat in their messages."""
        return text.replace(self._key, _HIDDEN) if len(self._key) >= _SHORTEST else text

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


def read_key() -> str:
    """The key in the environment; "" where there is none. Raises UsageError, which does not show it, for no key."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(f"{KEY_VARIABLE}: holds a space, or what no key has; set it to the key alone")
    return key


def require_address(base_url: str) -> None:
    """Raise UsageError for what is no address of an endpoint, or holds a secret, which would be written into files."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise UsageError("--base-url: no address; write it as http://localhost:8000/v1") from error
    if parts.username or parts.password or parts.query or parts.fragment:
        bare = f"{parts.scheme}://{parts.hostname}{f':{port}' if port else ''}{parts.path}"
        raise UsageError(f"--base-url: more than an address; write {bare}, and put the key into {KEY_VARIABLE}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--base-url {base_url}: no address; write it as http://localhost:8000/v1")


def _client(base_url: str, key: str, deadline: float) -> "openai.AsyncOpenAI":
    """The client of the openai library, which never tries again itself. Raises LapilliError where it is missing."""
    try:
        import openai
    except ImportError as error:
        raise LapilliError("openai: not installed; install it with: pip install 'lapilli[llm]'") from error
    return openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=deadline)
