"""What gap_fit's command line knows: every option and every key of its descriptor strings, and what becomes of them here.

An option is taken over, without effect here, or refused (wholly, or all of its values but some). docs/gap_fit.md has the same
table for the user, and a test compares the two. Nothing is ignored in silence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from soapgap.errors import InputError
from soapgap.quip.strings import integer, logical, real, reals


@dataclass(frozen=True)
class Option:
    """One option of the command line, or one key of a descriptor string.

    Attributes
    ----------
    name : str
        The canonical one.
    kind : "text", "integer", "real", "reals" or "logical"
    default : object
        gap_fit's, None if there is none.
    aliases : tuple of str
        Other names with the same meaning.
    only : tuple or None
        The values that are accepted, if not all are.
    why : str
        Why other values are refused.
    no_effect : bool
        The value does not matter here.
    """

    name: str
    kind: str = "text"
    default: object = None
    aliases: tuple[str, ...] = ()
    only: tuple | None = None
    why: str = ""
    no_effect: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    def value(self, text: str, where: str) -> object:
        """The value that a text means.

        Raises
        ------
        InputError
            It is not of the right kind, or a value that is refused.
        """
        what = f"{where}{self.name}"
        if self.kind == "reals":
            found: object = tuple(reals(text.replace(",", " "), what).tolist())
        elif self.kind == "text":
            found = text.strip()
        else:
            found = {"integer": integer, "real": real, "logical": logical}[self.kind](text, what)
        if self.only is not None and _folded(found) not in [_folded(value) for value in self.only]:
            accepted = " or ".join(_written(value) for value in self.only)
            raise InputError(f"{what}={text.strip()} is not supported, only {accepted}: {self.why}")
        return found


def _folded(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{item:g}" for item in value)
    if isinstance(value, bool):
        return "T" if value else "F"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


class Options:
    """Options by any of their names, in any case."""

    def __init__(self, options: Iterable[Option]) -> None:
        self._of = {name.lower(): option for option in options for name in option.names}
        self.all = tuple(dict.fromkeys(self._of.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, aliases included."""
        return tuple(name for option in self.all for name in option.names)

    def find(self, name: str, what: str, advice: str = "") -> Option:
        """The option of this name.

        Parameters
        ----------
        what : "option" or "key of distance_2b", for the message
        advice : str
            More for the message.

        Raises
        ------
        InputError
            There is none; the message says which one is nearest.
        """
        option = self._of.get(name.lower())
        if option is None:
            near = difflib.get_close_matches(name.lower(), self._of, 1, 0.6)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(o.name for o in self.all)}"
            raise InputError(f"{name!r} is no {what}; {hint}{advice}")
        return option


_NO_CONDITION = "condition numbers are printed with every fit, in the 1-norm"

#: gap_fit's command line.
COMMAND_LINE = Options([
    Option("config_file"),
    Option("atoms_filename", aliases=("at_file",)),
    Option("gap"),
    Option("default_kernel_regularisation", "reals", aliases=("default_sigma",)),
    Option("config_type_kernel_regularisation", aliases=("config_type_sigma",), default=""),
    Option("kernel_regularisation_is_per_atom", "logical", True, ("sigma_per_atom",)),
    Option("default_kernel_regularisation_local_property", "real", 0.001, ("default_local_property_sigma",)),
    Option("e0"),
    Option("e0_method", default="isolated", only=("isolated", "average"), why="gap_fit has no other method"),
    Option("e0_offset", "real", 0.0),
    Option("local_property0"),
    Option("sparse_jitter", "real", 1e-10),
    Option("hessian_displacement", "real", 0.01, ("hessian_delta",)),
    Option("baseline_param_filename", default="quip_params.xml", aliases=("core_param_file",)),
    Option("baseline_ip_args", default="", aliases=("core_ip_args",)),
    Option("energy_parameter_name", default="energy"),
    Option("force_parameter_name", default="force"),
    Option("virial_parameter_name", default="virial"),
    Option("stress_parameter_name", default="stress"),
    Option("hessian_parameter_name", default="hessian"),
    Option("local_property_parameter_name", default="local_property"),
    Option("config_type_parameter_name", default="config_type"),
    Option("kernel_regularisation_parameter_name", default="sigma", aliases=("sigma_parameter_name",)),
    Option("force_mask_parameter_name", default="force_mask"),
    Option("local_property_mask_parameter_name", default="local_property_mask"),
    Option("parameter_name_prefix", default=""),
    Option("gap_file", default="gap_new.xml", aliases=("gp_file",)),
    Option("do_copy_atoms_file", "logical", True, ("do_copy_at_file",)),
    Option("sparse_separate_file", "logical", True),
    Option("rnd_seed", "integer", -1),
    Option("linear_system_dump_file", default=""),
    Option("dryrun", "logical", False),
    Option("sparsify_only_no_fit", "logical", False, only=(False,),
           why="there is no choice of sparse points without a fit; dryrun=T stops before both"),
    Option("export_covariance", "logical", False, only=(False,),
           why="the triangle R of the QR factorisation is in the .fit file beside the model"),
    Option("sparse_use_actual_gpcov", "logical", False, no_effect=True),
    Option("condition_number_norm", default="", only=("", "O", "I"), why=_NO_CONDITION, no_effect=True),
    Option("verbosity", default="NORMAL", only=("NORMAL", "VERBOSE", "NERD", "ANALYSIS"),
           why="gap_fit has no other level", no_effect=True),
    Option("openmp_chunk_size", "integer", 0, no_effect=True),
    Option("do_ip_timing", "logical", False, no_effect=True),
    Option("template_file", default="template.xyz", no_effect=True),
    Option("mpi_blocksize_rows", "integer", 0, no_effect=True),
    Option("mpi_blocksize_cols", "integer", 100, no_effect=True),
    Option("mpi_print_all", "logical", False, no_effect=True),
])

