// Reads soap terms and their reduced forms. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cmath>
#include <utility>

#include "terms/averaged_soap.hpp"
#include "terms/read.hpp"
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

// The last n_single columns of the points go to single precision.
void split_points(Kernel &kernel) {
  const std::int64_t d = kernel.n_in, d_double = d - kernel.n_single;
  if (kernel.n_single == 0) return;
  std::vector<double> doubles;
  doubles.reserve(static_cast<std::size_t>(kernel.n_sparse * d_double));
  for (std::int64_t s = 0; s < kernel.n_sparse; ++s) {
    const double *row = kernel.points.data() + s * d;
    doubles.insert(doubles.end(), row, row + d_double);
    for (std::int64_t k = d_double; k < d; ++k) kernel.single_points.push_back(static_cast<float>(row[k]));
  }
  kernel.points.swap(doubles);
}

// The list of features of a compressed descriptor: rows I, J, factor.
std::vector<ChannelPair> read_pairs(File &file, const json &tensors, const std::string &where, int n_functions) {
  const std::vector<double> rows = read_array(file, tensors, "pairs", where, {-1, 3});
  std::vector<ChannelPair> pairs;
  for (std::size_t at = 0; at < rows.size(); at += 3) {
    const double i = rows[at], j = rows[at + 1];
    if (!(i >= 0 && i < n_functions && j >= 0 && j < n_functions) || i != std::floor(i) || j != std::floor(j))
      fail(where + ": a feature names functions that are not there" + damaged);
    pairs.push_back({static_cast<int>(i), static_cast<int>(j), rows[at + 2]});
  }
  if (pairs.empty()) fail(where + ": the list of features is empty" + damaged);
  return pairs;
}

// The shapes of a term's stages, and the table that its reduced form shares the knots of.
struct SoapShapes {
  SourceShape source;
  FeatureShape features;
  RadialTable table;
  int average = -1;
};

// Channels that are not one for each neighbour species.
void read_channels(SourceShape &shape, const json &channels, const std::string &where, std::size_t n_neighbours) {
  check_keys(channels, where, {"of_neighbour", "n", "table_per_neighbour"});
  shape.n_channels = read_count(channels, "n", where, 1, 1000);
  const std::vector<double> of = read_numbers(channels, "of_neighbour", where, n_neighbours);
  for (double channel : of)
    if (!(channel >= 0 && channel < shape.n_channels) || channel != std::floor(channel))
      fail(where + ".of_neighbour names a channel that is not there" + damaged);
  shape.table_per_group = channels.at("table_per_neighbour").get<bool>();
  if (shape.table_per_group) {
    shape.block_of.assign(of.begin(), of.end());
    return;
  }
  for (int &group : shape.group_of_species)
    if (group >= 0) group = static_cast<int>(of[static_cast<std::size_t>(group)]);
  shape.block_of.clear();
  for (int channel = 0; channel < shape.n_channels; ++channel) shape.block_of.push_back(channel);
}

// What evaluation takes memory for must not grow beyond what a machine has: products of all functions of an l with one another, and the
// coefficients of a batch of centres. Eighty-nine species with twelve functions each and l_max = 12 are 1068 functions and 180492
// coefficients.
void check_sizes(const SourceShape &shape, const std::string &where) {
  constexpr std::int64_t most_functions = 4096, most_coefficients = std::int64_t(1) << 20;
  std::int64_t n_functions = 0, n_coefficients = 0;
  for (std::size_t l = 0; l < shape.n_of_l.size(); ++l) {
    const std::int64_t n = std::int64_t(shape.n_channels) * ((shape.n_of_l[l] + 3) / 4 * 4);
    n_functions = std::max(n_functions, n);
    n_coefficients += static_cast<std::int64_t>(2 * l + 1) * n;
  }
  if (n_functions > most_functions || n_coefficients > most_coefficients)
    fail(where + ": the expansion has " + std::to_string(n_functions) + " functions of one l and " + std::to_string(n_coefficients) +
         " coefficients, expected at most " + std::to_string(most_functions) + " and " + std::to_string(most_coefficients) +
         ": reduce n_max, l_max or the number of channels");
}

