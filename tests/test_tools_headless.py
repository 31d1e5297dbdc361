"""A backbone without a head: built, tested, exported, corrected, used."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fronts import randomise_vit
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS
from sklearn.neighbors import KNeighborsClassifier
from tool_runs import DIGITS

from eavit_mm.apis import load, predict
from eavit_mm.engine.calibration import unlabelled_images
from eavit_mm.export.directory import read_network

torch.set_num_threads(1)

CONFIG = """
_base_ = [{base!r}]
model = dict(
    backbone=dict(
        arch=dict(
            embed_dims=24,
            num_layers=2,
            num_heads=3,
            feedforward_channels=32,
        ),
        patch_size=7,
        init_cfg=None,
        out_type='featmap',
        space=dict(
            _delete_=True,
            embed_dims=[12, 24],
            num_heads=[1, 2, 3],
            feedforward_channels=[8, 32],
        ),
    ),
    head=None,
)
train_dataloader = dict(dataset=dict(part='search'))
search_evaluator = dict(type='eavit_mm.EmbeddingMetric', k=5, epochs=0)
search_cfg = dict(metric='embedding/knn', max_evaluations=3)
test_evaluator = dict(_delete_=True, type='eavit_mm.EmbeddingMetric', k=5)
"""


@pytest.fixture(scope='module')
def files(tmp_path_factory: Any) -> tuple[Path, Path]:
    """A config, and a checkpoint of random weights."""
    folder = tmp_path_factory.mktemp('headless')
    config = folder / 'config.py'
    config.write_text(CONFIG.format(base=str(DIGITS)))
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    randomise_vit(model)
    space = model.backbone.space.to_config()
    meta = dict(eavit_mm=dict(space=space, rearrangement=None, stage=1))
    torch.save(
        dict(meta=meta, state_dict=model.state_dict()), folder / 'a.pth'
    )
    return config, folder / 'a.pth'


@torch.no_grad()
def knn_by_hand(cfg: Config, model: Any, backbone: Any) -> float:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        sets = [
            DATASETS.build(cfg[f'{part}_dataloader'].dataset)
            for part in ('val', 'test')  # the training part, seen as a test
        ]
    embeddings, labels = [], []
    for data in sets:
        samples = [data[i] for i in range(len(data))]
        batch = dict(inputs=[s['inputs'] for s in samples])
        x = model.data_preprocessor(batch)['inputs']
        (maps,) = backbone(x)
        embeddings.append(F.normalize(maps.mean((2, 3))).numpy())
        truth = [s['data_samples'].gt_label.item() for s in samples]
        labels.append(np.array(truth))
    knn = KNeighborsClassifier(5).fit(embeddings[0], labels[0])
    return 100 * (knn.predict(embeddings[1]) == labels[1]).mean()


def test_from_a_backbone_to_what_is_used(files, call, tmp_path):
    network = load(*files)
    model, cfg = network.model, Config.fromfile(files[0])
    assert not [name for name in model.state_dict() if 'head' in name]
    largest = model.backbone.space.largest
    subnet = replace(largest, num_heads=(1, 2), feedforward_channels=(8, 8))
    (tmp_path / 'mine.json').write_text(subnet.to_json())

    call('test.py', *files, '--subnet', 'mine.json', '--out', 'sliced.json')
    (row,) = json.loads((tmp_path / 'sliced.json').read_text())['subnets']
    assert set(row['metrics']) == {'embedding/knn', 'embedding/linear'}
    with model.backbone.use(subnet):
        expected = knn_by_hand(cfg, model, model.backbone)
    assert row['metrics']['embedding/knn'] == pytest.approx(expected)

    args = ('--subnet', 'mine.json', '--rounds', '1', '--correct', '60')
    call('export.py', *files, *args, '--out', 'out')
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert report['correction']['images'] == 60
    assert report['correction']['error'] < report['correction']['error_before']
    dense = read_network(tmp_path / 'out')
    x = unlabelled_images(cfg, model, 8, 'we')
    with torch.no_grad():
        assert dense(x).shape == (8, 24)

    # What is exported is measured by the same tool.
    out = ('out/config.py', 'out/model.pth', '--work-dir', 'work')
    call('test.py', *out)
    (log,) = (tmp_path / 'work').glob('*/*.log')
    expected = knn_by_hand(cfg, model, dense.backbone)
    assert f'embedding/knn: {expected:.4f}' in log.read_text()

    # A search has other data than the training, which its metric knows.
    other = ('--cfg-options', 'train_dataloader.dataset.part=train')
    call('search.py', *files, '--work-dir', 's', *other)
    front = json.loads((tmp_path / 's/pareto.json').read_text())
    assert all(m['metrics']['embedding/knn'] > 20 for m in front['members'])

    image = np.full((28, 28, 1), 90, np.uint8)
    (found,) = predict(network, image, '60%')
    assert found['embedding'].ndim == 1
