"""What a small language model behind a real server makes of the data engine and of the judge.

    python benchmarks/served.py --contexts CONTEXTS.jsonl --questions Q.jsonl --answers A.jsonl [--count 20] [--out DIR]

SmolLM2-135M-Instruct, as `lapilli model fetch smollm2` has it, behind `transformers serve` on this machine; the
environment is lapilli's with [dev]. It is far too small a model for either task: what is tried is the way there and
back. --base-url takes a server that runs already instead, such as llama.cpp's with the fetched file. --out keeps the
folders of both, and a second run goes on there.

generation  `lapilli data generate --kind all` for --count contexts, spread over the file: how many samples were made,
            set aside and flagged, by kind, and examples of both
judging     `lapilli judge` on --count pairs of an answer (--answers) and that to the next question as its reference,
            by the published procedure and in both orders: the share of parsed judgements, and how often the right
            answer is preferred. The control of the first is the same with the answers as their own references.

Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clients.children.serve import server

from lapilli.core.files import new_folder, write_atomically
from lapilli.data.generation.output import REJECTED, SAMPLES
from lapilli.model.fetched import fetch
from lapilli.model.gguf_language import read_gguf

EXAMPLES = 3  # of either end that are printed
PROGRAM = "import sys; from lapilli.cli import run; sys.exit(run(sys.argv[1:]))"
SETTINGS = ("deadline=600", "max_tokens=320")
SHORT = ("--set", "max_tokens=64")  # the published procedure has both scores in the first line


def main() -> None:
    """Serve the model, try both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("contexts", "questions", "answers"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--only", choices=("generation", "judging"), help="one of both; both, if not given")
    parser.add_argument("--base-url", help="a server that runs already; its model is called smollm2")
    parser.add_argument("--out", type=Path, help="where everything is kept; a temporary folder, if not given")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        with endpoint(options.base_url, out) as server_arguments:
            found: dict[str, Any] = {}
            if options.only != "judging":
                found["generation"] = generated(server_arguments, spread(options.contexts, options.count), out)
            if options.only != "generation":
                found["judging"] = judged(server_arguments, options.questions, options.answers, options.count, out)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    if options.json:
        write_atomically(options.json, text + "\n")


@contextmanager
def endpoint(base_url: str | None, out: Path) -> Iterator[list[str]]:
    """The options of both commands that name the server and its model."""
    if base_url:
        yield ["--model", "smollm2", "--base-url", base_url, "--set", "concurrency=1"]
        return
    model = language_model(out / "smollm2")
    with server(str(model)) as url:
        yield ["--model", str(model), "--base-url", f"{url}/v1", "--set", "concurrency=1"]  # it takes one at a time


def language_model(folder: Path) -> Path:
    """The fetched model as a folder that transformers serves."""
    if not folder.is_dir():
        language = read_gguf(fetch("smollm2"))
        with new_folder(folder) as unfinished:
            language.model.save_pretrained(unfinished)
            language.tokenizer.save_pretrained(unfinished)
    return folder


def spread(file: Path, count: int) -> list[str]:
    """So many lines of a file, as far from each other as can be."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    return [lines[len(lines) * index // count] for index in range(count)]


def generated(endpoint: list[str], contexts: list[str], out: Path) -> dict[str, Any]:
    """What the data engine reports, its seconds, and an example of either end."""
    chosen, folder = out / "contexts.jsonl", out / "generated"
    write_atomically(chosen, "\n".join(contexts) + "\n")
    begun = time.perf_counter()
    report = command("data", "generate", chosen, "--kind", "all", "--out", folder, *endpoint)
    accepted = json.loads((folder / SAMPLES).read_text(encoding="utf-8"))[:EXAMPLES]
    rejected = [json.loads(line) for line in (folder / REJECTED).read_text(encoding="utf-8").splitlines()[:EXAMPLES]]
    seconds = time.perf_counter() - begun
    return {
        "contexts": len(contexts), "seconds": seconds, "report": report, "accepted": accepted, "rejected": rejected,
    }  # fmt: skip


def judged(endpoint: list[str], questions: Path, answers: Path, count: int, out: Path) -> dict[str, Any]:
    """The figures of right answers against those to other questions, and of answers against themselves."""
    chosen = [json.loads(line) for line in spread(questions, count)]
    texts = {row["question_id"]: row["text"] for row in map(json.loads, answers.read_text("utf-8").splitlines())}
    right = [texts[question["question_id"]] for question in chosen]
    tables = {"questions": chosen}
    for name, column in (("right", right), ("shifted", right[1:] + right[:1])):
        tables[name] = [
            {"question_id": question["question_id"], "text": text}
            for question, text in zip(chosen, column, strict=True)
        ]
    for name, rows in tables.items():
        write_atomically(out / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    pairs = ("judge", out / "questions.jsonl", "--answers", out / "right.jsonl", *endpoint)

    def judgement(name: str, *procedure: object) -> Any:
        folder = out / "-".join(["judged", name, *map(str, procedure[:1])])
        return command(*pairs, "--references", out / f"{name}.jsonl", "--out", folder, *procedure)

    return {
        "published": {name: judgement(name, "--published", *SHORT) for name in ("shifted", "right")},
        "balanced": {"shifted": judgement("shifted", "--samples", 1)},
    }


def command(*words: object) -> Any:
    """What a command of lapilli prints with --json. Raises CalledProcessError where it fails."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    arguments = [sys.executable, "-c", PROGRAM, *map(str, words[:2]), *settings, *map(str, words[2:]), "--json"]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
