"""Writes into the metafiles what the records measured.

To be run anew, ``python docs/site/metafiles.py``, when records have changed.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from zoo import ROOT, Figure, measured


def written(figures: Sequence[Figure]) -> str:
    """The metrics of a model, with their source."""
    found = [figure for figure in figures if figure.metrics]
    sources = dict.fromkeys(
        f'docs/benchmark/{figure.page}.md, {figure.seeds} '
        f'seed{"s" * (figure.seeds > 1)}'
        for figure in found
    )
    lines = [
        f'          {name}: {value:.2f}\n'
        for figure in found
        for name, value in figure.metrics.items()
    ]
    return f'Metrics:  # {"; ".join(sources)}\n{"".join(lines)}'


def renewed() -> dict[Path, str]:
    """The text that each metafile should have."""
    figures, texts = measured(), {}
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for file in index['Import']:
        head, *models = re.split(
            r'(?=^  - Name: .*\n    In Coll)',
            (ROOT / file).read_text(),
            flags=re.M,
        )
        for i, model in enumerate(models):
            known = figures.get(yaml.safe_load(model)[0]['Config'])
            if known:
                old = r'Metrics:.*\n( {10}.*\n)*'
                models[i] = re.sub(old, written(known), model, count=1)
        texts[ROOT / file] = ''.join([head, *models])
    return texts


if __name__ == '__main__':
    for path, text in renewed().items():
        path.write_text(text)
