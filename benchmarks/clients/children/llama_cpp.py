"""Answers by llama.cpp: its own converters make two GGUF files of a split LLaVA, a packaged build of it runs them."""

import base64
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xllamacpp

ENCODER = "tools/mtmd/legacy-models/convert_image_encoder_to_gguf.py"
LANGUAGE = """
import sys
converters, pre_tokenizer, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, converters)
import convert_hf_to_gguf
from conversion.base import TextModel
if pre_tokenizer:
    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre_tokenizer
convert_hf_to_gguf.main()
"""


def main(asked: Path, answered: Path) -> None:
    """Read the request, write the answers."""
    request = json.loads(asked.read_text())
    with tempfile.TemporaryDirectory() as folder:
        language, encoder = converted(Path(request["model"]), Path(folder), request)
        server = xllamacpp.Server(parameters(language, encoder))
        answers = [answer(server, one["image"], one["question"], request["tokens"]) for one in request["questions"]]
        del server
    versions = {name: version(name) for name in ("xllamacpp", "transformers", "torch")}
    answered.write_text(json.dumps({"versions": versions, "answers": answers}))


def converted(parts: Path, out: Path, request: dict[str, Any]) -> tuple[Path, Path]:
    """The language model and the encoder as GGUF files, in float32."""
    converters, language = Path(request["converters"]), out / "language.gguf"
    named = (str(converters), request["pre_tokenizer"] or "")
    command = [sys.executable, "-c", LANGUAGE, *named, parts / "language", "--outfile", language, "--outtype", "f32"]
    subprocess.run(command, check=True)
    subprocess.run(
        [
            *(sys.executable, converters / ENCODER, "-m", parts / "vision", "--clip-model-is-vision", "--use-f32"),
            *("--llava-projector", parts / "llava.projector", "--output-dir", out),
        ],
        check=True,
    )
    (encoder,) = out.glob("mmproj*.gguf")
    return language, encoder


def parameters(language: Path, encoder: Path) -> xllamacpp.CommonParams:
    """One conversation at a time, on the processor, greedy."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path, chosen.mmproj.path = str(language), str(encoder)
    chosen.n_ctx, chosen.n_parallel, chosen.n_gpu_layers = 2048, 1, 0
    chosen.cpuparams.n_threads = 1
    chosen.warmup = False
    return chosen


def answer(server: xllamacpp.Server, image: str, question: str, tokens: int) -> str:
    """The greedy answer to one question."""
    url = "data:image/png;base64," + base64.b64encode(Path(image).read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    given = server.handle_chat_completions(
        {"messages": messages, "temperature": 0, "max_tokens": tokens, "cache_prompt": False}
    )
    return str(given["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
