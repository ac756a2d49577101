"""Answers by `transformers serve`, spoken to with OpenAI's client."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import openai
import transformers

READY = 180  # seconds
PROGRAM = "from transformers.cli.transformers import main; main()"  # the `transformers` of this environment


def main(asked: Path, answered: Path) -> None:
    """Read the request, write the answers."""
    request = json.loads(asked.read_text())
    with server(request["model"]) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answers = [answer(client, request, one["image"], one["question"]) for one in request["questions"]]
    versions = {"transformers": transformers.__version__, "openai": openai.__version__}
    answered.write_text(json.dumps({"versions": versions, "answers": answers}))


@contextmanager
def server(model: str) -> Iterator[str]:
    """The address of a server of this model that takes requests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(process, f"{url}/health")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # whatever it has started too
        process.wait()


def wait_for(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Return when this address answers; exit where the server has ended or takes too long."""
    end = time.monotonic() + READY
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    sys.exit(f"transformers serve does not answer at {url}")


def answer(client: openai.OpenAI, request: dict[str, Any], image: str, question: str) -> str:
    """The greedy answer to one question."""
    url = "data:image/png;base64," + base64.b64encode(Path(image).read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    messages: Any = [{"role": "user", "content": content}]
    given = client.chat.completions.create(
        model=request["model"], messages=messages, temperature=0, max_tokens=request["tokens"]
    )
    return given.choices[0].message.content or ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
