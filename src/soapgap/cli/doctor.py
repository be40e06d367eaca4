"""`soapgap doctor`: whether LAMMPS finds the pair style."""


def doctor() -> None:
    """Check that LAMMPS finds and takes pair_style soapgap; says what to do where it does not."""
    from soapgap.lammps import run_doctor

    raise SystemExit(run_doctor())
