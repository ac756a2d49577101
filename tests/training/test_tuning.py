"""What a recipe may say of the parts' tuning, and which parameters learn then: those, and no others, move."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tests.lessons import recipe
from tests.parts import joined
from transformers import LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.recipe import dump, read_recipe
from lapilli.data.sample import read_samples
from lapilli.model.llava import load
from lapilli.model.reading import quiet
from lapilli.training.feed import Batcher, Examples, SimilarLengths
from lapilli.training.learning import set_learning
from lapilli.training.loop import train
from lapilli.training.recipe import TrainRecipe
from lapilli.training.stages import INSTRUCT, modes, requirements
from lapilli.training.tuning import LlmTuning, Lora, PartTuning, layer_numbers, ranges_of, with_layers_read

LAYER = "model.language_model.layers.{}."
NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
D, MLP, KV, DEPTH = 48, 64, 24, 2  # of the llama of tests/parts.py
"""d_model, width of the MLP, width of keys and values, layers."""
LORA = {"attention": 2 * (2 * D) + 2 * (D + KV), "gate_up": 2 * (D + MLP), "down": MLP + D}
"""Parameters of a layer's updates of rank 1, by kind: the sum over its matrices of columns and rows."""


def _learned(folder, **changes):
    llava = load(changes.get("model", joined("clip", "llama")))
    set_learning(recipe(folder, **changes), llava)
    return llava, {name for name, parameter in llava.model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("text", "layers"), [("2", (2,)), ("2-4", (2, 3, 4)), ("0,3,5-7", (0, 3, 5, 6, 7)), (" 7 , 1 - 2 ", (1, 2, 7))]
)
def test_layers_are_ranges(text, layers):
    assert LlmTuning(layers=text).layers == layers == LlmTuning(layers=ranges_of(layers)).layers


@pytest.mark.parametrize("text", ["5-2", "30000-2", "0,7-6"])
def test_a_range_that_runs_backwards_is_refused(text):
    with pytest.raises(ValueError, match=r"layers: .*a range goes from the lower number to the higher"):
        layer_numbers(text)


@pytest.mark.parametrize(
    ("override", "layers"),
    [("llm.layers=1-2", (1, 2)), ("llm.layers=[2, 0]", (0, 2)), ("llm.layers=1", (1,)), ("llm.layers=null", None)],
)
def test_a_recipe_names_layers_as_ranges_or_a_list(tmp_path, override, layers):
    (tmp_path / "r.yaml").write_text(dump(recipe(tmp_path)))
    resolved = read_recipe(tmp_path / "r.yaml", [override], TrainRecipe)
    assert resolved.llm.layers == layers
    (tmp_path / "again.yaml").write_text(dump(resolved))
    assert read_recipe(tmp_path / "again.yaml", [], TrainRecipe) == resolved


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("llm.layers=[]", "llm.layers: none; name at least one"),
        ("llm.layers=-3", "llm.layers: -3; it must be 0 to 10,000, such as 2-17"),
        ("llm.layers=2-", "llm.layers: 2-; it must be"),
        ("llm.layers=[-1]", "llm.layers: [-1]; it must be 0 to 10,000"),
        ("llm.modules=[]", "llm.modules: none; name some"),
        ("llm.modules=[attn]", "llm.modules[0]: one of attention, gate_up, down, norms expected, attn found"),
        ("llm.mode=qlora", "llm.mode: one of frozen, full, lora expected, qlora found"),
        ("llm={mode: lora, embeddings: true}", "embeddings: true, but with mode lora"),
        ("llm={mode: lora, head: true}", "head: true, but with mode lora"),
        ("llm={mode: lora, modules: [norms]}", "modules: norms, but with mode lora"),
        ("llm={mode: lora, muon_learning_rate: 1e-3}", "muon_learning_rate: with mode lora AdamW moves"),
        ("lora.rank=0", "lora.rank: 0; it must be 1 to"),
        ("lora.dropout=1", "lora.dropout: 1.0; it must be 0 to less than 1"),
        ("vision.learning_rate=0", "vision.learning_rate: 0.0; it must be more than 0"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tmp_path, override, message):
    (tmp_path / "r.yaml").write_text(dump(recipe(tmp_path)))
    with pytest.raises(UsageError) as caught:
        read_recipe(tmp_path / "r.yaml", [override], TrainRecipe)
    assert message in str(caught.value)


