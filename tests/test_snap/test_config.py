"""The leaf of SnapViT."""

from pathlib import Path

import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'snapvit'


def test_the_leaf_is_a_backbone_whose_units_are_all_cut() -> None:
    (path,) = FOLDER.glob('*.py')
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    space = model.backbone.space
    assert space.embed_dims == (192,)
    assert space.max_off == 0
    assert space.smallest.num_heads == (1,) * 12
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        steps = [step['type'] for step in loader.dataset.pipeline]
        assert not [step for step in steps if 'Random' in step]
    assert cfg.test_evaluator.type == 'eavit_mm.EmbeddingMetric'
    text = (FOLDER / 'metafile.yml').read_text()
    (entry,) = yaml.safe_load(text)['Models']
    assert entry['Config'] == f'configs/snapvit/{path.name}'
    assert entry['Metadata']['Parameters'] == model.params()['total']
    assert entry['Metadata']['FLOPs'] == model.macs()['total']