void read_source(SoapShapes &shapes, const TermContext &context, const json &term, const std::string &where) {
  const json &source = term.at("source");
  const std::string here = where + ".source";
  SourceShape &shape = shapes.source;
  read_kind(source, here, {"pair_table"});
  check_keys(source, here, {"kind", "cutoff", "n_max", "l_max", "segments", "channels", "basis"});
  shape.group_of_species.assign(context.species.size(), -1);
  for (const json &symbol : read_list(term, "neighbours", where)) {
    int &group = shape.group_of_species[read_species(context.species, symbol, where + ".neighbours")];
    if (group >= 0) fail(where + ".neighbours names a species twice" + damaged);
    group = static_cast<int>(shape.block_of.size());
    shape.block_of.push_back(group);
  }
  if (shape.block_of.empty()) fail(where + ".neighbours is empty" + damaged);
  const int n_max = read_count(source, "n_max", here, 1, 1000), l_max = read_count(source, "l_max", here, 0, 40);
  shape.n_of_l.assign(static_cast<std::size_t>(l_max) + 1, n_max);
  shape.n_channels = static_cast<int>(shape.block_of.size());
  if (!source.at("channels").is_null())
    read_channels(shape, source.at("channels"), here + ".channels", term.at("neighbours").size());
  std::vector<std::int64_t> leading;
  if (shape.table_per_group) leading.push_back(static_cast<std::int64_t>(shape.block_of.size()));
  check_sizes(shape, here);
  read_object(source, "basis", here);
  shapes.table = read_table(context.file, read_list(source, "segments", here), term.at("tensors"), where, (l_max + 1) * n_max,
                            read_number(source, "cutoff", here, 1e-3, 1e3), leading);
}

void read_features(SoapShapes &shapes, const TermContext &context, const json &term, const std::string &where) {
  const json &features = term.at("features");
  const std::string here = where + ".features";
  read_kind(features, here, {"power_spectrum"});
  check_keys(features, here, {"kind", "normalise", "l_factors", "average"});
  shapes.features.normalise = features.at("normalise").get<bool>();
  if (!features.at("average").is_null()) shapes.average = read_count(features, "average", here, 0, 1000000);
  const std::size_t n_l = shapes.source.n_of_l.size();
  if (!features.at("l_factors").is_null())
    shapes.features.l_factors = read_numbers(features, "l_factors", here, n_l);
  else
    for (std::size_t l = 0; l < n_l; ++l) shapes.features.l_factors.push_back(1.0 / std::sqrt(2.0 * static_cast<double>(l) + 1.0));
  if (term.at("tensors").contains("pairs"))
    shapes.features.pairs =
        read_pairs(context.file, term.at("tensors"), where, shapes.source.n_channels * shapes.source.n_of_l[0]);
}

Kernel read_kernel(const TermContext &context, const json &term, const std::string &where, std::int64_t n_in) {
  const json &kernel = term.at("kernel"), &tensors = term.at("tensors");
  const std::string here = where + ".kernel";
  read_kind(kernel, here, {"polynomial"});
  check_keys(kernel, here, {"kind", "zeta", "delta", "offset", "n_sparse"});
  Kernel read;
  read.zeta = read_number(kernel, "zeta", here, 1.0, 1e3);
  read.offset = read_number(kernel, "offset", here, 0.0, 1e6);
  const double delta = read_number(kernel, "delta", here, 0.0, 1e12);
  read.delta2 = delta * delta;
  read.n_out = context.n_out;
  read.n_in = n_in;
  read.n_sparse = read_count(kernel, "n_sparse", here, 0, 100000000);
  read.points = read_array(context.file, tensors, "sparse_points", where, {read.n_sparse, n_in});
  read.weights = read_array(context.file, tensors, "weights", where, {context.n_out, read.n_sparse});
  for (double &w : read.weights) w *= read.delta2;
  return read;
}

// The source of a reduced form: radial functions of each l rotated and cut, a table for each group of neighbours.
Source read_reduced_source(const SoapForm &exact, const SoapShapes &shapes, File &file, const json &reduced,
                           const std::string &where) {
  const json &tensors = reduced.at("tensors");
  SourceShape shape = shapes.source;
  shape.table_per_group = true;
  shape.n_of_l.clear();
  for (std::int64_t n : read_whole_numbers(reduced.at("n_radial"), where + ".n_radial", 0, 1000)) shape.n_of_l.push_back(static_cast<int>(n));
  const std::vector<Shell> &shells = exact.source.layout.shells;
  if (shape.n_of_l.size() != shells.size()) fail(where + ".n_radial has not one entry for each l" + damaged);
  RadialTable own;
  own.segments = shapes.table.segments;
  for (std::size_t l = 0; l < shape.n_of_l.size(); ++l) {
    if (shape.n_of_l[l] > shells[l].n) fail(where + ".n_radial is out of range" + damaged);
    if (!shapes.features.pairs.empty() && shape.n_of_l[l] != shells[l].n)
      fail(where + ".n_radial differs from the term's, whose features are a list" + damaged);
    own.n_functions += shape.n_of_l[l];
  }
  own.values = read_array(file, tensors, "radial", where,
                          {std::int64_t(shape.block_of.size()), shapes.table.n_rows(), 3, own.n_functions});
  return make_source(shape, own, read_array(file, tensors, "centre_values", where, {shape.n_channels, shape.n_of_l[0]}));
}

