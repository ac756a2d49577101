"""Joining: the numbers that transformers computes from the same parts, and folders that transformers itself loads."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tests.core.prompt.chat_templates import QWEN_2
from tests.model.checkpoints.originals import tensors
from tests.parts import HIDDEN, WORDS, joined, part, picture
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    GPT2Config,
    GPT2LMHeadModel,
    PhiConfig,
    PhiForCausalLM,
)

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import template_named
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.model.architecture import connector_of
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.connector import CONNECTORS
from lapilli.model.llava import join, load, save
from lapilli.model.parts import part_path, read_language, read_vision
from lapilli.model.reading import quiet
from lapilli.model.stored import stored_tensors

PAIRS = [
    ("clip", "llama", "linear"),
    ("clip", "llama", "mlp2x_gelu"),
    ("siglip", "qwen2", "linear"),
    ("siglip", "qwen2", "mlp2x_gelu"),
    ("whole_clip", "tied_llama", "mlp2x_gelu"),
    ("clip", "mistral", "mlp2x_gelu"),
]


def _question(processor, image, text="What color?"):
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


@pytest.mark.parity
@pytest.mark.parametrize("pair", PAIRS)
def test_plain_transformers_computes_the_same_logits(pair):
    llava = load(joined(*pair))
    with quiet():
        plain = AutoModelForImageTextToText.from_pretrained(joined(*pair))
        processor = AutoProcessor.from_pretrained(joined(*pair))
    batch = _question(processor, picture(1))
    ours = _question(llava.processor, picture(1))
    assert all(torch.equal(batch[name], ours[name]) for name in batch)
    with torch.inference_mode():
        difference = (plain(**batch).logits - llava.model(**ours).logits).abs().max()
    assert difference <= 1e-5


@pytest.mark.parity
@pytest.mark.parametrize("pair", PAIRS)
def test_the_logits_are_those_of_the_parts_put_together_by_hand(pair):
    """Tower, hidden state before the last layer, projector, and the language model on embeddings: no Llava class."""
    vision, language, _ = pair
    llava = load(joined(*pair))
    batch = _question(llava.processor, picture(2))
    with quiet():
        tower = AutoModel.from_pretrained(part(vision))
        alone = read_language(part(language)).model
    tower = getattr(tower, "vision_model", tower).eval()
    projector = llava.model.model.multi_modal_projector
    with torch.inference_mode():
        states = tower(batch["pixel_values"], output_hidden_states=True).hidden_states[-2]
        patches = states[:, 1:] if vision != "siglip" else states
        carried = projector.linear_2(projector.act(projector.linear_1(patches)))[0]
        words = llava.model.get_input_embeddings()(batch["input_ids"]).clone()
        words[0, batch["input_ids"][0] == llava.codec.image_token_id] = carried
        by_hand = alone(inputs_embeds=words, use_cache=False).logits[..., :WORDS]
        joined_logits = llava.model(**batch).logits[..., :WORDS]
    assert (by_hand - joined_logits).abs().max() <= 1e-5


def test_a_linear_connector_is_one_matrix():
    llava = load(joined("clip", "llama", "linear"))
    projector = llava.model.model.multi_modal_projector
    features = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(0))
    expected = features @ projector.linear_1.weight.T + projector.linear_1.bias
    assert torch.allclose(projector(features), expected, atol=1e-6)
    assert torch.equal(projector.linear_2.weight, torch.eye(48))


def test_a_batch_with_padding_equals_single_calls():
    llava = load(joined("clip", "llama"))
    processor = llava.processor
    texts = [f"USER: <image>\nIs it {'very ' * n}red? ASSISTANT:" for n in range(8)]
    images = [picture(n) for n in range(8)]
    batch = processor(images=images, text=texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        together = llava.model(**batch).logits[:, -1]
        alone = [
            llava.model(**processor(images=image, text=text, return_tensors="pt")).logits[0, -1]
            for image, text in zip(images, texts, strict=True)
        ]
    assert (together - torch.stack(alone)).abs().max() <= 1e-5


@pytest.mark.parametrize(("vision", "additional", "strategy"), [("clip", 1, "default"), ("siglip", 0, "full")])
def test_one_token_a_patch_with_and_without_a_class_token(vision, additional, strategy):
    llava = load(joined(vision, "qwen2"))
    assert llava.processor.num_additional_image_tokens == additional
    assert llava.model.config.vision_feature_select_strategy == strategy
    assert llava.codec.patch_grid == (3, 3)
    batch = _question(llava.processor, picture(1))
    assert (batch["input_ids"] == llava.codec.image_token_id).sum() == 9


def test_new_tokens_get_the_mean_row_and_the_rest_keeps_its_own():
    before = load_file(part("llama") / "model.safetensors")
    model = load(joined("clip", "llama")).model
    for name, module in (("model.embed_tokens", model.get_input_embeddings()), ("lm_head", model.lm_head)):
        old, new = before[f"{name}.weight"], module.weight
        assert torch.equal(new[:-2], old)
        assert torch.allclose(new[-2:], old.mean(dim=0).expand(2, -1))


def test_a_padded_vocabulary_is_neither_grown_nor_shrunk():
    llava = load(joined("siglip", "qwen2"))
    assert llava.model.get_input_embeddings().num_embeddings == len(llava.processor.tokenizer) + 6
    assert llava.card.notes == ("tokens added: <image> (360); their embeddings are the mean of the other 360",)


@pytest.mark.parametrize("language", ["qwen2", "tied_llama"])
def test_tied_embeddings_stay_tied(language):
    llava = load(joined("clip", language))
    assert llava.model.lm_head.weight is llava.model.get_input_embeddings().weight
    assert not [name for name in load_file(joined("clip", language) / "model.safetensors") if "lm_head" in name]


def test_the_vision_tower_is_bit_for_bit_the_part():
    before = load_file(part("clip") / "model.safetensors")
    tower = load(joined("clip", "llama")).model.model.vision_tower.state_dict()
    assert sorted(tower) == sorted(name.removeprefix("vision_model.") for name in before)
    assert all(torch.equal(tower[name.removeprefix("vision_model.")], value) for name, value in before.items())


def test_pictures_are_padded_to_a_square_with_the_mean_color():
    llava = load(joined("clip", "llama"))
    wide = picture(3, width=48, height=24)
    values = llava.processor.image_processor(wide, return_tensors="np")["pixel_values"][0]
    assert np.abs(values[:, :4]).max() < 0.02  # the mean color, rounded down, is zero once normalised
    assert values.shape == (3, 24, 24)


def test_the_seed_makes_the_projector_and_nothing_else_does():
    torch.manual_seed(7)
    one = join(part("clip"), part("llama"), seed=1)
    other = join(part("clip"), part("llama"), seed=1)
    third = join(part("clip"), part("llama"), seed=2)
    weight = [m.model.model.multi_modal_projector.linear_1.weight for m in (one, other, third)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])


def test_a_deep_connector_loads_here_and_plain_transformers_refuses_it():
    folder = joined("clip", "llama", "mlp3x_gelu")
    made = join(part("clip"), part("llama"), "mlp3x_gelu")
    read = load(folder)
    batch = _question(read.processor, picture(1))
    with torch.inference_mode():
        assert torch.equal(made.model(**batch).logits, read.model(**batch).logits)
    assert read.card.notes[-1] == "connector mlp3x_gelu: plain transformers cannot load it, only lapilli can"
    assert "plain transformers cannot" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="lapilli_llava"), quiet():
        AutoModelForImageTextToText.from_pretrained(folder)


def test_a_deep_connector_of_before_it_was_named_is_told_by_its_depth(tmp_path):
    folder = _copy(joined("clip", "llama", "mlp3x_gelu"), tmp_path / "before")
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("connector") == "mlp3x_gelu"
    (folder / "config.json").write_text(json.dumps(config | {"projector_depth": 3}))
    read, now = load(folder), load(joined("clip", "llama", "mlp3x_gelu"))
    assert connector_of(read.model.config) is connector_of(now.model.config) is CONNECTORS["mlp3x_gelu"]
    batch = _question(read.processor, picture(1))
    with torch.inference_mode():
        assert torch.equal(read.model(**batch).logits, now.model(**batch).logits)
    (folder / "config.json").write_text(json.dumps(config | {"projector_depth": 12}))
    with pytest.raises(LapilliError, match=r"config\.json: connector 'mlp12x_gelu': unknown; known are linear, "):
        load(folder)


def test_the_card_says_where_the_parts_came_from():
    card = json.loads((joined("clip", "llama") / "lapilli.json").read_text())
    assert card["template"] == "vicuna_v1"
    assert card["connector"] == "mlp2x_gelu"
    assert card["parts"]["vision"]["name"] == "clip"
    assert len(card["parts"]["language"]["sha256"]) == 64


def test_missing_and_superfluous_weights_are_listed(tmp_path):
    broken = _copy(joined("clip", "llama"), tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    gone = weights.pop("multi_modal_projector.linear_2.bias")
    weights["stranger.weight"] = gone
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LapilliError, match=r"linear_2\.bias missing; .*stranger\.weight superfluous"):
        load(broken)


def test_weights_of_another_shape_are_an_error(tmp_path):
    broken = _copy(joined("clip", "llama"), tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["multi_modal_projector.linear_2.bias"] = torch.zeros(3)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LapilliError, match=r"linear_2\.bias"):
        load(broken)


def test_only_safetensors_are_read(tmp_path):
    pickled = _copy(part("clip"), tmp_path / "pickled")
    weights = load_file(pickled / "model.safetensors")
    torch.save(weights, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(LapilliError, match=r"no \*\.safetensors; only that format is loaded"):
        join(pickled, part("llama"))


def test_a_truncated_weight_file_is_one_line(tmp_path):
    broken = _copy(joined("clip", "llama"), tmp_path / "broken")
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LapilliError, match=r"no safetensors: .*; fetch the file again") as caught:
        load(broken)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connector": "mlp"}, "connector 'mlp': unknown; choose linear"),
        ({"template": "chatml"}, "its stop '<|im_end|>' is 9 tokens"),
        ({"template": "vicuna"}, "template 'vicuna': unknown"),
        ({"template": "own"}, "template own: the tokenizer has no chat template"),
        ({"feature_layer": -5}, "feature layer -5, but there are 4"),
        ({"vision": Path("nowhere")}, "nowhere: no such folder; give that of a model"),
    ],
)
def test_what_does_not_go_together_is_said(changes, message):
    arguments = {"vision": part("clip"), "language": part("llama"), **changes}
    with pytest.raises(LapilliError) as caught:
        join(**arguments)
    assert message in str(caught.value)


def test_parts_of_the_wrong_kind_are_refused():
    with pytest.raises(LapilliError, match="an encoder of kind llama"):
        join(part("llama"), part("llama"))
    with pytest.raises(LapilliError, match="CLIPVisionConfig"):
        join(part("clip"), part("clip"))


def _language(folder, model):
    with quiet():
        model.save_pretrained(folder)
        read_language(part("llama")).tokenizer.save_pretrained(folder)
    return folder


def test_heads_that_a_llava_would_cut_off_are_refused(tmp_path):
    sizes = {"vocab_size": 360, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    biased = _language(tmp_path / "phi", PhiForCausalLM(PhiConfig(**sizes, intermediate_size=48)))
    with pytest.raises(LapilliError, match="the head of PhiForCausalLM is not a single matrix"):
        join(part("clip"), biased)
    tied = GPT2LMHeadModel(GPT2Config(vocab_size=360, n_embd=32, n_layer=1, n_head=4, bos_token_id=1, eos_token_id=2))
    with pytest.raises(LapilliError, match="GPT2LMHeadModel ties its head"):
        join(part("clip"), _language(tmp_path / "gpt2", tied))


def test_a_language_model_that_scales_its_logits_is_refused(tmp_path):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=360,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=0.1,
    )
    with pytest.raises(LapilliError, match="Gemma2ForCausalLM computes other logits"):
        join(part("clip"), _language(tmp_path / "gemma", Gemma2ForCausalLM(config)))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(LapilliError, match="exists and is not empty"):
        save(load(joined("clip", "llama")), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_nothing_is_left_of_a_save_that_fails(tmp_path, monkeypatch, error):
    llava = load(joined("clip", "llama"))

    def full(*_, **__):
        raise error

    monkeypatch.setattr("lapilli.model.checkpoints.shards.save_file", full)
    with pytest.raises(LapilliError, match="cannot be written: No space left"):
        save(llava, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_trained_by_nobody_here_is_said(tmp_path):
    with pytest.raises(LapilliError, match=r"no LLaVA \(its model_type: llama\)"):
        load(part("llama"))
    with pytest.raises(LapilliError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")


def test_the_language_model_alone_is_unchanged():
    """Words without a picture: the joined model is the language model it was made of."""
    ids = torch.arange(3, 40).reshape(1, -1)
    with quiet():
        alone = AutoModelForCausalLM.from_pretrained(part("qwen2"))
    with torch.inference_mode():
        ours = load(joined("siglip", "qwen2")).model(ids).logits
    assert torch.equal(alone(ids).logits[..., :WORDS], ours[..., :WORDS])


def test_shipped_parts_have_names_and_others_paths():
    assert part_path(str(part("clip"))) == part("clip")


def _copy(source, target):
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize(("name", "file"), [("clip", "preprocessor_config.json"), ("llama", "tokenizer.json")])
def test_a_part_that_lacks_what_feeds_it_is_said(tmp_path, name, file):
    folder = shutil.copytree(part(name), tmp_path / name)
    (folder / file).unlink()
    parts = {"vision": part("clip"), "language": part("llama"), "vision" if name == "clip" else "language": folder}
    with pytest.raises(LapilliError, match=rf"{name}: no {re.escape(file)} or .*; copy it from where"):
        join(**parts)


def test_others_may_read_the_weights_where_they_may_read_the_rest():
    folder = joined("clip", "llama")
    assert {file.stat().st_mode for file in folder.iterdir()} == {(folder / "config.json").stat().st_mode}


def test_the_folder_of_an_unfinished_run_is_no_model(tmp_path):
    (tmp_path / "recipe.yaml").write_text("stage: align\n")
    with pytest.raises(LapilliError, match=r"the folder of a run; its model is in .*model when it is done"):
        load(tmp_path)


@pytest.mark.parametrize("layer", [-2, -3, 1, -1])
@pytest.mark.parametrize("vision", ["clip", "siglip"])
def test_layers_behind_the_one_that_is_read_are_not_run_and_not_lost(tmp_path, vision, layer):
    """The features are those of the whole encoder, to the last bit, and the weights those of the part."""
    llava = join(part(vision), part("llama"), feature_layer=layer)
    tower = llava.model.model.vision_tower
    run = []
    for index, one in enumerate(tower.encoder.layers):
        one.self_attn.register_forward_hook(lambda *_, index=index: run.append(index))
    pixels = llava.pixels([picture(5)])
    with torch.inference_mode():
        states = tower(pixels, output_hidden_states=True).hidden_states
        whole = read_vision(part(vision)).tower(pixels, output_hidden_states=True).hidden_states
    assert run == list(range(layer if layer >= 0 else 4 + layer))
    assert len(states) == len(whole) == 4
    assert torch.equal(states[layer], whole[layer])
    save(llava, tmp_path / "out")
    again = load(tmp_path / "out").model.model.vision_tower.state_dict()
    reference = read_vision(part(vision)).tower.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in reference.items())
    assert load(tmp_path / "out").model.model.vision_tower.encoder.layers[2].forward.__name__ == (
        "forward" if layer == -1 else "_unchanged"
    )


@pytest.mark.parametrize("connector", ["linear", "mlp2x_gelu", "mlp3x_gelu"])
@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_a_trained_connector_is_taken_from_its_file(tmp_path, connector, prefix):
    """mm_projector.bin, as stage 1 of LLaVA's own trainer leaves it."""
    made = tensors("clip", "llama", connector)
    file = tmp_path / "mm_projector.bin"
    torch.save({prefix + name: tensor for name, tensor in made.items() if "mm_projector" in name}, file)
    llava = join(part("clip"), part("llama"), file)
    assert llava.card.connector == connector
    assert "connector: trained before, from mm_projector.bin" in llava.card.notes
    save(llava, tmp_path / "out")
    write_checkpoint(read_checkpoint(tmp_path / "out"), tmp_path / "original", "original")
    stored = {name: source.read() for name, source in stored_tensors(tmp_path / "original").items()}
    assert all(torch.equal(stored[name], tensor) for name, tensor in made.items() if "mm_projector" in name)


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        (lambda named: named.pop("model.mm_projector.0.bias"), r"model\.mm_projector\.0\.bias"),
        (
            lambda named: named.update({"model.mm_projector.1.weight": named.pop("model.mm_projector.2.weight")}),
            r"model\.mm_projector\.1\.weight, model\.mm_projector\.2\.weight",
        ),
    ],
)
def test_a_connector_that_lacks_something_is_not_filled_up_at_random(tmp_path, change, odd):
    named = {n: t for n, t in tensors("clip", "llama", "mlp2x_gelu").items() if "mm_projector" in n}
    change(named)
    torch.save(named, tmp_path / "mm_projector.bin")
    with pytest.raises(LapilliError, match=f"not the layers of a connector, by {odd}; fetch it again"):
        join(part("clip"), part("llama"), tmp_path / "mm_projector.bin")


