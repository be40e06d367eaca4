// The readers of the kinds of terms. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "density/tabulated.hpp"
#include "file/reader.hpp"
#include "terms/term.hpp"

namespace soapgap {

// What a reader needs beside the term's own metadata.
struct TermContext {
  File &file;
  const std::vector<std::string> &species;  // of the model
  int n_out;                                // of the property
};

// A term of any kind; `where` is its place in the metadata, for messages. Throws Error where the file does not fit.
std::unique_ptr<Term> read_term(const TermContext &, const json &term, const std::string &where);

std::unique_ptr<Term> read_soap_term(const TermContext &, const json &term, const std::string &where);
std::unique_ptr<Term> read_pair_term(const TermContext &, const json &term, const std::string &where);
std::unique_ptr<Term> read_triplet_term(const TermContext &, const json &term, const std::string &where);
std::unique_ptr<Term> read_embedding_term(const TermContext &, const json &term, const std::string &where);

// The table with these segments, which end at `end`; its tensor `radial` has the shape leading + [n_rows][3][n_functions].
RadialTable read_table(File &, const json &segments, const json &tensors, const std::string &where, int n_functions, double end,
                       const std::vector<std::int64_t> &leading = {});

}  // namespace soapgap
