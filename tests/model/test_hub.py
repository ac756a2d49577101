"""Models by id, from a hub on this machine that drops connections, lies and refuses."""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tests.hub_server import Hub
from tests.parts import joined

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.names import shortest_ends
from lapilli.model.checkpoints.info import describe
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import Writing, write_checkpoint
from lapilli.model.hub import hub_name, model_folder, pinned, recorded, require_named
from lapilli.model.llava import codec_of, load
from lapilli.model.tokenizer import codec_of_tokenizer

ID = "org/tiny"
WEIGHTS = "model.safetensors"
CHUNK = 1 << 12  # bytes that are written at once, in place of 10 MB


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with Hub() as server:
        use(server, tmp_path / "cache", monkeypatch)
        yield server


def use(server, cache, monkeypatch):
    settings = {
        "ENDPOINT": server.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
        "DOWNLOAD_CHUNK_SIZE": CHUNK,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between one attempt and the next


def model():
    return joined("clip", "llama")


def same(folder, other, leaving=("lapilli.json", "README.md")):
    """Whether a snapshot holds what the folder does, byte for byte."""
    theirs = {file.name: file.read_bytes() for file in other.iterdir() if file.name not in leaving}
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name not in leaving} == theirs


def left(cache):
    """Files under no whole file's name, by their size."""
    return [file.stat().st_size for file in cache.rglob("*.incomplete")]


def test_a_folder_that_is_there_wins_and_nothing_is_asked(hub, tmp_path, monkeypatch):
    hub.push(ID, model())
    monkeypatch.chdir(tmp_path)
    Path(ID).mkdir(parents=True)
    assert model_folder(ID) == Path(ID) and pinned(ID) == Path(ID) and hub.log == []


@pytest.mark.parametrize("named", ["nowhere", "/a/b", "a/b/c", "a/b@", "../a", "a--b/c", "a b/c", "x" * 5000, "a\0/b"])
def test_what_is_neither_is_refused_without_asking_anybody(named, hub):
    with pytest.raises(UsageError, match=r"no such folder; give that of a model, or its id on the hub, such as"):
        model_folder(named)
    assert hub.log == []


def test_what_is_read_is_fetched_and_no_program(hub, tmp_path, capsys):
    files = dict.fromkeys(("config.json", "tokenizer.json", "chat_template.jinja", "tokenizer.model"), b"{}")
    files |= dict.fromkeys(("model-1.safetensors", "vision_tower/model.safetensors"), b"0" * 99)
    unread = ("modeling.py", "pytorch_model.bin", "consolidated.safetensors", "onnx/config.json", "model.h5", "a.png")
    hub.push(ID, {**files, **dict.fromkeys(unread, b"0" * 98)})
    folder = model_folder(ID)
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} == set(files)
    assert capsys.readouterr().err == f"{ID}: fetching 2 files of weights, 0.2 kB, into {tmp_path / 'cache'}\n"


@pytest.mark.parametrize(
    ("names", "fetched"),
    [
        (["pytorch_model-1.bin", "pytorch_model-2.bin"], ["pytorch_model-1.bin", "pytorch_model-2.bin"]),
        (["adapter_model.bin", "non_lora_trainables.bin"], ["adapter_model.bin", "non_lora_trainables.bin"]),
        (
            ["adapter_model.bin", "adapter_model.safetensors", "non_lora_trainables.bin"],
            ["adapter_model.safetensors", "non_lora_trainables.bin"],
        ),
        (["mm_projector.bin"], ["mm_projector.bin"]),
    ],
)
def test_pickles_are_fetched_where_nothing_else_is_there(names, fetched, hub):
    hub.push(ID, {"config.json": b"{}", **{name: name.encode() for name in names}})
    assert sorted(file.name for file in model_folder(ID).glob("*[ns]")) == sorted([*fetched, "config.json"])