def test_a_connector_made_for_other_models_is_refused(tmp_path):
    made = tensors("clip", "llama", "linear")
    torch.save({name: t for name, t in made.items() if "mm_projector" in name}, tmp_path / "mm_projector.bin")
    with pytest.raises(
        LapilliError, match=r"made for other models: linear_1\.weight \(48, 32\); the encoder here has 24"
    ):
        join(part("siglip"), part("qwen2"), tmp_path / "mm_projector.bin", "chatml")
    torch.save({"model.embed_tokens.weight": torch.zeros(2)}, tmp_path / "mm_projector.bin")
    with pytest.raises(LapilliError, match=r"no projector, it has model\.embed_tokens\.weight"):
        join(part("clip"), part("llama"), tmp_path / "mm_projector.bin")


@pytest.mark.parity
def test_a_language_model_s_own_template_is_kept_and_spoken(tmp_path):
    folder = shutil.copytree(part("qwen2"), tmp_path / "qwen2")
    (folder / "chat_template.jinja").write_text(QWEN_2)
    save(join(part("siglip"), folder, template="own"), tmp_path / "joined")
    llava = load(tmp_path / "joined")
    assert (llava.template, llava.stop_id) == ("own", llava.processor.tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert llava.model.generation_config.eos_token_id == llava.stop_id
    assert json.loads((tmp_path / "joined/lapilli.json").read_text())["template"] == "own"
    assert (tmp_path / "joined/chat_template.jinja").read_text().endswith("\n" + QWEN_2)
    turns = (Turn("user", "<image>\nWhat color?"), Turn("assistant", "red"))
    encoded = encode(Sample("it", ("a.png",), turns), llava.codec)
    with quiet():
        processor = AutoProcessor.from_pretrained(tmp_path / "joined")
    read = processor.apply_chat_template(
        llava.codec.chat.messages(turns),
        tokenize=True,
        return_dict=True,
        processor_kwargs={"images": [picture(1)]},
    )
    assert encoded.ids.tolist() == np.ravel(read["input_ids"]).tolist()
    assert processor.decode(encoded.ids[encoded.labels != -100]) == "red<|im_end|>"


def test_captions_alone_can_be_the_template_of_a_model_whose_line_break_follows_a_lone_space(tmp_path):
    """As with Llama's tokenizer, which reads a line break as a space and the byte; the byte alone ends a caption."""
    folder = shutil.copytree(part("llama"), tmp_path / "llama")
    state = json.loads((folder / "tokenizer.json").read_text())
    state["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(state))
    llava = join(part("clip"), folder, template="plain")
    tokenizer = llava.processor.tokenizer
    assert len(tokenizer.encode("\n", add_special_tokens=False)) == 2
    assert tokenizer.decode([llava.stop_id]) == "\n"
    assert llava.model.generation_config.eos_token_id == llava.stop_id
    encoded = encode(Sample("it", ("a",), (Turn("user", "<image>"), Turn("assistant", "a kite"))), llava.codec)
    assert encoded.labels[-1] == llava.stop_id


@pytest.mark.parametrize(
    ("language", "brought", "template", "hinted"),
    [
        ("llama", QWEN_2, "vicuna_v1", True),
        ("qwen2", QWEN_2, "chatml", True),
        ("qwen2", QWEN_2, "own", False),
        ("llama", QWEN_2, "plain", False),  # for captions
        ("qwen2", template_named("chatml").jinja(), "chatml", False),
        ("qwen2", None, "chatml", False),
    ],
)
def test_a_template_that_is_brought_and_not_taken_is_said(tmp_path, language, brought, template, hinted):
    folder = shutil.copytree(part(language), tmp_path / language)
    if brought:
        (folder / "chat_template.jinja").write_text(brought)
    notes = join(part("siglip"), folder, template=template).card.notes
    line = f"template {template}: not the one that the language model brings, which `--template own` takes"
    assert (line in notes) is hinted
