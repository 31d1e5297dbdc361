"""Bases of configs compute what the networks of their weights do."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from timm.models import vision_transformer

from eavit_mm.models import ElasticVisionTransformer
from eavit_mm.weights.pretrained import PUBLISHED, load_pretrained

from .foreign import timm_vit
from .toys import TINY_VIT, images

MODELS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
# Base -> a network of timm's.
NETWORKS: dict[str, Any] = dict(
    augreg='vit_base_patch16_224',
    clip='vit_base_patch16_clip_quickgelu_224',
    deit='deit_base_patch16_224',
    deit3='deit3_base_patch16_224',
    dino='vit_base_patch16_224',
    dinov2='vit_base_patch14_dinov2',
    dinov2_reg='vit_base_patch14_reg4_dinov2',
    mae='vit_base_patch16_224',
    siglip='vit_base_patch16_siglip_224',
)


def test_every_base_is_here() -> None:
    found = MODELS.glob('elastic_vitb_*.py')
    own = {path.stem.removeprefix('elastic_vitb_') for path in found}
    assert own == {*NETWORKS, 'linear', 'upernet'}  # of segmentors


@pytest.mark.parametrize('name', NETWORKS)
def test_a_base_has_what_its_weights_need(name: str, tmp_path: Path) -> None:
    # As on the hub; timm's own has the exact function.
    act = dict(act_layer='gelu_tanh') if name == 'siglip' else {}
    model = timm_vit(NETWORKS[name], num_classes=0, **act)
    path = tmp_path / 'model.pth'
    torch.save(model.state_dict(), path)
    cfg = Config.fromfile(MODELS / f'elastic_vitb_{name}.py').model.backbone
    cfg.update(TINY_VIT, space=None)
    cfg.init_cfg.checkpoint = str(path)
    if name == 'augreg':
        assert cfg.norm_cfg.pop('eps') == 1e-5  # EA-ViT's, not the weights'
        cfg.norm_cfg.eps = 1e-6
    assert cfg.pop('type') == 'eavit_mm.ElasticVisionTransformer'
    ours = ElasticVisionTransformer(**cfg)
    ours.init_weights()
    ours.double()
    ours.eval()
    x = images().double()
    with torch.no_grad():
        (found,) = ours(x)
        expected = model.double().forward_features(x)
    if name == 'siglip':
        found, expected = found.mean((2, 3)), expected.mean(1)
    else:
        expected = expected[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_what_configs_name_is_published_where_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = MODELS.parents[2]
    page = (root / 'docs' / 'weights.md').read_text()
    (augreg,) = re.findall(r' augreg=(\S+)', page)
    places = re.findall(r'convert\.py \$augreg/(\S+) (checkpoints/\S+)', page)
    named = {
        name
        for path in MODELS.glob('*.py')
        for name in re.findall("'(checkpoints/.*)'", path.read_text())
    }
    assert named == {name for _, name in places}
    assert {name.split('/')[1]: file for file, name in places} == PUBLISHED
    for file, name in places:
        words = re.escape(f' convert {augreg}/{file} {name}`')
        with pytest.raises(FileNotFoundError, match=words):
            load_pretrained(f'eavit_mm://{name}')
    published = {
        name.rpartition('/')[2]: kind
        for kind, known in vision_transformer.default_cfgs.items()
        for cfg in known.cfgs.values()
        if '/augreg/' in (name := cfg.url)
    }
    for file, name in places:
        size, patch = re.findall('vit-(.*)-p([0-9]+)_', name)[0]
        assert published[file] == f'vit_{size}_patch{patch}_224'
