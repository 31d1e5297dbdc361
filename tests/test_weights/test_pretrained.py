"""Files of every layout in a config's init_cfg."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmpretrain.models import VisionTransformer
from safetensors.torch import save_file

from eavit_mm.weights import resolve_pretrained

from .foreign import Attack, hub_names, timm_vit
from .toys import (
    KINDS,
    POOL,
    TINY_VIT,
    assert_same,
    backbone,
    classifier,
    write,
)


def pretrained(path: Path, **changes: Any) -> dict[str, Any]:
    return dict(type='Pretrained', checkpoint=str(path), **changes)


def loaded(path: Path, **options: Any) -> Any:
    """A backbone with the weights of a file."""
    vit = backbone(init_cfg=pretrained(path), **options)
    vit.init_weights()
    vit.eval()
    return vit


@pytest.mark.parametrize('kind', KINDS)
def test_a_backbone(kind: str, tmp_path: Path) -> None:
    model = timm_vit()
    path = write(kind, model, tmp_path)
    # A config's prefix is of mmpretrain's files; foreign ones have none.
    for init_cfg in ([pretrained(path)], pretrained(path, prefix='backbone.')):
        ours = backbone(init_cfg=init_cfg)
        ours.init_weights()
        ours.eval()
        assert_same(ours, model)
        assert ours.init_cfg == init_cfg


def test_norms_around_a_mean(tmp_path: Path) -> None:
    model = timm_vit(global_pool='avg')
    path = write('safetensors', model, tmp_path)
    assert_same(loaded(path, **POOL), model)
    # A norm before the mean is not moved behind it.
    path = write('pth', timm_vit('vit_base_patch16_gap_224'), tmp_path)
    with pytest.raises(ValueError, match=r"pth: .*take out_type='featmap'"):
        loaded(path, with_cls_token=False, **POOL)


def test_float8(tmp_path: Path) -> None:
    model = timm_vit()
    state = {
        k: w.to(torch.float8_e4m3fn) for k, w in model.state_dict().items()
    }
    model.load_state_dict(state)
    path = tmp_path / 'model.safetensors'
    save_file(hub_names(state), path)
    assert_same(loaded(path), model)


def test_a_resized_position_embedding(tmp_path: Path) -> None:
    model = timm_vit(img_size=32)
    state = loaded(write('npz', model, tmp_path)).state_dict()
    weight = model.blocks[2].attn.qkv.weight
    assert torch.equal(state['layers.2.attn.qkv.weight'], weight)
    assert torch.equal(state['pos_embed'][:, 0], model.pos_embed[:, 0])


# Square numbers of rows: a class token and n x (n + 2) patches, or the other
# way round.
@pytest.mark.parametrize('size', [(12, 20), (20, 12), (8, 16)])
@pytest.mark.parametrize('kind', ['pth', 'npz', 'hub bin'])
def test_a_grid_that_is_not_square(
    size: Any, kind: str, tmp_path: Path
) -> None:
    model = timm_vit(img_size=size)
    path = write(kind, model, tmp_path)
    assert_same(loaded(path, img_size=size), model, size)
    pooled = loaded(path, img_size=size, with_cls_token=False, **POOL)
    assert torch.equal(pooled.pos_embed, model.pos_embed[:, 1:])
    # Never taken for a square of patches without a class token.
    words = r'--class-position no \(of patches alone\) or yes'
    for other in (12, 16):
        with pytest.raises(
            ValueError,
            match=words if kind == 'pth' else 'another shape: pos_embed',
        ):
            loaded(path, img_size=other)


@pytest.mark.parametrize('given', [12, 16, (8, 12), (12, 20)])
@pytest.mark.parametrize('size', [None, 20, (8, 12)])
def test_positions_of_patches_alone(
    given: Any, size: Any, tmp_path: Path
) -> None:
    """DeiT III, into its own network and into others."""
    model = timm_vit('deit3_small_patch16_224', img_size=given)
    path = write('pth', model, tmp_path)
    size = size or given
    options = dict(img_size=size, layer_scale_init_value=1.0)
    if isinstance(given, tuple) and size != given:
        with pytest.raises(ValueError, match='pos_embed'):
            loaded(path, **options)
        return
    ours = loaded(path, **options)
    assert not ours.pos_embed[:, 0].any()
    if size == given:
        assert_same(ours, model, given)


@pytest.mark.parametrize(
    ('given', 'size', 'rows'),
    [
        # DeiT III of 4 x 4, or another network of 3 x 5 and a class token?
        (16, (12, 20), 16),
        # 2 x 5 patches, or 3 x 3 and a class token as DINOv2 has them?
        ((8, 20), (8, 20), 10),
    ],
)
def test_contradicting_signs(
    given: Any, size: Any, rows: int, tmp_path: Path
) -> None:
    model = timm_vit('deit3_small_patch16_224', img_size=given)
    path = write('pth', model, tmp_path)
    with pytest.raises(ValueError, match=f'{rows} rows are of {rows} patch'):
        loaded(path, img_size=size, layer_scale_init_value=1.0)


def test_a_stock_network_by_the_scheme(tmp_path: Path) -> None:
    size = (12, 20)
    model = timm_vit(img_size=size)
    path = write('pth', model, tmp_path)

    def stock(query: str) -> VisionTransformer:
        init_cfg = pretrained(Path(f'{path}{query}'))
        init_cfg['checkpoint'] = f'eavit_mm://{path}{query}'
        options = {**TINY_VIT, 'img_size': size}
        network = VisionTransformer(**options, init_cfg=init_cfg)
        network.init_weights()
        network.eval()
        return network

    for query, words in [
        ('', '--class-position'),
        ('?num_patches=16', '--class-position'),
        ('?num_patches=x', r'pth\?num_patches=x is not there'),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            stock(query)
    assert_same(stock('?num_patches=15'), model, size)


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_mmpretrains_names(prefix: str, ending: str, tmp_path: Path) -> None:
    stock = VisionTransformer(**TINY_VIT)
    path = tmp_path / f'stock.{ending}'
    state = {prefix + k: w for k, w in stock.state_dict().items()}
    save_file(state, path) if ending != 'pth' else torch.save(state, path)
    ours = backbone(init_cfg=pretrained(path, prefix=prefix or None))
    ours.init_weights()
    for name, weight in stock.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name
    wrong = backbone(init_cfg=pretrained(path, prefix='encoder.'))
    with pytest.raises(ValueError, match=r'encoder\. is not in .*Give the pr'):
        wrong.init_weights()


@pytest.mark.parametrize('classes', [9, 4])
@pytest.mark.parametrize('prefix', [None, 'backbone.', 'backbone'])
@pytest.mark.parametrize('around', ['', '_orig_mod.', 'model._orig_mod.'])
def test_a_head_is_left_out_and_logged(
    classes: int,
    prefix: str | None,
    around: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one of the shape that the new head has, and without a prefix."""
    said: list[str] = []
    where = 'eavit_mm.weights.layouts.print_log'
    monkeypatch.setattr(where, lambda text, logger: said.append(text))
    stock, path = VisionTransformer(**TINY_VIT), tmp_path / 'classifier.pth'
    state = {f'backbone.{k}': w for k, w in stock.state_dict().items()}
    state['head.fc.weight'] = torch.ones(classes, 24)
    state['data_preprocessor.mean'] = torch.ones(3)
    wrapped = {around + name: weight for name, weight in state.items()}
    torch.save(dict(state_dict=wrapped), path)
    init_cfg = pretrained(path, prefix=prefix if not around else None)
    model = classifier()
    model.backbone.init_cfg = init_cfg
    model.backbone.init_weights()
    assert torch.equal(model.backbone.cls_token, stock.cls_token)
    assert not torch.equal(model.head.fc.weight, torch.ones(9, 24))
    (text,) = said
    assert 'left out, no part of the backbone: 2 weights of ' in text
    assert 'data_preprocessor, head' in text


