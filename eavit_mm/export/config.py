"""The config of an exported network: plain, for the stock tools."""

from collections.abc import Mapping
from pprint import pformat
from typing import Any

from mmengine.config import Config

from eavit_mm.export.dense import dense_config
from eavit_mm.space import Subnet

WEIGHTS = 'model.pth'
_HEADER = """\
# A dense network, exported by eavit_mm: runs, tests and trains with the tools
# of mmpretrain.
"""
# Ours that a dense network can use; the others are about subnets.
_HOOKS = ('eavit_mm.AtomicCheckpointHook', 'eavit_mm.ReproducibleHook')
_DROPPED = ('model_wrapper_cfg', 'work_dir', 'launcher', 'resume')


def plain_config(cfg: Config, subnet: Subnet) -> dict[str, Any]:
    """A supernet's config, for one of its subnets as a dense network.

    Data, schedule and stock hooks stay, so that it can be fine-tuned; what
    is about subnets goes.

    Args:
        cfg: The supernet's; not changed.
        subnet: A member of its space.
    """
    plain = {
        key: value
        for key, value in cfg.to_dict().items()
        if key not in _DROPPED and not key.startswith('search_')
    }
    plain['model'] = dense_config(plain['model'], subnet)
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


def config_text(plain: Mapping[str, Any]) -> str:
    """A config as the text of a file."""
    parts = [
        f'{name} = {pformat(value, width=79, sort_dicts=False)}'
        for name, value in plain.items()
    ]
    return _HEADER + '\n'.join(parts) + '\n'


def _is_ours(part: Any) -> bool:
    kind = part.get('type') if isinstance(part, Mapping) else None
    return str(kind).startswith('eavit_mm.')


def _fits(hook: Any) -> bool:
    """Whether a hook works without a supernet."""
    return not _is_ours(hook) or hook['type'] in _HOOKS
