"""The notebooks run, cell by cell, in one namespace."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stage2 import stage2_checkpoint, stage2_config, stage2_model

torch.set_num_threads(1)

FOLDER = Path(__file__).resolve().parents[1] / 'docs/notebooks'


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells with code."""
    notebook = json.loads(path.read_text())
    assert notebook['nbformat'] == 4
    return [c for c in notebook['cells'] if c['cell_type'] == 'code']


def run(path: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """What the cells define; parameters stand for the first one's."""
    first, *others = cells(path)
    assert first['metadata']['tags'] == ['parameters']
    compile(''.join(first['source']), path.name, 'exec')
    names = dict(parameters)
    for cell in others:
        exec(''.join(cell['source']), names)
    return names


@pytest.fixture(scope='module')
def files(tmp_path_factory: Any) -> dict[str, Path]:
    config = stage2_config(tmp_path_factory.mktemp('stage2'))
    path = config.with_name('epoch_1.pth')
    stage2_checkpoint(stage2_model(config), path)
    return dict(CONFIG=config, CHECKPOINT=path)


def test_budgets(files: dict[str, Path], capsys: Any) -> None:
    names = run(FOLDER / 'budgets.ipynb', files)
    assert '% budget' in capsys.readouterr().out
    assert all(row['delivered'] <= row['limit'] for row in names['rows'])
    assert names['right'].keys() == {1.0, 0.5, 0.25, 0.1}
    model = names['network'].model
    assert model.backbone.subnet in (None, model.backbone.space.largest)
    assert model.macs(names['subnet'])['total'] <= 0.25 * model.macs()['total']
    scores = [
        torch.tensor(found[0]['pred_scores'])
        for found in (names['small'], names['large'])
    ]
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_every_notebook_has_a_test_and_no_outputs() -> None:
    for path in FOLDER.glob('*.ipynb'):
        assert f'test_{path.stem}' in globals()
        assert not any(cell['outputs'] for cell in cells(path))
