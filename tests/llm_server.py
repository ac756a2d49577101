"""An OpenAI-compatible server on this machine, which misbehaves as it is told to.

    with Server(reply) as server:
        server.faults = {"half": 2}     # the next two requests are answered with half a response

`reply` makes the text of the answer from the request's messages. Which fault comes when can also be a function of the
request's body and of how often that body has come: `server.fault_of`.
"""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field

LIMIT = 1 << 24


@dataclass
class Request:
    """What was asked, with which key, and when; `fault` is what went wrong with it."""

    body: dict
    key: str
    at: float
    fault: str | None
    answered: bool = field(default=False)


class Server:
    """A server in a thread of its own; `seconds` is the time of an answer, `log` has every request."""

    def __init__(self, reply, seconds=0.0, capacity=None):
        self.reply, self.seconds, self.capacity = reply, seconds, capacity
        self.faults: dict[str, int] = {}
        self.fault_of = None
        self.retry_after = "0"
        self.log: list[Request] = []
        self.counts: dict[str, int] = {}
        self.busy = self.most_busy = 0

    def __enter__(self):
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def forget(self):
        """Begin anew: no request has come."""
        self.log.clear()
        self.counts.clear()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def answered(self):
        return [request for request in self.log if request.answered]

    def _run(self, ready):
        asyncio.run(self._serve(ready))

    async def _serve(self, ready):
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._slots = asyncio.Semaphore(self.capacity or 10_000)
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=LIMIT, backlog=1_000)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader, writer):
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader, writer):
        """Answer one request; return whether the connection stays."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        headers = {name.lower(): value for name, value in headers.items()}
        text = (await reader.readexactly(int(headers["content-length"]))).decode()
        body = json.loads(text)
        self.counts[text] = self.counts.get(text, 0) + 1
        fault = self._next_fault(body, self.counts[text])
        request = Request(body, headers.get("authorization", ""), time.monotonic(), fault)
        self.log.append(request)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            async with self._slots:
                await asyncio.sleep(self.seconds)
            return await self._respond(writer, request)
        finally:
            self.busy -= 1

    def _next_fault(self, body, times):
        if self.fault_of is not None:
            return self.fault_of(body, times)
        for name, left in self.faults.items():
            if left:
                self.faults[name] -= 1
                return name
        return None

    async def _respond(self, writer, request):
        fault, headers = request.fault, {}
        status, content = 200, None
        if fault == "hang":
            await asyncio.sleep(600)
        elif fault == "reset":
            writer.transport.abort()
            return False
        elif fault == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        elif fault in STATUSES:
            status, content = STATUSES[fault]
            if fault.startswith("429"):
                headers["retry-after"] = self.retry_after
        elif fault in BODIES:
            content = BODIES[fault]
        if content is None:
            content = json.dumps(self._completion(request, fault))
            request.answered = fault != "half"
        await self._send(writer, status, content.encode("utf-8", "surrogatepass"), headers, fault)
        return fault not in ("half", "close")

    def _completion(self, request, fault):
        messages = request.body["messages"]
        text = TEXTS.get(fault) if fault in TEXTS else self.reply(messages)
        finish = {"length": "length", "content_filter": "content_filter"}.get(fault, "stop")
        prompt = sum(len(message["content"]) for message in messages) // 4 + 3
        usage = {"prompt_tokens": prompt, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 3}}
        answer = {"id": "x", "model": request.body["model"], "object": "chat.completion", "usage": usage}
        if fault == "no_usage":
            del answer["usage"]
        if fault == "echo_key":
            text += f" {request.key.split()[-1]}"
        return answer | {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}

    async def _send(self, writer, status, content, headers, fault):
        length = 2 * len(content) if fault == "half" else len(content)
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        await writer.drain()


STATUSES = {
    "429": (429, '{"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}'),
    "429_quota": (429, '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'),
    "400": (400, '{"error": {"message": "content policy"}}'),
    "400_fast": (400, '{"error": {"message": "rate limit, slow down"}}'),
    "401": (401, '{"error": {"message": "Incorrect API key"}}'),
    "402": (402, '{"error": {"message": "no credit"}}'),
    "404": (404, '{"error": {"message": "no such model"}}'),
    "500": (500, "<html>oops</html>"),
    "502": (502, ""),
    "503": (503, '{"error": {"message": "loading"}}'),
    "529": (529, '{"error": {"message": "overloaded"}}'),
}
BODIES = {
    "empty_body": "",
    "broken_json": '{"choices": [{"message": {"content": "Quest',
    "error_object": '{"error": {"message": "worker died"}}',
    "no_choices": '{"choices": []}',
    "html": "<html>gateway</html>",
}
TEXTS = {
    "wrong_format": "Sure! Here you go:\n- What is it? It is a thing.",
    "empty": "",
    "very_long": "word " * 20_000,
    "not_english": "Вопрос:\nЧто это?\n===\nОтвет:\nЭто кошка на столе.",
    "refusal": "I'm sorry, but I cannot help with that request.",
    "null": None,
}
