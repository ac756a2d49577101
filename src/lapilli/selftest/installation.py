"""A LLaVA of two layers and random weights goes the whole way: joined, answered, explained, trained, converted.

It takes seconds, and fails where a release of a package does otherwise than those that the tests have run with.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from lapilli.core.errors import LapilliError
from lapilli.core.finding import Finding
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inference.selfcheck import self_check
from lapilli.inspection.recording import recording
from lapilli.model.checkpoints.checkpoint import Choices
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.llava import Llava, join, load, save
from lapilli.model.parts import part_path, read_language
from lapilli.model.reading import quiet
from lapilli.studies.explain.findings import explain
from lapilli.training.loop import train
from lapilli.training.preflight import MODEL
from lapilli.training.recipe import Data, TrainRecipe

SUMS = 1e-5
"""How far the sum of a logit's parts may miss it, as a share of the largest part; float32 stays below a tenth."""

_SIDE, _PATCH = 32, 8  # pixels
_TOKENS = 4  # of the answer that is explained
_QUESTION, _ANSWER = "<image>\nWhat is in the picture?", "A red circle."
_LAYERS: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}


def check_installation() -> Iterator[Finding]:
    """Run every step in turn, in a temporary folder; one that fails ends it, as the next ones need it."""
    with TemporaryDirectory(prefix="lapilli-doctor-") as folder:
        for name, step in _STEPS.items():
            finding = _finding(name, step, Path(folder))
            yield finding
            if not finding.holds:
                return


def _finding(name: str, step: Callable[[Path], tuple[bool, str]], folder: Path) -> Finding:
    """Return a step's finding; any error is one, as nobody has tried the release that is installed."""
    try:
        return Finding(name, *step(folder))
    except LapilliError as error:
        return Finding(name, False, str(error))
    except Exception as error:  # noqa: BLE001 - an untried release may fail in any way, which is the finding
        return Finding(name, False, " ".join(f"{type(error).__name__}: {error}".split()))


def _joined(folder: Path) -> tuple[bool, str]:
    """Two random parts, saved as transformers does it, are joined and saved."""
    tokenizer = read_language(part_path("pebble-lm")).tokenizer
    torch.manual_seed(0)
    vision = CLIPVisionModel(CLIPVisionConfig(image_size=_SIDE, patch_size=_PATCH, **_LAYERS))
    language = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.2, **_LAYERS))
    pictures = CLIPImageProcessorPil(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE})
    with quiet():
        for name, parts in {"vision": (vision, pictures), "language": (language, tokenizer)}.items():
            for part in parts:
                part.save_pretrained(folder / name)
    llava = join(folder / "vision", folder / "language")
    save(llava, folder / "llava")
    return True, f"{llava.model.num_parameters():,} parameters"


def _answered(folder: Path) -> tuple[bool, str]:
    """It answers, batches and chats as it should: the checks of any model."""
    findings = self_check(load(folder / "llava"))
    failed = [f"{finding.name}: {finding.detail}" for finding in findings if not finding.holds]
    return not failed, "; ".join(failed) or "alone, in batches, in a chat, and by plain transformers"


def _explained(folder: Path) -> tuple[bool, str]:
    """The parts of its own answer's logits sum to them, directly and by all paths."""
    llava, picture = load(folder / "llava"), _picture()
    with recording(llava, whole=True) as record:
        (reply,) = answer(llava, [_question_sample()], lambda name: picture, _TOKENS)
    result = explain(record.trace(reply.ids, reply.layout), picture, controls=2)
    direct, paths = result.decomposition.direct, result.decomposition.all_paths
    sizes = max(float(np.abs(direct.value).max()), float(np.abs(paths.positions).max()))
    error = max(float(direct.missed.max()), float(paths.missed.max())) / sizes
    return error <= SUMS, f"{len(result.pieces)} tokens, whose logits' parts miss them by {error:.0e} of the largest"


def _trained(folder: Path) -> tuple[bool, str]:
    """One step of visual instruction tuning moves the weights."""
    _picture().save(folder / "it.png")
    turns = [{"from": "human", "value": _QUESTION}, {"from": "gpt", "value": _ANSWER}]
    rows = [{"id": "it", "image": "it.png", "conversations": turns}]
    (folder / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    data = Data(folder / "data.json", folder)
    recipe = TrainRecipe("instruct", folder / "llava", data, folder / "run", max_steps=1, warmup=0.0)
    run = train(recipe, progress=False)
    before, after = (load(path).model.lm_head.weight.detach() for path in (folder / "llava", run.path / MODEL))
    moved = float((after - before).abs().max())
    return 0 < moved < 1, f"one step, which moved the head's weights by up to {moved:.0e}"


def _converted(folder: Path) -> tuple[bool, str]:
    """Written in LLaVA's own layout and read back, every weight is the same to the bit."""
    write_checkpoint(read_checkpoint(folder / "llava", Choices()), folder / "original", "original")
    choices = Choices(template="vicuna_v1", vision=folder / "vision")
    write_checkpoint(read_checkpoint(folder / "original", choices), folder / "back")
    ours, theirs = (_weights(load(path)) for path in (folder / "llava", folder / "back"))
    same = sum(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    return same == len(ours) == len(theirs), f"{same} of {len(ours)} tensors the same to the bit"


def _weights(llava: Llava) -> dict[str, Any]:
    return dict(llava.model.state_dict())


def _question_sample() -> Sample:
    return Sample("it", ("it.png",), (Turn("user", _QUESTION),))


def _picture() -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    return Image.fromarray(levels)


_STEPS: dict[str, Callable[[Path], tuple[bool, str]]] = {
    "two parts are joined": _joined,
    "it answers": _answered,
    "its answer is explained": _explained,
    "it is trained": _trained,
    "it is converted and read": _converted,
}
