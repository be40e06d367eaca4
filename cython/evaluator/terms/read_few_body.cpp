// Reads terms of few bodies: pairs, triplets, embedding. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cmath>

#include "file/reader.hpp"
#include "terms/triplet_term.hpp"

namespace soapgap {

void read_pair_term(ModelData &model, File &file, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "n_out", "irreps", "source", "species", "cutoff", "segments", "tensors",
                           "origin"});
  check_head(term, where, 1);
  if (!term.at("species").is_array() || term.at("species").size() != 2)
    fail(where + ".species is not a pair" + damaged);
  PairTerm pair;
  pair.first = read_species(model, term.at("species")[0], where + ".species");
  pair.second = read_species(model, term.at("species")[1], where + ".species");
  pair.cutoff = read_number(term, "cutoff", where, 1e-3, 1e3);
  pair.table = read_table(file, term, where, 1, pair.cutoff);
  claim_other_tensors(file, term.at("tensors"), where);
  model.cutoff = std::max(model.cutoff, pair.cutoff);
  model.terms.push_back({TermPlace::pair, static_cast<int>(model.pair_terms.size())});
  model.pair_terms.push_back(std::move(pair));
}

// A name of a list as its place in it.
static int read_choice(const json &term, const char *key, const std::string &where, std::initializer_list<const char *> names) {
  int n = 0;
  for (const char *name : names) {
    if (term.at(key) == name) return n;
    ++n;
  }
  fail(where + "." + key + " " + term.at(key).dump() + " is not known: it was written by a newer soapgap; upgrade soapgap");
}

// The spline of a triplet term, over all x that distances below the cutoff can give.
static std::unique_ptr<TripletTerm::Grid> read_grid(const TripletTerm &term, File &file, const json &grid,
                                                    const std::string &where) {
  check_keys(grid, where, {"n_intervals", "tensors", "report"});
  check_keys(grid.at("tensors"), where + ".tensors", {"coefficients"});
  const std::vector<double> n = read_numbers(grid, "n_intervals", where, 3);
  auto read = std::make_unique<TripletTerm::Grid>();
  const double rc = term.cutoff;
  const bool angle = term.geometry == TripletTerm::angle;
  const double lengths[3] = {angle ? 2.0 * rc : rc, angle ? rc * rc : rc, 2.0 * rc};
  std::vector<std::int64_t> shape;
  for (int a = 0; a < 3; ++a) {
    if (!(n[a] >= 1 && n[a] <= 10000) || n[a] != std::floor(n[a])) fail(where + ".n_intervals is out of range" + damaged);
    read->h[a] = lengths[a] / n[a];
    read->n[a] = static_cast<int>(n[a]) + 5;
    shape.push_back(read->n[a]);
  }
  read->values = read_array(file, grid.at("tensors"), "coefficients", where, shape);
  read->values.resize(read->values.size() + 2);
  return read;
}

static void read_triplet_kernel(TripletTerm &triplet, const json &term, const std::string &where) {
  triplet.geometry = static_cast<TripletTerm::Geometry>(read_choice(term, "geometry", where, {"distances", "angle"}));
  triplet.kernel = static_cast<TripletTerm::Kernel>(read_choice(term, "kernel", where, {"ard_se", "pp", "dot_product"}));
  triplet.delta = read_number(term, "delta", where, 0.0, 1e12);
  triplet.f0 = read_number(term, "f0", where, -1e12, 1e12);
  triplet.zeta = read_number(term, "zeta", where, 1.0, 1e3);
  const std::vector<double> theta = read_numbers(term, "theta", where, 3);
  for (int a = 0; a < 3; ++a)
    if (!((triplet.theta[a] = theta[a]) > 0.0)) fail(where + ".theta is not positive" + damaged);
  if (!term.at("permutations").is_array() || term.at("permutations").empty())
    fail(where + ".permutations is not a list" + damaged);
  for (const json &permutation : term.at("permutations")) {
    std::vector<int> order = permutation.get<std::vector<int>>(), sorted = order;
    std::sort(sorted.begin(), sorted.end());
    if (sorted != std::vector<int>{0, 1, 2}) fail(where + ".permutations holds something else than orders of 0, 1, 2" + damaged);
    triplet.permutations.insert(triplet.permutations.end(), order.begin(), order.end());
  }
}