def test_the_snapshot_is_the_folder_and_costs_one_question_afterwards(hub, capsys):
    commit = hub.push(ID, model())
    folder = model_folder(ID)
    assert same(folder, model())
    assert hub_name(folder) == f"{ID}@{commit}" and recorded(folder) == Path(f"{ID}@{commit}")
    assert hub_name(model()) is None and recorded(model()) == model().resolve()
    hub.log.clear()
    capsys.readouterr()
    assert model_folder(ID) == folder and [one.path for one in hub.log] == [f"/api/models/{ID}"]
    assert model_folder(f"{ID}@{commit}") == folder and len(hub.log) == 1
    assert capsys.readouterr().err == ""


def test_revisions(hub, tmp_path):
    first = hub.push(ID, {"config.json": b'{"first": 1}'}, "v1")
    second = hub.push(ID, {"config.json": b'{"second": 2}'})
    assert pinned(ID) == Path(f"{ID}@{second}") and pinned(f"{ID}@v1") == Path(f"{ID}@{first}")
    for named, content in {ID: "second", f"{ID}@v1": "first", f"{ID}@{first}": "first"}.items():
        assert content in (model_folder(named) / "config.json").read_text()
    hub.push(ID, {"config.json": b'{"third": 3}'})
    assert "third" in (model_folder(ID) / "config.json").read_text()
    assert "second" in (model_folder(f"{ID}@{second}") / "config.json").read_text()


def test_a_dropped_connection_is_taken_up_where_it_broke(hub, tmp_path):
    hub.push(ID, model())
    hub.cut(WEIGHTS, after=3 * CHUNK + 100)
    assert same(model_folder(ID), model())
    assert [one.range for one in hub.bodies(WEIGHTS)] == [None, f"bytes={3 * CHUNK}-"]


def test_a_download_that_failed_goes_on_with_the_next_call(hub, tmp_path, capsys):
    hub.push(ID, model())
    hub.cut(WEIGHTS, after=2 * CHUNK)
    hub.cut(WEIGHTS, after=0, times=6)
    with pytest.raises(LapilliError, match=f"^{ID}: the connection to .* broke off .*; the same command goes on where"):
        model_folder(ID)
    assert left(tmp_path / "cache") == [2 * CHUNK]
    hub.log.clear()
    capsys.readouterr()
    folder = model_folder(ID)
    size = (folder / WEIGHTS).stat().st_size
    assert same(folder, model()) and left(tmp_path / "cache") == []
    assert [(one.range, one.sent) for one in hub.bodies(WEIGHTS)] == [(f"bytes={2 * CHUNK}-", size - 2 * CHUNK)]
    assert "of which 8.2 kB are there" in capsys.readouterr().err


