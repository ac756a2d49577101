"""Every layout into every other, tensor by tensor; and what is not a LLaVA, said in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.core.prompt.chat_templates import LLAVA_HF
from tests.model.checkpoints.originals import config, original
from tests.parts import IMAGE_SIZE, joined, part, picture
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionModel,
)

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.model.checkpoints.checkpoint import HEAD, Choices
from lapilli.model.checkpoints.info import describe
from lapilli.model.checkpoints.layouts import layouts
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.read_original import from_original
from lapilli.model.checkpoints.write import Writing, write_checkpoint
from lapilli.model.choices import TARGETS, size_in_bytes
from lapilli.model.encoders import released_encoder, released_name
from lapilli.model.llava import join, load, save
from lapilli.model.stored import Source, stored_tensors

LLAMA = Path(__file__).parents[4] / "shared/data/tokenizers/llama2"
PAIRS = [("clip", "llama"), ("siglip", "qwen2"), ("clip", "tied_llama"), ("clip", "mistral")]
CONNECTORS = ["linear", "mlp2x_gelu"]
WAY_BACK = [target for target in TARGETS if target not in ("hf", "projector")]


def convert(path, out, target="hf", **choices):
    write_checkpoint(read_checkpoint(path, Choices(**choices)), out, target)
    return out


def weights(folder):
    """Every tensor of a folder and its subfolders' safetensors, by its name there."""
    return {name: source.read() for name, source in stored_tensors(folder).items()}


def assert_same_tensors(ours, theirs):
    assert sorted(ours) == sorted(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("connector", [*CONNECTORS, "mlp3x_gelu"])
@pytest.mark.parametrize("pair", [*PAIRS[:2], ("clip", "mistral")])
def test_original_to_hf_to_original(tmp_path, pair, connector, dtype):
    """Bit for bit, the same names, though hf has rows for <image> in between; and the same configuration."""
    path = original(tmp_path / "original", *pair, connector, dtype)
    template = "chatml" if pair[1] == "qwen2" else "vicuna_v1"
    there = convert(path, tmp_path / "hf", template=template)
    back = convert(there, tmp_path / "back", "original")
    assert_same_tensors(weights(back), weights(path))
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (path, back))
    assert {name: after[name] for name in before} == before
    assert AutoTokenizer.from_pretrained(back)("USER: yes?").input_ids == (
        AutoTokenizer.from_pretrained(path, config=LlamaConfig())("USER: yes?").input_ids
    )


@pytest.mark.parametrize("target", WAY_BACK)
@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("pair", PAIRS)
def test_hf_to_any_layout_to_hf(tmp_path, pair, connector, target):
    path = joined(*pair, connector)
    there = convert(path, tmp_path / "there", target)
    back = convert(there, tmp_path / "back")
    assert_same_tensors(weights(back), weights(path))
    assert describe(there).layout == ("original" if target == "original" else target)
    same = ("chat_template.jinja", "tokenizer.json", "preprocessor_config.json")
    assert [(back / name).read_bytes() for name in same] == [(path / name).read_bytes() for name in same]
    assert load(back).template == load(path).template


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_survives_a_projector_for_numpy(tmp_path, dtype):
    """llama.cpp's converter knows no bfloat16; what was widened for it is narrowed again."""
    path = convert(original(tmp_path / "original", dtype=dtype), tmp_path / "hf", template="vicuna_v1")
    split = convert(path, tmp_path / "split", "split")
    projector = torch.load(split / "llava.projector", weights_only=True)
    assert sorted(projector) == [f"model.mm_projector.{at}.{what}" for at in (0, 2) for what in ("bias", "weight")]
    assert all(tensor.numpy().dtype.kind == "f" for tensor in projector.values())
    assert_same_tensors(weights(convert(split, tmp_path / "back")), weights(path))


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("pair", PAIRS)
def test_what_transformers_5_saves_of_a_model_built_in_memory(tmp_path, pair, connector):
    """Its own save_pretrained mixes two layouts; converted, the names are the hub's."""
    path = joined(*pair, connector)
    shutil.copytree(path, tmp_path / "joined", ignore=shutil.ignore_patterns("*.safetensors"))
    model = LlavaForConditionalGeneration(LlavaConfig.from_pretrained(path))
    model.load_state_dict(load(path).model.state_dict())
    model.save_pretrained(tmp_path / "joined")
    assert describe(tmp_path / "joined").layout == "joined"
    assert_same_tensors(weights(convert(tmp_path / "joined", tmp_path / "hf")), weights(path))


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("pair", PAIRS[:2])
def test_plain_transformers_reads_a_converted_original(tmp_path, pair, connector):
    """Same logits as the same weights put into transformers' class by hand, and same pixels."""
    path = original(tmp_path / "original", *pair, connector)
    out = convert(path, tmp_path / "hf", template="chatml" if pair[1] == "qwen2" else "vicuna_v1")
    ours, theirs = load(out), AutoModelForImageTextToText.from_pretrained(out)
    processor = AutoProcessor.from_pretrained(out)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "yes?"}]}], add_generation_prompt=True
    )
    inputs = processor(images=picture(1, 50, 30), text=text, return_tensors="pt")
    assert torch.equal(inputs["pixel_values"], ours.pixels([picture(1, 50, 30)]))
    with torch.inference_mode():
        assert torch.equal(theirs(**inputs).logits, ours.model(**inputs).logits)
        by_hand = _by_hand(path, inputs, out)
    assert np.abs(theirs(**inputs).logits.detach().numpy()[..., : by_hand.shape[-1]] - by_hand.numpy()).max() < 1e-5


