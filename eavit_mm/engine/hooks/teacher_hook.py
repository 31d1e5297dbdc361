"""Makes the teacher of a run, the same one after every resume."""

from copy import deepcopy
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from torch import nn

from eavit_mm.engine.checkpoint import meta_of, naming, read_checkpoint
from eavit_mm.engine.hooks.rearrange_hook import INFO
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.models import FrozenDistillation
from eavit_mm.registry import HOOKS, MODELS

# Key of a checkpoint: weights of a teacher that is in no file.
TEACHER = 'eavit_mm_teacher'


@HOOKS.register_module()
class TeacherHook(Hook):
    """Gives a :class:`eavit_mm.models.FrozenDistillation` its teacher.

    A copy of this run's own network is taken as training begins, after
    weights are loaded and units are sorted, and kept in the checkpoints.

    Raises:
        ValueError: When training starts, if the teacher cannot be made, knows
            images of another normalisation, or has no hidden states that
            correspond.
    """

    priority = 'LOW'  # behind what loads and sorts

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Takes the copy out of a checkpoint."""
        self._saved = checkpoint.get(TEACHER)

    def before_train(self, runner: Runner) -> None:
        """Makes the teacher, unless the model has none."""
        distillation = _frozen(runner)
        if distillation is None:
            return
        student = unwrap(runner.model)
        distillation.teacher = None
        if distillation.model is None:
            teacher = deepcopy(student)
            teacher.distillation = None
        else:
            with naming('distillation.model'):
                teacher = MODELS.build(distillation.model)
            if distillation.model.get('data_preprocessor'):
                _check_normalisation(student, teacher)
            if distillation.hidden_weight:
                _check_layers(student, teacher)
            teacher.init_weights()
        if distillation.checkpoint is not None:
            order = runner.message_hub.get_info(INFO)
            _load(teacher, distillation, order)
        elif _is_copy(distillation) and runner.iter:
            if self._saved is None:
                raise ValueError(
                    'the checkpoint to resume from holds no teacher: it was '
                    'not trained with FrozenDistillation. Start from its '
                    'weights with load_from, or name the teacher in '
                    'model.distillation.checkpoint'
                )
            teacher.load_state_dict(self._saved)
        self._saved = None
        device = next(student.parameters()).device
        teacher.to(device).requires_grad_(False)
        teacher.eval()  # mmpretrain's returns None: it cannot be chained
        distillation.teacher = teacher

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the copy: no file has it."""
        distillation = _frozen(runner)
        if distillation is not None and _is_copy(distillation):
            state = distillation.network().state_dict()
            checkpoint[TEACHER] = weights_to_cpu(state)


def _is_copy(distillation: FrozenDistillation) -> bool:
    """Whether the teacher is this run's own network as training begins."""
    return distillation.checkpoint is None and distillation.model is None


def _frozen(runner: Runner) -> FrozenDistillation | None:
    found = getattr(unwrap(runner.model), 'distillation', None)
    return found if isinstance(found, FrozenDistillation) else None


def _check_normalisation(student: Any, teacher: Any) -> None:
    """Refuses a teacher that knows images as the student does not see them."""
    ours = _normalisation(student.data_preprocessor)
    for name, value in _normalisation(teacher.data_preprocessor).items():
        if value != ours[name]:
            raise ValueError(
                f'distillation.model.data_preprocessor: {name} is {value}, '
                f"the student's {ours[name]}; both see the same images: take "
                'a teacher that was trained with the same'
            )


def _normalisation(preprocessor: Any) -> dict[str, Any]:
    """What a preprocessor does to colours, by name; comparable."""
    found: dict[str, Any] = {}
    for name in ('mean', 'std'):
        numbers = getattr(preprocessor, name, None)
        found[name] = None if numbers is None else numbers.flatten().tolist()
        if found[name] and len(set(found[name])) == 1:
            found[name] = found[name][:1]  # one number for all channels
    # mmpretrain's word, then mmengine's.
    swaps = getattr(preprocessor, '_channel_conversion', False)
    found['change of colour order'] = getattr(preprocessor, 'to_rgb', swaps)
    return found


def _check_layers(student: Any, teacher: Any) -> None:
    """Refuses a teacher without a hidden state for each of the student's."""
    backbone = getattr(teacher, 'backbone', teacher)
    layers = getattr(backbone, 'layers', None)
    number = len(layers) if isinstance(layers, nn.ModuleList) else 0
    needed = len(student.backbone.layers)
    if number != needed:
        raise ValueError(
            'distillation.hidden_weight: hidden states of '
            f'{type(backbone).__name__}, which has {number} encoder layers, '
            f'do not correspond to those of {needed}; take a teacher of the '
            'same layers, or hidden_weight=0'
        )


def _load(teacher: nn.Module, distillation: Any, order: str | None) -> None:
    """Loads the teacher's file, strictly."""
    path = distillation.checkpoint
    checkpoint = read_checkpoint(path)
    theirs = meta_of(checkpoint).get('rearrangement')
    if distillation.hidden_weight and bool(theirs) != bool(order):
        raise ValueError(
            f'distillation.hidden_weight={distillation.hidden_weight}: units '
            f'of this network are sorted by {order}, those of {path} by '
            f'{theirs}: their hidden states do not correspond. Let both '
            'start from one rearranged checkpoint (tools/rearrange.py)'
        )
    with naming(f'distillation.checkpoint={path} does not fit the teacher'):
        teacher.load_state_dict(checkpoint.get('state_dict', checkpoint))