def test_what_was_killed_goes_on_where_it_was(hub, tmp_path):
    block = 10 * 1024 * 1024  # what the program writes at once
    files = {"config.json": b"{}", WEIGHTS: os.urandom(block + 50_000)}
    hub.push(ID, files)
    hub.cut(WEIGHTS, after=block + 1000, rests=True)
    places = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    program = f"from lapilli.model.hub import model_folder; model_folder({ID!r})"
    environment = {**os.environ, **places, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen([sys.executable, "-c", program], env=environment)
    assert hub.resting.wait(60)
    while left(tmp_path / "cache") != [block]:
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    assert list((tmp_path / "cache").rglob(WEIGHTS)) == []
    hub.log.clear()
    assert (model_folder(ID) / WEIGHTS).read_bytes() == files[WEIGHTS]
    assert [(one.range, one.sent) for one in hub.bodies(WEIGHTS)] == [(f"bytes={block}-", 50_000)]


def test_the_shards_that_are_there_are_not_fetched_again(hub, tmp_path):
    sharded = tmp_path / "sharded"
    write_checkpoint(read_checkpoint(model()), sharded, writing=Writing(shard_size=40_000))
    shards = sorted(file.name for file in sharded.glob("*.safetensors"))
    assert len(shards) > 3
    hub.push(ID, sharded)
    hub.fail(shards[2], 500, method="GET")
    with pytest.raises(LapilliError, match=f"^{ID}: .* answers 500; try again later"):
        model_folder(ID)
    hub.log.clear()
    assert same(model_folder(ID), sharded)
    assert [len(hub.bodies(name)) for name in shards[:4]] == [0, 0, 1, 1]


def test_nothing_half_there_is_taken_for_whole(hub, tmp_path, monkeypatch, capsys):
    hub.push(ID, model())
    hub.cut(WEIGHTS, after=5000)
    hub.cut(WEIGHTS, after=0, times=6)
    with pytest.raises(LapilliError):
        model_folder(ID)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = "no such folder, and not whole in the cache, .*, while HF_HUB_OFFLINE is set; unset it"
    capsys.readouterr()
    with pytest.raises(LapilliError, match=offline):
        model_folder(ID)
    with pytest.raises(
        LapilliError, match=r"org/other: no such folder, and not whole in the cache, .* HF_HUB_OFFLINE is set"
    ):
        model_folder("org/other")
    assert capsys.readouterr().err == ""


def test_without_the_hub_what_is_in_the_cache_serves(hub, tmp_path, monkeypatch):
    hub.push(ID, model())
    folder = model_folder(ID)
    hub.close()
    assert model_folder(ID) == folder
    with pytest.raises(
        LapilliError, match=r"org/other: no such folder, and not whole in the cache, .* cannot be reached"
    ):
        model_folder("org/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert model_folder(ID) == folder
    shutil.rmtree(tmp_path / "cache/models--org--tiny/trees")  # as transformers alone fills a cache
    assert model_folder(ID) == folder


def test_bytes_that_are_not_those_announced_are_thrown_away(hub, tmp_path):
    hub.push(ID, model())
    whole = (model() / WEIGHTS).read_bytes()
    hub.spoil(WEIGHTS, bytes(len(whole)))
    with pytest.raises(LapilliError, match="another SHA-256 than was announced; fetch it again"):
        model_folder(ID)
    assert left(tmp_path / "cache") == []
    hub.shorten(WEIGHTS, 2 * CHUNK)
    with pytest.raises(LapilliError, match=f"^{ID}: .* gave what no hub gives"):
        model_folder(ID)
    assert same(model_folder(ID), model())


def test_a_file_that_changed_meanwhile_is_begun_anew(hub, tmp_path):
    hub.push(ID, model())
    hub.cut(WEIGHTS, after=2 * CHUNK)
    hub.cut(WEIGHTS, after=0, times=6)
    with pytest.raises(LapilliError):
        model_folder(ID)
    files = {file.name: file.read_bytes() for file in model().iterdir()}
    hub.push(ID, files | {WEIGHTS: (joined("clip", "mistral") / WEIGHTS).read_bytes()})
    hub.log.clear()
    assert (model_folder(ID) / WEIGHTS).read_bytes() == (joined("clip", "mistral") / WEIGHTS).read_bytes()
    assert [one.range for one in hub.bodies(WEIGHTS)] == [None]


def test_a_partial_file_that_is_too_long_is_begun_anew(hub, tmp_path):
    hub.push(ID, model())
    content = (model() / WEIGHTS).read_bytes()
    partial = tmp_path / f"cache/models--org--tiny/blobs/{hashlib.sha256(content).hexdigest()}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content + b"more")
    assert same(model_folder(ID), model())


def test_a_hub_that_is_busy_is_asked_again(hub):
    hub.push(ID, model())
    hub.fail("config.json", 429, times=2, method="HEAD", Retry_After="3")
    hub.fail("/cdn/", 429, method="GET", Retry_After="1")
    hub.fail("tokenizer.json", 503, method="HEAD")
    assert same(model_folder(ID), model())


def test_who_may_not_read_is_told_how_to(hub, monkeypatch):
    hub.push(ID, model())
    with pytest.raises(
        LapilliError, match=r"no model at .*/org/none, or a private one; .* `hf auth login`, or set HF_TOKEN"
    ):
        model_folder("org/none")
    with pytest.raises(LapilliError, match=r"no such revision at .*; name a branch, a tag or a commit"):
        model_folder(f"{ID}@nightly")
    hub.fail("config.json", 403, X_Error_Code="GatedRepo")
    with pytest.raises(
        LapilliError, match=r"not open to everybody; ask for it at .*/org/tiny, and log in with `hf auth"
    ):
        model_folder(ID)
    assert hub.bodies(WEIGHTS) == []
    for status in (401, 403):
        hub.fail("/api/", status, times=1, X_Error_Message="Invalid credentials in Authorization header")
        with pytest.raises(LapilliError, match=f"may not be read with this token .{status}."):
            model_folder("org/else")
    hub.private[ID] = "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert same(model_folder(ID), model())
    assert {one.token for one in hub.log if one.path.startswith("/cdn")} == {None}


def test_what_speaks_no_hub_is_no_traceback(hub):
    hub.push(ID, model())
    hub.fail("/api/", 200, Content_Type="text/html")
    with pytest.raises(LapilliError, match="gave what no hub gives"):
        model_folder(ID)


@pytest.mark.filterwarnings("ignore:Not enough free disk space")  # of huggingface_hub's, about small files
def test_a_full_disk_is_found_before_it_is_full(hub, tmp_path, monkeypatch):
    hub.push(ID, model())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=999))
    with pytest.raises(LapilliError, match=r"kB are to be fetched, and 1.0 kB are free; .* HF_HOME"):
        model_folder(ID)
    assert hub.bodies(WEIGHTS) == [] and left(tmp_path / "cache") == []


