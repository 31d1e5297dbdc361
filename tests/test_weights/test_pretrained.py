"""Foreign files in a config's init_cfg."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmpretrain.models import VisionTransformer
from safetensors.torch import save_file

from eavit_mm.weights import resolve_pretrained

from .foreign import Attack, flax_arrays, hub_names, timm_vit
from .test_convert import (
    POOL,
    TINY_VIT,
    assert_same_features,
    backbone,
    big,
    classifier,
)


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


# Square numbers of rows: a class token and n x (n + 2) patches, or the other
# way round.
NOT_SQUARE = [(12, 20), (20, 12), (8, 16), (4, 60)]


@pytest.mark.parametrize('img_size', NOT_SQUARE)
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('pool', [{}, dict(with_cls_token=False, **POOL)])
def test_a_grid_that_is_not_square(
    img_size: Any, kind: str, pool: dict[str, Any], tmp_path: Path
) -> None:
    model = timm_vit(img_size=img_size)
    path = write(kind, model, tmp_path)
    ours = backbone(img_size=img_size, init_cfg=pretrained(path), **pool)
    ours.init_weights()
    ours.eval()
    if not pool:
        assert_same_features(ours, model, img_size)
    first = 1 if pool else 0
    expected = model.pos_embed[:, first:]
    assert torch.equal(ours.state_dict()['pos_embed'], expected)


@pytest.mark.parametrize('img_size', NOT_SQUARE)
def test_such_a_grid_into_another_is_refused(
    img_size: Any, tmp_path: Path
) -> None:
    """Never taken for a square of patches without a class token."""
    model = timm_vit(img_size=img_size)
    for kind, words in [
        ('timm', r'--class-position no \(of patches alone\) or yes'),
        ('npz', 'of another shape: pos_embed'),
        ('hub', 'of another shape: pos_embed'),
    ]:
        path = write(kind, model, tmp_path)
        for size in (12, 16, 32):
            vit = backbone(img_size=size, init_cfg=pretrained(path))
            with pytest.raises(ValueError, match=words):
                vit.init_weights()


@pytest.mark.parametrize('img_size', [12, 16, (8, 12), (8, 16), (12, 20)])
@pytest.mark.parametrize('size', [None, 16, 20, (8, 12)])
def test_positions_of_patches_alone(
    img_size: Any, size: Any, tmp_path: Path
) -> None:
    """DeiT III, into its own network and into others."""
    model = timm_vit('deit3_small_patch16_224', img_size=img_size)
    path = write('timm', model, tmp_path)
    size = size or img_size
    ours = backbone(
        img_size=size, layer_scale_init_value=1.0, init_cfg=pretrained(path)
    )
    if isinstance(img_size, tuple) and size != img_size:
        with pytest.raises(ValueError, match='pos_embed'):
            ours.init_weights()
        return
    ours.init_weights()
    ours.eval()
    position = ours.state_dict()['pos_embed']
    assert not position[:, 0].any()
    if size == img_size:
        assert_same_features(ours, model, img_size)


def test_positions_of_patches_alone_of_a_network_of_as_many_tokens(
    tmp_path: Path,
) -> None:
    """DeiT III of 4 x 4, or another network of 3 x 5 and a class token?"""
    model = timm_vit('deit3_small_patch16_224', img_size=16)
    path = write('timm', model, tmp_path)
    scale = dict(layer_scale_init_value=1.0)
    init_cfg = pretrained(path)
    ours = backbone(img_size=(12, 20), **scale, init_cfg=init_cfg)
    with pytest.raises(ValueError, match='16 rows are of 16 patches, or'):
        ours.init_weights()
    # 2 x 5 patches, or 3 x 3 and a class token as DINOv2 has them?
    model = timm_vit('deit3_small_patch16_224', img_size=(8, 20))
    init_cfg = pretrained(write('timm', model, tmp_path))
    ours = backbone(img_size=(8, 20), **scale, init_cfg=init_cfg)
    with pytest.raises(ValueError, match='10 rows are of 10 patches, or'):
        ours.init_weights()


def stock_by_scheme(path: str) -> VisionTransformer:
    """mmpretrain's network, for images of 12 x 20."""
    init_cfg = dict(type='Pretrained', checkpoint=f'eavit_mm://{path}')
    options = {**TINY_VIT, 'img_size': (12, 20)}
    return VisionTransformer(**options, init_cfg=init_cfg)


def test_the_scheme_with_a_number_of_patches(tmp_path: Path) -> None:
    model = timm_vit(img_size=(12, 20))
    path = write('timm', model, tmp_path)
    for query, words in [
        ('', '--class-position'),
        ('?num_patches=16', '--class-position'),
        ('?num_patches=x', r'pth\?num_patches=x is not there'),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            stock_by_scheme(f'{path}{query}').init_weights()
    stock = stock_by_scheme(f'{path}?num_patches=15')
    stock.init_weights()
    stock.eval()
    assert_same_features(stock, model, (12, 20))


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
        assert resolve_pretrained(cfg, 9) == cfg


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