def _by_hand(path, inputs, out):
    """The original's own weights through its parts: encoder, connector, words, one after the other."""
    named, settings = weights(path), json.loads((out / "config.json").read_text())
    inner = load(out).model.model
    states = inner.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states[-2]
    features = states[:, 1:] if settings["vision_feature_select_strategy"] == "default" else states
    first = "0." if "model.mm_projector.0.weight" in named else ""
    carried = features @ named[f"model.mm_projector.{first}weight"].T + named[f"model.mm_projector.{first}bias"]
    if first:
        second = "model.mm_projector.2."
        carried = torch.nn.functional.gelu(carried) @ named[second + "weight"].T + named[second + "bias"]
    ids, table = inputs["input_ids"][0], named["model.embed_tokens.weight"]
    is_image = ids == settings["image_token_index"]
    words = table[torch.where(is_image, 0, ids)]
    words[is_image] = carried[0]
    last = inner.language_model(inputs_embeds=words[None]).last_hidden_state
    return last @ named.get("lm_head.weight", table).T


@pytest.mark.parametrize("rope", [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}])
def test_older_programs_find_the_rotary_frequencies_where_they_look(tmp_path, rope):
    """transformers 4 and llama.cpp read rope_theta, and would take 10,000 where it is not."""
    path = original(tmp_path / "original")
    settings = json.loads((path / "config.json").read_text()) | {"rope_theta": 1e6}
    scaled = {"rope_scaling": rope} if rope["rope_type"] != "default" else {}
    (path / "config.json").write_text(json.dumps(settings | scaled))
    hf = convert(path, tmp_path / "hf", template="vicuna_v1")
    split = convert(hf, tmp_path / "split", "split")
    for written in (
        json.loads((hf / "config.json").read_text())["text_config"],
        json.loads((split / "language/config.json").read_text()),
    ):
        assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == 1e6
        assert ("rope_scaling" in written) == bool(scaled)
        assert written.get("rope_scaling", {}).get("factor") == rope.get("factor")
    loaded = load(convert(split, tmp_path / "back")).model.config.text_config.rope_parameters
    assert {name: loaded[name] for name in ("rope_theta", *rope)} == {"rope_theta": 1e6, **rope}


def test_new_rows_are_the_mean_and_make_a_multiple_of_64(tmp_path):
    out = convert(original(tmp_path / "original"), tmp_path / "hf", template="vicuna_v1")
    table = weights(out)["language_model.model.embed_tokens.weight"]
    assert table.shape[0] == 384
    mean = table[:360].double().mean(dim=0).float()
    assert torch.equal(table[360:], mean.expand(24, -1))
    notes = read_checkpoint(out).card.notes
    assert notes == (
        "tokens added: <image> (360), <pad> (361); embeddings of 360 rows grew to 384, by the mean of the others",
    )