// Whether exchanging two like neighbours changes the energy.
static bool is_ordered(const TripletTerm &term) {
  if (term.first != term.second || term.geometry == TripletTerm::angle) return false;
  if (term.kernel == TripletTerm::dot_product || term.theta[0] != term.theta[1]) return true;
  std::vector<std::vector<int>> orders, exchanged;
  for (std::size_t p = 0; p < term.permutations.size(); p += 3) {
    const int *pi = term.permutations.data() + p;
    orders.push_back({pi[0], pi[1], pi[2]});
    exchanged.push_back({pi[0] == 2 ? 2 : 1 - pi[0], pi[1] == 2 ? 2 : 1 - pi[1], pi[2] == 2 ? 2 : 1 - pi[2]});
  }
  std::sort(orders.begin(), orders.end());
  std::sort(exchanged.begin(), exchanged.end());
  return orders != exchanged;
}

void read_triplet_term(ModelData &model, File &file, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "n_out", "irreps", "source", "centre", "neighbours", "geometry", "kernel",
                           "cutoff", "cutoff_transition_width", "delta", "f0", "zeta", "theta", "permutations", "count",
                           "third_cutoff", "shared", "n_sparse", "grid", "tensors", "origin"});
  check_head(term, where, 1);
  TripletTerm triplet;
  triplet.centre = read_species(model, term.at("centre"), where + ".centre");
  if (!term.at("neighbours").is_array() || term.at("neighbours").size() != 2)
    fail(where + ".neighbours is not a pair" + damaged);
  triplet.first = read_species(model, term.at("neighbours")[0], where + ".neighbours");
  triplet.second = read_species(model, term.at("neighbours")[1], where + ".neighbours");
  triplet.cutoff = read_number(term, "cutoff", where, 1e-3, 1e3);
  triplet.width = read_number(term, "cutoff_transition_width", where, 1e-12, 1e3);
  triplet.count = read_number(term, "count", where, 0.0, 1e6);
  triplet.third_cutoff = read_number(term, "third_cutoff", where, 0.0, 1.0);
  triplet.shared = term.at("shared").get<bool>();
  read_triplet_kernel(triplet, term, where);
  const std::int64_t n_sparse = read_count(term, "n_sparse", where, 0, 100000000);
  const std::vector<double> points = read_array(file, term.at("tensors"), "sparse_points", where, {n_sparse, 3});
  prepare_triplet_term(triplet, points, read_array(file, term.at("tensors"), "weights", where, {1, n_sparse}));
  claim_other_tensors(file, term.at("tensors"), where);
  if (!term.at("grid").is_null()) triplet.grid = read_grid(triplet, file, term.at("grid"), where + ".grid");
  model.cutoff = std::max(model.cutoff, triplet.cutoff);
  model.shares_energy = model.shares_energy || triplet.shared;
  model.needs_order = model.needs_order || is_ordered(triplet);
  model.terms.push_back({TermPlace::triplet, static_cast<int>(model.triplet_terms.size())});
  model.triplet_terms.push_back(std::move(triplet));
}

void read_embedding_term(ModelData &model, File &file, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "n_out", "irreps", "source", "centre", "neighbours", "cutoff", "energy",
                           "densities", "origin"});
  check_head(term, where, 1);
  EmbeddingTerm embedding;
  embedding.centre = read_species(model, term.at("centre"), where + ".centre");
  embedding.cutoff = read_number(term, "cutoff", where, 1e-3, 1e3);
  const auto table = [&](const json &part, const std::string &name) {
    check_keys(part, name, {"segments", "tensors"});
    if (!part.at("segments").is_array() || part.at("segments").empty() || part.at("segments").back().size() != 3)
      fail(name + " has no segments" + damaged);
    return read_table(file, part, name, 1, part.at("segments").back()[1].get<double>());
  };
  embedding.energy = table(term.at("energy"), where + ".energy");
  embedding.density.resize(model.species.size());
  if (term.at("densities").size() != term.at("neighbours").size())
    fail(where + ".densities and neighbours differ in number" + damaged);
  for (std::size_t n = 0; n < term.at("neighbours").size(); ++n) {
    const std::string name = where + ".densities[" + std::to_string(n) + "]";
    RadialTable &density = embedding.density[read_species(model, term.at("neighbours")[n], where + ".neighbours")];
    if (!density.segments.empty()) fail(where + ".neighbours names a species twice" + damaged);
    density = table(term.at("densities")[n], name);
    if (density.stop() > embedding.cutoff) fail(name + " goes beyond the cutoff" + damaged);
  }
  model.cutoff = std::max(model.cutoff, embedding.cutoff);
  model.terms.push_back({TermPlace::embedding, static_cast<int>(model.embedding_terms.size())});
  model.embedding_terms.push_back(std::move(embedding));
}

}  // namespace soapgap
