"""Foreign files in a config's init_cfg."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import Attack, flax_arrays, hub_names, timm_vit
from mmpretrain.models import VisionTransformer
from safetensors.torch import save_file
from test_weights_convert import (
    POOL,
    TINY_VIT,
    assert_same_features,
    backbone,
    big,
    classifier,
)

from eavit_mm.models.weights import resolve_pretrained


def write(kind: str, model: Any, folder: Path) -> Path:
    state = dict(model.state_dict())
    if kind == 'npz':
        path = folder / 'S_16.npz'
        np.savez(path, **flax_arrays(state, 6))
    elif kind.endswith('safetensors'):
        path = folder / 'model.safetensors'
        save_file(hub_names(state) if 'hub' in kind else state, path)
    else:
        path = folder / f'model.{"bin" if "hub" in kind else "pth"}'
        state = hub_names(state) if 'hub' in kind else state
        if kind == 'deit':
            state = dict(model=state)
        if kind == 'dino':
            state = dict(
                teacher={f'backbone.{k}': w for k, w in state.items()}
            )
        torch.save(state, path)
    return path


def pretrained(path: Path, **changes: Any) -> dict[str, Any]:
    return dict(type='Pretrained', checkpoint=str(path), **changes)


KINDS = [
    'timm',
    'deit',
    'dino',
    'safetensors',
    'npz',
    'hub',
    'hub safetensors',
]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('prefix', [{}, dict(prefix='backbone.')])
def test_a_backbone(kind: str, prefix: dict[str, Any], tmp_path: Path) -> None:
    """A config's prefix is of mmpretrain's files; foreign ones have none."""
    model = timm_vit()
    path = write(kind, model, tmp_path)
    ours = backbone(init_cfg=pretrained(path, **prefix))
    ours.init_weights()
    ours.eval()
    assert_same_features(ours, model)


@pytest.mark.parametrize('kind', ['timm', 'npz', 'hub safetensors'])
def test_a_classifier(kind: str, tmp_path: Path) -> None:
    model = timm_vit()
    path = write(kind, model, tmp_path)
    ours: Any = classifier(init_cfg=pretrained(path, prefix='backbone.'))
    ours.init_weights()
    ours.eval()
    assert_same_features(ours.backbone, model)
    assert not ours.head_was_loaded


def test_a_mean_pool(tmp_path: Path) -> None:
    model = timm_vit(global_pool='avg')
    path = write('safetensors', model, tmp_path)
    ours = backbone(init_cfg=pretrained(path), **POOL)
    ours.init_weights()
    ours.eval()
    assert_same_features(ours, model)


def test_a_norm_before_the_mean_is_not_moved(tmp_path: Path) -> None:
    path = write('timm', timm_vit('vit_base_patch16_gap_224'), tmp_path)
    vit = backbone(init_cfg=pretrained(path), with_cls_token=False, **POOL)
    with pytest.raises(ValueError, match=r"pth: .*take out_type='featmap'"):
        vit.init_weights()


@pytest.mark.parametrize('names', [dict, hub_names])
def test_float8(names: Any, tmp_path: Path) -> None:
    model = timm_vit()
    state = {
        k: w.to(torch.float8_e4m3fn) for k, w in model.state_dict().items()
    }
    model.load_state_dict(state)
    path = tmp_path / 'model.safetensors'
    save_file(names(state), path)
    ours = backbone(init_cfg=pretrained(path))
    ours.init_weights()
    ours.eval()
    assert_same_features(ours, model)


def test_a_list_of_one(tmp_path: Path) -> None:
    model = timm_vit()
    path = write('timm', model, tmp_path)
    ours = backbone(init_cfg=[pretrained(path)])
    ours.init_weights()
    ours.eval()
    assert_same_features(ours, model)


def test_a_resized_position_embedding(tmp_path: Path) -> None:
    model = timm_vit(img_size=32)
    path = write('npz', model, tmp_path)
    ours = backbone(init_cfg=pretrained(path))
    ours.init_weights()
    weight = ours.state_dict()['layers.2.attn.qkv.weight']
    assert torch.equal(weight, model.blocks[2].attn.qkv.weight)
    token = ours.state_dict()['pos_embed'][:, 0]
    assert torch.equal(token, model.pos_embed[:, 0])


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_mmpretrains_names_in_another_format(
    prefix: str, tmp_path: Path
) -> None:
    stock = VisionTransformer(**TINY_VIT)
    path = tmp_path / 'stock.safetensors'
    save_file({prefix + k: w for k, w in stock.state_dict().items()}, path)
    ours = backbone(init_cfg=pretrained(path, prefix=prefix or None))
    ours.init_weights()
    for name, weight in stock.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name


def test_the_stock_network_by_the_scheme(tmp_path: Path) -> None:
    model = timm_vit()
    path = write('npz', model, tmp_path)
    init_cfg = dict(type='Pretrained', checkpoint=f'eavit_mm://{path}')
    stock = VisionTransformer(**TINY_VIT, init_cfg=init_cfg)
    stock.init_weights()
    stock.eval()
    assert_same_features(stock, model)


def test_what_needs_no_conversion_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / 'stock.pth'
    torch.save(VisionTransformer(**TINY_VIT).state_dict(), path)
    for cfg in [
        None,
        pretrained(path),
        pretrained(path, prefix='backbone.'),
        dict(type='Pretrained', checkpoint='https://x.org/a.npz'),
        dict(type='TruncNormal', layer='Linear', std=0.1),
        [dict(type='Xavier', layer='Linear'), pretrained(path)],
    ]:
        assert resolve_pretrained(cfg) == cfg


def test_refused_and_broken_files(tmp_path: Path) -> None:
    path, trace = tmp_path / 'file.pth', tmp_path / 'trace'
    torch.save(big('swin_tiny_patch4_window7_224'), path)
    with pytest.raises(ValueError, match=r'file\.pth: .* hierarchical'):
        backbone(init_cfg=pretrained(path)).init_weights()
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(ValueError, match=r'file\.pth is broken'):
        backbone(init_cfg=pretrained(path)).init_weights()
    torch.save(dict(state_dict={}, meta=Attack(trace)), path)
    with pytest.raises(ValueError, match=r'file\.pth is refused'):
        backbone(init_cfg=pretrained(path)).init_weights()
    assert not trace.exists()
    missing = tmp_path / 'no_such.npz'
    with pytest.raises(FileNotFoundError, match=r'no_such\.npz is not there'):
        backbone(init_cfg=pretrained(missing)).init_weights()


def test_a_network_of_another_width_is_refused(tmp_path: Path) -> None:
    path = write('npz', timm_vit(embed_dim=12), tmp_path)
    with pytest.raises(ValueError, match=r'cls_token: \(1, 1, 12\) for'):
        backbone(init_cfg=pretrained(path)).init_weights()
