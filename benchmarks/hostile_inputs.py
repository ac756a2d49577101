"""Inputs made to do harm or merely wrong, by the reader that gets them: data, pictures, models and adapters.

Each is a name and what makes it in a sandbox. A sandbox holds `model` (a LLaVA), `scenes` (some drawn scenes, as
`lapilli data scenes` makes them), `picture.png` and `rows.json`. A maker spoils something there and returns the command
line; what that writes goes to `out`.
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

Maker = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Input:
    """One hostile input: the reader it is for, what it is, and what makes it."""

    group: str
    name: str
    make: Maker


ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202etxt\u2066[bold]\r\x08\x7f"
DEEP = 100_000
ASK = ["ask", "model", "picture.png", "What color is the circle?", "--max-new-tokens", "4"]

VALUES: Mapping[str, str] = {
    "null": "null",
    "true": "true",
    "a number": "7",
    "below zero": "-1",
    "a huge number": "1" + "0" * 400,
    "5,000 digits": "9" * 5_000,
    "NaN": "NaN",
    "infinite": "1e999",
    "no text": '""',
    "escapes": json.dumps(ESCAPES),
    "half a character": '"\\ud800"',
    "a zero byte": '"a\\u0000b"',
    "a long text": '"' + "x" * 5_000 + '"',
    "an empty list": "[]",
    "a list of lists": "[[[]]]",
    "an empty object": "{}",
    "deep": "[" * DEEP + "]" * DEEP,
    "a path out": '"../../../etc/passwd"',
    "an absolute path": '"/etc/passwd"',
    "markup": '"[red]x[/red] :smile:"',
}
"""JSON that stands in a field's place."""

FILES: Mapping[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "no text": b"\xff\xfe\x00\x80",
    "brackets": b"[" * DEEP,
    "braces": b'{"a":' * DEEP,
    "a page": b"<!doctype html><title>404</title>",
    "a list": b"[1]",
    "a number": b"12",
    "null": b"null",
    "twice": b"{}{}",
    "zeros": bytes(4096),
    "UTF-16": "{}".encode("utf-16"),
    "escapes": ESCAPES.encode(),
}
"""Whole files in a file's place."""


def put(name: str, content: bytes | str, command: list[str], sandbox: Path) -> list[str]:
    """Replace a file of the sandbox."""
    file = sandbox / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return command


def field(name: str, path: str, value: str, command: list[str], sandbox: Path) -> list[str]:
    """Replace a field of a JSON file, or of the first line of a .jsonl; `value` is JSON, "" removes the field."""
    text = (sandbox / name).read_text(encoding="utf-8")
    line, rest = text.split("\n", 1) if name.endswith(".jsonl") else (text, "")
    whole = json.loads(line)
    *outer, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    inner = whole
    for key in outer:
        inner = inner[key]
    if value:
        inner[last] = "@hostile@"
    else:
        del inner[last]
    return put(name, json.dumps(whole).replace('"@hostile@"', value) + "\n" + rest, command, sandbox)


def fields(group: str, name: str, paths: list[str], command: list[str], values: list[str]) -> Iterator[Input]:
    """Every one of the values in the place of each field, and the field left out."""
    for path in paths:
        for value in values:
            yield Input(group, f"{name}: {path}: {value}", partial(field, name, path, VALUES[value], command))
        yield Input(group, f"{name}: without {path}", partial(field, name, path, "", command))


def files(group: str, name: str, command: list[str]) -> Iterator[Input]:
    """Every other file in this one's place."""
    for what, content in FILES.items():
        yield Input(group, f"{name}: {what}", partial(put, name, content, command))


VALIDATE = ["data", "validate", "rows.json", "--images", "scenes/images"]
SHOW = ["data", "show", "rows.json", "--row", "0", "--model", "model"]
COLOR = ["study", "color", "model", "other", "--data", "scenes", "--out", "out", "--questions", "9"]
ABSENT = ["study", "hallucination", "model", "--data", "scenes", "--out", "out", "--questions", "4"]
SCORECARD = ["scorecard", "model", "scenes", "--out", "out", "--questions", "2", "--processes", "1"]
SCORECARD += ["--method", "centre", "--operators", "blur"]  # the least that can be measured
INFO = ["model", "info", "model"]


