"""Generations killed outright, journals cut anywhere, servers that are slow, and millions of captions to choose from.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/generation.py [--kills 50] [--captions 3300000] [--only kills ...]

kills       the command is killed at random moments, and started again each time, until it ends by itself: the file of
            samples must be that of an undisturbed run, and no call may be made whose answer was in the journal
cuts        the journal is cut at every byte of its last line: the same file again, with one call at most
throughput  answers a second of a server that takes a second for each, as a share of the calls under way, and of what a
            client without journal, budget and pace gets: a server's second is longer where timers are late
filter      captions of phrases by Zipf's law, balanced: seconds and memory, twice the same bytes

Prints JSON; the exit code is 1 where a file differs or a call was paid for twice.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.data.generation.teacher import body_key, contexts_file, first_calls, journalled, started, teach, work
from tests.llm_server import Server

from lapilli.core.llm.asking import Asker, Patience
from lapilli.core.llm.budget import Budget
from lapilli.core.llm.call import Call, Message, Sampling
from lapilli.core.llm.endpoint import Endpoint
from lapilli.core.llm.journal import Journal
from lapilli.core.llm.many import do_all
from lapilli.core.llm.pace import Pace
from lapilli.data.generation.generate import generate

PROGRAM = "import sys; from lapilli.cli import run; sys.exit(run(sys.argv[1:]))"
CONTEXTS = 200  # for the kills; three calls each


def main() -> None:
    """Measure what is wanted, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--captions", type=int, default=3_300_000)
    parser.add_argument("--concurrency", type=int, nargs="*", default=[8, 32, 128])
    parser.add_argument("--only", nargs="*", default=["kills", "cuts", "throughput", "filter"])
    options = parser.parse_args()
    measures = {
        "kills": lambda folder: kills(folder, options.kills),
        "cuts": cuts,
        "throughput": lambda folder: [throughput(folder, limit) for limit in options.concurrency],
        "filter": lambda folder: filtered(folder, options.captions),
    }
    results = {}
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measures[name](Path(folder))
    print(json.dumps(results, indent=1))
    sys.exit(any(result.get("wrong") for result in results.values() if isinstance(result, dict)))


def kills(folder: Path, count: int) -> dict[str, Any]:
    """Kill a generation so often, at moments drawn at random, and let it end."""
    file, out = contexts_file(folder, CONTEXTS), folder / "out"
    calls, kept, draw = first_calls(file), set[str](), random.Random(0)
    killed = twice = sent = 0
    with Server(teach, seconds=0.05) as server:
        while killed < count:
            answers = len(calls) * killed // count + draw.randrange(2 * len(calls) // count)
            process = started(file, out, server.url)
            while process.is_alive() and len(server.answered) < answers:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.1))
            killed += process.is_alive()
            process.kill()
            process.join()
            twice += sum(calls[body_key(one.body)] in kept for one in server.log[sent:])
            sent, kept = len(server.log), journalled(out)
        process = started(file, out, server.url)
        process.join()
        twice += sum(calls[body_key(one.body)] in kept for one in server.log[sent:])
        lost = len(server.answered) - len(calls)
        server.seconds = 0
        generate(work(file), folder / "whole", server.url)
    same = (out / "samples.json").read_bytes() == (folder / "whole/samples.json").read_bytes()
    counts = {"calls": len(calls), "kills": killed, "paid again": twice, "answers lost in flight": lost}
    return {**counts, "same": same, "wrong": not same or twice > 0}


def cuts(folder: Path) -> dict[str, Any]:
    """Cut the journal at every byte of its last line."""
    with Server(teach) as server:
        wanted = work(contexts_file(folder, 2), ("detail",))
        generate(wanted, folder / "out", server.url)
        journal, samples = folder / "out/journal.jsonl", folder / "out/samples.json"
        whole, before = journal.read_bytes(), samples.read_bytes()
        wrong, asked = 0, 0
        start = whole.rindex(b"\n", 0, -1) + 1
        for end in range(start, len(whole)):
            journal.write_bytes(whole[:end])
            sent = len(server.log)
            generate(wanted, folder / "out", server.url)
            asked += len(server.log) - sent
            wrong += samples.read_bytes() != before or len(server.log) - sent > 1
    return {"cuts": len(whole) - start, "calls": asked, "wrong": wrong}


def serve(urls: "multiprocessing.Queue[str]") -> None:
    """Be a server that takes a second for an answer, in a process of its own."""
    with Server(lambda messages: "text", seconds=1.0) as server:
        urls.put(server.url)
        time.sleep(3_600)


def throughput(folder: Path, limit: int) -> dict[str, float]:
    """Answers a second of a server that takes a second, as a share of what the same client gets that only sends."""
    calls = [Call((Message("user", f"{n}"),), "m", Sampling(), "t") for n in range(40 * limit)]

    async def spent(url: str, kept: bool) -> tuple[float, float]:
        endpoint = Endpoint(url, 30)
        asker = Asker(endpoint, Journal(folder / f"j{limit}"), Budget(), Pace(limit), Patience())
        began, cpu = time.monotonic(), time.process_time()
        done = await do_all(calls, asker.ask if kept else endpoint.send, asker, limit, lambda done: None)
        assert len(done) == len(calls)
        taken = time.monotonic() - began, time.process_time() - cpu
        await endpoint.close()
        return taken

    context = multiprocessing.get_context("forkserver")
    urls = context.Queue()
    server = context.Process(target=serve, args=(urls,), daemon=True)
    server.start()
    url = urls.get()
    (bare, bare_cpu), (kept, kept_cpu) = (asyncio.run(spent(url, which)) for which in (False, True))
    server.kill()
    return {
        "concurrency": limit,
        "share of concurrency": round(len(calls) / kept / limit, 3),
        "share of a client that only sends": round(bare / kept, 3),
        "CPU milliseconds a call": round(1_000 * kept_cpu / len(calls), 2),
        "of a client that only sends": round(1_000 * bare_cpu / len(calls), 2),
    }


def filtered(folder: Path, count: int) -> dict[str, Any]:
    """Balance captions of three phrases each, of two million phrases by Zipf's law, in a process of its own."""
    generator = np.random.default_rng(0)
    cumulative = np.cumsum(1 / np.arange(1, 2_000_001) ** 1.05)
    phrases = np.searchsorted(cumulative / cumulative[-1], generator.random((count, 3)))
    with (folder / "c.jsonl").open("w") as file:
        file.writelines(
            f'{{"id": "{at}", "caption": "A p{a} with p{b} and p{c}.", "phrases": ["p{a}", "p{b}", "p{c}"]}}\n'
            for at, (a, b, c) in enumerate(phrases.tolist())
        )
    del phrases
    began, hashes, lines = time.monotonic(), set(), 0
    command = [sys.executable, "-c", PROGRAM, "data", "filter", str(folder / "c.jsonl"), "--json", "--out"]
    for name in ("one", "two"):
        output = subprocess.run([*command, str(folder / name)], check=True, capture_output=True, text=True).stdout
        hashes.add((folder / name / "chosen.jsonl").read_bytes())
        lines = json.loads(output)["chosen"]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return {"captions": count, "chosen": lines, "seconds": round((time.monotonic() - began) / 2, 1),
            "GB": round(memory, 2), "wrong": len(hashes) > 1}  # fmt: skip


if __name__ == "__main__":
    main()
