"""QUIP's potentials, in and out: `read_quip` makes a model of one, `write_quip` a file that QUIP reads."""

from soapgap.quip.exporter import write_quip
from soapgap.quip.importer import read_quip

__all__ = ["read_quip", "write_quip"]