def test_files_keep_to_their_size_and_the_index_names_them(tmp_path):
    path = joined("clip", "llama")
    write_checkpoint(read_checkpoint(path), tmp_path / "out", "hf", Writing(shard_size=60_000))
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    files = sorted(file.name for file in (tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 3
    assert sorted(set(index["weight_map"].values())) == files
    tensors = weights(tmp_path / "out")
    assert sorted(index["weight_map"]) == sorted(tensors)
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    for file in files:
        held = load_file(tmp_path / "out" / file)
        assert sum(tensor.nbytes for tensor in held.values()) <= 60_000 or len(held) == 1
    assert_same_tensors(tensors, weights(path))
    assert torch.equal(load(tmp_path / "out").model.lm_head.weight, load(path).model.lm_head.weight)


def test_seven_billion_parameters_by_name_and_shape(tmp_path):
    """LLaVA-1.5 7B's published configuration and 686 names, shapes alone: what comes out is llava-hf's."""
    if not LLAMA.exists():
        pytest.skip(f"{LLAMA}: no tokenizer of Llama's own there")
    published = {
        "architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "image_aspect_ratio": "pad", "intermediate_size": 11008, "max_position_embeddings": 4096,
        "mm_hidden_size": 1024, "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch", "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "model_type": "llava", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "pad_token_id": 0, "rms_norm_eps": 1e-05, "tie_word_embeddings": False, "torch_dtype": "float16",
        "vocab_size": 32000,
    }  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
        image_size=336,
    )  # fmt: skip
    text = LlamaConfig(vocab_size=32000)
    with torch.device("meta"):
        state = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text)).state_dict()
    memory, there = layouts("mlp2x_gelu")["memory"], layouts("mlp2x_gelu")["original"]
    named = {
        there.from_hf(memory.to_hf(name)): Source(tuple(tensor.shape), "float16", lambda: None)
        for name, tensor in state.items()
    }
    found = from_original(tmp_path, published, named, LLAMA, Choices("vicuna_v1"))
    assert len(named) == len(found.tensors) == 686
    assert found.tensors["language_model.lm_head.weight"].shape == (32064, 4096)
    assert found.tensors["language_model.model.embed_tokens.weight"].shape == (32064, 4096)
    assert (found.config.image_token_index, found.config.image_seq_length, found.config.text_config.vocab_size) == (
        32000, 576, 32064,
    )  # fmt: skip
    assert found.processor.image_processor.do_pad
    assert found.config.projector_hidden_act == "gelu"
    sizes = sum(source.size for source in found.tensors.values())
    assert sizes == 7_063_427_072  # as `lapilli model bridges` counts


def test_an_encoder_that_is_only_named_is_taken_from_its_folder(tmp_path):
    path = original(tmp_path / "original")
    everything = weights(path)
    for file in path.glob("*.safetensors"):
        file.unlink()
    save_file({n: t for n, t in everything.items() if "vision_tower" not in n}, path / "model.safetensors")
    with pytest.raises(UsageError, match=r"its vision encoder, somebody/clip, without its weights; give its folder"):
        convert(path, tmp_path / "out", template="vicuna_v1")
    whole = convert(path, tmp_path / "hf", template="vicuna_v1", vision=part("clip"))
    assert_same_tensors(weights(convert(whole, tmp_path / "back", "original")), everything)


def test_the_text_half_of_a_whole_clip_is_left_where_it_is(tmp_path):
    path = original(tmp_path / "original")
    for file in path.glob("*.safetensors"):
        kept = {n: t for n, t in load_file(file).items() if "vision_tower" not in n}
        save_file(kept, file)
    out = convert(path, tmp_path / "hf", template="vicuna_v1", vision=part("whole_clip"))
    name = "vision_model.pre_layrnorm.weight"
    assert torch.equal(weights(out)["vision_tower." + name], weights(part("whole_clip"))[name])
    assert not any("text_model" in name for name in weights(out))


