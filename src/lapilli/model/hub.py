"""Models by their id on the Hugging Face hub: `org/name`, or `org/name@revision`, where a folder could be named.

huggingface_hub finds, fetches and keeps the files. One thing is ours: its downloads begin anew with every call, so that
here a file of weights grows in the cache under a name of its own, and counts as whole after its SHA-256 has been
compared. Whatever stops a download, the same command goes on where it stopped.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any, Literal, TypeAlias

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    get_hf_file_metadata,
    hf_hub_url,
    is_offline_mode,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
    SafetensorsParsingError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, build_hf_headers, disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import explain_write, sha256
from lapilli.core.terminal import Terminal

_DESCRIBING = ("*.json", "*.jinja", "*.model", "*.txt")  # configurations, tokenizers, templates; nothing that is run
_FOLDERS = ("", "additional_chat_templates", "language", "vision", "vision_tower", "*_vision_tower")
_LONE_PICKLES = ("non_lora_trainables.bin", "mm_projector.bin", "llava.projector")  # never there as safetensors too
_PICKLES = {"pytorch_model*.bin": "*.safetensors", "adapter_model.bin": "adapter_model.safetensors"}
_NOT_READ = "consolidated*"  # the same weights once more, by names of Mistral's own

Weights: TypeAlias = Literal["all", "headless", "none"]
"""Which weights of a repository are fetched."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_GOES_ON = "the same command goes on where it stopped"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

_UNREACHED = (RevisionResolutionError, LocalEntryNotFoundError)  # which have the reason behind them
_RAISED = (
    httpx2.HTTPError,  # HfHubHTTPError too
    *_UNREACHED,
    OfflineModeIsEnabled,
    FileMetadataError,
    SafetensorsParsingError,
    OSError,
    ValueError,  # what was answered is no JSON
)


@dataclass(frozen=True)
class _Download:
    """A file of weights: its name in the repository, where it lies, its bytes and its SHA-256; `blob` when whole."""

    name: str
    url: str
    size: int
    sha256: str
    blob: Path

    @property
    def partial(self) -> Path:
        """What has come of it so far."""
        return self.blob.with_name(f"{self.sha256}.incomplete")

    @property
    def done(self) -> int:
        """How many bytes of it are there."""
        there = next((one for one in (self.blob, self.partial) if one.is_file()), None)
        return there.stat().st_size if there else 0


def model_folder(named: Path | str, weights: Weights = "all") -> Path:
    """The folder that is meant: itself where it is there, else the snapshot of a model on the hub, fetched if need be.

    Of a repository only what is read here is fetched, none of it code: configurations, tokenizers, templates, and
    weights, of which pickles only where the same is not there as safetensors. `weights` may be "none", or "headless":
    those alone whose sizes cannot be read without them, pickles. Says on stderr what is fetched, and in a terminal how
    far it has come. Raises UsageError for what is neither a folder nor an id, and LapilliError for a model that is not
    there, not to be read, or not to be had whole.
    """
    if os.path.exists(named):  # noqa: PTH110 - Path.exists raises for names that are too long
        return Path(named)
    repo, revision = _id(str(named))
    with _explained(str(named), repo):
        return _snapshot(repo, _commit(repo, revision), weights)


def require_named(named: Path | str) -> None:
    """Raise UsageError for what is neither a folder nor a hub's id; nothing is looked up."""
    if not os.path.exists(named):  # noqa: PTH110 - as above
        _id(str(named))


def pinned(named: Path | str) -> Path:
    """The same, with the commit that a hub's id stands for now: `org/name@commit`; nothing of it is fetched.

    Raises as `model_folder`.
    """
    if os.path.exists(named):  # noqa: PTH110 - Path.exists raises for names that are too long
        return Path(named)
    repo, revision = _id(str(named))
    with _explained(str(named), repo):
        return Path(f"{repo}@{_commit(repo, revision)}")


def hub_name(folder: Path) -> str | None:
    """What a snapshot in the hub's cache is called everywhere, `org/name@commit`; None for any other folder."""
    *_, repo, snapshots, commit = ("", "", "", *folder.resolve().parts)
    if snapshots != "snapshots" or not repo.startswith("models--") or not _COMMIT.fullmatch(commit):
        return None
    return f"{repo.removeprefix('models--').replace('--', '/')}@{commit}"


def recorded(folder: Path) -> Path:
    """What run folders call a model: a snapshot by id and commit, which any machine can fetch; others by their path."""
    return Path(hub_name(folder) or folder.resolve())


def require_different(models: Sequence[Path]) -> None:
    """Raise UsageError for a model that is given twice."""
    paths = [recorded(model) for model in models]
    if len(set(paths)) < len(paths):
        raise UsageError(f"{next(path for path in paths if paths.count(path) > 1)}: given twice; leave it out once")


