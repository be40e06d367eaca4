// Reads terms of three atoms. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cmath>
#include <utility>

#include "terms/read.hpp"
#include "terms/triplet_term.hpp"

namespace soapgap {
namespace {

// The spline of a triplet term, over all x that distances below the cutoff can give.
std::unique_ptr<TripletGrid> read_grid(const TripletShape &shape, const TermContext &context, const json &grid,
                                       const std::string &where) {
  if (grid.is_null()) return nullptr;
  check_keys(grid, where, {"n_intervals", "tensors", "report"});
  check_keys(grid.at("tensors"), where + ".tensors", {"coefficients"});
  read_object(grid, "report", where);
  const std::vector<double> n = read_numbers(grid, "n_intervals", where, 3);
  auto read = std::make_unique<TripletGrid>();
  const double rc = shape.cutoff;
  const double lengths[3] = {shape.angle ? 2.0 * rc : rc, shape.angle ? rc * rc : rc, 2.0 * rc};
  std::vector<std::int64_t> extents = {context.n_out};
  for (int a = 0; a < 3; ++a) {
    if (!(n[a] >= 1 && n[a] <= 10000) || n[a] != std::floor(n[a])) fail(where + ".n_intervals is out of range" + damaged);
    read->h[a] = lengths[a] / n[a];
    if (!std::isnormal(read->h[a])) fail(where + ": the step of an axis is not a positive finite number" + damaged);
    read->n[a] = static_cast<int>(n[a]) + 5;
    extents.push_back(read->n[a]);
  }
  read->values = read_array(context.file, grid.at("tensors"), "coefficients", where, extents);
  read->values.resize(read->values.size() + 2);
  return read;
}

void read_kernel(TripletShape &shape, const json &kernel, const std::string &where) {
  shape.kernel = static_cast<TripletShape::Kernel>(read_kind(kernel, where, {"ard_se", "pp", "dot_product"}));
  check_keys(kernel, where, {"kind", "delta", "f0", "zeta", "theta", "permutations", "n_sparse"});
  shape.delta = read_number(kernel, "delta", where, 0.0, 1e12);
  shape.f0 = read_number(kernel, "f0", where, -1e12, 1e12);
  shape.zeta = read_number(kernel, "zeta", where, 1.0, 1e3);
  shape.n_sparse = read_count(kernel, "n_sparse", where, 0, 100000000);
  const std::vector<double> theta = read_numbers(kernel, "theta", where, 3);
  for (int a = 0; a < 3; ++a)
    if (!((shape.theta[a] = theta[a]) > 0.0)) fail(where + ".theta is not positive" + damaged);
  if (read_list(kernel, "permutations", where).empty() || kernel.at("permutations").size() > 6)
    fail(where + ".permutations has " + std::to_string(kernel.at("permutations").size()) + " entries, expected 1 to 6" + damaged);
  for (const json &permutation : kernel.at("permutations")) {
    const std::vector<std::int64_t> order = read_whole_numbers(permutation, where + ".permutations", 0, 2);
    std::vector<std::int64_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    if (sorted != std::vector<std::int64_t>{0, 1, 2}) fail(where + ".permutations holds something else than orders of 0, 1, 2" + damaged);
    for (std::int64_t place : order) shape.permutations.push_back(static_cast<int>(place));
  }
}

void read_source(TripletShape &shape, const json &source, const std::string &where) {
  read_kind(source, where, {"triplets"});
  check_keys(source, where, {"kind", "geometry", "cutoff", "cutoff_transition_width", "count", "third_cutoff", "shared"});
  shape.angle = read_choice(source, "geometry", where, {"distances", "angle"}) == 1;
  shape.cutoff = read_number(source, "cutoff", where, 1e-3, 1e3);
  shape.width = read_number(source, "cutoff_transition_width", where, 1e-12, 1e3);
  shape.count = read_number(source, "count", where, 0.0, 1e6);
  shape.third_cutoff = read_number(source, "third_cutoff", where, 0.0, 1.0);
  shape.shared = source.at("shared").get<bool>();
}

}  // namespace

std::unique_ptr<Term> read_triplet_term(const TermContext &context, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "centre", "neighbours", "source", "kernel", "grid", "origin", "tensors"});
  TripletShape shape;
  shape.centre = read_species(context.species, term.at("centre"), where + ".centre");
  const json &neighbours = term.at("neighbours"), &tensors = term.at("tensors");
  if (!neighbours.is_array() || neighbours.size() != 2) fail(where + ".neighbours is not a pair" + damaged);
  shape.first = read_species(context.species, neighbours[0], where + ".neighbours");
  shape.second = read_species(context.species, neighbours[1], where + ".neighbours");
  read_source(shape, term.at("source"), where + ".source");
  read_kernel(shape, term.at("kernel"), where + ".kernel");
  const std::int64_t n = shape.n_sparse;
  shape.points = read_array(context.file, tensors, "sparse_points", where, {n, 3});
  shape.weights = read_array(context.file, tensors, "weights", where, {context.n_out, n});
  if (tensors.contains("sparse_cutoff")) shape.factors = read_array(context.file, tensors, "sparse_cutoff", where, {n});
  claim_other_tensors(context.file, tensors, where);
  read_object(term, "origin", where);
  claim_memory(context.file, static_cast<std::uint64_t>(context.n_out) * (sizeof(TripletKernel) / sizeof(double) + 4), where);
  auto grid = read_grid(shape, context, term.at("grid"), where + ".grid");
  return std::make_unique<TripletTerm>(std::move(shape), context.n_out, std::move(grid));
}

}  // namespace soapgap