def test_buffers_that_old_programs_stored_are_left_out(tmp_path):
    path = original(tmp_path / "original")
    inner = "model.vision_tower.vision_tower.vision_model.embeddings.position_ids"
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6), inner: torch.arange(10)[None]}
    save_file(extra, path / "model-buffers.safetensors")
    out = convert(path, tmp_path / "hf", template="vicuna_v1")
    assert not any(name.endswith(("inv_freq", "position_ids")) for name in weights(out))


def test_a_pickled_original_is_read_as_well(tmp_path):
    path = original(tmp_path / "original", form="bin")
    there = convert(path, tmp_path / "hf", template="vicuna_v1")
    assert_same_tensors(weights(convert(there, tmp_path / "back", "original")), weights(path))


def test_a_stage_1_projector_is_written_as_llava_writes_it(tmp_path):
    path = original(tmp_path / "original")
    there = convert(convert(path, tmp_path / "hf", template="vicuna_v1"), tmp_path / "projector", "projector")
    assert [file.name for file in there.iterdir()] == ["mm_projector.bin"]
    held = torch.load(there / "mm_projector.bin", weights_only=True)
    assert_same_tensors(held, {n: t for n, t in weights(path).items() if "mm_projector" in n})


def test_how_a_picture_is_prepared_is_as_trained_unless_said(tmp_path):
    path = original(tmp_path / "original")
    settings = json.loads((path / "config.json").read_text())
    wide = picture(3, 2 * IMAGE_SIZE, IMAGE_SIZE)
    padded = load(convert(path, tmp_path / "padded", template="vicuna_v1")).pixels([wide])
    (path / "config.json").write_text(json.dumps(settings | {"image_aspect_ratio": "square"}))
    cropped = load(convert(path, tmp_path / "cropped", template="vicuna_v1"))
    assert not cropped.processor.image_processor.do_pad
    assert not torch.equal(cropped.pixels([wide]), padded)
    again = load(convert(tmp_path / "cropped", tmp_path / "again", pad=True))
    assert torch.equal(again.pixels([wide]), padded)
    there = convert(tmp_path / "cropped", tmp_path / "there", "original")
    assert json.loads((there / "config.json").read_text())["image_aspect_ratio"] == "square"
    assert torch.equal(load(convert(there, tmp_path / "hf")).pixels([wide]), cropped.pixels([wide]))


def test_the_template_is_asked_for_and_kept(tmp_path):
    path = original(tmp_path / "original")
    with pytest.raises(UsageError, match="no chat template; name the one of its training"):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    there = convert(path, tmp_path / "hf", template="llava_v1")
    assert load(there).template == "llava_v1"
    assert load(convert(convert(there, tmp_path / "o", "original"), tmp_path / "h")).template == "llava_v1"


def test_a_folder_that_lapilli_did_not_make_is_used_as_it_is(tmp_path):
    shutil.copytree(
        joined("clip", "llama"), tmp_path / "hf", ignore=shutil.ignore_patterns("lapilli.json", "README.md")
    )
    llava = load(tmp_path / "hf")
    assert (llava.template, llava.card.connector) == ("vicuna_v1", "mlp2x_gelu")
    save(llava, tmp_path / "again")
    assert_same_tensors(weights(tmp_path / "again"), weights(tmp_path / "hf"))


def test_what_a_config_says_is_not_is_not(tmp_path):
    """Mistral's later models have no sliding window; transformers' own default is one."""
    path = original(tmp_path / "original", language="mistral")
    (path / "config.json").write_text(
        json.dumps(json.loads((path / "config.json").read_text()) | {"sliding_window": None})
    )
    assert load(convert(path, tmp_path / "hf", template="mistral")).model.config.text_config.sliding_window is None


def test_llava_hfs_own_folder_of_1_5(tmp_path):
    """Its chat template in a file of the processor's, no word of lapilli's, pictures cropped: used, and given on."""
    shutil.copytree(joined("clip", "llama"), tmp_path / "theirs")
    for name in ("lapilli.json", "chat_template.jinja"):
        (tmp_path / "theirs" / name).unlink()
    (tmp_path / "theirs/chat_template.json").write_text(json.dumps({"chat_template": LLAVA_HF}))
    llava = load(tmp_path / "theirs")
    sample = Sample("1", ("a",), (Turn("user", "<image>\nWhat is it?"),))
    ids = encode(sample, llava.codec, for_generation=True).ids
    assert llava.template == "own"
    assert llava.processor.tokenizer.decode([i for i in ids if i != llava.codec.image_token_id]) == (
        "<s>USER: \nWhat is it? ASSISTANT:"
    )
    text = answer(llava, [sample], lambda _: picture(1))[0].text
    for target in ("hf", "original"):
        there = convert(tmp_path / "theirs", tmp_path / target, target)
        back = load(convert(there, tmp_path / f"{target}-back"))
        assert (back.template, back.processor.chat_template) == ("own", LLAVA_HF)
        assert answer(back, [sample], lambda _: picture(1))[0].text == text


