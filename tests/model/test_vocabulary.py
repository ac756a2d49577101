"""Tokens without a row in the embedding: given one that is the same every time, or refused before anything is asked."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.model.checkpoints.originals import original
from tests.parts import joined, part

from lapilli.core.errors import LapilliError
from lapilli.model.checkpoints.checkpoint import HEAD, TABLE, Choices
from lapilli.model.checkpoints.info import describe
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.llava import codec_of, join, load, save

WORDS = {"llama": 360, "tied_llama": 360, "qwen2": 367}
"""Rows of the embeddings, of which those of qwen2 have seven to spare."""


def copied(folder, source):
    shutil.copytree(source, folder)
    return folder


def with_tokens(folder, ids):
    """Add tokens to a folder's tokenizer, and nothing to its model."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"] += [{"id": index, "content": f"<new{index}>", **plain} for index in ids]
    file.write_text(json.dumps(content))
    return folder


def with_settings(folder, change, file="config.json"):
    content = json.loads((folder / file).read_text())
    inner = content.get("text_config", content)
    inner.update(change)
    (folder / file).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("language", "ids"),
    [
        ("llama", [360]),
        ("llama", [360, 361, 362]),
        ("tied_llama", [360, 361]),
        ("qwen2", range(360, 370)),
    ],
)
def test_built_of_a_tokenizer_with_more_tokens_its_rows_are_the_mean_each_time(tmp_path, language, ids):
    folder = with_tokens(copied(tmp_path / "language", part(language)), ids)
    rows, template = WORDS[language], "chatml" if language == "qwen2" else "vicuna_v1"
    first, second = (join(part("clip"), folder, template=template) for _ in range(2))
    table, old = first.model.get_input_embeddings().weight, load_file(folder / "model.safetensors")
    before = old["model.embed_tokens.weight"]
    used = min(rows, 360 + len([*ids]))
    assert torch.equal(table[:used], before[:used])
    mean = before[:used].mean(dim=0)
    assert torch.allclose(table[rows:], mean.expand(len(table) - rows, -1), atol=1e-6)
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name])
    without = [index for index in ids if index >= rows]
    assert f"tokens without a row in the language model: <new{without[0]}> ({without[0]})" in first.card.notes[0]
    with torch.inference_mode():
        assert first.model(input_ids=torch.tensor([[1, max(ids)]])).logits.isfinite().all()
    save(first, tmp_path / "model")
    assert torch.equal(load(tmp_path / "model").model.get_input_embeddings().weight, table)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    """Its words, not only what was added to them, have no rows."""
    folder = copied(tmp_path / "language", part("llama"))
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"] |= {f"word{index}": index for index in range(360, 380)}
    file.write_text(json.dumps(content))
    with pytest.raises(LapilliError, match=r"of 360 rows, none is for word360 \(360\), .* and 16 more; copy the token"):
        join(part("clip"), folder)


LAYOUTS = ("hf", "nested", "joined")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ids", [[362], [362, 363, 364, 365, 366]])
def test_a_llava_whose_tokenizer_is_larger_is_refused_and_described(tmp_path, layout, ids):
    write_checkpoint(read_checkpoint(joined("clip", "llama")), tmp_path / "model", layout)
    folder = with_tokens(tmp_path / "model", ids)
    said = rf"its tokenizer is larger than its embedding: of 362 rows, none is for <new{ids[0]}> \({ids[0]}\)"
    for use in (load, codec_of, read_checkpoint):
        with pytest.raises(LapilliError, match=said):
            use(folder)
    assert describe(folder).notes[-1].startswith("its tokenizer is larger than its embedding: of 362 rows, none is for")


def test_a_tokenizer_that_fits_is_not_spoken_of():
    assert "larger" not in " ".join(describe(joined("clip", "qwen2")).notes)


