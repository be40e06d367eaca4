"""`<Glue_params>`: a Glue potential in QUIP's XML, both ways."""

from soapgap.errors import InputError
from soapgap.quip.glue import GlueParams, GlueTable, GlueType
from soapgap.quip.strings import integer, logical, real
from soapgap.quip.xml_tree import Node

__all__ = ["glue_lines", "read_glue"]

#: Slopes above this mean a natural end of a spline, and the number that is written for one.
NATURAL, NATURAL_WRITTEN = 0.99e30, "2e30"


def read_glue(node: Node) -> GlueParams:
    """The Glue potential of a `<Glue_params>` element.

    Parameters
    ----------
    node : Node

    Returns
    -------
    GlueParams

    Raises
    ------
    InputError
        If it is incomplete, contradicts itself, or holds something that is not supported.
    """
    node.refuse_other_attributes("n_types", "label")
    node.refuse_others("per_type_data", "per_pair_data")
    types = {}
    for child in node.children:
        if child.tag == "per_type_data":
            child.refuse_other_attributes("type", "atomic_num")
            index = integer(child.need("type"), f"{child.where}: type")
            if index in types:
                raise InputError(f"{child.where}: got type={index} a second time, expected each type once")
            types[index] = _type(child)
    n = integer(node.need("n_types"), f"{node.where}: n_types")
    if sorted(types) != list(range(1, n + 1)):
        raise InputError(f"{node.where}: got <per_type_data> for the types {sorted(types)}, expected 1 to n_types = {n}")
    pairs = _pairs([child for child in node.children if child.tag == "per_pair_data"], types)
    return GlueParams(node.get("label", ""), tuple(types[i] for i in sorted(types)), pairs)


def _type(node):
    for child in node.children:
        if child.tag == "potential_neighbours":
            raise InputError(f"{child.where}: an embedding by numbers of neighbours is not supported, expected "
                             "<potential_density>; tabulate it against the density")
    node.refuse_others("density", "potential_density")
    density, energy = node.only("density"), node.only("potential_density")
    density.refuse_other_attributes("num_points", "density_y1", "density_yn", "do_spline")
    slopes = tuple(density.need(name) for name in ("density_y1", "density_yn"))
    spline = logical(density.get("do_spline", "F"), f"{density.where}: do_spline")
    return GlueType(integer(node.need("atomic_num"), f"{node.where}: atomic_num"), _table(density, "a", "rho", slopes),
                    _table(energy, "rho", "E", _slopes(energy, NATURAL_WRITTEN)), spline)


def _pairs(nodes, types):
    """V by atomic numbers; the pairs (1, 2) and (2, 1) are the same, so one that comes twice must not differ."""
    pairs = {}
    for node in nodes:
        node.refuse_other_attributes("type1", "type2")
        node.refuse_others("potential_pair")
        indices = [integer(node.need(name), f"{node.where}: {name}") for name in ("type1", "type2")]
        if not set(indices) <= set(types):
            raise InputError(f"{node.where}: got the types {indices}, expected types from 1 to {len(types)}")
        table = node.only("potential_pair")
        value = _table(table, "r", "E", _slopes(table, "0.0"))
        key = tuple(sorted(types[i].atomic_number for i in indices))
        if pairs.setdefault(key, value) != value:
            raise InputError(f"{node.where}: got a second, different table for the types {indices}, expected one table for a "
                             "pair, whichever type comes first")
    return pairs


def _slopes(node, default):
    node.refuse_other_attributes("num_points", "y1", "yn")
    return node.get("y1", default), node.get("yn", default)


def _table(node, x_name, y_name, slopes):
    node.refuse_others("point")
    n = integer(node.need("num_points"), f"{node.where}: num_points")
    if n != len(node.children):
        raise InputError(f"{node.where}: got {len(node.children)} <point>, expected num_points = {n}")
    for point in node.children:
        point.refuse_other_attributes(x_name, y_name)
    points = sorted((real(p.need(x_name), f"{p.where}: {x_name}"), real(p.need(y_name), f"{p.where}: {y_name}"))
                    for p in node.children)
    values = [real(slope, f"{node.where}: end slope") for slope in slopes]
    try:
        return GlueTable(tuple(x for x, _ in points), tuple(y for _, y in points),
                     tuple(None if value > NATURAL else value for value in values))
    except InputError as error:
        raise InputError(f"{node.where}: {error}") from None


def glue_lines(part: GlueParams) -> list[str]:
    """The lines of a `<Glue_params>` element; types are numbered in their order.

    Parameters
    ----------
    part : GlueParams

    Returns
    -------
    list of str
    """
    label = f' label="{part.label}"' if part.label else ""
    lines = [f'<Glue_params n_types="{len(part.types)}"{label}>']
    for index, element in enumerate(part.types, start=1):
        lines += [f'  <per_type_data type="{index}" atomic_num="{element.atomic_number}">',
                  *_table_lines(element.density, "density", "a", "rho", ("density_y1", "density_yn"),
                                f' do_spline="{"T" if element.spline else "F"}"'),
                  *_table_lines(element.embedding, "potential_density", "rho", "E", ("y1", "yn")),
                  "  </per_type_data>"]
    number = {element.atomic_number: index for index, element in enumerate(part.types, start=1)}
    for (a, b), table in part.pairs.items():
        lines += [f'  <per_pair_data type1="{number[a]}" type2="{number[b]}">',
                  *_table_lines(table, "potential_pair", "r", "E", ("y1", "yn")), "  </per_pair_data>"]
    return [*lines, "</Glue_params>"]


def _table_lines(table, tag, x_name, y_name, slope_names, more=""):
    slopes = " ".join(f'{name}="{NATURAL_WRITTEN if slope is None else f"{slope:.17g}"}"'
                      for name, slope in zip(slope_names, table.slopes))
    points = [f'      <point {x_name}="{x:.17g}" {y_name}="{y:.17g}"/>' for x, y in zip(table.x, table.y)]
    return [f'    <{tag} num_points="{len(table.x)}" {slopes}{more}>', *points, f"    </{tag}>"]
