"""A model's answers to the questions of benchmarks, and what is kept of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from lapilli.core.errors import LapilliError
from lapilli.core.files import sha256, write_atomically
from lapilli.core.placement import Placement
from lapilli.core.plain import json_text, plain
from lapilli.core.progress import Progress
from lapilli.core.read import parsed
from lapilli.core.run import RunDir
from lapilli.data.questions import fingerprint, picture_sizes
from lapilli.evaluation.answer_log import WHOLE, AnswerLog
from lapilli.evaluation.asking import Answerer, Result, ask_rounds, evaluate, opener
from lapilli.evaluation.benchmark import Benchmark, Response
from lapilli.inference.answer import answerer_of
from lapilli.inference.choice import chooser_of
from lapilli.inference.history import holdable
from lapilli.inference.likelihood import token_losses
from lapilli.model.checkpoints.adapter import base_of, is_adapter
from lapilli.model.hub import recorded
from lapilli.model.llava import Llava, load
from lapilli.model.parts import origin
from lapilli.report.evaluation.page import pictured
from lapilli.report.kit.pictures import thumbnail

PARTS = ("scores", "constants", "tables", "pictures", "answers")
"""The results of an evaluation, each a list of rows with the name of their benchmark."""

_MAY_DIFFER = ("", "shard", "model", "data", "images")
"""Between the recipes of shards: machines have other folders, and checksums say what is in them."""

_BESIDE_WEIGHTS = (".json", ".jinja", ".model", ".txt", ".bin")  # .bin: what an adapter has trained beside its pairs

Rows: TypeAlias = list[dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """What decides the figures of an evaluation: `count` questions of every type of the benchmarks, asked of `model`.

    With `choose` a question's answer is the likeliest of its benchmark's choices, and none is generated. With `shard`,
    (part, parts), only this part of the questions is asked, and nothing is scored.

    Without `data` the questions are drawn, once for benchmarks that draw the same; `seed` is that of the drawing.
    """

    model: Path
    benchmarks: Sequence[Benchmark[Any]]
    data: Path | None
    count: int
    seed: int
    placement: Placement
    choose: bool = False
    shard: tuple[int, int] = WHOLE

    @property
    def is_shard(self) -> bool:
        """Whether a part of the questions is asked, so that nothing can be scored."""
        return self.shard != WHOLE


def begin(out: Path, of: Settings, own: Mapping[str, Any], shards: Sequence[Path] = ()) -> tuple[RunDir, list[RunDir]]:
    """The run folder of an evaluation, new, interrupted or finished, and those of its shards.

    `own` is what its recipe says of own questions. Raises LapilliError as `RunDir.begin` does, and for a folder that is
    no shard of this evaluation.
    """
    recipe = _recipe(of, own)
    others = [RunDir.open(shard) for shard in shards]
    for other in others:
        if differing := [name for name in other.differing(recipe).split(", ") if name not in _MAY_DIFFER]:
            raise LapilliError(f"{other.path}: a shard of another evaluation ({', '.join(differing)}); leave it out")
    return RunDir.begin(out, recipe, of.seed), others


def _recipe(of: Settings, own: Mapping[str, Any]) -> dict[str, Any]:
    part, parts = of.shard
    return {
        "model": recorded(of.model),
        "weights": origin(of.model).sha256,
        "model_files": model_files(of.model),
        "benches": [benchmark.name for benchmark in of.benchmarks],
        "data": of.data.resolve() if of.data else None,
        "questions": of.count,
        "seed": of.seed,
        **({"choose": True} if of.choose else {}),
        **({"shard": f"{part + 1}/{parts}"} if of.is_shard else {}),
        "inputs": _inputs(of),
        **own,
    }


def model_files(model: Path) -> dict[str, str]:
    """The SHA-256 of all else that answers depend on: templates, tokenizer, preparation; of an adapter's base, weights.

    Training and card are recorded in such files too, so that a copy of a model's folder is the same model, and one that
    was trained again to the same weights is not.
    """
    files = {file.name: file for file in model.iterdir() if file.suffix in _BESIDE_WEIGHTS}
    if is_adapter(model):
        suffixes = (*_BESIDE_WEIGHTS, ".safetensors")
        files |= {f"base/{file.name}": file for file in base_of(model).iterdir() if file.suffix in suffixes}
    return {name: sha256(file) for name, file in sorted(files.items()) if file.is_file()}


def _inputs(of: Settings) -> dict[str, str]:
    """The SHA-256 of what is read: of every split of the data folder, and of the pictures of own questions."""
    inputs: dict[str, str] = {}
    for benchmark in of.benchmarks:
        if benchmark.pictures:
            names = (question.image for question in benchmark.read(benchmark.pictures, "", of.count))
            inputs[benchmark.name] = picture_sizes(benchmark.pictures, names)
        elif benchmark.inputs and of.data:
            inputs |= {f"{benchmark.name}/{name}": digest for name, digest in benchmark.inputs(of.data).items()}
            if benchmark.open_picture:  # which are in the files
                continue
            named = (question.image for question in benchmark.read(of.data, "", of.count) if question.image)
            inputs[f"{benchmark.name}/{benchmark.picture_folder}"] = picture_sizes(benchmark.images(of.data), named)
        elif of.data:
            inputs |= {split: fingerprint(of.data / split) for split in benchmark.splits}
    return inputs


def saved(run: RunDir) -> dict[str, Rows]:
    """The rows of a finished evaluation."""
    return {part: run.load(part) for part in PARTS}


def evaluate_model(
    of: Settings, progress: Progress, run: RunDir | None = None, shards: Sequence[RunDir] = ()
) -> dict[str, Rows]:
    """Ask a model the questions, and return the rows of all `PARTS`; none for a shard.

    With `run` every answer is written there as it is given, what it or one of `shards` has is not asked again, and all
    parts are saved.
    """
    parts: dict[str, Rows] = {}
    with TemporaryDirectory() as drawn:
        folders = _folders(of, Path(drawn), progress)
        llava = load(of.model, of.placement)
        _save_questions(of, folders, run, shards)
        log = AnswerLog(run, progress, of.shard, shards)
        for benchmark in of.benchmarks:
            folder = folders[benchmark.draw]
            answer = _answerer(of, benchmark, llava, folder)
            if of.is_shard:
                ask_rounds(benchmark, folder, of.count, answer, keep=log.answerer)
                continue
            likelihood = partial(token_losses, llava)
            result = evaluate(benchmark, folder, of.count, answer, log.answerer, likelihood=likelihood)
            for part, rows in _parts(benchmark, result, folder).items():
                parts.setdefault(part, []).extend({"benchmark": benchmark.name, **plain(row)} for row in rows)
            if run and benchmark.answer_file:
                name, content = benchmark.answer_file(result.responses)
                write_atomically(run.path / name, content)
    if run:
        run.save("asked", _conditions(llava, of.benchmarks, of.choose))
        for part, rows in parts.items():
            run.save(part, rows)
    return parts


def _conditions(llava: Llava, benchmarks: Sequence[Benchmark[Any]], choose: bool) -> dict[str, Any]:
    """What decides an answer beside the question and the weights: template, preparation of pictures, decoding."""
    preparation = llava.processor.image_processor.to_json_string()
    return {
        "template": llava.template,
        "preparation": parsed(preparation, "the image processor", "save the model again"),
        "decoding": "likeliest choice" if choose else "greedy",
        "answer_tokens": {benchmark.name: benchmark.answer_tokens for benchmark in benchmarks},
    }


def _answerer(of: Settings, benchmark: Benchmark[Any], llava: Llava, folder: Path) -> Answerer:
    if benchmark.conversation:
        answer = answerer_of(llava, benchmark.answer_tokens)
        return lambda samples, pictures: answer([holdable(llava, sample) for sample in samples], pictures)
    if not (of.choose and benchmark.choices):
        return answerer_of(llava, benchmark.answer_tokens)
    questions = [one for split in benchmark.splits for one in benchmark.read(folder / split, split, of.count)]
    return chooser_of(llava, {question.id: benchmark.choices(question) for question in questions})


def _folders(of: Settings, drawn: Path, progress: Progress) -> dict[Any, Path]:
    """The data folders by what draws them, which is done in `drawn` unless there is one."""
    folders: dict[Any, Path] = {}
    for draw in dict.fromkeys(benchmark.draw for benchmark in of.benchmarks):
        folders[draw] = of.data or drawn / str(len(folders))
        if draw and not of.data:
            folders[draw].mkdir()
            draw(folders[draw], of.count, of.seed, progress)
    return folders


def _drawn_questions(of: Settings, folders: Mapping[Any, Path]) -> dict[str, str]:
    """The SHA-256 of every split's questions that are in no file: another version may draw others from the same seed.

    Of their pictures it covers the names and sizes.
    """
    digests: dict[str, str] = {}
    for benchmark in of.benchmarks:
        if benchmark.pictures or (of.data and benchmark.needs_data):
            continue
        for split in benchmark.splits:
            folder = folders[benchmark.draw] / split
            questions = benchmark.read(folder, split, of.count)
            sizes = picture_sizes(benchmark.images(folder), (one.image for one in questions if one.image))
            text = json_text([sizes, [[plain(one), benchmark.prompt(one)] for one in questions]])
            digests[f"{benchmark.name}/{split}"] = hashlib.sha256(text.encode()).hexdigest()
    return digests


def _save_questions(of: Settings, folders: Mapping[Any, Path], run: RunDir | None, shards: Sequence[RunDir]) -> None:
    """Save the checksums of drawn questions. Raises LapilliError as `_require_same`, and then nothing is saved."""
    questions = _drawn_questions(of, folders)
    if run and questions:
        for other in (run, *shards):
            _require_same(other, questions)
        run.save("questions", questions)


def _require_same(run: RunDir, questions: Mapping[str, str]) -> None:
    """Raise LapilliError where other questions than these were asked in a run, or it does not say which."""
    before = run.load("questions") if run.has("questions") else {}
    others = [name for name, digest in questions.items() if before.get(name) != digest]
    if others and run.metrics():
        remedy = "use the version that drew them, or leave it out"
        raise LapilliError(f"{run.path}: its questions are not those drawn here ({', '.join(others)}); {remedy}")


def _parts(benchmark: Benchmark[Any], result: Result, folder: Path) -> dict[str, Sequence[Any]]:
    answers = [_answer(benchmark, response) for response in result.responses]
    return {
        "scores": result.scores,
        "constants": result.constants,
        "tables": [benchmark.table(result.scores, result.constants)],
        "pictures": _thumbnails(benchmark, pictured(answers), folder),
        "answers": answers,
    }


def _answer(benchmark: Benchmark[Any], response: Response[Any]) -> dict[str, Any]:
    """An answer as it was given and as it was read, with what was asked and, where answers are right or wrong, that."""
    row = {
        "question": plain(response.question),
        "condition": response.condition,
        "prompt": benchmark.prompt(response.question),
        "given": response.answer,
        "normalised": benchmark.normalise(response.answer),
    }
    if benchmark.is_right and benchmark.expected:
        row |= {"right": benchmark.is_right(response), "expected": list(benchmark.expected(response.question))}
    return row


def _thumbnails(benchmark: Benchmark[Any], answers: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, str]]:
    """The pictures of answers, each once, small enough for a page of many."""
    names = dict.fromkeys((row["question"].get("split", ""), row["question"]["image"]) for row in answers)
    return [
        {"split": split, "image": name, "uri": thumbnail(opener(benchmark, folder / split)(name))}
        for split, name in names
        if name
    ]
