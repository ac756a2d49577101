"""Keys as LLaMA makes them, with a norm or without, and those that are made otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from tests.inspection.runs import full_logits, read, replay_logits, sample
from tests.parts import part
from transformers import AutoTokenizer

from lapilli.core.errors import LapilliError
from lapilli.inspection.intervention.replay import Cut
from lapilli.inspection.trace import attention, require_keys
from lapilli.model.llava import join, load, save
from lapilli.model.reading import quiet

SIZES = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 12,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.15,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def of_kind(kind, folder):
    """A LLaVA on a random language model of another architecture, with norms that do something."""
    tokenizer = AutoTokenizer.from_pretrained(part("llama"))
    torch.manual_seed(4)
    config = getattr(transformers, f"{kind}Config")(**SIZES, vocab_size=len(tokenizer))
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    with quiet():
        model.save_pretrained(folder / "language")
        tokenizer.save_pretrained(folder / "language")
    save(join(part("clip"), folder / "language"), folder / "joined")
    return load(folder / "joined")


@pytest.mark.parametrize("kind", ["Qwen3", "Granite"])
def test_keys_with_a_norm_or_a_scale_are_made_again(kind, tmp_path):
    llava = of_kind(kind, tmp_path)
    llava.model.double()  # in single precision Granite's own runs differ by 2e-5
    run = read(llava, sample())
    require_keys(run.trace, range(4))
    patches, end = run.trace.layout.patches(0).ravel(), len(run.trace.ids)
    cuts = [Cut(np.arange(patches[3] + 1, end), patches[2:4], range(4))]
    eager = load(tmp_path / "joined")
    eager.model.double().set_attn_implementation("eager")
    expected = full_logits(eager, run, cuts)[run.trace.queries]
    torch.testing.assert_close(replay_logits(run.trace, [cuts])[0], expected.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "layer"), [("SmolLM3", 3), ("Helium", 0)])
def test_keys_that_are_turned_otherwise_are_refused(kind, layer, tmp_path):
    """SmolLM3's fourth layer turns nothing, Helium turns neighbours and not halves."""
    llava = of_kind(kind, tmp_path)
    trace = read(llava, sample()).trace
    for refused in (
        lambda: require_keys(trace, range(4)),
        lambda: attention(trace, layer),
        lambda: replay_logits(trace, [[Cut(trace.queries, trace.queries[:0], range(4))]]),
    ):
        with pytest.raises(
            LapilliError, match=f"layer {layer if kind == 'SmolLM3' else '[03]'} of this language model"
        ):
            refused()


def test_without_a_row_there_is_nothing_to_refuse(tmp_path):
    trace = read(of_kind("Helium", tmp_path), sample()).trace
    none = slice(0, 0)
    require_keys(replace(trace, queries=trace.queries[none], resid=trace.resid[none]), range(4))