def remote_headers(folder: Path) -> dict[str, Any]:
    """The headers of the safetensors in a snapshot, or in a folder of one, by file, as huggingface_hub reads them.

    Of none where all are in the cache, and for any other folder. Raises LapilliError as `model_folder`.
    """
    root, within = (folder, "") if hub_name(folder) else (folder.parent, f"{folder.name}/")
    if (name := hub_name(root)) is None:
        return {}
    repo, _, commit = name.partition("@")
    with _explained(name, repo):
        there = [file for file in _wanted(_listed(repo, commit)) if fnmatch(file, "*.safetensors")]
        files = [file for file in there if file.rpartition("/")[0] == within.rstrip("/")]
        if all((root / file).is_file() for file in files):
            return {}
        headers = {file: HfApi().parse_safetensors_file_metadata(repo, file, revision=commit) for file in files}
        return {file.removeprefix(within): header for file, header in headers.items()}


def _id(named: str) -> tuple[str, str | None]:
    """Repository and revision."""
    repo, at, revision = named.partition("@")
    remedy = "give that of a model, or its id on the hub, such as llava-hf/llava-1.5-7b-hf"
    try:
        validate_repo_id(repo)
        if repo.count("/") == 1 and bool(at) == bool(revision):
            if at or not Path(repo).parent.is_dir():
                return repo, revision or None
            remedy = f"{Path(repo).parent} is one here; for a model of that id on the hub, write {named}@main"
    except HFValidationError:
        pass
    raise UsageError(f"{named}: no such folder; {remedy}")


def _commit(repo: str, revision: str | None) -> str:
    """What a revision stands for now; without the hub, what it last stood for."""
    return str(HfApi().resolve_revision(repo, revision=revision, local_files_only=is_offline_mode()).resolved)


def _snapshot(repo: str, commit: str, weights: Weights) -> Path:
    """The folder of a commit, whole. What is small comes first: a model that may not be read is refused by it."""
    listed = _listed(repo, commit)
    if not listed:  # no list of a cache that another program filled: what is missing is found when it is read
        return Path(snapshot_download(repo, revision=commit))
    wanted = _wanted(listed)
    small = [name for name in wanted if _describes(name)]
    if weights != "all":
        headless = weights == "headless"
        wanted = [name for name in wanted if name in small or (headless and not name.endswith(".safetensors"))]
    folder = _linked(repo, commit, small)
    if small == wanted:
        return folder
    _fetch(repo, commit, [name for name in wanted if name not in small], folder.parents[1])
    return _linked(repo, commit, wanted)


def _linked(repo: str, commit: str, names: Iterable[str]) -> Path:
    with disable_progress_bars():
        return Path(snapshot_download(repo, revision=commit, allow_patterns=[escape(name) for name in names]))


def _listed(repo: str, commit: str) -> list[str]:
    """The repository's files at a commit; none where nobody can say."""
    try:
        return [file.path for file in get_cached_repo_tree(repo, revision=commit)]
    except CachedRepoTreeNotFoundError:
        if is_offline_mode():
            return []
        files = HfApi().list_repo_tree(repo, recursive=True, revision=commit)
        return [file.path for file in files if isinstance(file, RepoFile)]


def _describes(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _DESCRIBING)


def _wanted(names: Iterable[str]) -> list[str]:
    """What of a repository is read here."""
    folders = defaultdict(list)
    for name in names:
        folder, _, file = name.rpartition("/")
        folders[folder].append(file)
    return [
        f"{folder}/{file}".lstrip("/")
        for folder, files in folders.items()
        if any(fnmatch(folder, pattern) for pattern in _FOLDERS)
        for file in files
        if _describes(file) or _weighs(file, files)
    ]


def _weighs(name: str, beside: Iterable[str]) -> bool:
    """Whether a file holds weights that are not there as safetensors too."""
    if fnmatch(name, "*.safetensors"):
        return not fnmatch(name, _NOT_READ)
    safer = next((safe for pickles, safe in _PICKLES.items() if fnmatch(name, pickles)), None)
    return name in _LONE_PICKLES or (safer is not None and not any(fnmatch(other, safer) for other in beside))


