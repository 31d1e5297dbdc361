"""The config of an exported network: plain, for the stock tools."""

import re
from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from pprint import pformat
from typing import Any

from mmengine.config import Config
from torch import nn

from eavit_mm.models import ElasticModelMixin
from eavit_mm.models.consumers import cut_sizes, readings
from eavit_mm.space import Subnet

WEIGHTS = 'model.pth'
_HEADER = """\
# A dense network, exported by eavit_mm: runs, tests and trains with the stock
# tools of its toolbox.
"""
# Ours that a dense network can use; the others are about subnets.
_HOOKS = ('eavit_mm.AtomicCheckpointHook', 'eavit_mm.ReproducibleHook')
_DROPPED = ('model_wrapper_cfg', 'work_dir', 'launcher', 'resume')
# Weights of an export do not come from these two.
_LOADING = {'pretrained', 'init_cfg'}


def plain_config(cfg: Config, dense: Mapping[str, Any]) -> dict[str, Any]:
    """A supernet's config, for one of its subnets as a dense network.

    Data, schedule and stock hooks stay, so that it can be fine-tuned; what
    is about subnets goes.

    Args:
        cfg: The supernet's; not changed.
        dense: The config of the network itself, by :func:`dense_config`.
    """
    plain = {
        key: value
        for key, value in cfg.to_dict().items()
        if key not in _DROPPED and not key.startswith('search_')
    }
    plain['model'] = Config(dense).to_dict()
    imports = dict(plain.get('custom_imports') or {})
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else names
    # dict.fromkeys: each name once, in their order.
    imports['imports'] = list(dict.fromkeys([*names, 'eavit_mm']))
    plain['custom_imports'] = imports
    # mmengine puts the folder of the config there.
    plain['load_from'] = f'{{{{fileDirname}}}}/{WEIGHTS}'
    for name in ('train_cfg', 'val_cfg', 'test_cfg'):
        if _is_ours(plain.get(name)):
            plain[name] = {}
    hooks = plain.get('default_hooks') or {}
    hooks = {name: hook for name, hook in hooks.items() if _fits(hook)}
    for hook in hooks.values():
        # Metrics of subnets, such as 'auc', are not reported any more.
        if hook and hook.get('save_best'):
            hook['save_best'] = 'auto'
    plain['default_hooks'] = hooks
    plain['custom_hooks'] = [
        hook for hook in plain.get('custom_hooks') or [] if _fits(hook)
    ]
    return plain


def _is_ours(part: Any) -> bool:
    kind = part.get('type') if isinstance(part, Mapping) else None
    return str(kind).startswith('eavit_mm.')


def _fits(hook: Any) -> bool:
    """Whether a hook works without a supernet."""
    return not _is_ours(hook) or hook['type'] in _HOOKS


def config_text(plain: Mapping[str, Any]) -> str:
    """A config as the text of a file."""
    parts = [
        f'{name} = {pformat(value, width=79, sort_dicts=False)}'
        for name, value in plain.items()
    ]
    return quote_folder(_HEADER + '\n'.join(parts) + '\n')


def quote_folder(text: str) -> str:
    """Puts mmengine's ``fileDirname`` into quotes that fit every name."""
    return re.sub(r"""(['"])(\{\{fileDirname.*?)\1""", r'"""\2"""', text)


def stock_class(model: ElasticModelMixin) -> type[nn.Module]:
    """The class of a toolbox that the mixin stands in front of."""
    classes = type(model).__mro__
    return classes[classes.index(ElasticModelMixin) + 1]


def dense_config(
    model: ElasticModelMixin, cfg: Mapping[str, Any], subnet: Subnet
) -> dict[str, Any]:
    """The config of the exported model.

    Args:
        model: The elastic model.
        cfg: Its config; what only an elastic model takes is left out.
        subnet: A member of its space.
    """
    stock = stock_class(model)
    taken = set(signature(stock).parameters) - _LOADING - {'backbone'}
    parts = {k: deepcopy(value) for k, value in cfg.items() if k in taken}
    levels = len(model.backbone.out_indices)
    for name, _, live, reading in readings(model.consumers, levels):
        given = parts[name]
        given.update(cut_sizes(given, live, reading, subnet.embed_dims))
    backbone = backbone_config(cfg['backbone'], subnet)
    return dict(type=stock.__name__, backbone=backbone, **parts)


def backbone_config(cfg: Mapping[str, Any], subnet: Subnet) -> dict[str, Any]:
    """The config of the ``SlimVisionTransformer`` of a subnet.

    Args:
        cfg: The config of the ``ElasticVisionTransformer``.
        subnet: A member of its space.
    """
    widths = subnet.to_dict()
    arch = dict(num_layers=subnet.num_layers, **widths)
    del arch['side']
    slim: dict[str, Any] = dict(
        type='eavit_mm.SlimVisionTransformer', arch=arch
    )
    for name, value in cfg.items():
        if name not in (*slim, 'space', 'init_cfg'):
            slim[name] = deepcopy(value)
    cfgs: Any = slim.get('layer_cfgs') or []
    for layer_cfg in [cfgs] if isinstance(cfgs, dict) else cfgs:
        for name in widths:  # which the arch says
            layer_cfg.pop(name, None)
    return slim