def test_what_is_no_file_is_left_alone() -> None:
    for cfg in [
        None,
        dict(type='Pretrained', checkpoint='eavit_mm://a.npz'),
        dict(type='TruncNormal', layer='Linear', std=0.1),
        [dict(type='Xavier', layer='Linear'), dict(type='Kaiming')],
    ]:
        assert resolve_pretrained(cfg, 9) == cfg


def test_refused_and_broken_files(tmp_path: Path) -> None:
    path, trace = tmp_path / 'file.pth', tmp_path / 'trace'
    swin = timm.create_model('swin_tiny_patch4_window7_224')
    torch.save(swin.state_dict(), path)
    with pytest.raises(ValueError, match=r'file\.pth: .* hierarchical'):
        loaded(path)
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(ValueError, match=r'file\.pth is broken'):
        loaded(path)
    torch.save(dict(state_dict={}, meta=Attack(trace)), path)
    with pytest.raises(ValueError, match=r'file\.pth is refused'):
        loaded(path)
    assert not trace.exists()
    with pytest.raises(FileNotFoundError, match=r'no\.npz is not there. Put'):
        loaded(tmp_path / 'no.npz')
    with pytest.raises(FileNotFoundError, match=r'is a folder; .*Put'):
        loaded(tmp_path)
    path = write('npz', timm_vit(embed_dim=12), tmp_path)
    words = r'init_cfg: .*npz: .*cls_token: \(1, 1, 12\) for'
    with pytest.raises(ValueError, match=words):
        loaded(path)
