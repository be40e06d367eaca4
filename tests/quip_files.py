"""A small potential file of QUIP and parts of one, for the tests of its reader and writer."""

import hashlib

import numpy as np

from soapgap.quip.document import Coordinate, GapParams, GlueParams, GlueTable, GlueType

SLICES = ('<sparseX_slice start="1" end="2"> .5E+000\n-1d-1 </sparseX_slice>\n'
          '<sparseX_slice start="3" end="3"> .25 </sparseX_slice>')
MODEL = """<GAP_x>
<Potential label="GAP_x" init_args="IP GAP label=GAP_x"/>
<GAP_params label="GAP_x" gap_version="1527075646">
  <GAP_data do_core="F">
    <e0 Z="1" value="-.5E+000"/>
    <e0 Z="8" value="4.5999999999999996"/>
  </GAP_data>
  <gpSparse label="GAP_x" n_coordinate="2" fitted="T">
    <gpCoordinates label="GAP_x1" dimensions="3" signal_variance=".5" signal_mean=".25" sparsified="T" n_permutations="2"
      covariance_type="1" n_sparseX="2" sparseX_filename="gap.xml.sparseX.GAP_x1" sparseX_md5sum="CHECKSUM">
      <theta>  0.1E+001 1 2 </theta>
      <descriptor> distance_Nb order=3 cutoff=4.0 Z={1 8 8} </descriptor>
      <permutation i="1">1 2 3 </permutation><permutation i="2">2 1 3 </permutation>
      <sparseX i="2" alpha="2.5" sparseCutoff=".5"/>
      <sparseX i="1" alpha="-3846416.8400410428" sparseCutoff="1.0000000000000000"/>
    </gpCoordinates>
    <gpCoordinates label="GAP_x2" dimensions="3" signal_variance=".1" signal_mean="0" sparsified="T" n_permutations="1"
      covariance_type="2" zeta="4.0" n_sparseX="2">
      <descriptor>soap cutoff=3.0 n_max=1 l_max=1</descriptor>
      <permutation i="1">1 </permutation>
      <sparseX i="1" alpha="1.0" sparseCutoff="1.0" sliced="T">SLICES</sparseX>
      <sparseX i="2" alpha="-1.0" sparseCutoff="1.0"> 1 2 3 </sparseX>
    </gpCoordinates>
  </gpSparse>
  <command_line><![CDATA[ at_file=x.xyz <&> ]]></command_line>
  <XYZ_data><![CDATA[ 2 ]]><b>anything</b><sparseX>not a number</sparseX></XYZ_data>
</GAP_params>
</GAP_x>
""".replace("SLICES", SLICES)
GLUE = """<Glue_params n_types="1">
  <per_type_data type="1" atomic_num="14">
    <density num_points="2" density_y1="0.0" density_yn="2e30"><point a="3.0" rho="0.0"/><point a="1.0" rho="1.0"/></density>
    <potential_density num_points="2"><point rho="0.0" E="0.0"/><point rho="1.0" E="-1.0"/></potential_density>
  </per_type_data>
  <per_pair_data type1="1" type2="1">
    <potential_pair num_points="2" yn="1e30"><point r="1.0" E="3.0"/><point r="3.0" E="0.0"/></potential_pair>
  </per_pair_data>
</Glue_params>
"""
POINTS = "".join(f"{x:.20e}\n" for x in (1.0, 2.0, 3.0, 0.1, 1 / 3, -2.5e-300))
CHECKSUM = hashlib.md5(POINTS.encode()).hexdigest()


def save(folder, old=None, new=None, text=MODEL, points=POINTS, checksum=CHECKSUM):
    """The model above, with one thing changed (which must be there)."""
    if old is not None:
        assert old in text
        text = text.replace(old, new)
    if points is not None:
        (folder / "gap.xml.sparseX.GAP_x1").write_text(points)
    (folder / "gap.xml").write_text(text.replace("CHECKSUM", checksum))
    return folder / "gap.xml"


def coordinate(label="GAP_y1", covariance="ard_se", m=4, d=3):
    rng = np.random.default_rng(5)
    points = rng.normal(size=(m, d)) * 10.0 ** rng.integers(-300, 300, (m, d))
    dot = covariance == "dot_product"
    return Coordinate(label, 'distance_Nb order=3 q="a & b" x=<1>', covariance, 0.1 + 0.2, rng.normal(), 1 / 3 if dot else None,
                      None if dot else rng.uniform(0.5, 2, d), None if dot else np.array([[0, 1, 2], [2, 1, 0]]),
                      1e6 * rng.normal(size=m), rng.uniform(size=m), points)


def gap(label="GAP_y", **changes):
    values = {"gap_version": 1596837814, "e0": {8: -1 / 3, 1: 5e-324}, "command_line": " a={b]]>c} <&> \u00e9\n",
              "coordinates": [coordinate(f"{label}1"), coordinate(f"{label}2", "dot_product"), coordinate(f"{label}3", "pp")]}
    return GapParams(label, **{**values, **changes})


def glue(label=""):
    table = GlueTable((0.1, 1.0, 1 / 0.3), (3.0, 1 / 3, 0.1), (None, -0.1))
    return GlueParams(label, (GlueType(14, table, table, True), GlueType(8, table, table)), {(8, 14): table, (14, 14): table})
