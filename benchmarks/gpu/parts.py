"""The parts of the bench, in the order of their worth."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Something to measure in a process of its own.

    Attributes:
        name: What the command line and the record call it.
        run: MODULE:FUNCTION, called with a :class:`benchmarks.gpu.run.Run`.
        seconds: After so many it is stopped.
        resumes: Whether its function leaves out the rows that it is given:
            if its process dies, another goes on.
    """

    name: str
    run: str
    seconds: float
    resumes: bool = False


# A part may be added anywhere; how the page shows its rows is said in
# :data:`benchmarks.gpu.page.SECTIONS`.
PARTS = (
    Part('tests', 'benchmarks.gpu.tests:run_tests', 150, resumes=True),
    Part('stage 1', 'benchmarks.gpu.steps:stage1', 90),
    Part('stage 2', 'benchmarks.gpu.steps:stage2', 70),
    Part('search', 'benchmarks.gpu.search:search', 100),
    Part('exported', 'benchmarks.gpu.exported:exported', 75),
    Part('latency', 'benchmarks.gpu.tables:tables', 90),
    Part('loading', 'benchmarks.gpu.loading:loading', 100),
    # Late, since how long a compiler takes is hard to foretell.
    Part('compiled', 'benchmarks.gpu.exported:compiled', 150),
    # Its goal alone is five minutes: `--only snap --limit 320`.
    Part('snap', 'benchmarks.gpu.snap:snapvit', 300),
)
