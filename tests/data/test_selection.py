"""Captions balanced by phrases, mixtures, contamination, and one's own tables."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parts import picture

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.caption_file import _caption_of, filter_captions
from lapilli.data.contamination import overlap, picture_id
from lapilli.data.mix import drawn, merged, mix, read_mixture, split
from lapilli.data.own import import_rows
from lapilli.data.phrases import Balance, by_frequency, chosen_captions, control, phrase_table
from lapilli.data.sample import Sample, Turn, read_samples, write_samples
from lapilli.data.validate import problems

CAPTIONS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=40)


def oracle(captions, balance):
    """The paper's steps one by one, with the generator's draws."""
    rows_of = {}
    for row, phrases in enumerate(captions):
        for phrase in phrases:
            rows_of.setdefault(phrase, [])
            if row not in rows_of[phrase]:
                rows_of[phrase].append(row)
    first = {phrase: (min(rows), position(captions[min(rows)], phrase, rows_of)) for phrase, rows in rows_of.items()}
    generator, pool = np.random.default_rng(balance.seed), set()
    for phrase in sorted(rows_of, key=lambda phrase: (len(rows_of[phrase]), first[phrase])):
        rows = rows_of[phrase]
        if len(rows) < balance.least:
            continue
        if len(rows) > balance.most:
            wanted = balance.most
            if balance.counted:
                wanted = max(0, balance.most - sum(row in pool for row in rows))
                rows = [row for row in rows if row not in pool]
            rows = generator.choice(rows, min(wanted, len(rows)), replace=False, shuffle=False).tolist()
        pool |= set(rows)
    return pool


def position(phrases, phrase, rows_of):
    return list(rows_of).index(phrase)


@pytest.mark.parametrize("counted", [False, True])
@given(captions=CAPTIONS, least=st.integers(1, 4), most=st.integers(1, 6), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_the_choice_is_that_of_the_paper_step_by_step(counted, captions, least, most, seed):
    balance = Balance(least, most, counted, seed)
    chosen = chosen_captions(phrase_table(captions), balance)
    assert set(np.flatnonzero(chosen)) == oracle(captions, balance)


def test_rare_phrases_are_kept_and_frequent_ones_are_cut():
    captions = [["dog"]] * 500 + [["dog", "kite"]] * 5 + [["sloth"]] * 2
    table = phrase_table(captions)
    chosen = chosen_captions(table, Balance())
    assert chosen[500:505].all() and not chosen[505:].any() and 95 <= chosen[:500].sum() <= 100
    random_ = control(len(captions), int(chosen.sum()), 0)
    assert random_.sum() == chosen.sum() and (random_ != chosen).any()
    bands = by_frequency(table, chosen, random_)
    assert [(band.least, band.most, band.phrases, band.before) for band in bands] == [
        (1, 2, 1, 2), (3, 10, 1, 5), (11, 100, 0, 0), (101, 1_000, 1, 505)
    ]  # fmt: skip
    assert [band.after for band in bands] == [0, 5, 0, chosen[:505].sum()]


def test_a_file_of_captions_is_filtered_line_by_line(tmp_path):
    draw = random.Random(0)
    rows = [{"id": str(n), "caption": "ü", "phrases": [f"P{draw.randrange(9) ** 2}"]} for n in range(300)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "c.jsonl").write_text("\n\n".join(lines))
    done = filter_captions(tmp_path / "c.jsonl", tmp_path / "out", Balance(most=20), None, lambda *_: None)
    chosen, random_ = ((tmp_path / "out" / name).read_text().splitlines() for name in ("chosen.jsonl", "control.jsonl"))
    assert len(chosen) == len(random_) == done.chosen == 180 and set(chosen) < set(lines) > set(random_)
    assert chosen == [line for line in lines if line in set(chosen)]
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    filter_captions(tmp_path / "c.jsonl", tmp_path / "again", Balance(most=20), None, lambda *_: None)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.jsonl: no captions"),
        ('{"phrases": ["a"]}\n{"caption": "a"}', "c.jsonl:2: no list of phrases"),
        ('{"phrases": "a"}', "c.jsonl:1: no list of phrases"),
        ('{"phrases": [1]}', "c.jsonl:1: no list of phrases"),
        ("[1]", "c.jsonl:1: no list of phrases"),
        ('{"phrases": ["a"]}\nx', "c.jsonl:2: not JSON"),
        (b'{"phrases": ["\xff"]}', "c.jsonl:1: not UTF-8"),
    ],
)
def test_a_line_without_phrases_is_named_and_nothing_is_written(tmp_path, text, message):
    (tmp_path / "c.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LapilliError, match=message):
        filter_captions(tmp_path / "c.jsonl", tmp_path / "out", Balance(), None, lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_other_files_and_a_missing_spacy_are_refused(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"caption": "A dog."}')
    for name in ("c.csv", "c.json", "nowhere.jsonl"):
        with pytest.raises(LapilliError, match=f"{name}: (not a .jsonl|cannot be read)"):
            filter_captions(tmp_path / name, tmp_path / "out", Balance(), None, lambda *_: None)
    with pytest.raises(LapilliError, match=r"spacy: not installed|--spacy nowhere: no such model"):
        filter_captions(tmp_path / "c.jsonl", tmp_path / "out", Balance(), "nowhere", lambda *_: None)


def sample(name, image, *questions):
    turns = []
    for at, question in enumerate(questions):
        mark = "<image>\n" if image and not at else ""
        turns += [Turn("user", mark + question), Turn("assistant", f"{question[:-1]}!")]
    return Sample(name, (image,) if image else (), tuple(turns))


@pytest.fixture
def sources(tmp_path):
    write_samples(tmp_path / "vqa.json", [sample(str(n), f"{n // 3}.jpg", f"Is it {n}?") for n in range(30)])
    write_samples(tmp_path / "long.json", [sample("a", "1.jpg", *(f"Q{n}?" for n in range(7)))])
    write_samples(tmp_path / "text.jsonl", [sample(str(n), "", f"Say {n}?") for n in range(8)])
    (tmp_path / "mix.yaml").write_text(f"""
