"""Chat templates in the manner of known models, in our own words; and what their tests have in common."""

from lapilli.data.sample import Turn

LLAMA_3 = (  # begins the text itself, trims, and always ends a turn with <|eot_id|>
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ (m.content | trim) ~ '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN_2 = (  # ChatML; says who it is where nobody else does
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (  # no prompt for generation; the space before an answer is the answer's
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' ~ m.content ~ ' [/INST]' }}{% else %}{{ ' ' ~ m.content ~ eos_token }}"
    "{% endif %}{% endfor %}"
)
GEMMA = (  # another name for the assistant, no system text, and a line break after every turn
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\n' }}"
    "{{ (m.content | trim) ~ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ eos_token ~ '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
LLAVA_HF = (  # lists of parts; all images before the words; nothing ends an answer
    "{% for m in messages %}{% if m.role != 'system' %}{{ m.role | upper ~ ': ' }}{% endif %}"
    "{% for p in m.content if p['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for p in m.content if p['type'] == 'text' %}{{ p['text'] ~ ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
PARTS = (  # lists of parts, images where they are, and an end
    "{{ bos_token }}{% for m in messages %}{{ '<|' ~ m.role ~ '|>' }}{% for p in m.content %}"
    "{% if p['type'] == 'image' %}<image>{% elif p['type'] == 'text' %}{{ p['text'] }}{% endif %}"
    "{% endfor %}{{ '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ENDED = {
    "llama 3": LLAMA_3,
    "qwen 2": QWEN_2,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "zephyr": ZEPHYR,
    "parts": PARTS,
}
"""Those in which something ends an answer, so that it can be learned."""
STOPS = {
    "llama 3": "<|eot_id|>",
    "qwen 2": "<|im_end|>",
    "mistral": "</s>",
    "gemma": "<end_of_turn>",
    "zephyr": "</s>",
    "parts": "<|end|>",
}
SPECIAL = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]
SPECIAL += ["<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>"]


def conversation(*texts):
    """Turns of these texts, the user's and the assistant's by turns."""
    return [Turn(("user", "assistant")[index % 2], text) for index, text in enumerate(texts)]


def joined(segments):
    return "".join(segment.text for segment in segments)