@pytest.mark.parametrize(
    ("field", "change", "expected"),
    [
        ("mm_vision_select_layer", lambda config: config.update(vision_feature_layer=-1), -1),
        ("rope_theta", lambda config: config["text_config"]["rope_parameters"].update(rope_theta=5e5), 5e5),
        ("eos_token_id", lambda config: config["text_config"].update(eos_token_id=7), 7),
    ],
)
def test_what_has_become_of_a_converted_model_goes_back_with_it(tmp_path, field, change, expected):
    """Only what is as it was comes from the original's own configuration."""
    there = convert(original(tmp_path / "original"), tmp_path / "hf", template="vicuna_v1")
    content = json.loads((there / "config.json").read_text())
    content["text_config"].pop("rope_theta")
    change(content)
    (there / "config.json").write_text(json.dumps(content))
    back = json.loads((convert(there, tmp_path / "back", "original") / "config.json").read_text())
    assert back[field] == expected
    before = json.loads((tmp_path / "original/config.json").read_text())
    assert {name: back[name] for name in before if name != field} == {n: v for n, v in before.items() if n != field}


def test_a_cast_model_says_its_new_format(tmp_path):
    there = convert(original(tmp_path / "original"), tmp_path / "hf", template="vicuna_v1")
    half = load(there)
    half.model.bfloat16()
    save(half, tmp_path / "half")
    back = json.loads((convert(tmp_path / "half", tmp_path / "back", "original") / "config.json").read_text())
    assert back["torch_dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy is 'full'"),
        ({"vision_feature_layer": [-2, 9]}, r"vision_feature_layer \[-2, 9\], not one of 4 hidden states"),
        ({"vision_feature_layer": []}, r"vision_feature_layer \[\], not one of"),
        ({"vision_feature_layer": [[-2], -1]}, "vision_feature_layer|cannot be read"),
        ({"vision_feature_layer": 99}, "vision_feature_layer 99"),
        ({"multimodal_projector_bias": False}, "multimodal_projector_bias is False"),
        ({"image_token_index": 99_999}, "image_token_index is 99999"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "quantization_config is"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act 'relu'"),
    ],
)
def test_a_llava_of_another_make_is_refused_and_not_half_carried_over(tmp_path, change, message):
    shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    file = tmp_path / "model/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    for use in (lambda: convert(tmp_path / "model", tmp_path / "out", "original"), lambda: load(tmp_path / "model")):
        with pytest.raises(LapilliError, match=message):
            use()
    assert not (tmp_path / "out").exists()


def test_quantised_weights_are_refused(tmp_path):
    shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    _change(tmp_path / "model", lambda named: named.update({HEAD: named[HEAD].to(torch.int8)}))
    with pytest.raises(LapilliError, match=r"lm_head\.weight is in I8, which nothing is computed in; give the model"):
        convert(tmp_path / "model", tmp_path / "out")


def test_an_encoder_s_folder_has_no_place_in_a_llava_of_transformers(tmp_path):
    with pytest.raises(UsageError, match=r"has its vision encoder; .* leave out --vision"):
        convert(joined("clip", "llama"), tmp_path / "out", vision=part("clip"))


def test_heads_tied_above_are_tied_below(tmp_path):
    """The language model's own configuration may leave it to the whole's, and is written alone by some layouts."""
    shutil.copytree(joined("clip", "tied_llama"), tmp_path / "model")
    file = tmp_path / "model/config.json"
    content = json.loads(file.read_text())
    content["text_config"].pop("tie_word_embeddings")
    file.write_text(json.dumps(content))
    there = convert(tmp_path / "model", tmp_path / "there", "original")
    assert json.loads((there / "config.json").read_text())["tie_word_embeddings"] is True
    split = convert(tmp_path / "model", tmp_path / "split", "split")
    assert json.loads((split / "language/config.json").read_text())["tie_word_embeddings"] is True