def test_a_place_that_cannot_be_written_to_is_said(hub, tmp_path, monkeypatch):
    hub.push(ID, model())
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LapilliError, match="cannot be written"):
        model_folder(ID)


def test_info_of_a_model_on_the_hub_fetches_no_weights(hub, tmp_path):
    sharded = tmp_path / "sharded"
    write_checkpoint(read_checkpoint(model()), sharded, writing=Writing(shard_size=40_000))
    hub.push(ID, sharded)
    told = describe(Path(ID))
    assert told.path == ID and told.parts == describe(sharded).parts and told.dtypes == describe(sharded).dtypes
    assert told.layout == "hf"
    assert {one.range for one in hub.log if one.path.startswith("/cdn")} == {"bytes=0-100000"}
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []
    model_folder(ID)
    hub.log.clear()
    assert describe(Path(ID)) == told and len(hub.log) == 1


def test_what_reads_no_weights_fetches_none(hub):
    hub.push(ID, model())
    assert codec_of(Path(ID)).patch_grid == codec_of(model()).patch_grid
    tokenizer = codec_of_tokenizer(Path(ID), "vicuna_v1", 9).tokenizer
    assert tokenizer.get_vocab() == codec_of(model()).tokenizer.get_vocab()
    assert [one for one in hub.log if one.path.startswith("/cdn")] == []


def test_a_model_is_loaded_by_its_id(hub):
    hub.push(ID, model())
    ours, theirs = load(ID).model.state_dict(), load(model()).model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_snapshots_are_told_apart_by_their_ids(hub):
    models = [model_folder(f"{ID}@{hub.push(ID, {'config.json': content})}") for content in (b"{}", b'{"a": 1}')]
    models.append(model_folder(f"org/other@{hub.push('org/other', {'config.json': b'{}'})}"))
    paths = [recorded(one) for one in models]
    assert shortest_ends(paths) == [path.name for path in paths]


def test_it_waits_for_the_same_file_that_another_fetches(hub, tmp_path, monkeypatch):
    """Two at once: each file is fetched once, and both end with the whole."""
    hub.push(ID, model())
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(model_folder, [ID, ID]))
    assert folders[0] == folders[1] and same(folders[0], model())
    assert len(hub.bodies(WEIGHTS)) == 1


def test_a_slip_in_a_path_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    """Where its first part is a folder here; with a revision it is an id all the same."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match=r"runs/algin: no such folder; runs is one here; .* write runs/algin@main"):
        require_named("runs/algin")
    require_named("runs/algin@main")
    require_named("org/name")