#: Names that gap_fit has for the ways to choose sparse points.
SPARSE_METHODS = ("random", "uniform", "cur_points", "cur_covariance", "covariance", "pivot", "cluster", "kmeans", "fuzzy",
                  "file", "index_file", "none")

_FIXED_TOLERANCE = "duplicates are always found with 1e-10"
_COMMON = (
    Option("delta", "real", aliases=("energy_scale",)),
    Option("covariance_type"),
    Option("f0", "real", 0.0, only=(0.0,), why="kernels have no constant part; e0 takes its place"),
    Option("n_sparse", "integer"),
    Option("config_type_n_sparse"),
    Option("sparse_method", default="random"),
    Option("sparse_file"),
    Option("print_sparse_index"),
    Option("theta_uniform", "real", aliases=("lengthscale_uniform",)),
    Option("theta_fac", "reals", aliases=("lengthscale_factor",)),
    Option("theta_file", aliases=("lengthscale_file",)),
    Option("zeta", "real", aliases=("soap_exponent",)),
    Option("add_species", "logical", True),
    Option("unique_hash_tolerance", "real", 1e-10, only=(1e-10,), why=_FIXED_TOLERANCE),
    Option("unique_descriptor_tolerance", "real", 1e-10, only=(1e-10,), why=_FIXED_TOLERANCE),
    Option("mark_sparse_atoms", "logical", False, no_effect=True),
    Option("cutoff", "real"),
    Option("cutoff_transition_width", "real", 0.5),
)

_ONLY_READ = "such a descriptor is read from finished potentials (soapgap convert), not fitted"
_DISTANCES = "a pair term is a function of the distance alone"


def _soap_keys() -> tuple[Option, ...]:
    fixed = (("average", False), ("diagonal_radial", False), ("R_mix", False), ("Z_mix", False), ("sym_mix", False),
             ("coupling", True))
    return (
        Option("soap", "logical"),
        Option("n_max", "integer"),
        Option("l_max", "integer"),
        Option("atom_sigma", "real", aliases=("atom_gaussian_width",)),
        Option("central_weight", "real", 1.0),
        Option("central_reference_all_species", "logical"),
        Option("n_species", "integer"),
        Option("species_Z", "reals"),
        Option("n_Z", "integer", 1, only=(1,), why="each species of centres has its own kernel: write one string for each"),
        Option("Z", "reals"),
        Option("radial_basis", default="EQUISPACED_GAUSS", only=("EQUISPACED_GAUSS",), why=_ONLY_READ),
        Option("basis_error_exponent", "real", 10.0, only=(10.0,), why=_ONLY_READ),
        Option("covariance_sigma0", "real", 0.0, only=(0.0,), why=_ONLY_READ),
        Option("normalise", "logical", True, ("normalize",), only=(True,), why=_ONLY_READ),
        Option("cutoff_dexp", "integer", 0, only=(0,), why=_ONLY_READ),
        Option("cutoff_scale", "real", 1.0, no_effect=True),
        Option("cutoff_rate", "real", 1.0, no_effect=True),
        *(Option(name, "logical", value, only=(value,), why=_ONLY_READ) for name, value in fixed),
        *(Option(name, "integer", value, only=(value,), why=_ONLY_READ)
          for name, value in (("nu_R", 2), ("nu_S", 2), ("K", 0), ("mix_shift", 0))),
        Option("Z_map", default="", only=("",), why=_ONLY_READ),
        Option("xml_version", "integer"),
    )


def _pair_keys() -> tuple[Option, ...]:
    residues = "atoms are not distinguished by residue"
    return (
        Option("distance_2b", "logical"),
        Option("Z1", "integer", 0),
        Option("Z2", "integer", 0),
        Option("n_exponents", "integer", 1, only=(1,), why=_DISTANCES),
        Option("exponents", "reals", only=((1.0,),), why=_DISTANCES),
        Option("tail_exponent", "real", 0.0, only=(0.0,), why=_ONLY_READ),
        Option("tail_range", "real", 1.0, no_effect=True),
        Option("resid_name", default="", only=("",), why=residues),
        Option("only_intra", "logical", False, only=(False,), why=residues),
        Option("only_inter", "logical", False, only=(False,), why=residues),
    )


#: The keys of the descriptor strings, by type of descriptor.
DESCRIPTORS = {
    "soap": Options([*_soap_keys(), *_COMMON]),
    "distance_2b": Options([*_pair_keys(), *_COMMON]),
    "angle_3b": Options([
        Option("angle_3b", "logical"),
        Option("Z_center", "integer", 0, ("Z",)),
        Option("Z1", "integer", 0),
        Option("Z2", "integer", 0),
        *_COMMON,
    ]),
    "distance_Nb": Options([
        Option("distance_Nb", "logical"),
        Option("order", "integer", only=(2, 3), why="terms have two or three bodies"),
        Option("compact_clusters", "logical", True),
        Option("Z", "reals"),
        Option("xml_version", "integer"),
        *_COMMON,
    ]),
}

#: Descriptors that gap_fit has and that are not fitted here.
OTHER_DESCRIPTORS = (
    "soap_turbo", "soap_express", "coordination", "behler", "bispectrum_so4", "bispectrum_so3", "co_angle_3b", "co_distance_2b",
    "cosnx", "trihis", "water_monomer", "water_dimer", "water_trimer", "a2_dimer", "ab_dimer", "bond_real_space",
    "atom_real_space", "power_so3", "power_so4", "an_monomer", "general_monomer", "general_dimer", "general_trimer", "rdf",
    "as_distance_2b", "molecule_lo_d", "alex", "com_dimer")
