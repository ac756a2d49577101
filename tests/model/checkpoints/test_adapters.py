"""Every kind of adapter that peft makes, on a LLaVA with tied and one with untied embeddings: merged as peft means it,
or refused in one line. Nothing that an adapter's folder says is passed over.
"""

import json
import shutil
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tests.model.checkpoints.originals import original, tensors
from tests.parts import joined, part
from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError
from lapilli.model.checkpoints.checkpoint import HEAD, TABLE, Choices
from lapilli.model.checkpoints.layouts import layouts
from lapilli.model.checkpoints.merge import merge
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.llava import join, load, save

CASES = Path(__file__).parents[4] / "shared/cases/adapters"
LANGUAGES = {"untied": "llama", "tied": "tied_llama"}
Q = {"target_modules": ["q_proj"]}
MERGED = {
    "lora": {"target_modules": ["q_proj", "v_proj", "down_proj", "fc1", "linear_1"]},
    "rank-stabilised": {**Q, "use_rslora": True, "lora_alpha": 3},
    "DoRA": {"target_modules": ["q_proj", "down_proj"], "use_dora": True, "lora_alpha": 3},
    "DoRA of a convolution": {"target_modules": ["patch_embedding", "k_proj"], "use_dora": True},
    "patterns": {
        "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"up_proj": 3},
        "alpha_pattern": {"q_proj": 5},
    },
    "some layers": {**Q, "layers_to_transform": [1], "layers_pattern": "layers"},
    "all biases": {**Q, "bias": "all"},
    "patches": {"target_modules": ["patch_embedding"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "head and embedding": {"target_modules": ["lm_head", "embed_tokens"]},
    "embedding saved": {**Q, "modules_to_save": ["embed_tokens"]},
    "head saved": {**Q, "modules_to_save": ["lm_head"]},
    "both saved": {**Q, "modules_to_save": ["lm_head", "embed_tokens", "multi_modal_projector"]},
    "both saved as one": {**Q, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "head saved and adapted": {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"]},
    "tokens": {**Q, "trainable_token_indices": [3, 300]},
    "tokens of the head": {**Q, "trainable_token_indices": {"lm_head": [4, 7]}},
    "other tokens of both": {**Q, "trainable_token_indices": {"embed_tokens": [3, 5], "lm_head": [4]}},
}
PARTED = ("head", "embedding", "head and embedding", "tokens of the head", "other tokens of both")
"""Of tied matrices peft's own merge changes both for these, against its own logits; it says to untie them before."""
STILL_TIED = (
    "lora",
    "rank-stabilised",
    "DoRA",
    "DoRA of a convolution",
    "patterns",
    "some layers",
    "all biases",
    "patches",
    "both saved as one",
    "tokens",
)


@cache
def _read(base):
    return LlavaForConditionalGeneration.from_pretrained(base)


def fresh(base):
    """The model as transformers reads it, to be changed."""
    return deepcopy(_read(base))


def adapted(base, folder, settings, wrap=LoraConfig):
    """An adapter, all of it off its first values, saved as peft saves it; and the wrapped model."""
    rank = {"r": 2} if wrap in (LoraConfig, LoHaConfig) else {}
    wrapped = get_peft_model(fresh(base), wrap(**rank, **settings)).eval()
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wrapped.save_pretrained(folder)
    return wrapped


def merged_by_peft(base, folder, untie):
    model = fresh(base)
    if untie:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()


def by_names_in_memory(found):
    memory = layouts(found.card.connector)["memory"]
    tensors = {memory.from_hf(name): source.read() for name, source in found.tensors.items()}
    return {"lm_head.weight": tensors["model.language_model.embed_tokens.weight"], **tensors}


@pytest.mark.parity
@pytest.mark.parametrize("kind", MERGED)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_merged_is_what_peft_merges(tmp_path, language, kind):
    base = joined("clip", LANGUAGES[language])
    adapted(base, tmp_path / "lora", MERGED[kind])
    theirs = merged_by_peft(base, tmp_path / "lora", language == "tied" and kind in PARTED)
    found = merge(tmp_path / "lora", base)
    ours = by_names_in_memory(found)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5
    before = _read(base).state_dict()
    assert any(not torch.equal(ours[name], before[name]) for name in ours)
    tied = language == "tied" and kind in STILL_TIED
    assert found.config.tie_word_embeddings is found.config.text_config.tie_word_embeddings is tied
    assert (HEAD in found.tensors) is not tied


WRITTEN = [("head", "hf"), ("embedding saved", "hf"), ("tokens", "hf"), ("tied adapters", "hf"), ("head", "original")]


@pytest.mark.parity
@pytest.mark.parametrize(("kind", "target"), WRITTEN)
def test_what_is_written_of_a_tied_base_computes_what_the_adapter_did(tmp_path, kind, target):
    """Of adapters that are tied, peft merges neither way what it computes."""
    tied = {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}
    base, ids = joined("clip", "tied_llama"), torch.arange(3, 40).reshape(1, -1)
    wrapped = adapted(base, tmp_path / "lora", MERGED.get(kind, tied))
    found = merge(tmp_path / "lora", base)
    write_checkpoint(found, tmp_path / "out", target)
    if target == "original":
        write_checkpoint(read_checkpoint(tmp_path / "out", Choices("vicuna_v1")), tmp_path / "hf")
    llava = load(tmp_path / ("out" if target == "hf" else "hf"))
    with torch.inference_mode():
        ours, theirs = llava.model(input_ids=ids).logits, wrapped(input_ids=ids).logits
    assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())
    assert ("are two" in found.card.notes[-1]) is (kind in ("head", "embedding saved"))


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["head", "embedding saved"])
def test_the_language_model_of_llavas_own_trainer_is_untied_too(tmp_path, kind):
    """An adapter of a tied language model, as LLaVA's trainer leaves it: its config.json says that it is tied."""
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(part("tied_llama")), LoraConfig(r=2, **MERGED[kind]))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    wrapped.save_pretrained(tmp_path / "lora")
    llava = original(tmp_path / "original")
    tied = json.loads((llava / "config.json").read_text()) | {"tie_word_embeddings": True}
    (tmp_path / "lora/config.json").write_text(json.dumps(tied))
    trained = {name: tensor for name, tensor in tensors("clip", "llama", "mlp2x_gelu").items() if "mm_proj" in name}
    torch.save(trained, tmp_path / "lora/non_lora_trainables.bin")
    found = merge(tmp_path / "lora", part("tied_llama"), Choices("vicuna_v1", part("clip")))
    ids, rows = torch.arange(3, 40).reshape(1, -1), part_rows("tied_llama")
    write_checkpoint(found, tmp_path / "out")
    with torch.inference_mode():
        ours, theirs = load(tmp_path / "out").model(input_ids=ids).logits[..., :rows], wrapped(input_ids=ids).logits
    assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())
    assert found.card.original["tie_word_embeddings"] is False


