"""What is read of transformers' insides: found by what it is, refused where it is not what is known."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.parts import joined
from torch import nn
from transformers import DynamicCache, StaticCache, Trainer

import lapilli
from lapilli.core.dependencies import dependency
from lapilli.core.errors import LapilliError
from lapilli.inspection.recording import recording
from lapilli.inspection.sites import watching
from lapilli.model.llava import load
from lapilli.model.upstream import (
    attention_of,
    cache_argument,
    cache_in,
    cache_layers,
    cache_length,
    cut_cache,
    new_cache,
    require_arguments,
    require_overridden,
)

PACKAGE = Path(lapilli.__file__).parent
RELEASE = dependency("transformers").installed
_ALOUD = {  # modules whose names are used as they are: where they have changed, the import fails, aloud
    "transformers",
    "transformers.integrations",
    "transformers.utils",
    "transformers.utils.import_utils",
    "transformers.generation.streamers",
    "transformers.convert_slow_tokenizer",
}
_NAMES = {"past_key_values", "get_seq_length", "_attn_implementation", "DynamicCache", "apply_rotary_pos_emb"}


@pytest.fixture
def language():
    return load(joined("clip", "llama")).model.model.language_model


class Later(nn.Module):
    """A layer of a release that has yet to come: it calls its arguments otherwise, and swallows those it knows not."""

    def forward(self, states, mask=None, memory=None, **kwargs):
        return states


def inside(file):
    """What of transformers' insides a file names: modules that are not public, and names that have changed before."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers"):
            found += [node.module] if node.module not in _ALOUD else []
            found += [alias.name for alias in node.names if alias.name in _NAMES]
        elif isinstance(node, ast.Attribute | ast.Name | ast.keyword | ast.Constant):
            name = next(getattr(node, field) for field in ("attr", "id", "arg", "value") if hasattr(node, field))
            found += [name] if isinstance(name, str) and name in _NAMES else []
    return found


def test_insides_are_read_in_one_file():
    found = {str(file.relative_to(PACKAGE)): inside(file) for file in PACKAGE.rglob("*.py")}
    assert found.pop("model/upstream.py")
    assert {name: what for name, what in found.items() if what} == {}


def test_a_planted_one_is_found(tmp_path):
    file = tmp_path / "it.py"
    file.write_text("from transformers.cache_utils import Cache\nlayer(x, past_key_values=c)\ngiven['past_key_values']")
    assert inside(file) == ["transformers.cache_utils", "past_key_values", "past_key_values"]


def test_a_cache_has_the_name_that_is_in_use(language):
    (name,) = cache_argument(language, new_cache())
    cache = new_cache()
    with torch.inference_mode():
        out = language(inputs_embeds=torch.zeros(1, 3, language.config.hidden_size), use_cache=True, **{name: cache})
    assert cache_in(out.values()) is cache and cache_length(cache) == 3
    assert [tuple(keys.shape[:3:2]) for keys, _ in cache_layers(cache)] == [(1, 3)] * len(language.layers)


def test_a_cache_is_found_under_any_name(language):
    static = StaticCache(config=language.config, max_cache_len=5)
    for cache in (new_cache(), DynamicCache(config=language.config), static):
        assert cache_in({"a": None, "kv_of_tomorrow": cache, "b": 3}.values()) is cache
    assert cache_in([None, 3, "cache"]) is None and cache_length(None) == 0


def test_a_cache_without_layers_is_refused():
    with pytest.raises(LapilliError, match=rf"transformers {RELEASE}: a DynamicCache does not hold keys and values"):
        cache_layers(new_cache())  # nothing has been read into it


def test_cutting_after_a_call_that_was_broken_off(language):
    """Its first layers have read more than its last: each is cut to the same length."""
    cache, width = new_cache(), language.config.hidden_size
    with torch.inference_mode():
        language(inputs_embeds=torch.zeros(1, 4, width), use_cache=True, **cache_argument(language, cache))
    cache.layers[0].keys = cache.layers[0].keys.repeat(1, 1, 2, 1)
    cache.layers[0].values = cache.layers[0].values.repeat(1, 1, 2, 1)
    cut_cache(cache, 3)
    assert {keys.shape[2] for keys, _ in cache_layers(cache)} == {3} == {cache_length(cache)}


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: cache_argument(Later(), new_cache()), "Later.forward takes no cache or past_key_values"),
        (lambda: require_arguments(Later.forward, "states", "attention_mask"), "Later.forward takes no attention_mask"),
        (lambda: require_overridden(Trainer, Trainer._save, _save_to), "Trainer._save_to is gone, or takes other"),
        (lambda: require_overridden(Trainer, _save), "Trainer._save is gone, or takes other"),
        (
            lambda: attention_of(SimpleNamespace(config=nn.Module())),
            "a configuration does not say which attention is run",
        ),
    ],
)
def test_what_a_later_release_calls_otherwise_is_refused_by_name(ask, said):
    known = dependency("transformers")
    with pytest.raises(LapilliError) as caught:
        ask()
    message = str(caught.value)
    assert message.startswith(f"transformers {RELEASE}: {said}")
    assert f"tested with {known.oldest} to {known.newest}" in message and known.remedy in message


def _save_to(self, folder): ...


def _save(self, folder): ...


def test_recording_refuses_a_language_model_that_is_called_otherwise(language):
    llava = load(joined("clip", "llama"))

    class Renamed(type(llava.model.model.language_model)):
        def forward(self, embeddings=None, **kwargs):
            return super().forward(inputs_embeds=embeddings, **kwargs)

    llava.model.model.language_model.__class__ = Renamed
    with (
        pytest.raises(LapilliError, match="takes no inputs_embeds and no attention_mask"),
        recording(llava),
    ):
        pass


@pytest.mark.parametrize(("site", "said"), [("resid_post", "the output of"), ("resid_pre", "the first argument of")])
def test_a_site_where_something_else_passes_is_refused(site, said, monkeypatch):
    model = load(joined("clip", "llama")).model
    layer = model.model.language_model.layers[0]
    plain = layer.forward
    monkeypatch.setattr(layer, "forward", lambda states=None, *_, **more: (plain(states, **more),))
    ids = torch.tensor([[1, 2, 3]])
    call = (lambda: model(ids)) if site == "resid_post" else lambda: layer(states=torch.zeros(1, 1, 48))
    with watching(model, {f"llm.layers.0.{site}": lambda passing: None}), pytest.raises(LapilliError, match=said):
        call()
