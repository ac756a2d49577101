"""`transformers serve` on what lapilli writes, spoken to as OpenAI's services are: the answers are those of `ask`."""

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import openai
import pytest
from tests.parts import joined, picture

from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.model.llava import load

pytestmark = pytest.mark.parity

READY = 120  # seconds; it takes about ten
TOKENS = 12
QUESTION = "What color is it?"
PROGRAM = "from transformers.cli.transformers import main; main()"  # the `transformers` of this environment


@pytest.fixture(scope="module", params=[("clip", "llama"), ("siglip", "qwen2")], ids="-".join)
def served(request, tmp_path_factory):
    """The folder of a model, and a client of a server that has it."""
    folder, port = joined(*request.param), free_port()
    log = tmp_path_factory.mktemp("serve") / "log"
    arguments = ["serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("w") as written:
        server = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=written, stderr=written, start_new_session=True
        )
        try:
            wait_until_ready(server, port, log)
            with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
                yield folder, client
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # whatever it has started too
            server.wait()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until_ready(server, port, log):
    end = time.monotonic() + READY
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"transformers serve is not ready: {log.read_text()[-2000:]}")


def as_url(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def requested(folder, turns, images, **more):
    """A request as OpenAI's client takes it: the pictures stand before the first question."""
    shown = [{"type": "image_url", "image_url": {"url": as_url(image)}} for image in images]
    messages = [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in turns]
    messages[0]["content"] = shown + messages[0]["content"]
    return {"model": str(folder), "messages": messages, "temperature": 0, "max_tokens": TOKENS, **more}


CONVERSATIONS = {
    "text alone": ([Turn("user", QUESTION)], 0),
    "a picture": ([Turn("user", QUESTION)], 1),
    "two pictures": ([Turn("user", QUESTION)], 2),
    "a second question": ([Turn("user", QUESTION), Turn("assistant", "red"), Turn("user", "How many?")], 1),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_answer_is_ours(name, served):
    """To as many tokens of prompt. A stream holds half characters back, of which a random model says many."""
    folder, client = served
    turns, count = CONVERSATIONS[name]
    images = [picture(seed, 40, 30) for seed in range(count)]
    ours, tokens = asked(folder, turns, images)
    whole = client.chat.completions.create(**requested(folder, turns, images))
    assert whole.usage.prompt_tokens == tokens
    assert whole.choices[0].message.content.strip() == ours
    pieces = client.chat.completions.create(**requested(folder, turns, images, stream=True))
    streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices).strip()
    assert streamed.rstrip("\ufffd") == ours.rstrip("\ufffd") != ""


def asked(folder, turns, images):
    """Our answer, and the length of our prompt."""
    marks = "".join("<image>\n" for _ in images)
    first = Turn(turns[0].role, marks + turns[0].text)
    sample = Sample("1", tuple(str(at) for at in range(len(images))), (first, *turns[1:]))
    llava = load(folder)
    (given,) = answer(llava, [sample], lambda name: images[int(name)], TOKENS)
    return given.text, len(encode(sample, llava.codec, for_generation=True).ids)
