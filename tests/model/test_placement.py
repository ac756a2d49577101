"""Where a model's numbers lie: real loads in every format of the CPU, and one line where a device is missing."""

import warnings

import pytest
import torch
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.errors import LapilliError, LapilliWarning, UsageError
from lapilli.core.placement import DTYPES, Placement
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inference.chat import Chat
from lapilli.model import placement as module
from lapilli.model.llava import load, save
from lapilli.model.placement import TORCH_DTYPES, placed, settings, warn_of_slow_precision

PAIRS = [("clip", "llama"), ("siglip", "qwen2")]
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="no machine without a CUDA GPU")


def _noise(name):
    return picture(int(name))


def _samples():
    shown = Sample("a", ("1",), (Turn("user", "<image>\nWhat color is it?"),))
    return [shown, Sample("b", (), (Turn("user", "Why?"),))]


def test_nothing_is_asked_of_transformers_unless_it_is_asked_for():
    """What training loads is loaded as it always was."""
    assert settings(Placement()) == {}
    assert settings(Placement("cpu", "bf16")) == {"dtype": torch.bfloat16}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", PAIRS)
def test_every_weight_is_the_stored_one_in_that_format(pair, dtype):
    stored, llava = load(joined(*pair)).model, load(joined(*pair), Placement("cpu", dtype)).model
    assert {weight.dtype for weight in llava.parameters()} == {TORCH_DTYPES[dtype]}
    for (name, one), (other, was) in zip(llava.named_parameters(), stored.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(one, was.to(TORCH_DTYPES[dtype]))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("pair", PAIRS)
def test_answers_and_chats_in_half_of_the_bits(pair, dtype):
    """The logits are those of full precision but for the rounding, and a chat says what a batch says."""
    full, half = load(joined(*pair)), load(joined(*pair), Placement("cpu", dtype))
    batch = {"input_ids": torch.tensor([[full.codec.image_token_id] * 9 + [5, 6, 7]])}
    batch["pixel_values"] = full.pixels([_noise("1")])
    with torch.inference_mode():
        expected, given = full.model(**batch).logits, half.model(**placed(batch, half.model)).logits
    assert given.dtype == TORCH_DTYPES[dtype]
    assert (given - expected).abs().max() < 0.05 * expected.abs().max()
    alone = [answer(half, [sample], _noise, 4)[0].text for sample in _samples()]
    chat = Chat(half, _noise, 4)
    assert chat.say("What color is it?", ["1"]) == alone[0]
    assert len(answer(half, _samples(), _noise, 4)) == 2


def test_a_stored_format_is_kept(tmp_path):
    llava = load(joined("clip", "llama"), Placement(dtype="fp16"))
    save(llava, tmp_path / "half")
    assert load(tmp_path / "half").model.dtype == torch.float16
    assert load(tmp_path / "half", Placement(dtype="fp32")).model.dtype == torch.float32


def test_pixels_go_where_the_vision_encoder_is():
    llava = load(joined("clip", "llama"), Placement(dtype="bf16"))
    llava.model.to("meta")
    batch = placed({"input_ids": torch.ones(1, 3, dtype=torch.int64), "pixel_values": torch.ones(1)}, llava.model)
    assert {value.device.type for value in batch.values()} == {"meta"}
    assert [value.dtype for value in batch.values()] == [torch.int64, torch.bfloat16]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"device": "gpu"}, "device 'gpu': unknown; choose auto, cpu, cuda, cuda:N or balanced"),
        ({"device": "cuda:"}, "device 'cuda:': unknown"),
        ({"device": "cuda:one"}, "device 'cuda:one': unknown"),
        ({"dtype": "int8"}, "dtype 'int8': unknown; choose fp32, bf16, fp16"),
        ({"bits": 3}, "bits 3: choose 8 or 4"),
    ],
)
def test_words_that_mean_nothing(words, message):
    with pytest.raises(UsageError, match=message):
        Placement(**words)


@without_cuda
@pytest.mark.parametrize("words", [{"device": "cuda"}, {"device": "cuda:1"}, {"device": "balanced"}])
def test_a_gpu_that_is_not_there(words):
    with pytest.raises(LapilliError, match="finds no CUDA GPU; choose auto or cpu"):
        load(joined("clip", "llama"), Placement(**words))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="no machine without an accelerator")
def test_auto_is_the_cpu_where_there_is_nothing_else():
    assert settings(Placement("auto")) == {}
    with pytest.raises(LapilliError, match=r"device mps: torch .* finds none here; choose auto or cpu"):
        settings(Placement("mps"))


