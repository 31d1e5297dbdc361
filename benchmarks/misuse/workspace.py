"""A folder in which every command works, and what a case is."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.pages import ROOT

# Three short stages on the digits.
STAGE1 = """_base_ = ['{root}/configs/eavit/vitmini_digits.py']
parts = dict(_delete_=True, search=100, train=256, rest=None)
train_dataloader = dict(dataset=dict(parts=parts))
val_dataloader = dict(dataset=dict(parts=parts))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True)]
train_cfg = dict(max_epochs=3, val_interval=3)
default_hooks = dict(checkpoint=dict(interval=1))
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
        num_batches=1,
    ),
    dict(
        type='eavit_mm.CurriculumHook',
        levels=[
            dict(begin=0),
            dict(
                begin=1,
                embed_dims=32,
                num_heads=1,
                feedforward_channels=48,
                max_off=2,
                p_off=0.3,
            ),
        ],
    ),
]
search_cfg = dict(max_evaluations=30)
"""
STAGE2 = """_base_ = ['./stage1.py']
stage1 = '{{{{fileDirname}}}}/stage1.py'
model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead', front='adapted/search/pareto.json',
        fit_steps=50, gated_every=2
    ),
)
train_cfg = dict(max_epochs=2, val_interval=2)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.1)]
load_from = 'adapted/stage1/epoch_3.pth'
"""
ADAPT = ('adapt.py', 'stage2.py', '--work-dir', 'adapted', '--budgets', '0.5')


def make_workspace(whole: Path) -> None:
    """Fills a folder, if it is not there: configs, and a whole adaptation."""
    done = whole / 'done'
    if done.exists():
        return
    whole.mkdir(parents=True, exist_ok=True)
    (whole / 'stage1.py').write_text(STAGE1.format(root=ROOT))
    (whole / 'stage2.py').write_text(STAGE2.format())
    tool, *args = ADAPT
    command = [sys.executable, str(ROOT / 'tools' / tool), *args]
    subprocess.run(command, cwd=whole, check=True)
    done.touch()


# What code in a file would leave.
TRACE = 'trace_of_code'
ADAPTED = 'adapted/stage2/epoch_2.pth'
PRETRAINED = ROOT / 'configs/vit/vitmini_fashion.pth'


def _nothing_wrong(output: str) -> str:
    return ''


@dataclass
class Case:
    """A command, and how to tell that what it made is right.

    Attributes:
        kind: The section of the page.
        text: What was put wrong.
        run: The command, called in the case's folder.
        check: Given the output of a command that ended well, what is wrong
            with its results; empty if they are right.
        keeps: Files that must be as they were.
    """

    kind: str
    text: str
    run: Callable[[], Any]
    check: Callable[[str], str] = _nothing_wrong
    keeps: list[Path] = field(default_factory=list)


class Workspace:
    """A case's own folder, with copies of what it needs.

    Args:
        whole: The folder in which everything works.
        folder: The case's.
        call: Runs a tool, given its name and arguments.
    """

    def __init__(
        self, whole: Path, folder: Path, call: Callable[..., None]
    ) -> None:
        self.whole, self.folder, self.call = whole, folder, call
        self.server: subprocess.Popen[bytes] | None = None
        for name in ('stage1.py', 'stage2.py'):
            shutil.copy(whole / name, folder / name)

    def take(self, *names: str) -> list[Path]:
        """Copies files or folders; the files that are there then."""
        for name in names:
            source, out = self.whole / name, self.folder / name
            out.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, out)
            else:
                shutil.copy(source, out)
        return [path for path in self.folder.rglob('*') if path.is_file()]

    def serve(self) -> str:
        """The URL of the folder, over HTTP."""
        self.server = subprocess.Popen(
            [sys.executable, '-u', '-m', 'http.server', '--bind']
            + ['127.0.0.1', '0'],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.server.stdout is not None
        words = self.server.stdout.readline().decode().split()
        return f'http://127.0.0.1:{words[words.index("port") + 1]}'

    def close(self) -> None:
        """Ends what the case has started."""
        if self.server is not None:
            self.server.kill()
            self.server.wait()

    def tool(self, *command: Any) -> Callable[[], None]:
        """A command that runs a tool."""
        return partial(self.call, *command)


def state_of(path: Path) -> dict[str, Any]:
    """The weights in a checkpoint."""
    return dict(torch.load(path, weights_only=True)['state_dict'])


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """How two sets of weights differ; empty if they do not."""
    if one.keys() != other.keys():
        return f'other weights: {sorted(one.keys() ^ other.keys())[:3]}'
    names = [k for k in one if not torch.equal(one[k], other[k])]
    return f'{len(names)} weights differ, such as {names[0]}' if names else ''
