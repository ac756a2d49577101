"""The example of a study, which CONTRIBUTING names, does what it says."""

import json

from PIL import Image
from tests.parts import IMAGE_SIZE, joined
from tests.studies import toy


def test_two_models_are_compared_and_what_is_done_is_not_done_again(tmp_path):
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    rows = []
    for number in range(12):
        Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (number * 20, 90, 255 - number * 20)).save(
            data / f"images/{number}.png"
        )
        rows.append({"id": str(number), "image": f"{number}.png", "question": "What color is it?", "answer": "red"})
    (data / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = {"base": joined("clip", "llama"), "tuned": joined("clip", "llama", "linear")}
    steps = []
    run = toy.study(tmp_path / "run", models, data, lambda *words: steps.append(words[0]))
    assert list(dict.fromkeys(steps)) == ["base: states", "tuned: states", "similarity"]
    run.verify()
    assert {(row["position"], row["n"]) for row in run.load(toy.RESULT)} == {("image_mean", 12), ("question_end", 12)}
    by_site = {(row["position"], row["site"]): row["value"] for row in run.load(toy.RESULT)}
    assert by_site["question_end", "llm.layers.0.resid_pre"] is None  # the same token everywhere: nothing varies
    assert 0.2 < by_site["image_mean", "llm.final_norm"] < 1
    toy.write_page(run, tmp_path / "page.html")
    assert "Linear CKA over depth" in (tmp_path / "page.html").read_text()
    before = run.product(toy.RESULT).stat().st_mtime_ns
    toy.study(tmp_path / "run", models, data, lambda *_: None)
    assert run.product(toy.RESULT).stat().st_mtime_ns == before