def rows() -> Iterator[Input]:
    """Samples of training."""
    yield from files("rows", "rows.json", VALIDATE)
    yield from files("rows", "rows.json", SHOW)
    odd = ["null", "a number", "5,000 digits", "escapes", "half a character", "a list of lists", "deep", "a path out"]
    yield from fields("rows", "rows.json", ["0.id", "0.image", "0.conversations", "0.conversations.1.value"], SHOW, odd)
    yield from fields("rows", "rows.json", ["0.id", "0.image", "0.conversations.0.from"], VALIDATE, odd)


def questions() -> Iterator[Input]:
    """Questions with their answers, and the scenes and masks that they are about."""
    odd = ["null", "a number", "5,000 digits", "escapes", "half a character", "deep", "an absolute path", "a long text"]
    yield from files("questions", "scenes/questions.jsonl", SCORECARD)
    yield from fields("questions", "scenes/questions.jsonl", ["image", "type", "id"], SCORECARD, odd)
    evaluate = ["eval", "model", "scenes", "--data", "splits", "--questions", "1"]
    yield from fields("questions", "splits/held_out/questions.jsonl", ["image", "question"], evaluate, odd[:5])
    yield from files("scenes", "scenes/scenes.jsonl", ABSENT)
    kinds = [*odd[:6], "NaN", "infinite", "below zero", "an empty list"]
    places = ["things", "things.0", "things.0.color", "things.0.x", "background", "image", "id"]
    yield from fields("scenes", "scenes/scenes.jsonl", places, COLOR, kinds)
    for name in ("nothing", "no text", "zeros", "a page"):
        yield Input("masks", name, partial(_masks, FILES[name], SCORECARD))
    for mode, size in (("RGB", (96, 96)), ("1", (96, 96)), ("I;16", (96, 96)), ("L", (1, 1)), ("L", (3000, 3000))):
        made = partial(_picture_masks, mode, size, SCORECARD)
        yield Input("masks", f"{mode}, {size[0]} x {size[1]}", made)


def _masks(content: bytes, command: list[str], sandbox: Path) -> list[str]:
    for file in (sandbox / "scenes/masks").iterdir():
        put(f"scenes/masks/{file.name}", content, command, sandbox)
    return command


def _picture_masks(mode: str, size: tuple[int, int], command: list[str], sandbox: Path) -> list[str]:
    Image.new(mode, size).save(sandbox / "mask.png")
    return _masks((sandbox / "mask.png").read_bytes(), command, sandbox)


def png(width: int, height: int, body: bytes = b"", mode: int = 2) -> bytes:
    """A PNG that says it has this size, whatever is in it."""
    head = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pictures() -> Iterator[Input]:
    """Pictures to ask about."""
    for name, content in FILES.items():
        yield Input("pictures", name, partial(put, "picture.png", content, ASK))
    for width, height in ((0, 0), (1, 1), (2**31 - 1, 1), (60_000, 60_000), (20_000, 100), (13_000, 13_000), (1, 200)):
        yield Input("pictures", f"{width} x {height}", partial(put, "picture.png", png(width, height), ASK))
        whole = png(width, height, bytes(min(3 * width * height + height, 10**8))) if width < 10**6 else b""
        yield Input("pictures", f"{width} x {height}, whole", partial(put, "picture.png", whole, ASK))
    for kind, start in {
        "GIF": b"GIF89a",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "JPEG": b"\xff\xd8\xff\xe0",
        "TIFF": b"II*\0",
    }.items():
        yield Input(
            "pictures", f"the start of a {kind}", partial(put, "picture.png", start + bytes(range(256)) * 4, ASK)
        )


