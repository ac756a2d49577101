"""Chat templates of text models, made to read the lists of parts in which pictures are sent.

Most templates add a message's content to a string, and fail on the list of parts that transformers' pipelines, servers
and processors hand them. A prelude makes strings of those lists before such a template sees them.
"""

from lapilli.core.prompt.template import PARTS

# The line break behind it is no text: transformers' environment takes away one behind a block. It is there so that the
# template begins a line, as it did alone: white space before its own first block is stripped at the start of a line.
_PRELUDE = """\
{% set flattened = namespace(messages=[]) %}
{% for message in messages %}
{% if message['content'] is defined and message['content'] is iterable and message['content'] is not string %}
{% set text %}@PARTS{% endset %}
{% set flattened.messages = flattened.messages + [dict(message, content=text)] %}
{% else %}
{% set flattened.messages = flattened.messages + [message] %}
{% endif %}
{% endfor %}
{% set messages = flattened.messages %}"""


def flattening(template: str) -> str:
    r"""The template, behind what makes one text of every content that is a list of parts, as `Template.jinja` does.

    An image becomes "<image>\n". Messages whose content is a string, or that have none, pass unchanged; so do the other
    fields of all. It is for environments that trim blocks, as transformers and the servers that follow it do.
    """
    prelude = _PRELUDE.replace("\n", "").replace("@PARTS", PARTS)
    return f"{prelude}\n{template}"
