// SPDX-License-Identifier: BSD-3-Clause
#include "terms/read.hpp"

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

RadialTable read_table(File &file, const json &segments, const json &tensors, const std::string &where, int n_functions, double end,
                       const std::vector<std::int64_t> &leading) {
  RadialTable table;
  table.n_functions = n_functions;
  int n_rows = 0;
  for (const json &s : segments) {
    if (!s.is_array() || s.size() != 3) fail(where + ": a segment is not [start, stop, n_intervals]" + damaged);
    Segment segment;
    segment.start = s[0].get<double>();
    segment.stop = s[1].get<double>();
    segment.n_intervals = s[2].get<int>();
    if (segment.n_intervals < 1 || segment.n_intervals > 10000000 || !(segment.stop > segment.start) ||
        (!table.segments.empty() && segment.start != table.segments.back().stop))
      fail(where + ": the table's segments do not join" + damaged);
    segment.h = (segment.stop - segment.start) / segment.n_intervals;
    segment.first_row = n_rows;
    n_rows += segment.n_intervals + 1;
    table.segments.push_back(segment);
  }
  if (table.segments.empty() || table.stop() != end) fail(where + ": the table does not end at the cutoff" + damaged);
  std::vector<std::int64_t> shape = leading;
  for (std::int64_t extent : {std::int64_t(n_rows), std::int64_t(3), std::int64_t(n_functions)}) shape.push_back(extent);
  table.values = read_array(file, tensors, "radial", where, shape);
  return table;
}

}  // namespace soapgap
