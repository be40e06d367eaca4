"""`soapgap ipi-run`: i-PI and its drivers in one command, started, watched and ended together."""

__all__ = ["run_ipi"]


def __getattr__(name):
    # On first use: the command line imports this package for its options.
    if name == "run_ipi":
        from soapgap.ipi.launch.launcher import run_ipi

        return run_ipi
    raise AttributeError(f"module 'soapgap.ipi.launch' has no attribute {name!r}")
