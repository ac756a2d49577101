"""Chat templates of text models, made to read the lists of parts in which pictures are sent.

Most templates add a message's content to a string, and fail on the list of parts that transformers' pipelines, servers
and processors hand them. A prelude makes strings of those lists before such a template sees them.
"""

from lapilli.core.prompt.template import PARTS

# The line break behind the prelude is not rendered: transformers' environment drops one behind a block. With it the
# template begins a line, as it does alone: white space before its first block is stripped at the start of a line.
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
    r"""Return the template behind a prelude that joins every list of parts to one text, as `Template.jinja` does.

    An image becomes "<image>\n". Messages without content, or with a string, pass unchanged, and so do all other
    fields. The result is for environments that trim blocks, such as that of transformers.
    """
    prelude = _PRELUDE.replace("\n", "").replace("@PARTS", PARTS)
    return f"{prelude}\n{template}"
