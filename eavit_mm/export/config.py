"""The config of an exported network: plain, for the stock tools."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from inspect import signature
from keyword import iskeyword
from math import isfinite
from types import MappingProxyType
from typing import Any

import numpy as np
from mmengine.config import Config
from torch import nn
from yapf.yapflib.yapf_api import FormatCode

from eavit_mm.models import ElasticModelMixin
from eavit_mm.models.consumers import cut_sizes, readings
from eavit_mm.registry import DATASETS
from eavit_mm.space import Subnet

WEIGHTS = 'model.pth'
_HEADER = """\
# A dense network, exported by eavit_mm: runs, tests and trains with the stock
# tools of its toolbox.
"""
# What is written, an empty line between groups. What else a config has is
# about subnets, or is a name that its parts share: these get names here.
_NAMED = ('classes', 'palette', 'train_pipeline', 'test_pipeline')
_GROUPS = (
    ('default_scope', 'custom_imports'),
    ('model', 'data_preprocessor'),
    _NAMED,
    ('train_dataloader', 'val_dataloader', 'test_dataloader'),
    ('val_evaluator', 'test_evaluator', 'tta_model', 'tta_pipeline'),
    ('optim_wrapper', 'param_scheduler', 'auto_scale_lr'),
    ('train_cfg', 'val_cfg', 'test_cfg'),
    ('default_hooks', 'custom_hooks'),
    ('env_cfg', 'visualizer', 'log_processor', 'log_level', 'randomness'),
    ('load_from',),
)
_STYLE = dict(based_on_style='facebook', column_limit=79)
# Ours that a dense network can use; the others are about subnets.
_HOOKS = ('eavit_mm.AtomicCheckpointHook', 'eavit_mm.ReproducibleHook')
# What may watch a metric; what watches one that is gone.
_WATCHING = ('default_hooks', 'custom_hooks', 'param_scheduler')
_GONE = object()
# Weights of an export do not come from these two.
_LOADING = {'pretrained', 'init_cfg'}


def plain_config(
    cfg: Config,
    dense: Mapping[str, Any],
    meta: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """A supernet's config, for one of its subnets as a dense network.

    Data, schedule and stock hooks stay, so that it can be fine-tuned; what
    is about subnets goes.

    Args:
        cfg: The supernet's; not changed.
        dense: The config of the network itself, by :func:`dense_config`.
        meta: Names and palette of the classes, by :func:`dataset_meta`, for
            data sets that do not know them.
    """
    everything = {**cfg.to_dict(), 'model': Config(dense).to_dict()}
    taken = {name for group in _GROUPS for name in group} - {*_NAMED}
    plain = {
        name: value
        for name, value in everything.items()
        if name in taken and value is not None
    }
    model, images = plain['model'], plain.get('data_preprocessor')
    if model.get('data_preprocessor', images) == images:
        model.pop('data_preprocessor', None)  # mmengine hands it over
    imports = plain.setdefault('custom_imports', {})
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else names
    # dict.fromkeys: each name once, in their order.
    imports['imports'] = list(dict.fromkeys([*names, 'eavit_mm']))
    # mmengine puts the folder of the config there.
    plain['load_from'] = f'{{{{fileDirname}}}}/{WEIGHTS}'
    of_subnets = not _fits(plain.get('val_cfg'))
    for name in ('train_cfg', 'val_cfg', 'test_cfg'):
        if not _fits(plain.get(name)):
            plain[name] = {}
    given = plain.get('default_hooks') or {}
    hooks = {name: hook for name, hook in given.items() if _fits(hook)}
    for hook in hooks.values():
        # Metrics of subnets, such as 'auc', are not reported any more.
        if hook and hook.get('save_best'):
            hook['save_best'] = 'auto'
    custom = list(filter(_fits, plain.get('custom_hooks', ())))
    plain.update(default_hooks=hooks, custom_hooks=custom)
    if of_subnets:
        watching = {k: plain.pop(k) for k in _WATCHING if k in plain}
        plain.update(_of_one_network(watching))
    optimizer = plain.get('optim_wrapper', {})
    paramwise = optimizer.get('paramwise_cfg') or {}
    paramwise.get('custom_keys', {}).pop('router', None)
    if paramwise == dict(custom_keys={}):
        del optimizer['paramwise_cfg']
    _complete_data(plain, meta)
    return plain


def _of_one_network(part: Any) -> Any:
    """Hooks and schedules that watch what a dense network's test reports.

    ``NAME/METRIC`` of a subnet becomes ``METRIC``; what watches ``auc`` or
    ``regret``, numbers of several subnets, is left out.
    """
    if isinstance(part, Mapping) and part.get('monitor'):
        metric = part['monitor'].partition('/')[2]
        return dict(part, monitor=metric) if metric else _GONE
    if isinstance(part, Mapping):
        parts = {k: _of_one_network(v) for k, v in part.items()}
        return {k: v for k, v in parts.items() if v is not _GONE}
    if isinstance(part, list | tuple):
        return [v for v in map(_of_one_network, part) if v is not _GONE]
    return part


def _fits(part: Mapping[str, Any] | None) -> bool:
    """Whether a hook or a loop works without a supernet."""
    kind = str((part or {}).get('type'))
    return not kind.startswith('eavit_mm.') or kind in _HOOKS


def _complete_data(plain: dict[str, Any], meta: Mapping[str, Any]) -> None:
    """Tells data sets the names of classes; test images get gray if need be.

    The stock inferencer leaves out of a pipeline what reads a file, and reads
    it in colours; mmseg's does as the pipeline says.
    """
    gray = dict(type='eavit_mm.LoadGrayImage')
    is_gray = plain['model']['backbone'].get('in_channels') == 1
    for part in ('train', 'val', 'test'):
        for dataset in datasets_in(plain.get(f'{part}_dataloader', {})):
            if meta and _meta_in(dataset) == {}:
                plain.update(meta)
                dataset['metainfo'] = dict(meta)
            steps = dataset.get('pipeline')
            is_read = any(
                step == gray or step.get('color_type') == 'grayscale'
                for step in steps or ()
            )
            if steps and is_gray and part != 'train' and not is_read:
                reads = steps[0]['type'] == 'LoadImageFromFile'
                steps = [*steps[:reads], gray, *steps[reads:]]
                dataset['pipeline'] = steps
            if steps and part != 'val':
                plain.setdefault(f'{part}_pipeline', steps)


def datasets_in(parent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The configs of the data sets in a loader, or in another data set."""
    for inner in (parent.get('dataset'), *parent.get('datasets', ())):
        if isinstance(inner, dict):
            yield inner
            yield from datasets_in(inner)