def part_rows(name):
    return json.loads((part(name) / "config.json").read_text())["vocab_size"]


@pytest.mark.parity
def test_the_head_of_an_original_llava_gains_the_adapter_s_mean_in_its_new_rows(tmp_path):
    """Read, its vocabulary grows by mean rows; the adapter was trained before."""
    base, name = original(tmp_path / "original"), "lm_head.weight"
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(part("llama")), LoraConfig(r=2, **MERGED["head"]))
    torch.nn.init.normal_(wrapped.base_model.model.lm_head.lora_B["default"].weight)
    wrapped.save_pretrained(tmp_path / "lora")
    theirs = wrapped.merge_and_unload().state_dict()[name]
    ours = merge(tmp_path / "lora", base, Choices("vicuna_v1")).tensors[HEAD].read()
    assert len(ours) > len(theirs)
    assert torch.allclose(ours[: len(theirs)], theirs, atol=1e-5)
    assert torch.allclose(ours[len(theirs) :], theirs.mean(dim=0), atol=1e-5)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "lora"
    adapted(joined("clip", "llama"), folder, {"target_modules": ["q_proj", "lm_head"]})
    return folder


def edited(plain, folder, config=None, change=None):
    """A copy of an adapter, its configuration changed by fields and its tensors by a function on them."""
    shutil.copytree(plain, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (config or {})))
    if change is not None:
        save_file(change(load_file(folder / "adapter_model.safetensors")), folder / "adapter_model.safetensors")
    return folder