def test_a_file_of_layers(tmp_path):
    (tmp_path / "mask.json").write_text('{"layers": [4, 2, 3], "selector": "random"}')
    assert with_layers_read(LlmTuning(layers=str(tmp_path / "mask.json"))).layers == (2, 3, 4)
    for content, message in (
        ('{"layers": "2-3"}', "layers"),
        ("[2, 3]", "mask.json"),
        ('{"layers": []}', "name at least one"),
        ('{"layers": [1.5]}', "layers"),
        ("{", "mask.json"),
        ('{"layers": [-2]}', "it must be 0 to"),
    ):
        (tmp_path / "mask.json").write_text(content)
        with pytest.raises(LapilliError, match=message):
            with_layers_read(LlmTuning(layers=str(tmp_path / "mask.json")))
    with pytest.raises(LapilliError, match="neither ranges nor a file"):
        with_layers_read(LlmTuning(layers="layers 2 to 5"))


def test_a_run_records_the_layers_of_its_file(tmp_path):
    (tmp_path / "mask.json").write_text('{"layers": [1]}')
    run = train(recipe(tmp_path, llm=LlmTuning(layers=str(tmp_path / "mask.json")), max_steps=1), progress=False)
    assert read_recipe(run.path / "recipe.yaml", [], TrainRecipe).llm.layers == (1,)


def test_nothing_to_learn_is_refused(tmp_path):
    frozen = PartTuning(mode="frozen")
    with pytest.raises(UsageError, match="all frozen, so nothing would learn"):
        modes(recipe(tmp_path, projector=frozen, llm=LlmTuning(mode="frozen")))


def test_layers_that_the_language_model_has_not_are_refused(tmp_path):
    with pytest.raises(UsageError, match=rf"llm.layers: {DEPTH}: the language model has {DEPTH}, numbered from 0"):
        _learned(tmp_path, llm=LlmTuning(layers=(1, DEPTH)))


def test_layers_and_modules_choose_parameters(tmp_path):
    frozen = PartTuning(mode="frozen")
    _, names = _learned(tmp_path / "a", projector=frozen, llm=LlmTuning(layers="1", modules=("down", "norms")))
    assert names == {LAYER.format(1) + name for name in ("mlp.down_proj.weight", *NORMS)}
    _, names = _learned(tmp_path / "b", projector=frozen, llm=LlmTuning(modules=("norms",)))
    assert names == {LAYER.format(at) + name for at in range(DEPTH) for name in NORMS} | {
        "model.language_model.norm.weight"
    }
    _, names = _learned(tmp_path / "c", projector=frozen, llm=LlmTuning(layers="1", modules=("attention",), head=True))
    matrices = {f"self_attn.{side}_proj.weight" for side in "qkvo"}
    assert names == {LAYER.format(1) + name for name in matrices} | {"lm_head.weight"}


def test_embeddings_and_head_are_chosen_apart_unless_they_are_tied(tmp_path):
    whole, names = _learned(tmp_path / "a", llm=LlmTuning(embeddings=False))
    language = {name for name, _ in whole.model.named_parameters() if not name.startswith("model.vision_tower.")}
    assert names == language - {"model.language_model.embed_tokens.weight"}
    with pytest.raises(UsageError, match="they are tied, one matrix; set both"):
        _learned(tmp_path / "b", model=joined("clip", "tied_llama"), llm=LlmTuning(embeddings=False))
    _, names = _learned(tmp_path / "c", model=joined("clip", "tied_llama"), llm=LlmTuning(embeddings=False, head=False))
    assert "model.language_model.embed_tokens.weight" not in names
    assert "model.language_model.norm.weight" in names


def test_of_the_vision_encoder_what_is_read_learns_and_all_of_that_gets_a_gradient(tmp_path):
    run = train(recipe(tmp_path, vision=PartTuning(mode="full"), learning_rate=1e-2, epochs=2.0), progress=False)
    before, after = _weights(joined("clip", "llama")), _weights(run.path / "model")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    vision = {name for name in before if "vision_tower" in name}
    unread = {name for name in vision if "post_layernorm" in name or ".layers.2." in name}  # the last of three
    assert unread and vision - moved == unread
    assert moved >= set(before) - vision