def class_of(dataset: Mapping[str, Any]) -> Any:
    """What builds a data set of a config; None if its type is not known."""
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return kind


def _meta_in(dataset: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a data set says of its classes; {} if it must be told them.

    None if it cannot be.
    """
    known = getattr(class_of(dataset), 'METAINFO', None)
    if known is None or 'classes' in dataset:
        return None
    found = {**known, **dataset.get('metainfo', {})}
    return found if found.get('classes') else {}


def dataset_meta(cfg: Config, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Names of the classes, as far as they are known, and their palette.

    Args:
        cfg: The supernet's; its test data may know them.
        meta: That of the checkpoint, which may as well.
    """
    tested = datasets_in(cfg.get('test_dataloader') or {})
    heads = [cfg.model.get(name) or {} for name in ('head', 'decode_head')]
    wanted = {head.get('num_classes') for head in heads} - {None}
    for found in (meta.get('dataset_meta') or {}, *map(_meta_in, tested)):
        # The inferencer looks up any class that the head has.
        lists = {
            name: list(value)
            for name, value in (found or {}).items()
            if isinstance(value, list | tuple) and len(value) in wanted
        }
        if 'classes' in lists:
            known: dict[str, Any] = dict(classes=[*map(str, lists['classes'])])
            colours: Any = lists.get('palette')
            if colours is None and 'decode_head' in cfg.model:
                # Without one mmseg draws no picture.
                size = (len(known['classes']), 3)
                colours = np.random.default_rng(0).integers(256, size=size)
            if colours is not None:
                known['palette'] = [[*map(int, c)] for c in colours]
            return known
    return {}


def config_text(plain: Mapping[str, Any]) -> str:
    """A config as the text of a file; what parts share stands there once."""
    named: dict[str, Any] = {}
    text = ''
    for group in _GROUPS:
        for name in (name for name in group if name in plain):
            text += f'{name} = {_code(plain[name], named)}\n'
            named[name] = plain[name]
        text += '\n'
    text, _ = FormatCode(text.strip(), style_config=_STYLE)
    # The scope is that of all; the folder may have any quote in its name.
    text = text.replace(f", _scope_='{plain.get('default_scope')}'", '')
    path = plain['load_from']
    return _HEADER + text.replace(repr(path), f'"""{path}"""')


def _code(value: Any, named: Mapping[str, Any]) -> str:
    """A value as a person writes it."""
    for name, known in named.items():
        if value and value == known and isinstance(value, list | dict):
            return name
    if isinstance(value, Mapping):
        parts = {key: _code(part, named) for key, part in value.items()}
        if all(str(k).isidentifier() and not iskeyword(str(k)) for k in parts):
            return f'dict({", ".join(f"{k}={v}" for k, v in parts.items())})'
        return f'{{{", ".join(f"{k!r}: {v}" for k, v in parts.items())}}}'
    if isinstance(value, list | tuple):
        text = ', '.join(_code(part, named) for part in value)
        if isinstance(value, list):
            return f'[{text}]'
        return f'({text},)' if value else '()'
    is_odd = isinstance(value, float) and not isfinite(value)
    return f"float('{value}')" if is_odd else repr(value)


def stock_class(model: ElasticModelMixin) -> type[nn.Module]:
    """The class of a toolbox that the mixin stands in front of."""
    classes = type(model).__mro__
    return classes[classes.index(ElasticModelMixin) + 1]


def dense_config(
    model: ElasticModelMixin, cfg: Mapping[str, Any], subnet: Subnet
) -> dict[str, Any]:
    """The config of a subnet's model, without what only elastic ones take."""
    stock = stock_class(model)
    taken = set(signature(stock).parameters) - _LOADING - {'backbone'}
    parts = {k: deepcopy(value) for k, value in cfg.items() if k in taken}
    if parts.get('head') is None and hasattr(model, 'head'):
        parts['head'] = dict(type='eavit_mm.EmbeddingHead')
    for part in parts.values():
        init_cfg = part.get('init_cfg') if isinstance(part, dict) else None
        if 'Pretrained' in str(init_cfg):
            del part['init_cfg']  # all weights are the subnet's
    levels = len(model.backbone.out_indices)
    for name, _, live, reading in readings(model.consumers, levels):
        given = _part(parts, name)
        given.update(cut_sizes(given, live, reading, subnet.embed_dims))
    full = model.backbone.geometry.head_dims
    backbone = backbone_config(cfg['backbone'], subnet, full)
    return dict(type=stock.__name__, backbone=backbone, **parts)


def _part(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config of a part, such as 'head'; of several, 'heads.0'."""
    name, _, number = name.partition('.')
    part: dict[str, Any] = parts[name][int(number)] if number else parts[name]
    return part


def backbone_config(
    cfg: Mapping[str, Any], subnet: Subnet, head_dims: int | None = None
) -> dict[str, Any]:
    """A subnet's ``SlimVisionTransformer``, by the config of the elastic.

    Heads that are narrower than the network's ``head_dims`` keep the scale.
    """
    arch = dict(num_layers=subnet.num_layers, **subnet.to_dict())
    del arch['side']
    elastic = ('type', 'arch', 'space', 'init_cfg')
    given = {k: deepcopy(v) for k, v in cfg.items() if k not in elastic}
    cfgs: Any = given.get('layer_cfgs') or []
    for layer_cfg in [cfgs] if isinstance(cfgs, dict) else cfgs:
        for name in arch:  # which says it
            layer_cfg.pop(name, None)
    if head_dims not in (None, subnet.head_dims):
        given['qk_scale'] = head_dims**-0.5
    return dict(type='eavit_mm.SlimVisionTransformer', arch=arch, **given)