// The kernel of a reduced form: `form` is points, merged_points or matrix.
Kernel read_reduced_kernel(const SoapForm &exact, const TermContext &context, const json &reduced, const std::string &where,
                           std::int64_t n_in, std::int64_t n_single) {
  const json &tensors = reduced.at("tensors");
  const int form = read_choice(reduced, "form", where, {"points", "merged_points", "matrix"});
  Kernel kernel;
  kernel.matrix = form == 2;
  kernel.zeta = exact.kernel.zeta;
  kernel.offset = exact.kernel.offset;
  kernel.delta2 = exact.kernel.delta2;
  kernel.n_out = context.n_out;
  kernel.n_in = n_in;
  kernel.n_single = n_single;
  const std::int64_t n_points = read_count(reduced, "n_points", where, 0, 100000000);
  kernel.points = read_array(context.file, tensors, "points", where, {n_points, n_in});
  kernel.weights = read_array(context.file, tensors, "weights", where, {context.n_out, n_points});
  if (form == 0 && n_points != exact.kernel.n_sparse) fail(where + " has another number of points than its term" + damaged);
  if (kernel.matrix && (n_points != n_in * context.n_out || kernel.zeta != 2.0 || n_single > 0 || kernel.offset != 0.0))
    fail(where + ": its matrix does not fit the term" + damaged);
  for (double &v : kernel.matrix ? kernel.points : kernel.weights) v *= kernel.delta2;
  kernel.n_sparse = kernel.matrix ? 0 : n_points;
  split_points(kernel);
  return kernel;
}

std::unique_ptr<SoapForm> read_reduced(const SoapForm &exact, const SoapShapes &shapes, const TermContext &context,
                                       const json &reduced, const std::string &where) {
  check_keys(reduced, where, {"form", "n_radial", "n_points", "n_single", "tensors", "report"});
  read_object(reduced, "report", where);
  const json &tensors = reduced.at("tensors");
  check_keys(tensors, where + ".tensors", {"radial", "centre_values", "features", "points", "weights"});
  auto form = std::make_unique<SoapForm>();
  form->source = read_reduced_source(exact, shapes, context.file, reduced, where);
  form->features = make_features(form->source.layout, shapes.features);
  const std::int64_t n_single = read_count(reduced, "n_single", where, 0, 100000000);
  form->features.kept = read_kept(context.file, tensors, where, form->features.n, n_single);
  form->features.n_kept = static_cast<std::int64_t>(form->features.kept.size());
  form->kernel = read_reduced_kernel(exact, context, reduced, where, form->features.n_kept, n_single);
  return form;
}

}  // namespace

std::unique_ptr<Term> read_soap_term(const TermContext &context, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "centre", "neighbours", "source", "features", "kernel", "reduced", "tensors"});
  json roles = term.at("tensors");
  roles.erase("pairs");
  check_keys(roles, where + ".tensors", {"radial", "centre_values", "sparse_points", "weights"});
  const int centre = read_species(context.species, term.at("centre"), where + ".centre");
  SoapShapes shapes;
  read_source(shapes, context, term, where);
  read_features(shapes, context, term, where);
  SoapForm exact;
  exact.source = make_source(shapes.source, shapes.table,
                             read_array(context.file, term.at("tensors"), "centre_values", where,
                                        {shapes.source.n_channels, shapes.source.n_of_l[0]}));
  exact.features = make_features(exact.source.layout, shapes.features);
  exact.kernel = read_kernel(context, term, where, exact.features.n);
  const json &reduced = term.at("reduced");
  if (shapes.average >= 0) {
    claim_memory(context.file, static_cast<std::uint64_t>(exact.source.layout.n_c), where);
    if (!reduced.is_null()) fail(where + ": a descriptor of a whole structure has no reduced form" + damaged);
    return std::make_unique<AveragedSoapTerm>(centre, std::move(exact), shapes.average);
  }
  std::unique_ptr<SoapForm> form;
  if (!reduced.is_null()) form = read_reduced(exact, shapes, context, reduced, where + ".reduced");
  // rows need the sparse points one by one: all of them, in their order and in full precision
  const bool serves_rows = form && reduced.at("form") == "points" && form->kernel.n_single == 0;
  return std::make_unique<SoapTerm>(centre, std::move(exact), std::move(form), serves_rows);
}

}  // namespace soapgap
