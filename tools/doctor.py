"""Tells what is wrong: environment, config, data, checkpoint, budgets.

All in one go, with what to do about it; exit status 1 if anything is wrong.
"""

import argparse

from arguments import add_budget_arguments, add_config_options


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', nargs='?', help='its options, model, space and data as well'
    )
    parser.add_argument(
        'checkpoint', nargs='?', help='of a training by this config, as well'
    )
    parser.add_argument(
        '--budgets',
        nargs='+',
        default=[],
        metavar='B',
        help='are they reached, and by what: 0.5, 8GMACs, 20Mparams, 5ms',
    )
    add_budget_arguments(parser)
    add_config_options(parser)
    parser.set_defaults(
        launcher='none', local_rank=0, work_dir=None, no_pin_memory=False
    )
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

import platform
import sys
from importlib import metadata

# No package index has eavit_mm.
INSTALL = "in a clone: pip install '.[lite]'; or pip install 'FILE.whl[lite]'"

try:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
except ModuleNotFoundError:
    text = f'wrong    packaging: not installed\n{"":8} -> {INSTALL}'
    raise SystemExit(text) from None

# Maintained forks of OpenMMLab's packages, which have the same modules.
FORKS = {
    'mmengine': 'onedl-mmengine~=0.10.12',
    'mmcv-lite': 'onedl-mmcv~=2.3.6',
    'mmpretrain': 'onedl-mmpretrain~=1.3.6',
    'mmsegmentation': 'onedl-mmsegmentation~=1.4.2',
}


class Findings:
    """Writes what is found, and counts what is wrong."""

    def __init__(self) -> None:
        self.wrong = 0
        self.out = sys.stdout  # a check keeps what others print to itself

    def say(self, kind: str, place: str, text: str, remedy: str = '') -> None:
        """A finding: 'ok', 'warning' or 'wrong', and what to do then."""
        self.wrong += kind == 'wrong'
        print(f'{kind:8} {place}: {text}', file=self.out, flush=True)
        if remedy:
            print(f'{"":8} -> {remedy}', file=self.out, flush=True)


def version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def compare(found: Findings, need: Requirement, is_optional: bool) -> bool:
    """Whether an installed version lies in its range; says if not."""
    version = version_of(need.name)
    if version and need.specifier.contains(version, prereleases=True):
        return True
    remedy = f"pip install '{need.name}{need.specifier}'"
    text = f'{version or "not installed"}; must be {need.specifier}'
    kind = 'warning' if is_optional and not version else 'wrong'
    found.say(kind, need.name, text, remedy)
    return False


def fork_of(need: Requirement) -> Requirement | None:
    """The fork of a package, if that is installed."""
    if need.name not in FORKS:
        return None
    fork = Requirement(FORKS[need.name])
    fork.marker = need.marker
    return fork if version_of(fork.name) else None


def check_versions(found: Findings) -> None:
    """Compares what is installed with the ranges of requirements/."""
    try:
        ours = metadata.metadata('eavit_mm')
    except metadata.PackageNotFoundError:
        text = 'not installed: versions are not compared'
        found.say('warning', 'eavit_mm', text, INSTALL)
        return
    python, valid = platform.python_version(), ours['Requires-Python'] or ''
    is_right = SpecifierSet(valid).contains(python, prereleases=True)
    kind, remedy = ('ok', '') if is_right else ('wrong', 'take one of these')
    found.say(kind, 'python', f'{python}; must be {valid}', remedy)
    needs = [
        fork_of(need) or need
        for need in map(Requirement, metadata.requires('eavit_mm') or ())
    ]
    fitting = 0
    for need in needs:
        is_optional = '"export"' in str(need)  # mmcv is looked at by itself
        if is_optional or not need.marker:
            fitting += compare(found, need, is_optional)
    found.say('ok', 'packages', f'{fitting} in the ranges of requirements/')
    check_mmcv(found, needs)


def check_mmcv(found: Findings, needs: list[Requirement]) -> None:
    """One of two packages with the same files, of the same versions."""
    there = [n for n in ('mmcv', 'mmcv-lite') if version_of(n)]
    (need,) = [n for n in needs if n.name in ('mmcv-lite', 'onedl-mmcv')]
    if len(there) == 2:
        remedy = 'pip uninstall -y mmcv mmcv-lite, then install one of them'
        found.say('wrong', 'mmcv', 'both mmcv and mmcv-lite', remedy)
        return
    if there and need.name == 'mmcv-lite':
        need.name = there[0]
    if compare(found, need, False):
        which = 'with' if need.name == 'mmcv' else 'without'
        text = f'{need.name} {version_of(need.name)}, {which} compiled ops'
        found.say('ok', 'mmcv', text)


def check_gpu(found: Findings) -> None:
    """The devices, and whether this torch can compute on them."""
    import torch
    from mmengine.utils.dl_utils import collect_env

    env = collect_env()
    keys = [key for key in env if key.startswith(('GPU', 'CUDA_HOME', 'NVCC'))]
    keys += ['PyTorch', 'TorchVision', 'OpenCV', 'MMEngine', 'GCC']
    text = ', '.join(f'{key} {env[key]}' for key in keys if key in env)
    found.say('ok', 'machine', f'{env["sys.platform"]}, {text}')
    if not torch.cuda.is_available():
        text = f'none that torch {torch.__version__} sees: the CPU is used'
        remedy = 'if there is one: nvidia-smi, and a torch for its driver'
        found.say('warning', 'gpu', text, remedy)
        return
    for i in range(torch.cuda.device_count()):
        try:
            ones = torch.ones(8, 8, device=f'cuda:{i}')
            (ones @ ones).sum().item()
        except Exception as error:
            remedy = (
                f'a torch for it; this is for {torch.cuda.get_arch_list()}'
            )
            found.say(
                'wrong', f'gpu {i}', ' '.join(str(error).split()), remedy
            )
            continue
        memory = torch.cuda.mem_get_info(i)
        free, whole = (f'{part / 2**30:.1f}' for part in memory)
        text = f'computes; {free} of {whole} GiB are free'
        found.say('ok', f'gpu {i}', text)


def main(args: argparse.Namespace) -> None:
    found = Findings()
    check_versions(found)
    try:
        check_gpu(found)
        from eavit_mm.doctor import Doctor
        from eavit_mm.engine.cli import run_tool
    except Exception as error:  # of whatever is broken in there
        remedy = f'in an environment of its own, {INSTALL}'
        found.say(
            'wrong', 'import', f'{type(error).__name__}: {error}', remedy
        )
    else:
        run_tool(lambda args: Doctor(args, found.say).examine(), args)
    end = f'{found.wrong} wrong' if found.wrong else 'nothing wrong'
    print(end)
    raise SystemExit(int(found.wrong > 0))


if __name__ == '__main__':
    main(args)
