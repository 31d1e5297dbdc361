"""The folder of an exported network."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from eavit_mm.analysis.latency import image_size
from eavit_mm.export import certificate
from eavit_mm.export.config import (
    WEIGHTS,
    config_text,
    dense_config,
    plain_config,
)
from eavit_mm.export.dense import dense_network
from eavit_mm.export.formats import (
    GRAPHS,
    OPSET,
    OPSETS,
    import_onnxruntime,
    trace,
)
from eavit_mm.files import (
    folder_atomically,
    remove_leftovers,
    write_atomically,
    write_json,
)
from eavit_mm.models import ElasticModelMixin
from eavit_mm.models.norm_statistics import norm_statistics_of
from eavit_mm.options import check_choice
from eavit_mm.registry import MODELS
from eavit_mm.snap.correct import correct
from eavit_mm.space import Subnet

VERSION = 1
FORMATS = ('pth', *GRAPHS)
REPORT = 'report.json'
FILES = ('config.py', 'subnet.json', REPORT, *(f'model.{f}' for f in FORMATS))


@dataclass
class Exporter:
    """Exports subnets of one supernet.

    Raises:
        ValueError: If a format is not known, or a package for one is missing.
    """

    model: ElasticModelMixin  # with its weights, on the CPU
    cfg: Config  # of its run
    # Where it comes from, for the report; by ``sha256``, exports of other
    # weights are told apart.
    source: dict[str, Any] = field(default_factory=dict)
    formats: Sequence[str] = ('pth',)  # 'pth' is always written
    images: Tensor | None = None  # normalised, to compare on too
    # Where networks are corrected, and how latencies are measured.
    device: torch.device = torch.device('cpu')
    batch_size: int = 1
    rounds: int = 20
    opset: int = OPSET
    # Names of the classes and their palette, as far as they are known.
    meta: Mapping[str, Any] = field(default_factory=dict)
    # Normalised images, in batches: networks are corrected by them.
    calibration: Sequence[Tensor] = ()

    def __post_init__(self) -> None:
        for name in self.formats:
            check_choice('format', name, FORMATS)
        check_choice('opset', self.opset, OPSETS)
        if 'onnx' in self.formats:
            import_onnxruntime()
        self.formats = [f for f in FORMATS if f in ('pth', *self.formats)]
        self.model = self.model.float()
        self.model.eval()

    def export(self, subnet: Subnet, out: str | Path) -> dict[str, Any]:
        """Writes the folder of a subnet, whole or not at all.

        Args:
            subnet: A member of the space.
            out: New, empty, or an earlier export, which is replaced.

        Returns:
            The content of its report.

        Raises:
            ValueError: If the subnet is not in the space, something else is
                in the folder, or what was written is not the subnet.
        """
        self.model.backbone.space.check(subnet)
        check_folder(out)
        out = Path(out).absolute()
        remove_leftovers(out)
        ours, correction = self, None
        if self.calibration:
            given = [batch.to(self.device) for batch in self.calibration]
            self.model.to(self.device)
            model, made = correct(self.model, subnet, given)
            correction = dict(sha256=self._sha256_of_calibration(), **made)
            self.model.cpu()
            ours = replace(self, model=model.cpu())
        batches = ours.model.norm_batches()
        with (
            norm_statistics_of(ours.model, subnet, batches),
            folder_atomically(out) as folder,
        ):
            ours._write(subnet, folder)
            report = ours._report(subnet, folder)
            report['correction'] = correction
            write_json(report, folder / REPORT)
        return report

    def is_complete(self, subnet: Subnet, out: str | Path) -> bool:
        """Whether a folder holds what :meth:`export` would write there."""
        report = read_report(out)
        is_its = report.get('subnet') == subnet.to_dict()
        if 'onnx' in self.formats:
            is_its = is_its and report.get('opset') == self.opset
        made = report.get('correction') or {}
        is_its &= made.get('sha256') == self._sha256_of_calibration()
        return is_its and is_whole(out, self.source, self.formats)

    def _sha256_of_calibration(self) -> str | None:
        """A number of the images that correct; None if there are none."""
        if not self.calibration:
            return None
        images = torch.cat(list(self.calibration)).cpu().numpy()
        return hashlib.sha256(images.tobytes()).hexdigest()

    def _write(self, subnet: Subnet, folder: Path) -> None:
        """Everything but the report."""
        dense = dense_config(self.model, self.cfg.model, subnet)
        plain = plain_config(self.cfg, dense, self.meta)
        network = dense_network(self.model, self.cfg.model, subnet)
        meta = dict(dataset_meta=dict(self.meta)) if self.meta else {}
        buffer = BytesIO()
        torch.save(dict(meta=meta, state_dict=network.state_dict()), buffer)
        write_atomically(buffer.getvalue(), folder / WEIGHTS)
        write_atomically(config_text(plain).encode(), folder / 'config.py')
        write_json(subnet.to_dict(), folder / 'subnet.json')
        _, *graphs = self.formats
        if graphs:
            program = trace(network, image_size(self.model))
        of_onnx = (_input(self.model, self.meta), self.opset, network)
        for name in graphs:
            write: Any = GRAPHS[name][0]
            more = of_onnx if name == 'onnx' else ()
            write(program, folder / f'model.{name}', *more)

    def _report(self, subnet: Subnet, folder: Path) -> dict[str, Any]:
        """Checks the files that were written, and measures them."""
        # Read back: what is certified is what a user will load.
        model, network = self.model, read_network(folder)
        params, macs = model.params(subnet), model.macs(subnet)
        certificate.check_size(folder / WEIGHTS, network, params['total'])
        _, *names = self.formats
        graphs = {n: GRAPHS[n][1](folder / f'model.{n}') for n in names}
        times = self.device, self.batch_size, self.rounds, graphs
        return dict(
            version=VERSION,
            source=self.source,
            subnet=subnet.to_dict(),
            max_difference=self._compare(subnet, network, graphs),
            batch_sizes=list(certificate.BATCH_SIZES),
            images=0 if self.images is None else len(self.images),
            macs=macs['total'],
            macs_of_parts=macs,
            macs_of_largest=model.macs()['total'],
            params=params['total'],
            params_of_parts=params,
            params_of_largest=model.params()['total'],
            bytes={
                path.name: path.stat().st_size
                for path in sorted(folder.glob('model.*'))
            },
            latency_ms=certificate.latencies(model, subnet, network, *times),
            input=_input(model, self.meta),
            opset=self.opset if 'onnx' in self.formats else None,
        )

    def _compare(
        self, subnet: Subnet, network: nn.Module, graphs: Mapping[str, Any]
    ) -> dict[str, dict[str, float]]:
        """File to dtype to its largest difference from the supernet."""
        files: dict[str, Any] = {WEIGHTS: network}
        files.update({f'model.{name}': run for name, run in graphs.items()})
        found = certificate.certify(self.model, subnet, files, self.images)
        compared = {name: dict(float32=value) for name, value in found.items()}
        # Rounding aside: any other weight shows here.
        exact = {WEIGHTS: deepcopy(network).double()}
        model = deepcopy(self.model).double()
        double = certificate.certify(model, subnet, exact, self.images)
        compared[WEIGHTS]['float64'] = double[WEIGHTS]
        return compared


def is_whole(
    out: str | Path, source: Mapping[str, Any], formats: Sequence[str]
) -> bool:
    """Whether a folder holds an export of a source, no file of it broken."""
    report = read_report(out)
    try:
        Subnet.from_file(Path(out, 'subnet.json'))
        read_network(out)
        names = [f'model.{name}' for name in ('pth', *formats)]
        sizes = [Path(out, name).stat().st_size for name in names]
        is_its = report['source'].get('sha256') == source.get('sha256')
        return is_its and sizes == [report['bytes'][name] for name in names]
    except Exception:  # a file can be broken in any way
        return False


def read_network(folder: str | Path) -> Any:
    """The network of an exported folder, in evaluation mode."""
    cfg = Config.fromfile(Path(folder, 'config.py'))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        network = MODELS.build(cfg.model)
    saved = torch.load(Path(folder, WEIGHTS), weights_only=True)
    network.load_state_dict(saved['state_dict'])
    network.eval()
    return network


def read_report(folder: str | Path) -> dict[str, Any]:
    """The report of an exported folder; empty if there is none to read."""
    try:
        report = json.loads(Path(folder, REPORT).read_text())
        is_ours = report['version'] == VERSION
        is_ours &= isinstance(report['source'], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return report if is_ours else {}


def check_folder(out: str | Path) -> None:
    """Raises unless a folder is new, empty, or holds an earlier export."""
    names = names_in(out)
    others = [name for name in names if name not in FILES]
    if REPORT not in names:
        others = others or names
    refuse_others(out, others, 'an earlier export, which is replaced')


def refuse_others(out: str | Path, others: list[str], earlier: str) -> None:
    """Raises if anything but an earlier export lies in a folder to write."""
    if others:
        raise ValueError(
            f'--out {out}: holds {", ".join(others[:3])}; must be new, '
            f'empty, or {earlier}'
        )


def names_in(out: str | Path) -> list[str]:
    """What lies in a folder to write, which may not be there yet."""
    out = Path(out)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ValueError(f'--out {out}: must be a folder, and no link')
    return sorted(path.name for path in out.iterdir()) if out.exists() else []


def _input(model: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What a user of ONNX or pt2 must feed, and what comes out."""
    preprocessor = model.data_preprocessor
    channels, *size = image_size(model)
    # mmseg reverses the order under another name.
    to_rgb = getattr(preprocessor, 'to_rgb', False) or getattr(
        preprocessor, 'channel_conversion', False
    )
    orders = {1: 'gray', 3: 'RGB' if to_rgb else 'BGR'}
    expected = dict(
        shape=['batch', channels, *size],
        to_rgb=to_rgb,
        channel_order=orders.get(channels),
        **{'classes': [], **meta},
    )
    for name in ('mean', 'std'):
        if (numbers := getattr(preprocessor, name, None)) is not None:
            expected[name] = numbers.flatten().tolist()
    if hasattr(model, 'align_corners'):  # of maps, which are to be enlarged
        expected['align_corners'] = model.align_corners
    if (least := getattr(model.logits_module, 'threshold', None)) is not None:
        expected['threshold'] = least  # of the sigmoid of one logit
    return expected
