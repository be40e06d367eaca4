"""gap_fit's command line, read: braces, quotes, aliases, files, and everything that is refused."""

import pytest

from soapgap.errors import InputError
from soapgap.gap_fit.options import COMMAND_LINE, DESCRIPTORS
from soapgap.gap_fit.words import read_command_line

PAIR = "distance_2b cutoff=4.0 delta=1.0 theta_uniform=0.5 covariance_type=ard_se n_sparse=10"
SOAP = "soap n_max=4 l_max=3 cutoff=4.0 atom_sigma=0.5 zeta=2 delta=1 covariance_type=dot_product n_sparse=20"
BASIC = ["at_file=train.xyz", "default_sigma={0.001 0.1 0.05 0.0}"]


@pytest.mark.parametrize("words", [
    [f"gap={{{PAIR} : {SOAP}}}"],
    [f"gap={{{{{PAIR}}} : {{{SOAP}}}}}"],
    [f"gap={{{PAIR};{SOAP}}}"],
    [f'gap="{PAIR} : {SOAP}"'],
    [f"gap={PAIR} : {SOAP}"],  # the shell held it together
    ["gap", "=", f"{{{PAIR}", ":", f"{SOAP}}}"],
    f"GAP={{{PAIR} :\n\t{SOAP}}}".split(" "),  # the shell took it apart
])
def test_ways_to_write_descriptor_strings(words):
    """All of them are the same two strings."""
    command = read_command_line([*BASIC, *words])
    pair, soap = command.gap
    assert (pair.kind, soap.kind) == ("distance_2b", "soap")
    assert pair.values["theta_uniform"] == 0.5
    assert pair.values["sparse_method"] == "random"
    assert soap.values["n_max"] == 4
    assert soap.values["zeta"] == 2.0
    assert soap.values["add_species"] is True
    assert not pair.lost_braces
    assert not soap.lost_braces


@pytest.mark.parametrize("words", [
    ["default_sigma={0.001 0.1 0.05 0.0}"], ["DEFAULT_KERNEL_REGULARISATION = {1d-3 .1 5e-2 0}"],
    ["default_sigma=0.001, 0.1, 0.05, 0"], ["default_sigma='0.001 0.1 0.05 0'"], ["default_sigma={0.001", "0.1", "0.05", "0}"],
    ["default_sigma", "=", '"0.001 0.1 0.05 0"']])
def test_ways_to_write_numbers(words):
    """Braces, quotes, commas, Fortran's exponents; aliases, in any case."""
    command = read_command_line(["atoms_filename=train.xyz", f"gap={{{PAIR}}}", *words])
    assert command.values["default_kernel_regularisation"] == (0.001, 0.1, 0.05, 0.0)


def test_every_option_has_gap_fits_default():
    """What the program says of itself (gap_fit --help)."""
    values = read_command_line([*BASIC, f"gap={{{PAIR}}}"]).values
    expected = {"sparse_jitter": 1e-10, "hessian_displacement": 0.01, "force_parameter_name": "force", "e0_method": "isolated",
                "default_kernel_regularisation_local_property": 0.001, "gap_file": "gap_new.xml", "rnd_seed": -1,
                "do_copy_atoms_file": True, "sparse_separate_file": True, "kernel_regularisation_is_per_atom": True,
                "kernel_regularisation_parameter_name": "sigma", "local_property_parameter_name": "local_property"}
    assert {name: values[name] for name in expected} == expected
    assert len(COMMAND_LINE.all) == 43


def test_a_file_of_options(tmp_path):
    """Line ends are blanks; braces may span them."""
    path = tmp_path / "fit.cfg"
    path.write_text(f"at_file = train.xyz\ngap = {{\n  {{{PAIR}}} :\n  {{{SOAP}}}\n}}\n"
                    'default_sigma = "0.001 0.1\n 0.05 0.0" do_copy_at_file\n')
    command = read_command_line([f"config_file={path}"])
    assert [string.kind for string in command.gap] == ["distance_2b", "soap"]
    assert command.values["default_kernel_regularisation"] == (0.001, 0.1, 0.05, 0.0)
    assert "\n" not in command.text
    assert command.text.startswith("at_file = train.xyz gap")
    with pytest.raises(InputError, match=r"does not look at e0: write"):
        read_command_line([f"config_file={path}", "e0=0"])
    with pytest.raises(InputError, match="cannot read config_file=none.cfg"):
        read_command_line(["config_file=none.cfg"])
    path.write_text("# a comment\nat_file=train.xyz")
    with pytest.raises(InputError, match="'#' is no option of gap_fit"):
        read_command_line([f"config_file={path}"])


def test_braces_that_gap_fit_would_lose():
    """It strips one pair more than there is, and then reads the first word only."""
    angle = "angle_3b cutoff=3 delta=1 covariance_type=ard_se n_sparse=5 theta_fac="
    for text, lost in ((f"{angle}{{1 2 3}}", True), (f"{angle}{{{{1 2 3}}}}", False), (f"{{{angle}{{1 2 3}}}}", False),
                       (f"{angle}{{2}}", False)):
        (string,) = read_command_line([*BASIC, f"gap={{{text}}}"]).gap
        assert string.lost_braces == (("theta_fac",) if lost else ())
        assert string.values["theta_fac"] in ((1.0, 2.0, 3.0), (2.0,))


