"""How the processes of a run find each other where there is no GPU.

mmengine's own start of torch.distributed sets the GPU of each process first.
"""

import os
import subprocess

import torch

# torch.distributed's names to a launcher's, as mmengine reads them.
_VARIABLES = {
    'pytorch': dict(
        RANK='RANK', WORLD_SIZE='WORLD_SIZE', LOCAL_RANK='LOCAL_RANK'
    ),
    'slurm': dict(
        RANK='SLURM_PROCID',
        WORLD_SIZE='SLURM_NTASKS',
        LOCAL_RANK='SLURM_LOCALID',
    ),
    'mpi': dict(
        RANK='OMPI_COMM_WORLD_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
_COMMANDS = dict(pytorch='torchrun', slurm='srun', mpi="Open MPI's mpirun")
_PORT = '29500'  # torch's default, and mmengine's


def start_processes(launcher: str) -> None:
    """Joins this process to those of its run, over gloo.

    Args:
        launcher: 'pytorch', 'slurm' or 'mpi'.

    Raises:
        ValueError: If the launcher did not start this process.
    """
    os.environ.update(process_variables(launcher))
    torch.distributed.init_process_group('gloo')


def process_variables(launcher: str) -> dict[str, str]:
    """What torch.distributed reads, from what the launcher has set.

    ``MASTER_ADDR`` and ``MASTER_PORT`` count if they are set; else they are
    the first node of a slurm job, and 29500.

    Args:
        launcher: 'pytorch', 'slurm' or 'mpi'.

    Raises:
        ValueError: Names the variables that are missing, or the launchers
            that are known.
    """
    if launcher not in _VARIABLES:
        known = ', '.join(_VARIABLES)
        raise ValueError(f'launcher={launcher!r}; choose from none, {known}')
    names = _VARIABLES[launcher]
    needed = list(names.values())
    if launcher != 'slurm':
        needed.append('MASTER_ADDR')
    elif not os.environ.get('MASTER_ADDR'):
        needed.append('SLURM_NODELIST')
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f'--launcher {launcher}: {", ".join(missing)} not set; start the '
            f'processes with {_COMMANDS[launcher]}, or one without --launcher'
        )
    found = {name: os.environ[source] for name, source in names.items()}
    found['MASTER_ADDR'] = os.environ.get('MASTER_ADDR') or _first_node()
    found['MASTER_PORT'] = os.environ.get('MASTER_PORT', _PORT)
    return found


def _first_node() -> str:
    """The host of slurm's process 0, such as 'n3' of 'n[3-5,8]'."""
    nodes = os.environ['SLURM_NODELIST']
    if not set(nodes) & set('[,'):
        return nodes
    command = ['scontrol', 'show', 'hostnames', nodes]
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f'--launcher slurm: SLURM_NODELIST={nodes}, whose first node '
            f'{" ".join(command)} does not tell ({error}); set MASTER_ADDR '
            'to the host of process 0'
        ) from error
    return shown.stdout.split()[0]
