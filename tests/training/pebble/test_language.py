"""The loss against Hugging Face's, what is learned against the texts, and a training of a few steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.small import tokenizer, tokenizer_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from lapilli.core.prompt.template import TEMPLATES
from lapilli.data.scenes.textual import (
    cards,
    comparisons,
    counts,
    pairs,
    reading_sample,
    relations,
    retelling,
    statements,
    two_steps,
)
from lapilli.training.pebble.language import (
    MASTERED,
    LanguageRecipe,
    Lesson,
    _batch,
    _loss,
    _optimizer,
    _rate,
    new_language_model,
    save_language,
    train_language,
)

LESSONS = [Lesson(steps=3, things=1, questions=3, batch_size=6), Lesson(steps=5, things=2, questions=4, batch_size=8)]


def recipe():
    return LanguageRecipe(
        stage="language", out=Path(), tokenizer=tokenizer_folder(), lessons=LESSONS, width=32, layers=2,
        feed_forward=48, learning_rate=5e-2, muon_learning_rate=0.1, log_every=1,
    )  # fmt: skip


ONE_LESSON = replace(recipe(), lessons=LESSONS[:1])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return new_language_model(recipe(), tokenizer())


@pytest.fixture(scope="module")
def batch():
    return _batch(recipe(), LESSONS[1], tokenizer(), 0)


def attention(model, layer, ids):
    """Where the heads of one layer look, (head, query, key), as Hugging Face has it."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), output_attentions=True).attentions[layer][0]


@pytest.fixture(scope="module")
def wide():
    """As wide as pebble-lm, so that its heads see as sharply."""
    torch.manual_seed(3)
    return new_language_model(replace(recipe(), width=128), tokenizer())


def test_the_first_heads_begin_by_looking_one_two_and_three_tokens_back(wide):
    ids = list(range(10, 40))
    for head, distance in enumerate((1, 2, 3)):
        looks = attention(wide, 0, ids)[head]
        assert min(looks[place, place - distance].item() for place in range(8, 30)) > 0.9


def test_the_fourth_head_begins_by_looking_at_a_few_tokens_back(wide):
    looks = attention(wide, 0, list(range(10, 40)))[3]
    for place in range(12, 30):
        assert looks[place, place - 7 : place].sum() > 0.85
        assert looks[place].max() < 0.5


def test_later_heads_begin_by_finding_what_follows_and_what_equals(wide):
    """At the end of "a b c d e b", after the first b; at the end of "a b c d e b f", the first b, and the other one."""
    ids = [10, 11, 12, 13, 14, 11, 99]
    after, equal = attention(wide, 1, ids[:-1])[0, -1], attention(wide, 1, ids)[1, -1]
    assert after.argmax() == 2
    assert set(equal.topk(2).indices.tolist()) == {1, 5}


def test_the_last_head_of_every_second_layer_begins_by_finding_equals_of_the_token_itself(wide):
    """At the end of "a b c b b", all three of them."""
    looks = attention(wide, 1, [10, 11, 12, 11, 11])[3, -1]
    assert set(looks.topk(3).indices.tolist()) == {1, 3, 4}
    assert looks[[1, 3, 4]].sum() > 0.9


def test_layers_but_the_first_begin_by_adding_nothing(wide):
    first, *others = wide.model.layers
    assert first.self_attn.o_proj.weight.any()
    assert not any(layer.self_attn.o_proj.weight.any() or layer.mlp.down_proj.weight.any() for layer in others)


@pytest.mark.parity
def test_the_loss_is_hugging_faces(model, batch):
    with torch.no_grad():
        ours, share = _loss(model, batch)
        theirs = model(input_ids=batch["input_ids"], labels=batch["labels"])
    assert ours.item() == pytest.approx(theirs.loss.item(), rel=1e-5)
    learned = batch["labels"][:, 1:] != -100
    right = theirs.logits[:, :-1].argmax(-1) == batch["labels"][:, 1:]
    assert share == pytest.approx(right[learned].float().mean().item())


def test_the_padding_changes_nothing(model, batch):
    """The loss of the batch is the mean over the learned tokens of its rows, each alone and unpadded."""
    total = tokens = 0.0
    with torch.no_grad():
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            length = int((ids != tokenizer().pad_token_id).sum())
            assert (labels[length:] == -100).all()
            alone = {"input_ids": ids[None, :length], "labels": labels[None, :length]}
            count = int((labels[1:] != -100).sum())
            total += _loss(model, alone)[0].item() * count
            tokens += count
        assert _loss(model, batch)[0].item() == pytest.approx(total / tokens, rel=1e-5)