def test_another_template_brings_its_own_end(tmp_path):
    out = convert(joined("siglip", "qwen2"), tmp_path / "out", template="own")
    assert load(out).template == "own"
    out = convert(joined("clip", "llama"), tmp_path / "plain", template="plain")
    newline = load(out).stop_id
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == newline != 2


@pytest.mark.parametrize("changes", [{"hidden_act": "gelu"}, {"layer_norm_eps": 1e-3}, {"image_size": 448}])
def test_an_encoder_is_called_by_a_released_name_only_if_it_is_that_one_s_in_every_field(changes):
    config, _ = released_encoder("openai/clip-vit-large-patch14-336")
    assert released_name(config) == "openai/clip-vit-large-patch14-336"
    for name, value in changes.items():
        setattr(config, name, value)
    assert released_name(config) is None


def test_where_a_folder_lay_is_not_told(tmp_path):
    path = original(tmp_path / "original")
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mm_vision_tower": "/home/alice/secret/clip"}))
    out = convert(path, tmp_path / "hf", template="vicuna_v1")
    assert not any(b"alice" in one.read_bytes() for one in out.iterdir())


def test_what_llama_s_tokenizer_was_told_is_kept(tmp_path):
    """LLaVA's trainer asks its tokenizer whether it is a legacy one, and how long a text may be."""
    if not LLAMA.exists():
        pytest.skip(f"{LLAMA}: no tokenizer of Llama's own there")
    path = original(tmp_path / "original")
    (path / "tokenizer.json").unlink()
    shutil.copy(LLAMA / "tokenizer.model", path)
    said = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "add_eos_token": False}
    said |= {"model_max_length": 2048, "padding_side": "right", "unk_token": "<unk>", "pad_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps(said | {"bos_token": "<s>", "eos_token": "</s>"}))
    grown = {name: tensor.repeat(100, 1)[:32000] for name, tensor in weights(path).items() if len(tensor) == 360}
    for file in path.glob("*.safetensors"):
        save_file({name: grown.get(name, tensor) for name, tensor in load_file(file).items()}, file)
    config_file = path / "config.json"
    config_file.write_text(json.dumps(json.loads(config_file.read_text()) | {"vocab_size": 32000}))
    back = convert(convert(path, tmp_path / "hf", template="vicuna_v1"), tmp_path / "back", "original")
    kept = json.loads((back / "tokenizer_config.json").read_text())
    assert {name: kept[name] for name in said} == said | {"padding_side": "left"}
    assert (back / "tokenizer.model").read_bytes() == (LLAMA / "tokenizer.model").read_bytes()
    assert AutoTokenizer.from_pretrained(back, config=LlamaConfig())("USER: yes? 42").input_ids[0] == 1


def _less(folder):
    _change(folder, lambda named: named.pop("language_model.model.norm.weight"))


def _more(folder):
    _change(folder, lambda named: named.update({"language_model.model.layers.9.mlp.up_proj.weight": torch.ones(1)}))


def _other(folder):
    _change(folder, lambda named: named.update({"multi_modal_projector.linear_1.bias": torch.ones(3)}))


def _change(folder, change):
    named = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(named)
    save_file(named, folder / "model.safetensors")


def _lost_file(folder):
    content = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_less, r"language_model\.model\.norm\.weight missing"),
        (_more, r"language_model\.model\.layers\.9\.mlp\.up_proj\.weight superfluous"),
        (_other, r"multi_modal_projector\.linear_1\.bias of another shape"),
        (_lost_file, r"names model-00002-of-00002\.safetensors, which the folder has not"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_written(tmp_path, harm, message):
    shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    harm(tmp_path / "model")
    with pytest.raises(LapilliError, match=message):
        convert(tmp_path / "model", tmp_path / "out", "original")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mm_use_im_start_end", True, "the image stands between tokens of its own"),
        ("mm_vision_select_feature", "cls_patch", "the class token is kept"),
        ("image_aspect_ratio", "anyres", "cut into tiles"),
        ("mm_projector_type", "qformer", "connector 'qformer': unknown"),
        ("model_type", "llava_mpt", "model_type 'llava_mpt': unknown; known are llava, llava_llama"),
        ("mm_resampler_type", "perceiver", "there is a resampler"),
    ],
)
def test_an_original_of_another_make_is_refused(tmp_path, field, value, message):
    path = original(tmp_path / "original")
    (path / "config.json").write_text(json.dumps(config("clip", "llama", "mlp2x_gelu") | {field: value}))
    with pytest.raises(LapilliError, match=message):
        convert(path, tmp_path / "out", template="vicuna_v1")