def stored(header: Any, body: bytes = b"") -> bytes:
    """A safetensors file."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def models() -> Iterator[Input]:
    """Folders of models."""
    for name in ("config.json", "lapilli.json", "tokenizer.json", "generation_config.json", "processor_config.json"):
        yield from files("models", f"model/{name}", ASK)
    odd = ["null", "a number", "a huge number", "escapes", "an empty list", "deep", "half a character"]
    of_config = [
        "model_type",
        "text_config",
        "text_config.hidden_size",
        "text_config.num_hidden_layers",
        "image_token_index",
        "return_dict",
        "is_encoder_decoder",
        "output_attentions",
        "use_cache",
        "vision_config.patch_size",
    ]
    for path in of_config:
        for value in odd:
            yield Input("models", f"config.json: {path}: {value}", partial(_config, path, VALUES[value], ASK))
    yield from fields("models", "model/lapilli.json", ["notes", "template", "connector", "parts"], INFO, odd)
    body = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    weights = {
        "no header": b"",
        "a short one": b"\x01",
        "2^63 bytes": struct.pack("<Q", 2**63),
        "braces": stored(b'{"a":' * DEEP),
        "one tensor": stored({"a": body}, bytes(8)),
        "escapes in a name": stored({ESCAPES: body}, bytes(8)),
        "negative": stored({"a": {**body, "shape": [-2]}}, bytes(8)),
        "none of it": stored({"a": body}),
        "500,000 tensors": stored(
            {
                f"language_model.model.layers.{i}.x": {**body, "shape": [0], "data_offsets": [0, 0]}
                for i in range(500_000)
            }
        ),
    }
    for name, content in weights.items():
        for command in (ASK, INFO):
            yield Input("models", f"weights: {name}", partial(put, "model/model.safetensors", content, command))
    templates = {
        "loops": "{% for a in range(9**9) %}{% for b in range(9**9) %}{% endfor %}{% endfor %}",
        "cut": "{% for",
        "swells": "{{ 'a' * 3000000000 }}",
        "classes": "{{ ''.__class__.__mro__ }}",
        "escapes": ESCAPES,
    }
    for name, text in templates.items():
        yield Input("templates", name, partial(_template, text, ASK))


def _config(path: str, value: str, command: list[str], sandbox: Path) -> list[str]:
    """A field of config.json, which may be new there."""
    *outer, last = path.split(".")
    whole = json.loads((sandbox / "model/config.json").read_text())
    (whole[outer[0]] if outer else whole)[last] = None
    put("model/config.json", json.dumps(whole), command, sandbox)
    return field("model/config.json", path, value, command, sandbox)


def _template(text: str, command: list[str], sandbox: Path) -> list[str]:
    (sandbox / "model/lapilli.json").unlink()
    return put("model/chat_template.jinja", text, command, sandbox)


def adapters() -> Iterator[Input]:
    """LoRAs to merge."""
    command = ["model", "merge", "adapter", "out", "--base", "model"]
    for name, content in FILES.items():
        yield Input(
            "adapters", f"adapter_config.json: {name}", partial(put, "adapter/adapter_config.json", content, command)
        )
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    for key, value in (
        ("r", 0),
        ("r", -1),
        ("r", 10**30),
        ("lora_alpha", None),
        ("target_modules", 3),
        ("peft_type", "X"),
        ("rank_pattern", {ESCAPES: 2}),
        ("use_dora", "yes"),
        ("bias", ["all"]),
    ):
        yield Input("adapters", f"{key}: {str(value)[:9]}", partial(_adapter, {**settings, key: value}, command))


def _adapter(settings: Mapping[str, Any], command: list[str], sandbox: Path) -> list[str]:
    put("adapter/adapter_config.json", json.dumps(settings), command, sandbox)
    name = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_{}.weight"
    weights = {name.format("A"): np.zeros((2, 3), np.float32), name.format("B"): np.zeros((3, 2), np.float32)}
    save_file(weights, sandbox / "adapter/adapter_model.safetensors")
    return command
