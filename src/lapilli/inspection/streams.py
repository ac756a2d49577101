"""Streams: hidden states of many samples at chosen tokens and sites, of one or more models, kept on the disk.

One pass of a model over its samples serves every measure. The states lie in a run's folder, some batches a file:

    states/MODEL/00000.safetensors    POSITION:SITE      (row, ...) in the model's own format, a row a chosen token
                                      POSITION:sample    (row,) the number of the sample
                                      POSITION:token     (row,) the token's place in its sequence, -1 for a mean

A file is there whole or not at all, and is the same whenever it is made: who is killed goes on with the next, and
several processes may share the files out among them. Every file says what it was made of, the model's weights, the
samples and their pictures: files of two models or of two data files never become one collection.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import write_atomically
from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.core.plain import plain
from lapilli.core.read import checked, parsed
from lapilli.core.run import RunDir
from lapilli.data.collate import collate
from lapilli.data.encode import Encoded, encode
from lapilli.data.sample import Sample
from lapilli.inspection.sites import matching, site_of, watching
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.stored import Source, tensors_in

Pictures: TypeAlias = Callable[[str], Image.Image]
"""A function of a picture's name that opens it."""

_AGAIN = "remove the file, and collect the states again"

_ORIGIN = "origin"  # the key of what a file's header says of its making: JSON in one value, whose order is certain

_MEAN = -1  # in the place of a token


def _last(layout: TokenLayout, rng: np.random.Generator) -> Positions:
    return np.array([layout.length - 1])


def _question_end(layout: TokenLayout, rng: np.random.Generator) -> Positions:
    return _question(layout, rng)[-1:]


def _question(layout: TokenLayout, rng: np.random.Generator) -> Positions:
    return layout.positions(Role.QUESTION, turn=int(layout.turn.max()))


def _image(layout: TokenLayout, rng: np.random.Generator) -> Positions:
    return layout.positions(Role.IMAGE)


def _random(role: Role, layout: TokenLayout, rng: np.random.Generator) -> Positions:
    those = layout.positions(role)
    return those if not len(those) else rng.choice(those, 1)


POSITIONS: dict[str, Callable[[TokenLayout, np.random.Generator], Positions]] = {
    "last": _last,
    "question_end": _question_end,
    "image_mean": _image,
    "image_all": _image,
    "image_random": partial(_random, Role.IMAGE),
    "question_random": partial(_random, Role.QUESTION),
    "question_mean": _question,
}
"""The tokens of a prompt that may be chosen: its last, which predicts the answer; the last of its last question; the
mean of its image tokens, or all of them; a random image token, and a random one of its questions, which a seed draws;
the mean of its last question's. A sample without such a token has no row."""


