"""The codec of a real LlavaProcessor."""

from types import SimpleNamespace

import pytest

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.codec import codec_from

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def processor():
    from tokenizers import Tokenizer, models
    from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "<image>": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", extra_special_tokens=["<image>"])
    return LlavaProcessor(CLIPImageProcessorPil(), tokenizer, patch_size=8)


def test_it_reads_what_encoding_needs(processor):
    codec = codec_from(processor, "vicuna_v1", (3, 4))
    assert codec.tokenizer is processor.tokenizer
    assert codec.image_processor is processor.image_processor
    assert (codec.template, codec.patch_grid) == ("vicuna_v1", (3, 4))
    assert (codec.image_token, codec.image_token_id) == ("<image>", 1)


def test_an_unknown_template_is_refused(processor):
    with pytest.raises(LapilliError, match="template 'vicuna': unknown"):
        codec_from(processor, "vicuna", (3, 4))


def test_a_tokenizer_without_offsets_is_refused():
    from transformers import ByT5Tokenizer

    with pytest.raises(LapilliError, match="tokenizer ByT5Tokenizer: gives no character offsets; use the fast"):
        codec_from(SimpleNamespace(tokenizer=ByT5Tokenizer()), "vicuna_v1", (3, 4))
