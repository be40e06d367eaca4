"""What the tests of `soapgap convert` share: a Glue potential as text, and the comparison with quippy's numbers."""

import numpy as np

from soapgap.potential import Potential

QUANTITIES = ("energy", "forces", "virial", "energies")
SOAP = ("soap cutoff=3.4 cutoff_transition_width=0.8 l_max=2 n_max=3 atom_sigma=0.5 covariance_type=dot_product delta=0.4 "
        "zeta=2 n_sparse=8 sparse_method=random add_species=T")
PAIR = ("distance_2b cutoff=3.6 cutoff_transition_width=1.0 covariance_type=ard_se delta=0.5 theta_uniform=0.9 n_sparse=6 "
        "sparse_method=uniform add_species=T")
#: Silicon and oxygen: densities with and without do_spline, ends of every kind, and no table for two oxygen atoms.
GLUE = """<Glue_params n_types="2">
  <per_type_data type="1" atomic_num="14">
    <density num_points="4" density_y1="-0.5" density_yn="0.0" do_spline="T">
      <point a="1.4" rho="0.9"/> <point a="2.0" rho="0.5"/> <point a="2.6" rho="0.2"/> <point a="3.3" rho="0.0"/>
    </density>
    <potential_density num_points="4" y1="-0.4" yn="0.1">
      <point rho="0.3" E="-0.2"/> <point rho="1.0" E="-0.45"/> <point rho="2.0" E="-0.5"/> <point rho="3.0" E="-0.42"/>
    </potential_density>
  </per_type_data>
  <per_type_data type="2" atomic_num="8">
    <density num_points="3" density_y1="0.0" density_yn="0.0">
      <point a="1.2" rho="1.0"/> <point a="2.0" rho="0.4"/> <point a="3.0" rho="0.0"/>
    </density>
    <potential_density num_points="3">
      <point rho="0.2" E="-0.1"/> <point rho="1.5" E="-0.6"/> <point rho="4.0" E="-0.8"/>
    </potential_density>
  </per_type_data>
  <per_pair_data type1="1" type2="1">
    <potential_pair num_points="4" y1="-6.0" yn="0.0">
      <point r="1.5" E="3.0"/> <point r="2.0" E="0.9"/> <point r="2.7" E="0.1"/> <point r="3.5" E="0.0"/>
    </potential_pair>
  </per_pair_data>
  <per_pair_data type1="1" type2="2">
    <potential_pair num_points="3" y1="-5.0" yn="0.0">
      <point r="1.3" E="2.0"/> <point r="1.9" E="0.6"/> <point r="3.0" E="0.0"/>
    </potential_pair>
  </per_pair_data>
</Glue_params>
"""


def numbers(model, structures):
    """Energy, forces, virial and local energies of every structure."""
    potential = Potential(model, 1)
    return [[np.asarray(getattr(potential.compute(atoms), name)) for name in QUANTITIES] for atoms in structures]


def assert_same(got, expected, rtol):
    """Within `rtol` of the largest value of the quantity in the structure, and of 1 where all are small."""
    for number, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
        for what, a, b in zip(QUANTITIES, mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0.0, atol=rtol * max(1.0, np.abs(b).max()), err_msg=f"{number}: {what}")