@dataclass(frozen=True)
class Streams:
    """What is to be kept: it decides the bytes of the files, and belongs into the recipe of their run.

    sites       names or patterns, as `sites.matching` takes them; `llm.final_norm` is behind the last norm, and
                nothing else is
    positions   of POSITIONS
    batch_size  the prompts of a call, which are padded to the longest
    batches     the batches of a file
    seed        draws the random tokens
    """

    sites: tuple[str, ...] = ("llm.layers.0.resid_pre", "llm.layers.*.resid_post", "llm.final_norm")
    positions: tuple[str, ...] = ("last", "question_end", "image_mean")
    batch_size: int = 8
    batches: int = 8
    seed: int = 0

    def files(self, run: RunDir, model: str, samples: int) -> list[Path]:
        """The files of a model's states, in the order of the samples."""
        return [
            _folder(run, model) / f"{n:05}.safetensors" for n in range(-(-samples // (self.batch_size * self.batches)))
        ]


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The chosen tokens of a batch at one position: the sequence of each, its sample's number and its place."""

    sequence: NDArray[np.intp]
    sample: NDArray[np.int64]
    token: NDArray[np.intp]
    is_mean: bool

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """The sample and the token of every row, (row,) each."""
        if not self.is_mean:
            return self.sample, self.token
        means = np.unique(self.sample)
        return means, np.full(len(means), _MEAN)

    def picked(self, passing: Tensor) -> Tensor:
        """The rows of what passes a site, (row, ...), in its format; a mean is taken in float32."""
        at = (torch.from_numpy(self.sequence).to(passing.device), torch.from_numpy(self.token).to(passing.device))
        picked = passing[at]
        if not self.is_mean or not len(self.sample):
            return picked
        of = np.unique(self.sample, return_inverse=True)[1]
        parts = [picked[torch.from_numpy(of == row).to(picked.device)].float().mean(0) for row in range(of.max() + 1)]
        return torch.stack(parts).to(passing.dtype)


def collect(
    run: RunDir,
    name: str,
    llava: Llava,
    samples: Sequence[Sample],
    pictures: Pictures,
    *,
    streams: Streams,
    process: tuple[int, int] = (0, 1),
    progress: Callable[[int], None] | None = None,
) -> None:
    """Keep a model's states of all samples in a run, under a name of its own; files that are there stay as they are.

    The prompts are encoded for this model, and end with the text that asks for the last answer. `process` is the number
    of this process, from 0, and how many there are: each makes its share of the files. `progress` gets the number of
    samples that are done. Raises UsageError before anything is run for a site or a position that is none and for a name
    that is no plain one, and LapilliError for a sample that cannot be encoded or is too long, for a picture that cannot
    be opened, and for a file that is there and was made of another model, of other samples or pictures, or otherwise.
    """
    sites = stream_sites(llava, streams)
    if not name.strip(".") or set(name) & set("/\\:"):
        raise UsageError(f"name {name!r}: a folder's; leave out /, \\ and :")
    files = streams.files(run, name, len(samples))
    whole = {"model": _weights(llava), "streams": asdict(streams) | {"sites": sites}, "files": len(files)}
    for number in range(process[0], len(files), process[1]):
        size = streams.batch_size * streams.batches
        numbers = range(number * size, min((number + 1) * size, len(samples)))
        prompts = [(at, prompt_of(llava, samples[at])) for at in numbers]
        origin = whole | {"samples": hashlib.sha256(repr([samples[at] for at in numbers]).encode()).hexdigest()}
        make = partial(_collected, llava, prompts, (streams, sites))
        _keep_file(files[number], origin, prompts, pictures, make)
        if progress is not None:
            progress(numbers.stop)


def stream_sites(llava: Llava, streams: Streams) -> list[str]:
    """The sites of this model that `streams` means. Raises UsageError for others, and for an unknown position."""
    for position in streams.positions:
        if position not in POSITIONS:
            raise UsageError(f"position {position!r}: unknown; there are {', '.join(POSITIONS)}")
    sites = matching(llava.model, streams.sites)
    for site in sites:
        kind = site_of(site)
        if kind is None or kind.axes[:2] != ("batch", "token") or site == "logits":
            raise UsageError(f"site {site!r}: no state of the language model at a token; choose sites of its layers")
    return sites


def _weights(llava: Llava) -> str:
    """The SHA-256 of all weights of a model, in their formats."""
    model: Any = llava.model
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _keep_file(
    file: Path,
    origin: Mapping[str, Any],
    prompts: Sequence[tuple[int, Encoded]],
    pictures: Pictures,
    make: Callable[[Pictures], dict[str, Tensor]],
) -> None:
    """Make a file of states, or require that the one that is there is of the same origin."""
    digest = hashlib.sha256()

    def opened(name: str) -> Image.Image:
        picture = pictures(name)
        digest.update(f"{name} {picture.mode} {picture.size}".encode() + picture.tobytes())
        return picture

    if not file.is_file():
        states = make(opened)
        write_atomically(file, save(states, {_ORIGIN: json.dumps({**origin, "pictures": digest.hexdigest()})}))
        return
    for name in (name for _, prompt in prompts for name in prompt.images):
        opened(name)
    there, wanted = _origin(file), plain({**origin, "pictures": digest.hexdigest()})
    if differing := [key for key, value in wanted.items() if there.get(key) != value]:
        remedy = "choose another name for them, or another folder"
        raise LapilliError(f"{file}: states of other {', '.join(differing)} are there; {remedy}")


def _origin(file: Path) -> dict[str, Any]:
    """What a file of states was made of. Raises LapilliError for one that does not say it."""
    try:
        with safe_open(file, framework="pt") as opened:
            written = (opened.metadata() or {}).get(_ORIGIN, "")
    except (SafetensorError, OSError) as error:
        raise LapilliError(f"{file}: no states: {error}; {_AGAIN}") from error
    origin = parsed(written, str(file), _AGAIN)
    if not isinstance(origin, dict):
        raise LapilliError(f"{file}: it does not say what its states are of; {_AGAIN}")
    return origin


@torch.inference_mode()
def _collected(
    llava: Llava,
    prompts: Sequence[tuple[int, Encoded]],
    chosen: tuple[Streams, Sequence[str]],
    pictures: Pictures,
) -> dict[str, Tensor]:
    """The tensors of a file."""
    size = chosen[0].batch_size
    parts = [_states(llava, prompts[start : start + size], pictures, chosen) for start in range(0, len(prompts), size)]
    return {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}


def prompt_of(llava: Llava, sample: Sample) -> Encoded:
    """The prompt whose states are kept: it asks for the sample's last answer.

    Raises LapilliError for a sample that cannot be encoded or is too long for the model.
    """
    encoded = encode(sample, replace(llava.codec, template=llava.template), for_generation=True)
    model: Any = llava.model
    room = model.config.text_config.max_position_embeddings
    if len(encoded.ids) > room:
        raise LapilliError(f"sample {sample.id!r}: {len(encoded.ids)} tokens, and the language model reads {room}")
    return encoded


def _states(
    llava: Llava, prompts: Sequence[tuple[int, Encoded]], pictures: Pictures, chosen: tuple[Streams, Sequence[str]]
) -> dict[str, Tensor]:
    """The states of one batch by name, picked as they pass: nothing else is kept."""
    streams, sites = chosen
    tokens = {position: _tokens(prompts, position, streams.seed) for position in streams.positions}
    states: dict[str, Tensor] = {}

    def keep(site: str, passing: Tensor) -> None:
        states.update({f"{position}:{site}": picks.picked(passing) for position, picks in tokens.items()})

    encoded = [prompt for _, prompt in prompts]
    opened = [pictures(name) for prompt in encoded for name in prompt.images]
    batch = collate(encoded, llava.codec.tokenizer.pad_token_id, "right", llava.pixels(opened) if opened else None)
    del batch["labels"]
    model: Any = llava.model
    with watching(model, {site: partial(keep, site) for site in sites}):
        model.model(**placed(batch, model), use_cache=False)
    for position, picks in tokens.items():
        for what, rows in zip(("sample", "token"), picks.rows(), strict=True):
            states[f"{position}:{what}"] = torch.from_numpy(rows)
    return {name: state.cpu() for name, state in states.items()}


def _tokens(prompts: Sequence[tuple[int, Encoded]], position: str, seed: int) -> _Chosen:
    kind = list(POSITIONS).index(position)  # or one draw would choose both random tokens
    picks = [POSITIONS[position](prompt.layout, np.random.default_rng((seed, kind, at))) for at, prompt in prompts]
    counts = [len(some) for some in picks]
    sample = np.repeat([number for number, _ in prompts], counts).astype(np.int64)
    sequence = np.repeat(np.arange(len(prompts)), counts)
    return _Chosen(sequence, sample, np.concatenate(picks), position.endswith("_mean"))


@dataclass(frozen=True)
class _Kept:
    """What a file says of the states that it holds."""

    positions: list[str]
    sites: list[str]


@dataclass(frozen=True, eq=False)
class States:
    """The states of one model in a run, as `collect` has left them: `stored` finds them, nothing is read before."""

    names: tuple[tuple[str, str], ...]
    """The positions and sites that there are, in the order of `Streams`: by default sites are over depth."""

    files: tuple[Mapping[str, Source], ...]

    def at(self, position: str, site: str) -> Tensor:
        """The states of all rows, (row, ...), as the model made them. Raises LapilliError where there are none."""
        return torch.cat([source.read() for source in self._sources(position, site)])

    def rows(self, position: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of each row's sample and its token's place, -1 for a mean; (row,) each."""
        sample, token = (self.at(position, what).numpy() for what in ("sample", "token"))
        return sample, token

    def _sources(self, position: str, site: str) -> Iterator[Source]:
        for tensors in self.files:
            if f"{position}:{site}" not in tensors:
                there = ", ".join(":".join(name) for name in self.names)
                raise LapilliError(f"no states of {position}:{site}; the run has {there}")
            yield tensors[f"{position}:{site}"]


def stored(run: RunDir, model: str) -> States:
    """The states of a model in a run. Raises LapilliError without any, for a damaged file, and for a missing one.

    A collection that was killed has missing files. Files that are not of one collection are refused too.
    """
    folder = _folder(run, model)
    files = sorted(folder.glob("*.safetensors"))
    if [file.stem for file in files] != [f"{number:05}" for number in range(len(files))] or not files:
        raise LapilliError(f"{folder}: files of states are missing; collect them again")
    origins = [_origin(file) for file in files]
    whole = [{key: origin.get(key) for key in ("model", "streams", "files")} for origin in origins]
    if differing := [file for file, origin in zip(files, whole, strict=True) if origin != whole[0]]:
        raise LapilliError(f"{differing[0]}: of another model or collection than {files[0].name}; {_AGAIN}")
    if whole[0]["files"] != len(files):
        raise LapilliError(f"{folder}: {len(files)} of {whole[0]['files']} files of states; go on with collecting them")
    kept = checked(_Kept, whole[0]["streams"], str(files[0]), _AGAIN)
    # From the header, as a file has its tensors in alphabetical order.
    names = tuple((position, site) for position in kept.positions for site in kept.sites)
    return States(names, tuple(dict(tensors_in(file)) for file in files))


def shared_rows(first: States, second: States, position: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of two models, or of two kinds of prompts, that are of the same samples, (row,) each.

    Rows of a sample are paired in order. Raises LapilliError where a sample has more of them in one than in the other.
    """
    samples = [states.rows(position)[0] for states in (first, second)]
    both = np.intersect1d(samples[0], samples[1])
    rows = tuple(np.flatnonzero(np.isin(sample, both)) for sample in samples)
    if not np.array_equal(samples[0][rows[0]], samples[1][rows[1]]):
        raise LapilliError(f"{position}: a sample has more tokens in one of the two; compare a mean or a random token")
    return rows[0], rows[1]


def _folder(run: RunDir, model: str) -> Path:
    return run.path / "states" / model