def _weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("llm", "expected"),
    [
        (LlmTuning(mode="lora"), DEPTH * sum(LORA.values())),
        (LlmTuning(mode="lora", layers="1"), sum(LORA.values())),
        (LlmTuning(mode="lora", modules=("attention", "down"), layers="0"), LORA["attention"] + LORA["down"]),
    ],
)
@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_learns_as_many_parameters_as_predicted_and_leaves_the_base_alone(tmp_path, llm, expected, dora):
    rank, base = 3, joined("clip", "llama")
    wanted = recipe(tmp_path, llm=llm, lora=Lora(rank, dora=dora), projector=PartTuning(mode="frozen"), epochs=2.0)
    before = {name: weight.clone() for name, weight in _weights(base).items()}
    run = train(wanted, progress=False)
    tensors = load_file(run.path / "model/adapter_model.safetensors")
    counted = sum(tensor.numel() for name, tensor in tensors.items() if "magnitude" not in name)
    assert counted == rank * expected
    assert all("lora_" in name for name in tensors)
    assert any(tensor.abs().max() > 0 for name, tensor in tensors.items() if "lora_B" in name)
    assert all(torch.equal(before[name], weight) for name, weight in _weights(base).items())
    assert run.load("training")["trainable_parameters"] == sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_answers_the_same_here_in_plain_peft_and_merged(tmp_path, dora):
    base = joined("clip", "llama")
    wanted = recipe(tmp_path, llm=LlmTuning(mode="lora"), lora=Lora(4, dora=dora), vision=PartTuning(mode="lora"))
    run = train(replace(wanted, epochs=4.0), progress=False)
    ours = load(run.path / "model")
    with quiet():
        plain = PeftModel.from_pretrained(
            LlavaForConditionalGeneration.from_pretrained(base), run.path / "model"
        ).eval()
    pixels = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    image = ours.model.config.image_token_id
    ids = torch.tensor([[5, *[image] * 9, 7, 8, 9, 11]])
    with torch.inference_mode():
        logits = [model(input_ids=ids, pixel_values=pixels).logits for model in (ours.model, plain, load(base).model)]
    assert float((logits[0] - logits[1]).abs().max()) < 1e-5 * float(logits[0].abs().max())
    assert float((logits[0] - logits[2]).abs().max()) > 1e-2


def test_an_adapter_of_another_base_is_refused(tmp_path):
    run = train(recipe(tmp_path, llm=LlmTuning(mode="lora"), max_steps=1), progress=False)
    file = run.path / "model/adapter_config.json"
    file.write_text(file.read_text().replace(str(joined("clip", "llama")), str(joined("clip", "mha_llama"))))
    with pytest.raises(LapilliError, match=r"trained on clip-llama.*, whose weights are not those of .*mha"):
        load(run.path / "model")
    file.write_text(file.read_text().replace(str(joined("clip", "mha_llama")), "nowhere/there"))
    with pytest.raises(LapilliError, match=r"lapilli model merge .* OUT --base BASE"):
        load(run.path / "model")


def test_the_recipe_s_dora_and_alpha_reach_peft(tmp_path):
    wanted = recipe(tmp_path, llm=LlmTuning(mode="lora"), lora=Lora(2, alpha=5.0, dropout=0.5, dora=True), max_steps=1)
    config = (train(wanted, progress=False).path / "model/adapter_config.json").read_text()
    assert all(text in config for text in ('"lora_alpha": 5.0', '"lora_dropout": 0.5', '"use_dora": true', '"r": 2'))


