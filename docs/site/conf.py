"""How Sphinx builds the site of the docs; pages.py makes what it builds."""

from eavit_mm import __version__

project = 'eavit_mm'
author = 'The eavit_mm authors'
release = __version__
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
]
myst_heading_anchors = 4
# A page of configs has links to files, which are offered as downloads.
exclude_patterns = ['**/*.txt']
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 79
napoleon_use_ivar = True  # fields of a NamedTuple are described once
html_theme = 'sphinx_book_theme'
html_title = f'{project} {release}'
html_theme_options = dict(
    show_toc_level=2,
    use_download_button=False,
    navbar_persistent=[],  # the search is in the side bar
)
html_static_path = ['static']
html_css_files = ['narrow.css']
html_copy_source = html_show_sourcelink = False