def test_what_is_learned_of_every_kind_of_text():
    """A row of every kind; the last seven are conversations, whose stops are learned too."""
    kinds = ("paired", "placed", "counted", "stated", "retold", "carded", "related", "reasoned", "compared")
    lesson = replace(LESSONS[1], batch_size=16, **dict.fromkeys(kinds, 1 / 16))
    learned = []
    for labels in _batch(recipe(), lesson, tokenizer(), 4)["labels"]:
        learned.append(tokenizer().decode(labels[labels != -100], clean_up_tokenization_spaces=False))
    seeds, (most, count) = [f"language-0-4-{index}" for index in range(16)], (lesson.things, lesson.questions)
    told = [pairs(seeds[0]), pairs(seeds[1], placed=True), counts(seeds[2], most, count)]
    told += [statements(seeds[3], most, count), retelling(seeds[4], most), cards(seeds[5])]
    told += [relations(seeds[6], most, count), two_steps(seeds[7], most, count), comparisons(seeds[8], count)]
    expected = ["".join(text for text, wanted in pieces if wanted) for pieces in told]
    for seed in seeds[9:]:
        turns = reading_sample(seed, most, count, lesson.kinds).turns
        expected.append("".join(f" {turn.text}</s>" for turn in turns if turn.role == "assistant"))
    assert learned == expected


def test_without_the_systems_words_a_conversation_is_the_same_but_for_them():
    whole, short = (_batch(recipe(), replace(LESSONS[1], system=s), tokenizer(), 0)["input_ids"] for s in (True, False))
    ((opening, _),) = TEMPLATES["vicuna_v1"].opening
    for row, cut in zip(tokenizer().batch_decode(whole), tokenizer().batch_decode(short), strict=True):
        assert row.replace("<pad>", "").replace(opening, "") == cut.replace("<pad>", "")


@pytest.fixture(scope="module")
def trained():
    figures = []

    def report(step, **found):
        figures.append((step, found.get("loss")))

    return train_language(recipe(), tokenizer(), report), figures


def test_a_few_steps_lower_the_loss(trained):
    steps, losses = zip(*(row for row in trained[1] if row[1] is not None), strict=True)
    assert steps == tuple(range(1, 9))
    assert losses[0] == pytest.approx(np.log(len(tokenizer())), rel=0.25)  # nothing is known at first
    assert np.mean(losses[-2:]) < 0.9 * np.mean(losses[:2])


def test_the_same_seed_gives_the_same_weights_and_another_other_ones(trained):
    weights = trained[0].state_dict()
    again = train_language(recipe(), tokenizer(), lambda *_, **__: None).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in again.items())
    other = train_language(replace(recipe(), seed=1), tokenizer(), lambda *_, **__: None).state_dict()
    assert any(not torch.equal(weights[name], value) for name, value in other.items())


def test_every_weight_is_trained_once_and_only_matrices_by_muon(model):
    muon, adamw = (group["params"] for group in _optimizer(model, recipe()).param_groups)
    assert sorted(map(id, muon + adamw)) == sorted(map(id, model.parameters()))
    assert {p.ndim for p in muon} == {2}
    for outside in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert id(outside.weight) in set(map(id, adamw))


def test_a_saved_model_is_what_transformers_reads(trained, tmp_path):
    save_language(trained[0], AutoTokenizer.from_pretrained(tokenizer_folder()), tmp_path)
    loaded, read = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = read("a red circle", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, trained[0].eval()(input_ids=ids).logits)
    text = read.apply_chat_template([{"role": "user", "content": "Hello?"}], tokenize=False, add_generation_prompt=True)
    assert text.endswith("USER: Hello? ASSISTANT:")


def test_the_rate_warms_up_once_and_goes_straight_from_a_lessons_first_to_its_last():
    assert _rate(0, (1.0, 1.0), 0.0) == pytest.approx(1 / 50)
    assert [_rate(step, (1.0, 1.0), 0.5) for step in (49, 500)] == [1.0, 1.0]
    assert [_rate(900, (0.6, 0.2), done) for done in (0.0, 0.25, 1.0)] == pytest.approx([0.6, 0.5, 0.2])


def test_a_lesson_whose_rates_are_zero_changes_nothing():
    still = replace(recipe(), lessons=[LESSONS[0], replace(LESSONS[1], rates=(0.0, 0.0))])
    weights = [train_language(one, tokenizer(), lambda *_, **__: None).state_dict() for one in (ONE_LESSON, still)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_a_lesson_ends_when_it_is_mastered_and_the_next_one_begins():
    """A share of 0 is reached at once, so that the first lesson takes as many steps as count for it."""
    told = []
    easy = replace(LESSONS[0], steps=400, until=0.0)
    lessons = [easy, replace(LESSONS[1], steps=2)]

    def report(step, lesson, **_):
        told.append((step, lesson))

    train_language(replace(recipe(), lessons=lessons), tokenizer(), report)
    assert [step for step, lesson in told if lesson == 1] == [*range(1, MASTERED + 1), MASTERED]
    assert [step for step, lesson in told if lesson == 2] == [MASTERED + 1, MASTERED + 2, MASTERED + 2]