SETTINGS = [
    ({"lora_alpha": None}, r"lora_alpha of .* is None, no number; mend adapter_config.json"),
    ({"lora_alpha": "8"}, "is '8', no number"),
    ({"lora_alpha": float("nan")}, "is nan, no number"),
    ({"alpha_pattern": {"q_proj": None}}, r"lora_alpha of .*q_proj is None"),
    ({"alpha_pattern": {"(q": 3}}, "its alpha_pattern cannot be read"),
    ({"alpha_pattern": [3]}, "its alpha_pattern cannot be read"),
    ({"r": 4}, "rank 4 in adapter_config.json, 2 in its tensors; give the two files of one adapter"),
    ({"layer_replication": [[0, 2], [1, 2]]}, r"its layer_replication is \[\[0, 2\], \[1, 2\]\], which is not merged"),
    ({"target_parameters": ["q_proj.weight"]}, "its target_parameters is"),
    ({"lora_bias": True}, "its lora_bias is True"),
    ({"use_qalora": True}, "its use_qalora is True"),
    ({"alora_invocation_tokens": [1]}, "its alora_invocation_tokens is"),
    ({"kasa_config": {"beta": 1}}, "its kasa_config is"),
    ({"use_what_is_invented_next": True}, "its use_what_is_invented_next is True, which is not merged here"),
    ({"peft_type": "PROMPT_TUNING"}, "an adapter of kind 'PROMPT_TUNING'"),
    ({"peft_type": None}, "an adapter of kind None"),
]


@pytest.mark.parametrize(("change", "message"), SETTINGS)
def test_settings_that_would_make_it_wrong_are_refused(tmp_path, plain, change, message):
    with pytest.raises(LapilliError, match=message) as raised:
        merge(edited(plain, tmp_path / "lora", change), joined("clip", "llama"))
    assert "\n" not in str(raised.value)


Q_A = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"
HEAD_OF = "base_model.model.lm_head."


def with_value(name, index, value):
    def change(tensors):
        tensors[name].view(-1)[index] = value
        return tensors

    return change


def without(*names):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


