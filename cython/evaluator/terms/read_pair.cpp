// Reads terms of functions of one distance: pairs, embedding. SPDX-License-Identifier: BSD-3-Clause
#include <utility>

#include "terms/pair_term.hpp"
#include "terms/read.hpp"

namespace soapgap {

// What rows of a design matrix need of a distance_2b.
static std::unique_ptr<PairProcess> read_process(File &file, const json &kernel, const json &tensors, const std::string &where) {
  check_keys(kernel, where, {"kind", "theta", "delta", "cutoff_function", "cutoff_transition_width", "n_sparse"});
  read_kind(kernel, where, {"gaussian"});
  auto process = std::make_unique<PairProcess>();
  process->theta = read_number(kernel, "theta", where, 1e-6, 1e6);
  process->septic = read_choice(kernel, "cutoff_function", where, {"cosine", "septic"}) == 1;
  process->width = read_number(kernel, "cutoff_transition_width", where, 1e-12, 1e3);
  process->n_sparse = read_count(kernel, "n_sparse", where, 0, 100000000);
  const double delta = read_number(kernel, "delta", where, 0.0, 1e12);
  process->points = read_array(file, tensors, "sparse_points", where, {process->n_sparse});
  process->factors.assign(process->points.size(), 1.0);
  if (tensors.contains("sparse_cutoff")) process->factors = read_array(file, tensors, "sparse_cutoff", where, {process->n_sparse});
  for (double &factor : process->factors) factor *= delta * delta;
  const std::size_t n_padded = (process->points.size() + 3) / 4 * 4;
  process->points.resize(n_padded, 0.0);
  process->factors.resize(n_padded, 0.0);
  return process;
}

std::unique_ptr<Term> read_pair_term(const TermContext &context, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "species", "source", "kernel", "origin", "tensors"});
  if (!term.at("species").is_array() || term.at("species").size() != 2) fail(where + ".species is not a pair" + damaged);
  const int first = read_species(context.species, term.at("species")[0], where + ".species");
  const int second = read_species(context.species, term.at("species")[1], where + ".species");
  const json &source = term.at("source"), &tensors = term.at("tensors");
  read_kind(source, where + ".source", {"pair_table"});
  check_keys(source, where + ".source", {"kind", "cutoff", "segments"});
  const double cutoff = read_number(source, "cutoff", where + ".source", 1e-3, 1e3);
  RadialTable table = read_table(context.file, read_list(source, "segments", where + ".source"), tensors, where, context.n_out, cutoff);
  read_object(term, "origin", where);
  std::unique_ptr<PairProcess> process;
  if (!term.at("kernel").is_null()) process = read_process(context.file, term.at("kernel"), tensors, where + ".kernel");
  claim_other_tensors(context.file, tensors, where);
  return std::make_unique<PairTerm>(first, second, std::move(table), std::move(process));
}

std::unique_ptr<Term> read_embedding_term(const TermContext &context, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "centre", "neighbours", "source", "kernel", "energy", "densities", "origin"});
  const int centre = read_species(context.species, term.at("centre"), where + ".centre");
  const json &source = term.at("source");
  read_kind(source, where + ".source", {"pair_table"});
  check_keys(source, where + ".source", {"kind", "cutoff"});
  const double cutoff = read_number(source, "cutoff", where + ".source", 1e-3, 1e3);
  const auto read = [&](const json &part, const std::string &name, int n_functions) {
    check_keys(part, name, {"segments", "tensors"});
    const json &segments = read_list(part, "segments", name);
    if (segments.empty() || !segments.back().is_array() || segments.back().size() != 3) fail(name + " has no segments" + damaged);
    return read_table(context.file, segments, part.at("tensors"), name, n_functions, segments.back()[1].get<double>());
  };
  RadialTable energy = read(term.at("energy"), where + ".energy", context.n_out);
  std::vector<RadialTable> densities(context.species.size());
  read_object(term, "origin", where);
  if (read_list(term, "densities", where).size() != read_list(term, "neighbours", where).size())
    fail(where + ".densities and neighbours differ in number" + damaged);
  for (std::size_t n = 0; n < term.at("neighbours").size(); ++n) {
    const std::string name = where + ".densities[" + std::to_string(n) + "]";
    RadialTable &density = densities[read_species(context.species, term.at("neighbours")[n], where + ".neighbours")];
    if (!density.segments.empty()) fail(where + ".neighbours names a species twice" + damaged);
    density = read(term.at("densities")[n], name, 1);
    if (density.stop() > cutoff) fail(name + " goes beyond the cutoff" + damaged);
  }
  return std::make_unique<EmbeddingTerm>(centre, cutoff, std::move(densities), std::move(energy));
}

}  // namespace soapgap
