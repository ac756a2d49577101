"""LLaVA's own code on `model convert --to original`: its answers against those of `lapilli ask`.

    python benchmarks/clients/llava_code.py MODEL DATA --llava CHECKOUT --python LLAVA_ENVIRONMENT/bin/python

CHECKOUT is https://github.com/haotian-liu/LLaVA at commit c121f0432da27facab705978f83c4ada465e46fd, and the environment
requirements/llava.txt. The conversation is vicuna_v1. `mm_vision_tower` becomes an absolute path, as the docs ask.
LLaVA's loader reads weights as halves; they are widened to float32 again, which lapilli computes in.
"""

import json
import tempfile
from pathlib import Path

from compare import arguments, client_answers, compared, finish, lapilli_answers, read_questions, run_lapilli


def main() -> None:
    """Parse, convert, ask both, compare."""
    parser = arguments(__doc__)
    parser.add_argument("--llava", type=Path, required=True, help="a checkout of LLaVA's code")
    options = parser.parse_args()
    questions = read_questions(options.data, options.questions)
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "llava-original"  # LLaVA's loader wants its own name in the folder's
        run_lapilli("model", "convert", options.model, original, "--to", "original")
        name_encoder(original)
        given = client_answers("llava_code", options.python, original, questions, path=options.llava)
    finish(compared("LLaVA's own code", given, questions, lapilli_answers(options.model, questions)))


def name_encoder(original: Path) -> None:
    """Make the encoder's path absolute, where it is a folder beside the rest."""
    file = original / "config.json"
    config = json.loads(file.read_text())
    if (original / config["mm_vision_tower"]).is_dir():
        config["mm_vision_tower"] = str((original / config["mm_vision_tower"]).resolve())
        file.write_text(json.dumps(config))


if __name__ == "__main__":
    main()
