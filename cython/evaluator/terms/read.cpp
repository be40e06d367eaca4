// SPDX-License-Identifier: BSD-3-Clause
#include "terms/read.hpp"

#include <cmath>
#include <limits>

namespace soapgap {

// The kinds of terms, in one place.
static const struct {
  const char *kind;
  int newest;  // version
  std::unique_ptr<Term> (*read)(const TermContext &, const json &, const std::string &);
} kinds[] = {{"soap", 1, read_soap_term},
             {"pair", 1, read_pair_term},
             {"triplet", 1, read_triplet_term},
             {"embedding", 1, read_embedding_term}};

std::unique_ptr<Term> read_term(const TermContext &context, const json &term, const std::string &where) {
  const std::string name = term.is_object() && term.contains("kind") ? term["kind"].get<std::string>() : "";
  for (const auto &known : kinds) {
    if (name != known.kind) continue;
    const int version = read_count(term, "kind_version", where, 1, 1000000);
    if (version > known.newest)
      fail(where + ": version " + std::to_string(version) + " of kind '" + name + "' is newer than this soapgap knows (" +
           std::to_string(known.newest) + "): upgrade soapgap");
    return known.read(context, term, where);
  }
  fail(where + " has the unknown kind '" + name + "': it was written by a newer soapgap; upgrade soapgap");
}

// [start, stop, n_intervals] of the first segment after `table`'s.
static Segment read_segment(const RadialTable &table, const json &s, std::int64_t first_row, const std::string &where) {
  if (!s.is_array() || s.size() != 3 || !s[0].is_number() || !s[1].is_number() || !s[2].is_number_integer())
    fail(where + ": a segment is " + s.dump().substr(0, 80) + ", expected [start, stop, n_intervals]" + damaged);
  Segment segment;
  segment.start = s[0].get<double>();
  segment.stop = s[1].get<double>();
  segment.n_intervals = static_cast<int>(read_whole_numbers(json::array({s[2]}), where + ": n_intervals of a segment", 1, 10000000)[0]);
  segment.h = (segment.stop - segment.start) / segment.n_intervals;
  if (!(segment.stop > segment.start) || (!table.segments.empty() && segment.start != table.segments.back().stop))
    fail(where + ": the table's segments do not join" + damaged);
  if (!std::isnormal(segment.h) || !std::isfinite(1.0 / segment.h))
    fail(where + ": the step between the knots of a segment is " + std::to_string(segment.h) + ", expected a positive finite number" + damaged);
  if (first_row + segment.n_intervals >= std::numeric_limits<int>::max())
    fail(where + ": the table has " + std::to_string(first_row) + " rows and more, expected fewer than 2^31" + damaged);
  segment.first_row = static_cast<int>(first_row);
  return segment;
}

RadialTable read_table(File &file, const json &segments, const json &tensors, const std::string &where, int n_functions, double end,
                       const std::vector<std::int64_t> &leading) {
  RadialTable table;
  table.n_functions = n_functions;
  std::int64_t n_rows = 0;
  for (const json &s : segments) {
    table.segments.push_back(read_segment(table, s, n_rows, where));
    n_rows += table.segments.back().n_intervals + 1;
  }
  if (table.segments.empty() || table.stop() != end) fail(where + ": the table does not end at the cutoff" + damaged);
  std::vector<std::int64_t> shape = leading;
  for (std::int64_t extent : {n_rows, std::int64_t(3), std::int64_t(n_functions)}) shape.push_back(extent);
  table.values = read_array(file, tensors, "radial", where, shape);
  return table;
}

}  // namespace soapgap
