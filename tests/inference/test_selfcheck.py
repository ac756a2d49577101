"""Every check of `lapilli doctor` holds for a sound model, and fails for one harmed in the way it looks for."""

import json
import shutil
from dataclasses import replace
from itertools import islice

import pytest
import torch
from tests.core.prompt.chat_templates import ENDED, LLAVA_HF, SPECIAL
from tests.parts import joined, part
from transformers import AutoTokenizer

from lapilli.core.prompt.template import template_named
from lapilli.inference import chat
from lapilli.inference.selfcheck import self_check
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.llava import join, load, save


def failed(llava):
    return [finding.name for finding in self_check(llava) if not finding.holds]


@pytest.mark.parametrize("connector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_a_sound_model_passes(pair, connector):
    findings = list(self_check(load(joined(*pair, connector))))
    assert len(findings) == 8
    assert [finding for finding in findings if not finding.holds] == []


def test_a_model_for_captions_passes():
    llava = load(joined("clip", "llama"))
    plain = replace(llava, card=replace(llava.card, template="plain"))
    plain.processor.chat_template = template_named("plain").jinja()
    plain.model.generation_config.eos_token_id = plain.stop_id
    assert failed(plain) == []


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(joined("clip", "llama"), tmp_path / "model")


def _edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_template_that_others_would_render_otherwise(folder):
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("curious user", "curious human"))
    assert failed(load(folder)) == ["template = the stored one", "tokens = the processor's"]


def test_a_processor_that_counts_one_token_too_few(folder):
    _edit(folder / "processor_config.json", num_additional_image_tokens=0)
    assert failed(load(folder)) == ["tokens = the processor's", "the same by transformers"]


def test_an_end_that_others_do_not_know(folder):
    _edit(folder / "generation_config.json", eos_token_id=7)
    assert failed(load(folder)) == ["an answer's end is stored"]


def test_an_encoder_of_another_grid():
    llava = load(joined("clip", "llama"))
    llava.model.config.vision_feature_select_strategy = "full"  # keeps the class token
    assert "<image> tokens = features" in failed(llava)


def test_weights_that_are_no_numbers():
    llava = load(joined("clip", "llama"))
    llava.model.lm_head.weight.data[3, 3] = torch.nan
    (finding, *_) = self_check(llava)
    assert (finding.name, finding.holds) == ("weights are numbers", False)
    assert finding.detail == "NaN or infinity in lm_head.weight: fetch them again"


def test_a_chat_that_does_not_forget_what_was_answered(monkeypatch):
    """A memory that keeps what it should have forgotten answers otherwise."""
    llava = load(joined("clip", "llama"))
    monkeypatch.setattr(chat.CachedSequence, "truncate", lambda *_: None)
    assert failed(llava) == ["chat = ask"]


def test_a_folder_that_pads_behind_its_prompts_is_mended_as_it_is_read(folder):
    _edit(folder / "tokenizer_config.json", padding_side="right")
    llava = load(folder)
    assert failed(llava) == []
    llava.processor.tokenizer.padding_side = "right"
    assert failed(llava) == ["the same by transformers"]


RAISING = {
    "a TypeError": "{{ 'x' + messages[0]['content'] }}",
    "its own exception": "{{ raise_exception('no pictures') }}",
    "an undefined name": "{{ nobody.knows }}",
    "a syntax error": "{% for m in messages %}",
    "a division": "{{ 1 // 0 }}",
    "an endless recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


def first_failed(llava):
    """Those of the first four checks, which need no answer."""
    return [finding.name for finding in islice(self_check(llava), 4) if not finding.holds]


def test_a_stored_template_that_raises_is_a_finding():
    llava = load(joined("clip", "llama"))
    for template in RAISING.values():
        llava.processor.chat_template = template
        assert first_failed(llava) == ["template = the stored one", "tokens = the processor's"], template
    assert failed(llava) == ["template = the stored one", "tokens = the processor's", "the same by transformers"]


@pytest.mark.parametrize("name", [*ENDED, "llava-hf"])
def test_any_template_of_a_tokenizer_s_own_passes(tmp_path, name):
    language = shutil.copytree(part("llama"), tmp_path / "llama")
    tokenizer = AutoTokenizer.from_pretrained(language)
    tokenizer.add_tokens(SPECIAL, special_tokens=True)
    tokenizer.chat_template = ENDED.get(name, LLAVA_HF)
    tokenizer.save_pretrained(language)
    save(join(part("clip"), language, template="own"), tmp_path / "model")
    assert first_failed(load(tmp_path / "model")) == []


def test_a_template_of_strings_that_was_stored_bare_is_named_and_mended(tmp_path):
    language = shutil.copytree(part("qwen2"), tmp_path / "qwen2")
    bare = "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
    (language / "chat_template.jinja").write_text(bare)
    save(join(part("clip"), language, template="own"), tmp_path / "model")
    (tmp_path / "model/chat_template.jinja").write_text(bare)
    assert first_failed(load(tmp_path / "model")) == ["template = the stored one", "tokens = the processor's"]
    write_checkpoint(read_checkpoint(tmp_path / "model"), tmp_path / "mended")
    assert failed(load(tmp_path / "mended")) == []
