"""Tokenizers of every kind, in processors and codecs of every template."""

import pytest
from tests.data.readers import GRID, KINDS, LLAMA_KINDS, llama, make_processor, trained

from lapilli.core.prompt.codec import codec_from
from lapilli.core.prompt.template import TEMPLATES


@pytest.fixture(scope="session", params=KINDS + LLAMA_KINDS)
def tokenizer(request):
    return llama(request.param) if request.param in LLAMA_KINDS else trained(request.param)


@pytest.fixture(scope="session")
def simple_tokenizer():
    return trained("bytes")


@pytest.fixture(params=TEMPLATES)
def processor(request, tokenizer):
    return make_processor(tokenizer, request.param)


@pytest.fixture
def codec(processor):
    return codec_from(processor, processor.template, GRID)


@pytest.fixture
def simple_codec(simple_tokenizer):
    """A codec of the vicuna template with a byte-level tokenizer."""
    return codec_from(make_processor(simple_tokenizer, "vicuna_v1"), "vicuna_v1", GRID)