@pytest.mark.parity
def test_plain_peft_trains_the_same_updates_on_the_same_batches(tmp_path):
    """peft's model of plain transformers, trained by a loop of torch's AdamW: the losses of every step are ours."""
    frozen, steps, rate = PartTuning(mode="frozen"), 8, 1e-2
    settings = {"projector": frozen, "schedule": "constant", "warmup": 0.0, "clip": 0.0, "learning_rate": rate}
    wanted = recipe(tmp_path, llm=LlmTuning(mode="lora"), lora=Lora(4), max_steps=steps, seed=3, **settings)
    ours = [line["loss"] for line in train(wanted, progress=False).metrics()]
    llava = load(wanted.model)
    examples = Examples(read_samples(wanted.data.file), requirements(INSTRUCT, llava.codec, llava.model.config))
    batcher = Batcher(wanted.data.images, llava.pixels, llava.processor.tokenizer.pad_token_id)
    with quiet():
        model = LlavaForConditionalGeneration.from_pretrained(wanted.model).train()
    torch.manual_seed(3)
    targets = r"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
    plain = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    optimizer = torch.optim.AdamW([p for p in plain.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    order, losses = SimilarLengths(examples.lengths, wanted.batch_size, wanted.seed), []
    for epoch in range(steps):
        order.set_epoch(epoch)
        indices = list(order)
        for start in range(0, len(indices), wanted.batch_size):
            batch = batcher([examples[index] for index in indices[start : start + wanted.batch_size]])
            loss = plain(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
    assert len(ours) == steps
    assert ours == pytest.approx(losses[:steps], abs=1e-4)
    assert ours[-1] < 0.9 * ours[0]


@pytest.mark.parametrize("language", ["llama", "tied_llama"])
def test_what_is_trained_in_full_beside_updates_is_saved_whole(tmp_path, language):
    base = joined("clip", language)
    wanted = recipe(tmp_path, model=base, projector=PartTuning(mode="lora"), llm=LlmTuning(mode="full"), epochs=2.0)
    run, ids = train(wanted, progress=False), torch.arange(3, 30)[None]
    with quiet():
        plain = LlavaForConditionalGeneration.from_pretrained(base)
        plain = PeftModel.from_pretrained(plain, run.path / "model").eval()
    ours, before = load(run.path / "model").model, load(base).model
    assert ours.config.tie_word_embeddings is before.config.tie_word_embeddings
    with torch.inference_mode():
        logits = [model(ids).logits for model in (ours, plain, before)]
    assert float((logits[0] - logits[1]).abs().max()) < 1e-5 * float(logits[0].abs().max())
    assert float((logits[0] - logits[2]).abs().max()) > 1e-2


def test_layers_in_full_beside_updates_load_in_plain_peft(tmp_path):
    base = joined("clip", "llama")
    wanted = recipe(tmp_path, model=base, vision=PartTuning(mode="lora"), llm=LlmTuning(layers="0", modules=("down",)))
    run, ids = train(wanted, progress=False), torch.arange(3, 30)[None]
    with quiet():
        plain = LlavaForConditionalGeneration.from_pretrained(base)
        plain = PeftModel.from_pretrained(plain, run.path / "model").eval()
    with torch.inference_mode():
        logits = [model(ids).logits for model in (load(run.path / "model").model, plain)]
    assert float((logits[0] - logits[1]).abs().max()) < 1e-5 * float(logits[0].abs().max())


def test_updates_of_an_adapter_are_refused(tmp_path):
    run = train(recipe(tmp_path, llm=LlmTuning(mode="lora"), max_steps=1), progress=False)
    again = recipe(tmp_path / "again", model=run.path / "model", llm=LlmTuning(mode="lora"))
    with pytest.raises(UsageError, match="an adapter, which another one cannot be put on; merge it first"):
        train(again, progress=False)
    assert train(replace(again, llm=LlmTuning(), max_steps=1), progress=False).is_complete


def test_an_adapter_is_found_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "base").symlink_to(joined("clip", "llama"))
    monkeypatch.chdir(tmp_path)
    run = train(recipe(tmp_path, model=Path("base"), llm=LlmTuning(mode="lora"), max_steps=1), progress=False)
    monkeypatch.chdir("/")
    assert load(run.path / "model")


def test_a_file_of_layers_may_be_gone_when_a_run_is_resumed(tmp_path):
    (tmp_path / "mask.json").write_text('{"layers": [1]}')
    wanted = recipe(tmp_path, llm=LlmTuning(layers=str(tmp_path / "mask.json")), epochs=2.0, save_every=1)

    class KilledError(BaseException):
        pass

    def die(llava):
        raise KilledError

    with pytest.raises(KilledError):
        train(wanted, on_eval=die, progress=False)
    (tmp_path / "mask.json").unlink()
    assert train(wanted, resume=True, progress=False).is_complete


def test_tied_matrices_need_not_be_named_with_updates(tmp_path):
    tuning = LlmTuning(mode="lora", embeddings=False)
    assert train(
        recipe(tmp_path, model=joined("clip", "tied_llama"), llm=tuning, max_steps=1), progress=False
    ).is_complete