TENSORS = {
    "none": (lambda _: {}, "no tensors in it, so that nothing would change"),
    "empty": (lambda t: t | {Q_A: torch.zeros(0)}, "q_proj.lora_A.weight empty; it was saved from a sharded run"),
    "empty rows": (lambda t: t | {HEAD_OF + "lora_B.weight": torch.zeros(0, 2)}, "lm_head.lora_B.weight empty"),
    "all empty": (lambda t: {name: torch.zeros(0) for name in t}, r"and \d+ more empty"),
    "flat": (lambda t: t | {Q_A: torch.ones(96)}, r"A \(96,\) and B \(48, 2\) are no matrices; it was saved from a"),
    "a shard": (lambda t: t | {Q_A: torch.ones(1, 48)}, "do not go together"),
    "NaN": (with_value(Q_A, 3, float("nan")), r"q_proj\.lora_A\.weight not finite"),
    "infinite": (with_value(HEAD_OF + "lora_B.weight", 0, float("-inf")), r"lm_head\.lora_B\.weight not finite"),
    "NaN below": (with_value(HEAD_OF + "base_layer.weight", 0, float("nan")), r"base_layer\.weight not finite"),
    "half": (without(Q_A), "q_proj half there"),
    "two heads": (lambda t: t | {HEAD_OF + "weight": torch.ones(360, 48)}, "says two things of lm_head.weight"),
    "two names": (lambda t: t | {Q_A.replace("A.weight", "A.default.weight"): t[Q_A].clone()}, "is there twice"),
    "no prefix": (lambda t: t | {Q_A.removeprefix("base_model.model."): t[Q_A].clone()}, "is there twice"),
    "two adapters": (lambda t: t | {Q_A.replace("lora_A", "lora_A.other"): t[Q_A].clone()}, "of a kind that cannot"),
    "a magnitude": (lambda t: t | {Q_A.replace("A.weight", "magnitude_vector"): torch.ones(48)}, "use_dora is False"),
    "a bias of B": (lambda t: t | {Q_A.replace("A.weight", "B.bias"): torch.ones(48)}, "of a kind that cannot"),
    "a stranger": (lambda t: t | {"base_model.model.score.weight": torch.ones(2, 48)}, "score.weight"),
    "no such tensor": (lambda t: t | {HEAD_OF + "bias": torch.ones(360)}, "changes language_model.lm_head.bias, which"),
    "grown": (lambda t: t | {HEAD_OF + "base_layer.weight": torch.ones(370, 48)}, "if tokens were added, one whose"),
    "wider": (lambda t: t | {Q_A: torch.ones(2, 64)}, r"q_proj\.weight of another shape than in the base"),
    "rows": (lambda t: t | {HEAD_OF + "token_adapter.trainable_tokens_delta": torch.ones(1, 48)}, "token_indices of"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TENSORS)
def test_every_tensor_is_used_or_the_adapter_refused(tmp_path, plain, kind):
    change, message = TENSORS[kind]
    with pytest.raises(LapilliError, match=message) as raised:
        merge(edited(plain, tmp_path / "lora", change=change), joined("clip", "llama"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrap", "settings", "message"),
    [
        (LoraConfig, {"target_modules": ["embed_tokens"], "use_dora": True}, "DoRA of .*embed_tokens, an embedding"),
        (LoraConfig, {"target_modules": ["fc1"], "lora_bias": True}, "its lora_bias is True"),
        (LoraConfig, {**Q, "target_parameters": ["o_proj.weight"]}, "its target_parameters is"),
        (IA3Config, {"target_modules": ["k_proj", "fc1"], "feedforward_modules": ["fc1"]}, "kind 'IA3'"),
        (LoHaConfig, Q, "kind 'LOHA'"),
    ],
)
def test_what_peft_makes_of_other_kinds_is_refused(tmp_path, wrap, settings, message):
    base = joined("clip", "llama")
    adapted(base, tmp_path / "lora", settings, wrap)
    with pytest.raises(LapilliError, match=message):
        merge(tmp_path / "lora", base)


@pytest.mark.parametrize(
    "indices", [None, [], [4, 4], [400, 1], [-1, 2], {"embed_tokens": [1, 2]}, [1, 2, 3], ["1", "2"]]
)
def test_rows_that_are_not_said_rightly_are_refused(tmp_path, indices):
    adapted(joined("clip", "llama"), tmp_path / "of", MERGED["tokens of the head"])
    folder = edited(tmp_path / "of", tmp_path / "lora", {"trainable_token_indices": indices})
    with pytest.raises(LapilliError, match=r"token(_indice)?s of .*lm_head\.weight"):
        merge(folder, joined("clip", "llama"))


def test_several_files_are_refused(tmp_path, plain):
    folder = edited(plain, tmp_path / "lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model-00001-of-00002.safetensors")
    with pytest.raises(LapilliError, match=r"in several files \(adapter_model-00001-of-00002\.safetensors\)"):
        merge(folder, joined("clip", "llama"))


def test_a_sum_that_overflows_is_refused_before_anything_is_written(tmp_path, plain):
    folder = edited(plain, tmp_path / "lora", change=lambda t: {name: 1e20 * one for name, one in t.items()})
    with pytest.raises(LapilliError, match=r"merged is not finite in float32"):
        write_checkpoint(merge(folder, joined("clip", "llama")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES}: no adapters there")


@needs_cases
def test_the_shared_case_of_a_head(tmp_path):
    """Its base is the size of the quickstart's model, made of the parts that come with the package."""
    save(join("pebble-vision", "pebble-lm"), tmp_path / "base")
    held = load_file(CASES / "lora-on-lm-head/adapter_model.safetensors")
    ours = merge(CASES / "lora-on-lm-head", tmp_path / "base").tensors[HEAD].read()
    down, up = held[HEAD_OF + "lora_A.weight"], held[HEAD_OF + "lora_B.weight"]
    assert torch.allclose(ours, held[HEAD_OF + "base_layer.weight"] + 2 * up @ down, atol=1e-6)
    with pytest.raises(LapilliError, match=r"q_proj\.lora_A\.weight empty; it was saved from a sharded run"):
        merge(CASES / "one-empty-tensor", tmp_path / "base")
    tie(tmp_path / "base")
    tied = merge(CASES / "saved-embedding-of-a-tied-model", tmp_path / "base")
    assert not torch.equal(tied.tensors[TABLE].read(), tied.tensors[HEAD].read())


def tie(folder):
    """Make the head of a model its embedding, on the disk."""
    weights = load_file(folder / "model.safetensors")
    del weights[HEAD]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
