"""Our networks for the foreign ones of ``foreign.py``, and the comparison."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from torch import Tensor, nn

from eavit_mm.models import ElasticVisionTransformer

from .foreign import flax_arrays, hub_names

# What foreign.TINY is in mmpretrain's words.
ARCH = dict(embed_dims=24, num_layers=3, num_heads=6, feedforward_channels=48)
TINY_VIT: dict[str, Any] = dict(arch=ARCH, img_size=12, patch_size=4)
POOL = dict(out_type='avg_featmap', final_norm=False)


def backbone(**changes: Any) -> ElasticVisionTransformer:
    vit = ElasticVisionTransformer(**{**TINY_VIT, **changes})
    vit.eval()
    return vit


def classifier(
    head: str = 'LinearClsHead',
    hidden_dim: int | None = None,
    neck: str | None = None,
    **changes: Any,
) -> nn.Module:
    cfg = {**TINY_VIT, **changes}
    heads: dict[str, Any] = dict(type=head, num_classes=9, in_channels=24)
    if hidden_dim:
        heads['hidden_dim'] = hidden_dim
    model: nn.Module = MODELS.build(
        dict(
            type='eavit_mm.ElasticImageClassifier',
            backbone=dict(type='eavit_mm.ElasticVisionTransformer', **cfg),
            neck=dict(type=neck) if neck else None,
            head=heads,
        )
    )
    model.eval()
    return model


def images(size: int | tuple[int, int] = 12) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    rng = torch.Generator().manual_seed(7)
    return torch.randn(2, 3, height, width, generator=rng)


@torch.no_grad()
def assert_same(
    ours: nn.Module, theirs: nn.Module, size: int | tuple[int, int] = 12
) -> None:
    """The logits of a classifier, or the features of a backbone."""
    x = images(size)
    if isinstance(ours, ElasticVisionTransformer) or not hasattr(ours, 'head'):
        (found,) = ours(x)
        tokens = theirs.forward_features(x)
        expected = theirs.forward_head(tokens, pre_logits=True)
    else:
        found, expected = ours(x, mode='tensor'), theirs(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def write(kind: str, model: Any, folder: Path) -> Path:
    """Writes a network of timm's as a file of one of :data:`KINDS`."""
    state: Any = dict(model.state_dict())
    path = folder / f'model.{kind.rpartition(" ")[2]}'
    if 'hub' in kind:
        state = hub_names(state)
    if kind == 'npz':
        state = flax_arrays(state, 6)
    elif kind == 'deit pth':
        state = dict(model=state)
    elif kind == 'dino pth':
        teacher = {f'module.backbone.{k}': w for k, w in state.items()}
        state = dict(teacher=teacher, student={}, epoch=3)
    write_state(state, path)
    return path


def write_state(state: Any, path: Path) -> None:
    """Writes a state in the format that the ending of a path says."""
    if path.suffix == '.safetensors':
        save_file(state, path)
    elif path.suffix == '.npz':
        np.savez(path, **state)
    else:
        zipped = 'legacy' not in path.name
        torch.save(state, path, _use_new_zipfile_serialization=zipped)


KINDS = ['pth', 'deit pth', 'dino pth', 'npz', 'hub bin', 'hub safetensors']
