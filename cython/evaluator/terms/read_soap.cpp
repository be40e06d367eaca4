// Reads soap terms and their reduced forms. SPDX-License-Identifier: BSD-3-Clause
#include <cmath>

#include "file/reader.hpp"
#include "terms/soap_term.hpp"

namespace soapgap {
namespace {

// Two ascending lists in one: features in double, then in single precision.
std::vector<std::int32_t> read_kept(File &file, const json &tensors, const std::string &where, std::int64_t n_features,
                                    std::int64_t n_single) {
  const std::vector<double> numbers = read_array(file, tensors, "features", where, {-1});
  const std::size_t n = numbers.size(), single = n - static_cast<std::size_t>(n_single);
  if (n == 0 || static_cast<std::size_t>(n_single) > n) fail(where + " keeps no feature" + damaged);
  std::vector<std::int32_t> kept;
  for (std::size_t i = 0; i < n; ++i) {
    const double v = numbers[i];
    if (!(v >= 0 && v < static_cast<double>(n_features)) || v != std::floor(v) ||
        (i > 0 && i != single && v <= numbers[i - 1]))
      fail(where + ": the list of features is not ascending and below " + std::to_string(n_features) + damaged);
    kept.push_back(static_cast<std::int32_t>(v));
  }
  return kept;
}

void split_points(SoapTerm &term) {
  const std::int64_t d = term.n_kept, d_double = d - term.n_single;
  if (term.n_single == 0) return;
  std::vector<double> doubles;
  doubles.reserve(static_cast<std::size_t>(term.n_sparse * d_double));
  for (std::int64_t s = 0; s < term.n_sparse; ++s) {
    const double *row = term.sparse_points.data() + s * d;
    doubles.insert(doubles.end(), row, row + d_double);
    for (std::int64_t k = d_double; k < d; ++k) term.single_points.push_back(static_cast<float>(row[k]));
  }
  term.sparse_points.swap(doubles);
}

SoapTerm::Form read_form(const json &reduced, const std::string &where) {
  const std::string form = reduced.at("form").get<std::string>();
  if (form == "points") return SoapTerm::points;
  if (form == "merged_points") return SoapTerm::merged_points;
  if (form != "matrix")
    fail(where + ".form '" + form + "' is not known: it was written by a newer soapgap; upgrade soapgap");
  return SoapTerm::matrix;
}

// The reduced form of a term: radial functions of each l rotated and cut, the features that are left, points or matrix.
std::unique_ptr<SoapTerm> read_reduced(const SoapTerm &exact, const SoapShape &exact_shape, const RadialTable &table,
                                       File &file, const json &reduced, const std::string &where) {
  check_keys(reduced, where, {"form", "n_radial", "n_points", "n_single", "tensors", "report"});
  const json &tensors = reduced.at("tensors");
  check_keys(tensors, where + ".tensors", {"radial", "centre_values", "features", "points", "weights"});
  auto term = std::make_unique<SoapTerm>();
  term->form = read_form(reduced, where);
  term->centre = exact.centre;
  term->group_of_species = exact.group_of_species;
  term->zeta = exact.zeta;
  term->delta = exact.delta;
  term->offset = exact.offset;
  term->normalise = exact.normalise;
  SoapShape shape = exact_shape;
  shape.table_per_group = true;
  shape.n_of_l = reduced.at("n_radial").get<std::vector<int>>();
  if (shape.n_of_l.size() != exact.shells.size()) fail(where + ".n_radial has not one entry for each l" + damaged);
  RadialTable own;
  own.segments = table.segments;
  for (std::size_t l = 0; l < shape.n_of_l.size(); ++l) {
    if (shape.n_of_l[l] < 0 || shape.n_of_l[l] > exact.shells[l].n) fail(where + ".n_radial is out of range" + damaged);
    if (!shape.pairs.empty() && shape.n_of_l[l] != exact.shells[l].n)
      fail(where + ".n_radial differs from the term's, whose features are a list" + damaged);
    own.n_functions += shape.n_of_l[l];
  }
  own.values = read_array(file, tensors, "radial", where,
                          {std::int64_t(shape.block_of.size()), n_rows(table), 3, own.n_functions});
  prepare_soap_term(*term, shape, own,
                    read_array(file, tensors, "centre_values", where, {shape.n_channels, shape.n_of_l[0]}));
  term->n_single = read_count(reduced, "n_single", where, 0, 100000000);
  term->kept = read_kept(file, tensors, where, term->n_features, term->n_single);
  term->n_kept = static_cast<std::int64_t>(term->kept.size());
  term->n_sparse = read_count(reduced, "n_points", where, 0, 100000000);
  term->sparse_points = read_array(file, tensors, "points", where, {term->n_sparse, term->n_kept});
  term->scaled_weights = read_array(file, tensors, "weights", where, {1, term->n_sparse});
  if (term->form == SoapTerm::points && term->n_sparse != exact.n_sparse)
    fail(where + " has another number of points than its term" + damaged);
  if (term->form == SoapTerm::matrix && (term->n_sparse != term->n_kept || term->zeta != 2.0 || term->n_single > 0 ||
                                         term->offset != 0.0))
    fail(where + ": its matrix does not fit the term" + damaged);
  const double delta2 = term->delta * term->delta;
  for (double &v : term->form == SoapTerm::matrix ? term->sparse_points : term->scaled_weights) v *= delta2;
  split_points(*term);
  return term;
}

// The list of features of a compressed descriptor: rows I, J, factor; none: all J <= I.
std::vector<ChannelPair> read_pairs(File &file, const json &tensors, const std::string &where, int n_functions) {
  const std::vector<double> rows = read_array(file, tensors, "pairs", where, {-1, 3});
  std::vector<ChannelPair> pairs;
  for (std::size_t at = 0; at < rows.size(); at += 3) {
    const double i = rows[at], j = rows[at + 1];
    if (!(i >= 0 && i < n_functions && j >= 0 && j < n_functions) || i != std::floor(i) || j != std::floor(j))
      fail(where + ": a feature names functions that are not there" + damaged);
    pairs.push_back({static_cast<int>(i), static_cast<int>(j), rows[at + 2]});
  }
  return pairs;
}

// What version 3 says more than version 1: channels that are not one per species, factors, a list of features.
void read_channels(SoapTerm &soap, SoapShape &shape, File &file, const json &term, const std::string &where) {
  json channels = term.at("channels");
  if (channels.is_object() && channels.contains("average")) {
    soap.average = read_count(channels, "average", where + ".channels", 0, 1000000);
    channels.erase("average");
  }
  check_keys(channels, where + ".channels", {"of_neighbour", "n", "table_per_neighbour", "l_factors", "kernel_offset"});
  shape.n_channels = read_count(channels, "n", where + ".channels", 1, 1000);
  const std::size_t n_neighbours = term.at("neighbours").size();
  const std::vector<double> of = read_numbers(channels, "of_neighbour", where + ".channels", n_neighbours);
  for (double channel : of)
    if (!(channel >= 0 && channel < shape.n_channels) || channel != std::floor(channel))
      fail(where + ".channels.of_neighbour names a channel that is not there" + damaged);
  shape.table_per_group = channels.at("table_per_neighbour").get<bool>();
  if (shape.table_per_group)
    shape.block_of.assign(of.begin(), of.end());
  else
    for (int &group : soap.group_of_species)
      if (group >= 0) group = static_cast<int>(of[static_cast<std::size_t>(group)]);
  if (!shape.table_per_group) {
    shape.block_of.clear();
    for (int channel = 0; channel < shape.n_channels; ++channel) shape.block_of.push_back(channel);
  }
  shape.l_factors = read_numbers(channels, "l_factors", where + ".channels", shape.n_of_l.size());
  soap.offset = read_number(channels, "kernel_offset", where + ".channels", 0.0, 1e6);
  shape.pairs = read_pairs(file, term.at("tensors"), where, shape.n_channels * shape.n_of_l[0]);
}

// Terms that make one descriptor differ in their centres only.
void check_average(ModelData &model, const SoapTerm &soap, const std::string &where) {
  model.whole_structure = true;
  if (soap.reduced) fail(where + ": a descriptor of a whole structure has no reduced form" + damaged);
  for (const SoapTerm &other : model.soap_terms)
    if (other.average == soap.average && (other.basis.n_c != soap.basis.n_c || other.n_features != soap.n_features ||
                                          other.n_sparse != soap.n_sparse || other.centre == soap.centre))
      fail(where + ".channels.average joins terms that do not belong together" + damaged);
}

}  // namespace

void read_soap_term(ModelData &model, File &file, const json &term, const std::string &where) {
  const int version = check_head(term, where, 3);
  const auto keys = {"kind", "kind_version", "n_out", "irreps", "source", "centre", "neighbours", "n_max", "l_max",
                     "n_sparse", "cutoff", "zeta", "delta", "normalise", "segments", "tensors", "basis"};
  json own = term;
  if (version >= 2 && own.erase("reduced") == 0) fail(where + " lacks the key 'reduced'" + damaged);
  if (version >= 3 && own.erase("channels") == 0) fail(where + " lacks the key 'channels'" + damaged);
  check_keys(own, where, keys);
  json own_tensors = term.at("tensors");
  if (version >= 3 && own_tensors.erase("pairs") == 0) fail(where + ".tensors lacks the key 'pairs'" + damaged);
  check_keys(own_tensors, where + ".tensors", {"radial", "centre_values", "sparse_points", "weights"});
  SoapTerm soap;
  SoapShape shape;
  soap.centre = read_species(model, term.at("centre"), where + ".centre");
  soap.group_of_species.assign(model.species.size(), -1);
  for (const json &symbol : term.at("neighbours")) {
    int &group = soap.group_of_species[read_species(model, symbol, where + ".neighbours")];
    if (group >= 0) fail(where + ".neighbours names a species twice" + damaged);
    group = static_cast<int>(shape.block_of.size());
    shape.block_of.push_back(group);
  }
  if (shape.block_of.empty()) fail(where + ".neighbours is empty" + damaged);
  const int n_max = read_count(term, "n_max", where, 1, 1000), l_max = read_count(term, "l_max", where, 0, 40);
  const double cutoff = read_number(term, "cutoff", where, 1e-3, 1e3);
  soap.zeta = read_number(term, "zeta", where, 1.0, 1e3);
  soap.delta = read_number(term, "delta", where, 0.0, 1e12);
  soap.normalise = term.at("normalise").get<bool>();
  shape.n_of_l.assign(static_cast<std::size_t>(l_max) + 1, n_max);
  shape.n_channels = static_cast<int>(shape.block_of.size());
  shape.table_per_group = false;
  for (int l = 0; l <= l_max; ++l) shape.l_factors.push_back(1.0 / std::sqrt(2.0 * l + 1.0));
  if (version >= 3) read_channels(soap, shape, file, term, where);
  std::vector<std::int64_t> leading;
  if (shape.table_per_group) leading.push_back(static_cast<std::int64_t>(shape.block_of.size()));
  const RadialTable table = read_table(file, term, where, (l_max + 1) * n_max, cutoff, leading);
  prepare_soap_term(soap, shape, table,
                    read_array(file, term.at("tensors"), "centre_values", where, {shape.n_channels, n_max}));
  soap.n_kept = soap.n_features;
  soap.n_sparse = read_count(term, "n_sparse", where, 0, 100000000);
  soap.sparse_points = read_array(file, term.at("tensors"), "sparse_points", where, {soap.n_sparse, soap.n_features});
  soap.scaled_weights = read_array(file, term.at("tensors"), "weights", where, {1, soap.n_sparse});
  for (double &w : soap.scaled_weights) w *= soap.delta * soap.delta;
  if (version >= 2 && !term.at("reduced").is_null())
    soap.reduced = read_reduced(soap, shape, table, file, term.at("reduced"), where + ".reduced");
  if (soap.average >= 0) check_average(model, soap, where);
  model.cutoff = std::max(model.cutoff, cutoff);
  model.terms.push_back({TermPlace::soap, static_cast<int>(model.soap_terms.size())});
  model.soap_terms.push_back(std::move(soap));
}

}  // namespace soapgap