seed: 3
sources:
- {{name: vqa, file: {tmp_path}/vqa.json, images: coco, merge: true, format: [One word.], limit: 6}}
- {{name: long, file: {tmp_path}/long.json, turns: 3}}
- {{name: text, file: {tmp_path}/text.jsonl, weight: 1.5}}
""")
    return tmp_path


def test_a_mixture_merges_splits_weighs_and_limits(sources):
    samples, parts = mix(read_mixture(sources / "mix.yaml", []))
    assert [(part.name, part.read, part.taken, part.questions) for part in parts] == [
        ("vqa", 30, 6, 18), ("long", 1, 3, 7), ("text", 8, 12, 12)
    ]  # fmt: skip
    by_id = {one.id: one for one in samples}
    assert len(by_id) == 21
    vqa = next(one for one in samples if one.id.startswith("vqa/"))
    assert vqa.images[0].startswith("coco/") and len(vqa.turns) == 6
    assert vqa.turns[0].text.startswith("<image>\nIs it ") and vqa.turns[0].text.endswith("?\nOne word.")
    assert "One word." not in vqa.turns[2].text and "<image>" not in vqa.turns[2].text
    assert [len(by_id[f"long/a-{n}"].turns) for n in range(3)] == [6, 6, 2]
    assert all(by_id[f"long/a-{n}"].turns[0].text.startswith("<image>\n") for n in range(3))
    write_samples(sources / "out.json", samples)
    assert problems(sources / "out.json", None) == []
    assert mix(read_mixture(sources / "mix.yaml", []))[0] == samples
    assert [one.id for one in mix(read_mixture(sources / "mix.yaml", ["seed=4"]))[0]] != [one.id for one in samples]


def test_merging_and_splitting_lose_no_question():
    some = [sample(str(n), f"{n % 4}.jpg", f"A{n}?", f"B{n}?") for n in range(9)] + [
        sample("t", "", "C?"),
        sample("u", "", "D?"),
    ]
    together = merged(some)
    texts = lambda rows: sorted(t.text.removeprefix("<image>\n") for one in rows for t in one.turns)  # noqa: E731
    assert len(together) == 6 and texts(together) == texts(some)
    apart = [part for one in together for part in split(one, 1)]
    assert texts(apart) == texts(some) and all(len(one.turns) == 2 for one in apart)
    assert all(("<image>" in one.turns[0].text) == bool(one.images) for one in apart)


def test_the_published_mixture_is_read():
    mixture = read_mixture(Path("data/mixtures/mix665k.yaml"), [])
    assert len(mixture.sources) == 10 and mixture.sources[5].limit == 80_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: []", "sources: none"),
        ("sources: 3", "sources"),
        ("seed: 1", "sources"),
        ("sources: [{name: a, file: a.json}, {name: a, file: b.json}]", "two are called 'a'"),
        ("sources: [{name: a, file: a.json, weight: 0}]", "weight"),
        ("sources: [{name: a, file: a.json, turns: 0}]", "a: turns 0: at least 1"),
        ("sources: [{name: a, file: a.json, limit: -3}]", "a: limit -3: at least 1"),
        ("sources: [{name: a, file: a.json, weigth: 2}]", "weigth"),
    ],
)
def test_what_is_wrong_in_a_mixture_is_named(tmp_path, text, message):
    (tmp_path / "mix.yaml").write_text(text)
    with pytest.raises(UsageError, match=f"mix.yaml.*{message}"):
        read_mixture(tmp_path / "mix.yaml", [])


def test_cocos_pictures_are_the_same_under_all_their_names(tmp_path):
    names = ("COCO_val2014_000000441147.jpg", "coco/train2017/000000441147.jpg", "000000441147.png")
    assert {picture_id(name) for name in names} == {"000000441147"}
    assert picture_id("a/B.jpg") == "b" != picture_id("441147.jpg")
    samples = [
        sample("a", names[1], "What color is it?"),
        sample("b", "other.jpg", "What?"),
        sample("c", names[2], "Why?"),
    ]
    (tmp_path / "eval.jsonl").write_text(json.dumps({"image": names[0], "text": "what color  is it"}) + "\n")
    shared = overlap(samples, tmp_path / "eval.jsonl")
    assert (shared.rows, shared.pictures, shared.questions) == (1, (0, 2), (0,))
    (tmp_path / "eval.jsonl").write_text('{"image": "a.jpg"}\n{"text": "What?"}\n')
    with pytest.raises(LapilliError, match=r"eval.jsonl, row 1: no picture is named"):
        overlap(samples, tmp_path / "eval.jsonl")


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "images").mkdir()
    for n in range(20):
        picture(n).save(tmp_path / f"images/{n}.png")
    return tmp_path


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_table_of_ones_own_becomes_samples_split_by_picture(pictures, ending):
    rows = [{"image": f"{n % 20}.png", "question": f"What, {n}?", "answer": f'It "is" {n}.'} for n in range(50)]
    if ending == "csv":
        cells = ['{image};"{question}";"{0}"'.format(row["answer"].replace('"', '""'), **row) for row in rows]
        (pictures / "own.csv").write_text("image;question;answer\n" + "\n".join(cells))
    else:
        (pictures / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = import_rows(pictures / f"own.{ending}", pictures / "images", pictures / "out", 0.2, 0)
    train, aside = (read_samples(pictures / f"out/{name}.json") for name in ("train", "validation"))
    assert (
        (made.pictures, made.questions, made.train, made.validation)
        == (20, 50, len(train), len(aside))
        == (20, 50, 16, 4)
    )
    assert not {one.images for one in train} & {one.images for one in aside}
    texts = {turn.text.removeprefix("<image>\n") for one in train + aside for turn in one.turns}
    assert texts == {row[name] for row in rows for name in ("question", "answer")}
    assert problems(pictures / "out/train.json", pictures / "images") == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("own.csv", "image,question\n0.png,What?\n", "no column answer among 'image', 'question'"),
        ("own.csv", "image,question,answer\n0.png,,x\n", "line 2: no question"),
        ("own.csv", "image,question,answer\n0.png,What?,\n", "line 2: no answer"),
        ("own.csv", "image,question,answer\nno.png,What?,x\n", "line 2: image: 'no.png': no such file"),
        ("own.csv", "image,question,answer\n../own.csv,What?,x\n", "line 2: image: .*leads out"),
        ("own.csv", "image,question,answer\n0.png,<image> What?,x\n", "line 2: question .* holds <image>"),
        ("own.csv", "image,question,answer\n", "no rows"),
        (
            "own.jsonl",
            '{"image": "0.png", "question": "What?", "answer": 3}',
            ":1: answer '3' is no text; put it in quotes",
        ),
        ("own.jsonl", '{"image": "0.png", "question": "What?", "answer": NaN}', ":1: answer 'nan' is no text"),
        ("own.jsonl", '{"image": "0.png", "question": "What?"}', ":1: no answer"),
        ("own.jsonl", "[]", ":1: no image"),
        ("own.jsonl", '{"image": "0.png", "question": "\\ud800", "answer": "x"}', "half a character"),
        ("own.csv", "image,question,answer\n0.png,What\x00?,x\n", r"line 2: question .* the control character U\+0000"),
        ("own.jsonl", '{"image": "0.png", "question": "What?", "answer": "\\u001b[31m"}', r"answer .*U\+001B"),
        ("own.csv", "sep=;\nimage;question\n", "no column answer"),
        ("own.txt", "", "ending '.txt'"),
        (
            "spoilt.csv",
            "image,question,answer\nspoilt.png,What?,x\n",
            "line 2: image: 'spoilt.png': not a picture|spoilt",
        ),
    ],
)
def test_what_is_wrong_in_a_table_is_named_and_nothing_is_written(pictures, name, text, message):
    (pictures / name).write_text(text)
    (pictures / "images/spoilt.png").write_text("no picture")
    with pytest.raises(LapilliError, match=f"{name}.*{message}"):
        import_rows(pictures / name, pictures / "images", pictures / "out", 0.2, 0)
    assert not (pictures / "out").exists()


@pytest.mark.parametrize(("asked", "most"), [(15, 10), (3, 10), (10, 10), (12, 1)])
def test_a_conversation_is_cut_to_questions_that_are_drawn(asked, most):
    whole = merged([sample(f"{at}", "a.jpg", f"q{at}") for at in range(asked)])[0]
    cut = drawn(whole, most, random.Random(0))
    texts = [turn.text.removeprefix("<image>\n") for turn in cut.turns]
    before = [turn.text.removeprefix("<image>\n") for turn in whole.turns]
    pairs = list(zip(before[::2], before[1::2], strict=True))
    kept = list(zip(texts[::2], texts[1::2], strict=True))
    assert len(kept) == min(asked, most) and [pair for pair in pairs if pair in kept] == kept
    assert [turn.text.count("<image>") for turn in cut.turns] == [1] + [0] * (len(cut.turns) - 1)
    assert asked <= most or kept != pairs[:most]


def test_the_published_mixture_draws_ten_annotations_of_a_picture():
    file = Path(__file__).parents[2] / "src/lapilli/data/mixtures/mix665k.yaml"
    sources = {source.name: source for source in read_mixture(file, []).sources}
    assert (sources["vg"].draw, sources["vg"].turns) == (10, None)
    assert (sources["refcoco"].draw, sources["refcoco"].turns) == (None, 9)


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("head", ["sep=SIGN", "sep=SIGNSIGN", '"sep=SIGN"', '"sep=SIGN"SIGNSIGN'])
def test_the_line_that_names_the_separator_is_no_row(pictures, sign, break_, head):
    lines = [head.replace("SIGN", sign)]
    lines += [sign.join(("image", "question", "answer")), sign.join(("0.png", "What?", "A; b"))]
    if sign == ";":
        lines[-1] = '0.png;What?;"A; b"'
    (pictures / "own.csv").write_bytes(break_.join(lines).encode("utf-8-sig"))
    import_rows(pictures / "own.csv", pictures / "images", pictures / "out", 0, 0)
    assert read_samples(pictures / "out/train.json")[0].turns[1].text == "A; b"


def names_of_one_picture(folder):
    """Ways to name one picture: a longer path, a link, a copy, and the same letters in another Unicode form."""
    (folder / "images/sub").mkdir()
    (folder / "images/1.png").rename(folder / "images/caf\u00e9.png")
    (folder / "images/link.png").symlink_to("caf\u00e9.png")
    (folder / "images/sub/copy.png").write_bytes((folder / "images/caf\u00e9.png").read_bytes())
    return ["caf\u00e9.png", "./caf\u00e9.png", "sub/../caf\u00e9.png", "cafe\u0301.png", "link.png", "sub/copy.png"]


@pytest.mark.parametrize("seed", range(4))
def test_all_names_of_a_picture_are_on_one_side(pictures, seed):
    names = names_of_one_picture(pictures)
    rows = [f"{name},What, {at}?,It is {at}." for at, name in enumerate(names)] + ["2.png,What?,Two.", "3.png,Who?,Me."]
    text = "image,question,answer\n" + "\n".join(row.replace("What, ", "What ") for row in rows)
    (pictures / "own.csv").write_text(text, encoding="utf-8-sig")
    made = import_rows(pictures / "own.csv", pictures / "images", pictures / "out", 0.4, seed)
    train, aside = (read_samples(pictures / f"out/{name}.json") for name in ("train", "validation"))
    assert (made.pictures, made.copies, made.questions, len(train) + len(aside)) == (3, 5, 8, 3)
    (whole,) = (one for one in train + aside if one.images == (names[0],))
    assert [turn.text.removeprefix("<image>\n") for turn in whole.turns[::2]] == [f"What {at}?" for at in range(6)]
    assert problems(pictures / "out/train.json", pictures / "images") == []


def test_an_occupied_folder_is_refused_before_anything_is_read(pictures):
    (pictures / "c.jsonl").write_text('{"phrases": 3}')
    (pictures / "own.csv").write_text("image,question\n")
    with pytest.raises(LapilliError, match="images: the folder exists and is not empty"):
        filter_captions(pictures / "c.jsonl", pictures / "images", Balance(), None, lambda *_: None)
    with pytest.raises(LapilliError, match="images: the folder exists and is not empty"):
        import_rows(pictures / "own.csv", pictures / "images", pictures / "images", 0.2, 0)


@pytest.mark.parametrize("more", ["", '{"phrases": ["a"]}\n' * 9])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, more, monkeypatch):
    file = tmp_path / "c.jsonl"
    file.write_text('{"phrases": ["a"]}\n' * 5)
    choose = chosen_captions

    def change(table, balance):
        file.write_text(more)
        return choose(table, balance)

    monkeypatch.setattr("lapilli.data.caption_file.chosen_captions", change)
    with pytest.raises(LapilliError, match=r"c.jsonl: changed while it was read; run the command again"):
        filter_captions(file, tmp_path / "out", Balance(), None, lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_a_phrase_in_two_unicode_forms_is_one(tmp_path):
    rows = [{"phrases": [form]} for form in ("caf\u00e9", "cafe\u0301", "CAFE\u0301 ")]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    done = filter_captions(tmp_path / "c.jsonl", tmp_path / "out", Balance(), None, lambda *_: None)
    assert (done.phrases, done.chosen) == (1, 3)


def test_phrases_may_count_as_they_are_written(tmp_path):
    (tmp_path / "c.jsonl").write_text(
        "".join(json.dumps({"phrases": [one]}) + "\n" for one in ("Kite", "kite", "kite "))
    )
    plain = filter_captions(tmp_path / "c.jsonl", tmp_path / "plain", Balance(), None, lambda *_: None)
    written = filter_captions(tmp_path / "c.jsonl", tmp_path / "w", Balance(), None, lambda *_: None, as_written=True)
    assert (plain.phrases, plain.chosen, written.phrases, written.chosen) == (1, 3, 2, 0)
    assert json.loads((tmp_path / "w/report.json").read_text())["as_written"] is True


def test_a_caption_is_composed_and_on_one_line():
    """So that its phrases are those of the same caption in other forms; it needs no model."""
    forms = ("A caf\u00e9 table", "A cafe\u0301\n table ")
    assert {_caption_of(("c.jsonl:1", {"caption": form})) for form in forms} == {"A caf\u00e9 table"}
