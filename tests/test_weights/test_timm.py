"""All of timm's plain ViTs: converted to the same function, or refused.

The table of docs/weights.md says which, and is made here.
"""

import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import _registry
from timm.models.eva import Eva
from torch import nn

from eavit_mm.weights import convert_weights

from .foreign import shuffle
from .toys import backbone

PAGE = Path(__file__).parents[2] / 'docs' / 'weights.md'
# Files of timm whose networks are sequences of tokens, of one width.
MODULES = {
    *('vision_transformer', 'vision_transformer_relpos', 'deit', 'eva'),
    *('vision_transformer_hybrid', 'vision_transformer_sam', 'beit', 'cait'),
    *('xcit', 'naflexvit', 'qwen3_vit'),
}
SAME = 'nothing else: converted, and computes the same (float64, 1e-9)'
UNSEEN = 'rotary positions unseen in a file of torch.save: converted'
# The errors that name what is in the way; others are rows as they are.
WORDS = re.compile(
    r'belongs to (.*?); mmpretrain'
    r'|may be of a network with (.*?), which|^(not the names of a ViT)'
    r'|^(there is no position embedding)|: (a gated FFN .* by timm)'
)


def tiny(name: str) -> nn.Module:
    """A network made small; as it is, without weights, if it cannot be."""
    patch = re.search(r'patch(\d+)', name)
    size = dict(img_size=2 * int(patch[1]) if patch else 32)
    small: dict[str, Any] = dict(embed_dim=24, depth=2, num_heads=6)
    for options in (size, {}):
        with suppress(Exception):  # of whatever it cannot be asked for
            model = timm.create_model(name, num_classes=0, **small, **options)
            return shuffle(model).double()
    with torch.device('meta'):
        return timm.create_model(name)


def converted(model: nn.Module) -> dict[str, torch.Tensor]:
    try:
        return convert_weights(model.state_dict(), 'none', '')
    except ValueError as error:
        if '--class-position' not in str(error):
            raise
    return convert_weights(model.state_dict(), 'none', '', False)


def differs(model: Any, state: dict[str, torch.Tensor]) -> float:
    """By how much our tokens differ from timm's."""
    block, patches = model.blocks[0], model.patch_embed
    act: dict[str, Any] = dict(type='GELU')
    if 'QuickGELU' in str(block.mlp.act):
        act = dict(type='mmpretrain.QuickGELU')
    elif 'anh' in str(block.mlp.act):
        act['approximate'] = 'tanh'
    has_norm = not isinstance(model.norm, nn.Identity)
    ours = backbone(
        arch=dict(
            embed_dims=24,
            num_layers=2,
            num_heads=6,
            feedforward_channels=block.mlp.fc1.out_features,
        ),
        img_size=patches.img_size,
        patch_size=patches.proj.kernel_size[0],
        patch_cfg=dict(bias=patches.proj.bias is not None),
        out_type='raw',
        with_cls_token=model.cls_token is not None,
        num_register_tokens=model.num_reg_tokens,
        final_norm=has_norm,
        pre_norm=not isinstance(model.norm_pre, nn.Identity),
        qkv_bias=block.attn.qkv.bias is not None,
        norm_cfg=dict(type='LN', eps=block.norm1.eps),
        layer_scale_init_value=float(not isinstance(block.ls1, nn.Identity)),
        layer_cfgs=dict(act_cfg=act),
    ).double()
    if not has_norm:  # it is of the head
        state = {k: w for k, w in state.items() if not k.startswith('ln2')}
    ours.load_state_dict(state)
    rng = torch.Generator().manual_seed(7)
    x = torch.randn(2, 3, *patches.img_size, generator=rng).double()
    with torch.no_grad():
        expected = model.forward_features(x)
        assert expected.std() > 0.1
        return (ours(x)[0] - expected).abs().max().item()


def verdict(name: str) -> str:
    model = tiny(name)
    try:
        state = converted(model)
    except ValueError as error:
        found = WORDS.search(str(error))
        return next(filter(None, found.groups())) if found else str(error)
    if isinstance(model, Eva):
        assert 'rope_ape' in name
        return UNSEEN
    assert differs(model, state) < 1e-9, name
    return SAME


def table() -> str:
    found: dict[str, list[str]] = {SAME: [], UNSEEN: []}
    found = defaultdict(list, found)
    for name in timm.list_models():
        if _registry._model_to_module[name] in MODULES:
            found[verdict(name)].append(name)
    rows = [
        '| what it has besides | networks | such as |',
        '| --- ' * 3 + '|',
    ]
    first, second, *others = found.items()
    others.sort(key=lambda row: (-len(row[1]), row[0]))
    for words, names in (first, second, *others):
        # test_* are for timm's own tests.
        known = [name for name in names if not name.startswith('test_')]
        if not known:
            continue
        examples = sorted(known, key=lambda name: (len(name), name))[:3]
        shown = ', '.join(f'`{name}`' for name in examples)
        rows.append(f'| {words} | {len(names)} | {shown} |')
    return '\n'.join(rows) + '\n'


def test_the_page_says_which_networks_of_timm_convert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Takes seconds where there are no weights; others are shuffled.
    monkeypatch.setattr(Eva, 'init_weights', lambda *_, **__: None)
    made = table()
    assert f' timm {timm.__version__} ' in PAGE.read_text()
    assert made in PAGE.read_text(), made