@pytest.mark.parametrize(("words", "message"), [
    (["foo=1"], r"'foo' is no option of gap_fit; expected one of config_file"),
    (["defualt_sigma=1"], r"'defualt_sigma' is no option of gap_fit; did you mean default_sigma\?"),
    (["e0=1", "e0=2"], "e0 is given twice, with different values"),
    (["sigma_per_atom=T", "kernel_regularisation_is_per_atom=F"], "is given twice.*mean the same"),
    (["sigma_per_atom=maybe"], "kernel_regularisation_is_per_atom: got 'maybe', expected T or F"),
    (["sparse_jitter=small"], "sparse_jitter: got 'small', expected a finite number"),
    (["rnd_seed=1.5"], "rnd_seed: got '1.5', expected a whole number"),
    (["sparsify_only_no_fit=T"], "sparsify_only_no_fit=T is not supported, only F: there is no choice"),
    (["export_covariance"], "export_covariance=T is not supported, only F: the triangle R"),
    (["e0_method=foo"], "e0_method=foo is not supported, only isolated or average"),
    (["verbosity=LOUD"], "verbosity=LOUD is not supported, only NORMAL or VERBOSE or NERD or ANALYSIS"),
    (["e0={Si:-1.0"], "a brace is not closed"),
    (["e0='-1.0"], "a quote is not closed"),
    (["e0=-1.0}"], "the brace at character .* closes nothing"),
])
def test_options_that_are_refused(words, message):
    """Each in one line that names it."""
    with pytest.raises(InputError, match=message) as caught:
        read_command_line([*BASIC, f"gap={{{PAIR}}}", *words])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("", "gap={} holds no descriptor string"),
    ("cutoff=4.0", r"gap\[0\]: got no type of descriptor \(no word alone\), expected one of soap, distance_2b"),
    ("soap distance_2b", r"gap\[0\]: got soap distance_2b"),
    ("soap_turbo l_max=4", r"gap\[0\]: soap_turbo descriptors are not fitted here"),
    ("coordination cutoff=3", "coordination descriptors are not fitted here"),
    (f"{PAIR} : {PAIR} radial_scaling=1", r"'radial_scaling' is no key of distance_2b \(gap\[1\]\); .*gap_fit ignores"),
    (f"{SOAP} n_mx=3", r"'n_mx' is no key of soap \(gap\[0\]\); did you mean n_max\?"),
    (f"{SOAP} n_max=3", r"gap\[0\]: n_max is given twice"),
    (f"{SOAP} atom_gaussian_width=3", r"gap\[0\]: atom_gaussian_width is given twice"),
    (f"{SOAP} average", r"gap\[0\], soap: average=T is not supported, only F: such a descriptor is read from"),
    (f"{SOAP} nu_R=1", "soap: nu_R=1 is not supported, only 2"),
    (f"{SOAP} radial_basis=GTO", "soap: radial_basis=GTO is not supported, only EQUISPACED_GAUSS"),
    (f"{SOAP} cutoff_dexp=2", "soap: cutoff_dexp=2 is not supported, only 0"),
    (f"{SOAP} Z_map={{8, 1 22}}", "soap: Z_map=8, 1 22 is not supported"),
    (f"{SOAP} covariance_sigma0=0.1", "covariance_sigma0=0.1 is not supported"),
    (f"{SOAP} f0=1", "f0=1 is not supported, only 0: kernels have no constant part"),
    (f"{PAIR} exponents={{-1 -2}}", "exponents=-1 -2 is not supported, only 1"),
    (f"{PAIR} tail_exponent=1", "tail_exponent=1 is not supported"),
    (f"{PAIR} only_inter", "only_inter=T is not supported, only F: atoms are not distinguished by residue"),
    (f"{PAIR} unique_hash_tolerance=1e-4", "unique_hash_tolerance=1e-4 is not supported, only 1e-10"),
    ("distance_Nb order=4", "distance_Nb: order=4 is not supported, only 2 or 3"),
])
def test_descriptor_strings_that_are_refused(text, message):
    """gap_fit would ignore unknown keys; here they are named."""
    with pytest.raises(InputError, match=message):
        read_command_line([*BASIC, f"gap={{{text}}}"])


def test_missing_options():
    """All of them at once."""
    expected = "atoms_filename or at_file, gap, default_kernel_regularisation or default_sigma missing"
    with pytest.raises(InputError, match=expected):
        read_command_line(["e0=0"])


def test_keys_that_do_nothing_are_accepted():
    """They are in the table of the manual as such."""
    words = [f"{option.name}={option.default if not isinstance(option.default, bool) else 'T'}" for option in COMMAND_LINE.all
             if option.no_effect and option.name != "condition_number_norm"]
    read_command_line([*BASIC, f"gap={{{PAIR} mark_sparse_atoms}}", "condition_number_norm=O", *words])
    assert sum(option.no_effect for keys in DESCRIPTORS.values() for option in keys.all) == 7