@without_cuda
@pytest.mark.parametrize("bits", [8, 4])
def test_fewer_bits_need_a_gpu_and_the_package(bits, monkeypatch):
    with pytest.raises(LapilliError, match=f"bits {bits}: bitsandbytes needs a CUDA GPU, and torch finds none"):
        load(joined("clip", "llama"), Placement("auto", bits=bits))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(LapilliError, match="but the device is cpu; choose auto or cuda"):
        settings(Placement(bits=bits))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(module, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(LapilliError, match=r"bitsandbytes is not installed; pip install 'lapilli\[quant\]'"):
        settings(Placement("cuda", bits=bits))


def test_what_bitsandbytes_is_told(monkeypatch):
    """Nobody has a GPU here; what is asked for can still be read."""
    monkeypatch.setattr(module, "_require_quantiser", lambda bits, device: None)
    four, eight = (settings(Placement("cpu", bits=bits)) for bits in (4, 8))
    asked = four["quantization_config"]
    assert (asked.load_in_4bit, asked.bnb_4bit_quant_type, asked.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert (asked.bnb_4bit_compute_dtype, four["dtype"]) == (torch.bfloat16, torch.bfloat16)
    assert (eight["quantization_config"].load_in_8bit, eight["dtype"]) == (True, torch.float16)
    whole = {"model.vision_tower", "model.multi_modal_projector", "lm_head"}
    assert set(asked.llm_int8_skip_modules) == set(eight["quantization_config"].llm_int8_skip_modules) == whole
    assert settings(Placement("cpu", "fp16", 4))["quantization_config"].bnb_4bit_compute_dtype == torch.float16
    names = {name for name, _ in load(joined("clip", "llama")).model.named_modules()}
    assert whole <= names


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["auto", "cuda:0", "balanced"])
def test_on_a_gpu(device):
    llava = load(joined("clip", "llama"), Placement(device))
    assert llava.model.device.type == torch.accelerator.current_accelerator().type
    here = answer(load(joined("clip", "llama")), _samples(), _noise, 4)
    assert [one.text for one in answer(llava, _samples(), _noise, 4)] == [one.text for one in here]
    assert Chat(llava, _noise, 4).say("What color is it?", ["1"]) == here[0].text


@pytest.mark.gpu
@pytest.mark.parametrize(("bits", "linear"), [(8, "Linear8bitLt"), (4, "Linear4bit")])
def test_fewer_bits_on_a_gpu(bits, linear):
    pytest.importorskip("bitsandbytes", reason="no bitsandbytes; it comes with the quant extra")
    model = load(joined("clip", "llama"), Placement("cuda", bits=bits)).model
    kinds = {name: type(part).__name__ for name, part in model.named_modules() if "Linear" in type(part).__name__}
    quantised = {name for name, kind in kinds.items() if kind == linear}
    assert quantised == {name for name in kinds if ".language_model." in name}


@pytest.fixture
def slow_halves(monkeypatch):
    """A processor that takes six times as long for products of 16 bits."""
    monkeypatch.setattr(module, "slowness_of", lambda dtype: 6.0)
    module._warn_once.cache_clear()


def test_a_format_that_the_processor_is_slow_in_is_warned_of(tmp_path, slow_halves):
    """Unless it is named; and in fp32 there is nothing to say."""
    save(load(joined("clip", "llama"), Placement(dtype="bf16")), tmp_path / "half")
    with pytest.warns(LapilliWarning, match=r"bf16 6 times as slowly as .*; with --dtype fp32, .* takes 0\.0 GB$"):
        load(tmp_path / "half")
    with warnings.catch_warnings(action="error"):
        load(tmp_path / "half")  # once is enough
        load(tmp_path / "half", Placement(dtype="bf16"))
        load(tmp_path / "half", Placement(dtype="fp32"))
        load(joined("clip", "llama"))


def test_nothing_is_said_of_a_processor_that_is_fast_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "slowness_of", lambda dtype: 1.2)
    save(load(joined("clip", "llama"), Placement(dtype="fp16")), tmp_path / "half")
    with warnings.catch_warnings(action="error"):
        load(tmp_path / "half")


def test_the_slowness_is_measured(monkeypatch):
    """A format against itself takes as long, but for the clock."""
    module.slowness_of.cache_clear()
    assert 0.3 < module.slowness_of(torch.float32) < 3
    assert module.slowness_of(torch.bfloat16) > 0.02
    module.slowness_of.cache_clear()


def test_the_command_line_says_it_in_one_line(tmp_path, slow_halves, capsys):
    save(load(joined("clip", "llama"), Placement(dtype="bf16")), tmp_path / "half")
    picture(1).save(tmp_path / "a.png")
    capsys.readouterr()
    assert run(["ask", str(tmp_path / "half"), str(tmp_path / "a.png"), "What is it?"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lapilli: this processor multiplies matrices of bf16 6 times as slowly as")
    assert run(["ask", str(tmp_path / "half"), str(tmp_path / "a.png"), "What is it?", "--dtype", "fp32"]) == 0
    assert "processor" not in capsys.readouterr().err


@pytest.mark.skipif(torch.accelerator.is_available(), reason="no machine without an accelerator")
def test_a_training_in_bf16_is_warned_of_where_the_processor_is_slow_in_it(slow_halves):
    with pytest.warns(LapilliWarning, match=r"^precision: bf16; this processor .* 6 times .*; set precision to fp32$"):
        warn_of_slow_precision("bf16")
    with warnings.catch_warnings(action="error"):
        warn_of_slow_precision("fp32")
