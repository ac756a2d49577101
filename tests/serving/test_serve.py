"""`transformers serve` on what is written here, spoken to by OpenAI's own client: the answers are those of `ask`."""

import base64
import io
import os
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from openai import OpenAI
from tests.parts import joined, picture

from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.model.llava import load

MODEL = joined("clip", "llama")
QUESTION = "What color is the circle?"
TOKENS = 8
PATIENCE = 120  # seconds for a server to come up

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def client():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [program, "serve", MODEL, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(
        [*map(str, command)], env={**os.environ, "HF_HUB_OFFLINE": "1"}, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server)
        yield OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    finally:
        server.kill()
        server.wait()


def _wait_for(address, server):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert server.poll() is None, server.stderr.read()
        try:
            with urlopen(address, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    raise AssertionError("no answer from the server")


def _asked(client, content, **more):
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(model=str(MODEL), messages=messages, max_tokens=TOKENS, temperature=0, **more)


def _shown(image):
    held = io.BytesIO()
    image.save(held, "PNG")
    url = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]


@cache
def _llava():
    return load(MODEL)


def _ours(images):
    """The answer here about pictures by their names."""
    marks = "<image>\n" * len(images)
    sample = Sample("1", tuple(images), (Turn("user", marks + QUESTION),))
    return answer(_llava(), [sample], images.__getitem__, TOKENS)[0].text


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_question_about_a_picture(client, seed):
    image = picture(seed, 50, 30)
    theirs = _asked(client, _shown(image)).choices[0].message.content
    assert theirs.strip() == _ours({"it": image}) != ""


def test_an_answer_in_pieces(client):
    # The server keeps back the first bytes of a character: an answer that does not end with some.
    pictures = (picture(seed, 30, 50) for seed in range(100))
    image = next(one for one in pictures if not _ours({"it": one}).endswith("\N{REPLACEMENT CHARACTER}"))
    pieces = [chunk.choices[0].delta.content or "" for chunk in _asked(client, _shown(image), stream=True)]
    assert len(pieces) > 2
    assert "".join(pieces).strip() == _ours({"it": image})


def test_a_question_without_a_picture(client):
    assert _asked(client, QUESTION).choices[0].message.content.strip() == _ours({})