def _fetch(repo: str, commit: str, names: Iterable[str], storage: Path) -> None:
    """Bring weights into the cache. Files that git holds itself are small, and left to huggingface_hub."""
    missing = [name for name in names if not isinstance(try_to_load_from_cache(repo, name, revision=commit), str)]
    candidates = (_download(repo, commit, name, storage) for name in missing)
    downloads = [one for one in candidates if one is not None and not one.blob.is_file()]
    if not downloads:
        return
    size, done = (sum(getattr(one, field) for one in downloads) for field in ("size", "done"))
    _require_room(size - done, storage.parent)
    there = f", of which {_bytes(done)} are there" if done else ""
    files = f"{len(downloads)} file{'s' if len(downloads) > 1 else ''} of weights"
    line = f"{repo}: fetching {files}, {_bytes(size)}{there}, into {storage.parent}"
    messages = Terminal(stderr=True, soft_wrap=True)
    messages.print(line)
    try:
        for one in downloads:
            _resume(one)
    except KeyboardInterrupt:
        messages.print(f"{repo}: stopped; {_GOES_ON}")
        raise


def _download(repo: str, commit: str, name: str, storage: Path) -> _Download | None:
    url = hf_hub_url(repo, name, revision=commit)
    metadata = get_hf_file_metadata(url)
    if (
        not metadata.size
        or not _SHA256.fullmatch(metadata.etag or "")
        or metadata.size > constants.MAX_HTTP_DOWNLOAD_SIZE
    ):
        return None
    return _Download(name, url, metadata.size, str(metadata.etag), storage / "blobs" / str(metadata.etag))


def _require_room(size: int, cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if size > free:
        remedy = "free some space, or name another place for the cache with HF_HOME"
        raise LapilliError(f"{cache}: {_bytes(size)} are to be fetched, and {_bytes(free)} are free; {remedy}")


def _resume(one: _Download) -> None:
    """Fetch what is missing of a file; two that fetch the same take turns, as huggingface_hub's do."""
    storage = one.blob.parents[1]
    lock = storage.parent / ".locks" / storage.name / f"{one.sha256}.lock"
    for folder in (lock.parent, one.blob.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if one.blob.is_file():
            return
        with one.partial.open("ab") as file:
            if file.tell() > one.size:
                file.truncate(0)
            headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
            http_get(
                one.url,
                file,
                resume_size=file.seek(0, os.SEEK_END),
                headers=headers,
                expected_size=one.size,
                displayed_filename=one.name,
            )
        _require_same(one)
        one.partial.replace(one.blob)


def _require_same(one: _Download) -> None:
    if sha256(one.partial) != one.sha256:
        one.partial.unlink()
        raise LapilliError(f"{one.url}: what came has another SHA-256 than was announced; fetch it again")


@contextmanager
def _explained(named: str, repo: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into one line."""
    try:
        yield
    except _RAISED as error:
        if isinstance(error, OSError) and error.errno:  # this machine's, and not the hub's
            with explain_write(Path(constants.HF_HUB_CACHE)):
                raise
        raise LapilliError(f"{named}: {_reason(error, f'{constants.ENDPOINT}/{repo}')}") from error


def _reason(error: BaseException, url: str) -> str:
    """What happened and the remedy, by the kind of error; the first kind that fits says it."""
    if isinstance(error, _UNREACHED) and not is_offline_mode() and error.__cause__ is not None:
        error = error.__cause__
    kinds: dict[Any, str] = {
        GatedRepoError: f"not open to everybody; ask for it at {url}, and {_LOG_IN}",
        RepositoryNotFoundError: f"no such folder, and no model at {url}, or a private one; correct it, or {_LOG_IN}",
        RevisionNotFoundError: f"no such revision at {url}; name a branch, a tag or a commit that is there",
        DisabledRepoError: f"its authors or the hub have disabled {url}; choose another model",
        HfHubHTTPError: _answer(error, url),
        (*_UNREACHED, OfflineModeIsEnabled, httpx2.ConnectError): _absence(error),
        httpx2.HTTPError: f"the connection to {url} broke off ({_kind(error)}); {_GOES_ON}",
        object: f"{url} gave what no hub gives ({_kind(error)}); check HF_ENDPOINT and the connection; {_GOES_ON}",
    }
    return next(reason for kind, reason in kinds.items() if isinstance(error, kind))


def _answer(error: BaseException, url: str) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if status in (401, 403):
        return f"{url} may not be read with this token ({status}); {_LOG_IN} to another"
    return f"{url} answers {status}; try again later: {_GOES_ON}"


def _absence(error: BaseException) -> str:
    """What is missing where nothing can be fetched."""
    where = f"no such folder, and not whole in the cache, {constants.HF_HUB_CACHE}"
    if is_offline_mode():
        return f"{where}, while HF_HUB_OFFLINE is set; unset it to fetch the model"
    return f"{where}, while {constants.ENDPOINT} cannot be reached ({_kind(error)}); check the connection"


def _kind(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _bytes(count: int) -> str:
    unit, name = next((one for one in _UNITS if count >= one[0]), _UNITS[-1])
    return f"{count / unit:,.1f} {name}"
