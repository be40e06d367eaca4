"""The demo: one command from shipped data to a trained potential in LAMMPS, i-PI and ASE, and a report about it."""


def run(*args, **kwargs):
    """Run the demo; see `soapgap.demo.run_demo.run`. Imported late, so that importing this package costs nothing."""
    from soapgap.demo.run_demo import run as run_now

    return run_now(*args, **kwargs)


__all__ = ["run"]