def test_an_encoder_nobody_knows_is_asked_for(tmp_path):
    path = original(tmp_path / "original")
    shutil.rmtree(path / "vision_tower")
    with pytest.raises(UsageError, match=r"its vision encoder 'somebody/clip' is not known here; give its folder"):
        convert(path, tmp_path / "out", template="vicuna_v1")


def test_a_second_layer_that_does_something_cannot_be_left_out(tmp_path):
    shutil.copytree(joined("clip", "llama", "linear"), tmp_path / "model")
    _change(tmp_path / "model", lambda named: named["multi_modal_projector.linear_2.bias"].add_(1))
    with pytest.raises(LapilliError, match=r"linear_2\.bias does something"):
        convert(tmp_path / "model", tmp_path / "out", "original")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_used_says_what_to_do(tmp_path):
    split = convert(joined("clip", "llama"), tmp_path / "split", "split")
    with pytest.raises(LapilliError, match=r"in parts, for llama\.cpp's converters; `lapilli model convert .* joins"):
        load(split)
    projector = convert(joined("clip", "llama"), tmp_path / "projector", "projector")
    with pytest.raises(LapilliError, match=r"a connector alone; `lapilli model build --connector .*mm_projector\.bin`"):
        describe(projector)
    built = join(part("clip"), part("llama"), projector)
    assert built.card.notes[-1] == "connector: trained before, from mm_projector.bin"


def test_an_encoder_without_a_released_name_is_written_whole_beside(tmp_path):
    """LLaVA's own code loads the encoder, weights and all, from where mm_vision_tower says."""
    there = convert(joined("siglip", "qwen2"), tmp_path / "there", "original")
    name = json.loads((there / "config.json").read_text())["mm_vision_tower"]
    assert name == "siglip_vision_tower"
    encoder, report = SiglipVisionModel.from_pretrained(there / name, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    reference = load(joined("siglip", "qwen2")).model.model.vision_tower.state_dict()
    assert all(torch.equal(tensor, reference[key]) for key, tensor in encoder.state_dict().items())
    again = convert(convert(there, tmp_path / "hf"), tmp_path / "again", "original")
    assert (again / name / "model.safetensors").read_bytes() == (there / name / "model.safetensors").read_bytes()
    assert (again / "config.json").read_bytes() == (there / "config.json").read_bytes()


def test_targets_and_sizes_are_checked(tmp_path):
    with pytest.raises(UsageError, match="target 'gguf': unknown; choose one of hf, original, split"):
        convert(joined("clip", "llama"), tmp_path / "out", "gguf")
    assert [size_in_bytes(text) for text in ("5GB", "1.5 mb", "10B")] == [5_000_000_000, 1_500_000, 10]
    for text in ("5", "0GB", "GB", "-1MB", "9" * 400 + "GB"):
        with pytest.raises(UsageError, match="write a number and its unit"):
            size_in_bytes(text)


def test_one_file_of_weights_is_in_memory_at_a_time(tmp_path):
    """Measured in a process of its own, of 320 MB in files of at most 80; the benchmark has the other ways."""
    script = Path(__file__).parents[3] / "benchmarks/convert.py"
    command = [sys.executable, str(script), "--megabytes", "320", "--shard", "80", "--ways", "1", "--json"]
    result = json.loads(subprocess.check_output(command, text=True, cwd=tmp_path))
    assert result["weights_mb"] >= 320
    assert result["ways"]["original to hf"]["ratio"] <= 1.3
