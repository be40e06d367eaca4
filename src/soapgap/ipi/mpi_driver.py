"""`soapgap drive` under an MPI launcher: all ranks compute, a process beside them talks to i-PI.

If a rank dies, the launcher kills all processes that it has started, at once and without mercy; so the connection to i-PI must
not be in one of them. Rank 0 starts the supervisor as a process of its own session, which the launcher does not know, and takes
the place of the child that computes (`soapgap.ipi.supervise`): the same messages, the other way round.
"""

import signal
import subprocess
import sys
from multiprocessing import connection as pipes
from pathlib import Path

from soapgap.errors import InputError, SoapGAPError
from soapgap.ipi.options import DriveOptions
from soapgap.ipi.worker import N_LISTS, Job, serve
from soapgap.ranks import Ranks, start_ranks

__all__ = ["drive_with_ranks"]


def drive_with_ranks(model: Path, structure: Path, options: DriveOptions) -> int:
    """`soapgap.ipi.drive` with the evaluator spread over the ranks of this run; collective.

    Parameters
    ----------
    model, structure : path-like
    options : DriveOptions

    Returns
    -------
    int
        Exit status of this rank.

    Raises
    ------
    HostError
        Under a launcher whose MPI is not that of mpi4py.
    """
    ranks = start_ranks()
    if ranks.is_root:
        return _lead(ranks, model, structure, options)
    for number in (signal.SIGTERM, signal.SIGINT):  # rank 0 passes them on
        signal.signal(number, signal.SIG_IGN)
    if ranks.broadcast():
        try:
            _potential(ranks, None, options.threads, options.allow_external).serve()
        except SoapGAPError:
            pass  # rank 0 says it
    return 0


def _potential(ranks: Ranks, job: Job | None, threads: int | None, allow_external: bool):
    from soapgap.parallel import ParallelPotential

    return ParallelPotential(job and job.model, ranks.communicator, n_threads=threads, skin=job.options.skin if job else 0.0,
                             allow_external=allow_external, n_lists=N_LISTS)


def _lead(ranks: Ranks, model: Path, structure: Path, options: DriveOptions) -> int:
    """Rank 0: starts the supervisor, computes for it, ends as it ends."""
    potentials = []

    def make(job: Job):
        ranks.broadcast(True)
        potentials.append(_potential(ranks, job, options.threads, options.allow_external))
        return potentials[0]

    pipe, theirs = pipes.Pipe(duplex=True)
    command = [sys.executable, "-P", "-m", "soapgap.ipi.mpi_driver", str(theirs.fileno())]
    supervisor = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
    theirs.close()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, stack: supervisor.send_signal(number))
    with ranks.guard():
        pipe.send((model, structure, options))
        serve(pipe, make)
        if potentials:
            potentials[0].dismiss()
        else:
            ranks.broadcast(False)
    pipe.close()
    return supervisor.wait()


def main() -> None:
    """The supervisor: serves i-PI with what the socket pair, whose number is the first argument, computes."""
    from soapgap.ipi.driver import drive, explained

    pipe = pipes.Connection(int(sys.argv[1]))
    model, structure, options = pipe.recv()
    try:
        if options.clients > 1:
            raise InputError("got --clients under an MPI launcher; expected one of the two: the ranks share out the beads of a "
                             "batch, so set <batch_size> in the i-PI input instead")
        # threads: counted here, it would be this process's own, which computes nothing
        status = explained(lambda: drive(model, structure, options, pipe=pipe, threads=options.threads or 1))
    except SoapGAPError as error:
        print(f"soapgap: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    main()
