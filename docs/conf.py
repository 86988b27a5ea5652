"""The documentation's site: `bash launch/docs.sh` builds it into docs/_build.

Pages are plain Markdown that GitHub shows as well; what only Sphinx understands
(tables of contents, the API reference) is in index.md, api/ and here.
"""

import pathlib
import re
import sys
import tomllib

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the checkout's package, installed or not

project = "sigma_jax"
author = "The authors of sigma_jax"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
  "version"
]

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "sigma_jax"
html_math_renderer = "mathml"  # below
html_show_copyright = False  # no licence has been chosen yet

# Links to headings as on GitHub; ```math``` blocks are GitHub's too.
myst_heading_anchors = 4
myst_fence_as_directive = ["math"]
myst_enable_extensions = ["dollarmath"]

# Docstrings: Google style; `x` is code, as in Markdown.
default_role = "literal"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes in a list, told once
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}

# Types in signatures link to where they are documented, if they are: pages of
# other projects would need a network, and not all of ours is public. Links
# between pages have to resolve.
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]
# A word in a docstring may be the name of several attributes.
suppress_warnings = ["ref.python"]
smartquotes = False  # commands in docstrings keep their two dashes

# Pages that have pages of their own below them.
CHILDREN = {"METHODS": "methods/*", "datasets/README": "*", "API": "api/*"}


def add_children(app, docname, source):
  """A hidden table of contents, which GitHub would show as a block of code."""
  if docname in CHILDREN:
    toctree = (
      f"\n```{{toctree}}\n:hidden:\n:glob:\n\n{CHILDREN[docname]}\n```\n"
    )
    source[0] += toctree


def plain(app, what, name, obj, options, lines):
  """Docstrings are text, with sections as Google has them and `code`.

  A lone * or | or a name_ is no markup. Lines `field: what it is` of a class
  become a list.
  """
  fields = getattr(obj, "__annotations__", {}) if what == "class" else {}
  inside = False
  for index, line in enumerate(lines):
    parts = line.split("`")
    for place in range(0, len(parts), 2):  # outside of `code`
      text = parts[place].replace("*", r"\*").replace("|", r"\|")
      parts[place] = re.sub(r"_(?=\W|$)", r"\_", text)
    line = "`".join(parts)
    first = re.match(r"(\w+(?:, \w+)*): ", line)
    if first and set(first[1].split(", ")) <= set(fields):
      line, inside = f"- {line}" if inside else f"\n- {line}", True
    elif inside and line.strip():
      line = f"  {line}"
    else:
      inside = False
    lines[index] = line
  lines[:] = "\n".join(lines).split("\n")


def is_bare_field(app, what, name, obj, skip, options):
  """A NamedTuple's fields are told in its docstring: no "Alias for field"."""
  return True if type(obj).__name__ == "_tuplegetter" else None


def equation(translator, node):
  """TeX as MathML, which browsers show without a script from the network."""
  block = isinstance(node, nodes.math_block)
  try:
    math = latex2mathml.tex2mathml(node.astext(), as_block=block)
  except MathError as error:
    logging.getLogger(__name__).warning("%s", error, location=node)
    math = node.astext()
  translator.body.append(f'<div class="math">{math}</div>' if block else math)
  raise nodes.SkipNode


def setup(app):
  renderers = (equation, None)
  app.add_html_math_renderer("mathml", renderers, renderers)
  app.connect("source-read", add_children)
  app.connect("autodoc-skip-member", is_bare_field)
  # Before napoleon, which writes markup of its own.
  app.connect("autodoc-process-docstring", plain, priority=100)
