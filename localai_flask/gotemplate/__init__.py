"""Go's `text/template` language with sprig's functions, as LocalAI's YAML files use it.

`parse(source, name)` compiles a template once; the result is immutable and may be shared between threads. A template
reaches nothing but the data it is rendered with, and what it does is bounded in time and size. It knows nothing of
chats, models or requests.
"""

from localai_flask.gotemplate.errors import TemplateError
from localai_flask.gotemplate.template import MAX_OUTPUT, MAX_STEPS, Template, parse

__all__ = ["MAX_OUTPUT", "MAX_STEPS", "Template", "TemplateError", "parse"]
