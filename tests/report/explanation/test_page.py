import base64
import gzip
import hashlib
import html
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from tests.report.explanation.fake_bundle import HOSTILE, SMALL, Plan, make_bundle, write_bundle

from lapilli.core.errors import LapilliError
from lapilli.report.explanation import page as page_module
from lapilli.report.explanation.page import frame, render, write_page

ROOM = Path(page_module.__file__).parent


def between(page, start, end):
    return re.search(re.escape(start) + "(.*?)" + re.escape(end), page, re.DOTALL).group(1)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return render(write_bundle(tmp_path_factory.mktemp("hostile"), HOSTILE))


def test_the_page_carries_what_was_stored(tmp_path):
    written = write_page(write_bundle(tmp_path, SMALL)).read_text(encoding="utf-8")
    arrays = between(written, '<script type="text/plain" id="arrays">', "</script>")
    assert gzip.decompress(base64.b64decode(arrays)) == (tmp_path / "arrays.safetensors").read_bytes()
    carried = json.loads(between(written, '<script type="application/json" id="explanation">', "</script>"))
    assert carried["explanation"] == json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))
    assert carried["image"].startswith("data:image/png;base64,")


def test_the_policy_names_exactly_the_script_and_the_style(hostile):
    policy = html.unescape(between(hostile, 'http-equiv="Content-Security-Policy" content="', '"'))
    for kind, start, end in (("script", '<script type="module">', "</script>"), ("style", "<style>", "</style>")):
        digest = base64.b64encode(hashlib.sha256(between(hostile, start, end).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_hostile_text_is_no_markup(hostile):
    outside = re.sub(r'<script type="module">.*?</script>', "", hostile, flags=re.DOTALL)
    assert outside.count("<script") == 2 and "<img" not in outside and "<!--" not in outside


def test_two_renderings_are_the_same(tmp_path):
    write_bundle(tmp_path, SMALL)
    assert render(tmp_path) == render(tmp_path)


def test_twenty_tokens_are_two_megabytes_at_most(written):
    plan = Plan()
    assert len(make_bundle(plan)[0]["answer"]["tokens"]) >= 20
    assert written(plan).stat().st_size <= 2_000_000


def test_a_large_picture_is_made_smaller(tmp_path):
    noise = Image.effect_noise((2400, 1600), 90).convert("RGB")
    folder = write_bundle(tmp_path, Plan(size=(2400, 1600)), picture=noise)
    assert (folder / "image.png").stat().st_size > 4_000_000
    assert len(render(folder)) < 3_000_000


def test_what_cannot_be_shown_is_refused(tmp_path):
    write_bundle(tmp_path, SMALL)
    (tmp_path / "view.png").unlink()
    with pytest.raises(LapilliError, match=r"view\.png: the picture is missing"):
        render(tmp_path)
    explanation, _ = make_bundle(SMALL)
    explanation["image"]["file"] = "../image.png"
    with pytest.raises(LapilliError, match="lies outside"):
        (tmp_path / "explanation.json").write_text(json.dumps(explanation), encoding="utf-8")
        render(tmp_path)


def test_a_frame_is_sandboxed_and_named_once(hostile):
    one, other = frame(hostile), frame(hostile, height=500)
    assert 'sandbox="allow-scripts"' in one and "height:500px" in other
    assert between(one, 'id="', '"') != between(other, 'id="', '"')
    assert html.unescape(between(one, 'srcdoc="', '"></iframe>')) == hostile


def test_the_module_stays_small_and_alone():
    source = (ROOM / "explain.js").read_text(encoding="utf-8")
    # Every page carries it: its bytes are held, and its lines, so that it stays a file that one reads through. Their
    # limit was 1,820 until it said which of two maps is shown, and read explanations without some of today's figures.
    assert source.count("\n") <= 1_840 and len(source.encode()) <= 98_000
    assert not re.search(
        r"^\s*import\b|\bimport\(|innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|fetch\(",
        source,
        re.MULTILINE,
    )
    assert "</script" not in source.lower() and "<!--" not in source
    order = re.findall(r"^// -+ (.+)$", source, re.MULTILINE)
    assert order == ["store", "safetensors reader", "colors", "picture", "words", "source bars", "matrix", "profile",
                     "patch words", "routes", "receipt", "keys", "export"]  # fmt: skip