def test_the_rows_of_an_original_are_named(tmp_path):
    folder = with_tokens(original(tmp_path / "original"), [360, 361])
    found = read_checkpoint(folder, Choices("vicuna_v1"))
    (note,) = found.card.notes
    assert note.startswith(
        "tokens added: <new360> (360), <new361> (361), <image> (362), <pad> (363); embeddings of 360"
    )
    table = found.tensors[TABLE].read()
    assert torch.allclose(table[360:], table[:360].mean(dim=0).expand(len(table) - 360, -1), atol=1e-6)


@pytest.mark.parametrize("rows", [350, 370])
def test_head_and_embedding_of_different_lengths_are_refused(tmp_path, rows):
    folder = original(tmp_path / "original")
    file = next(file for file in folder.glob("*.safetensors") if "lm_head.weight" in load_file(file))
    weights = load_file(file)
    weights["lm_head.weight"] = torch.zeros(rows, 48)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(LapilliError, match=rf"the embedding has 360 rows, the head {rows}; fetch the folder again"):
        read_checkpoint(folder, Choices("vicuna_v1"))
    shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    weights[HEAD] = torch.zeros(rows, 48)
    save_file(weights, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LapilliError, match=r"lm_head\.weight of another shape"):
        load(tmp_path / "model")


IDS = [{"pad_token_id": 362}, {"eos_token_id": 99_999}, {"eos_token_id": [2, 400]}, {"bos_token_id": -400}]


@pytest.mark.parametrize("change", IDS)
def test_special_tokens_beyond_the_rows_are_refused(tmp_path, change):
    (field,) = change
    folder = with_settings(copied(tmp_path / "model", joined("clip", "llama")), change)
    for use in (load, codec_of, read_checkpoint):
        with pytest.raises(LapilliError, match=rf"its {field} is -?\d+, but the embedding has 362 rows"):
            use(folder)
    language = with_settings(copied(tmp_path / "language", part("llama")), change)
    with pytest.raises(LapilliError, match=rf"its {field} is -?\d+, but the emb|Padding_idx must be within"):
        join(part("clip"), language)


def test_an_answer_must_be_able_to_end_by_what_is_stored(tmp_path):
    folder = copied(tmp_path / "model", joined("clip", "llama"))
    with_settings(folder, {"eos_token_id": 5_000}, "generation_config.json")
    with pytest.raises(LapilliError, match="its eos_token_id is 5000, but the embedding has 362 rows"):
        load(folder)


BROKEN = [
    ("clip", "vision_model.encoder.layers.1.mlp.fc1.weight", torch.nan),
    ("clip", "vision_model.embeddings.class_embedding", torch.inf),
    ("llama", "model.embed_tokens.weight", torch.nan),
    ("llama", "model.layers.0.self_attn.q_proj.weight", -torch.inf),
]


@pytest.mark.parametrize(("which", "name", "value"), BROKEN)
def test_parts_that_are_no_numbers_are_not_joined(tmp_path, which, name, value):
    folder = copied(tmp_path / which, part(which))
    weights = load_file(folder / "model.safetensors")
    name = next(known for known in weights if known.endswith(name.removeprefix("vision_model.")))
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    parts = {"clip": part("clip"), "llama": part("llama"), which: folder}
    with pytest.raises(LapilliError, match=rf"{which}/model\.safetensors: {name} not finite \(NaN or infinite\)"):
        join(parts["clip"], parts["llama"])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_trained_connector_that_is_no_number_is_not_joined(tmp_path, value):
    write_checkpoint(read_checkpoint(joined("clip", "llama")), tmp_path / "projector", "projector")
    file = tmp_path / "projector/mm_projector.bin"
    weights = torch.load(file)
    weights["model.mm_projector.2.bias"][3] = value
    torch.save(weights, file)
    with pytest.raises(LapilliError, match=r"mm_projector\.bin: model\.mm_projector\.2\.bias not finite"):
        join(part("clip"), part("llama"), file)
