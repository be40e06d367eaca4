// What training and tests need of one term. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "base/blas.hpp"
#include "model.hpp"
#include "terms/soap_term.hpp"

namespace soapgap {
namespace {

const Term &term_of(const Model &model, int term) {
  if (term < 0 || term >= model.n_terms())
    throw Error("term " + std::to_string(term) + " is asked for; this model has " + std::to_string(model.n_terms()) + " terms");
  return *model.data().terms[static_cast<std::size_t>(term)];
}

const SoapTerm &soap_term(const Model &model, int term) {
  const bool there = term >= 0 && term < model.n_terms();
  const auto *soap = there ? dynamic_cast<const SoapTerm *>(&term_of(model, term)) : nullptr;
  if (!soap)
    throw Error("term " + std::to_string(term) + " is not a soap term of this model (it has " + std::to_string(model.n_terms()) +
                " terms): features exist for soap terms only");
  return *soap;
}

// Calls f(batch, buffers) for the centres of a soap term, after its forward half.
template <class Function>
void after_forward(const SoapTerm &term, Workspace &workspace, const Neighbours &nb, Function f) {
  ThreadBuffers &buffers = workspace.data().threads[0];
  SoapBuffers &b = buffers.of<SoapBuffers>();
  make_blas_serial();
  for_each_batch(nb, term.centre(), [&](const Batch &batch) {
    forward(term.exact(), nb, batch, b, buffers.watch);
    f(batch, b);
  });
}

}  // namespace

std::int64_t n_sparse(const Model &model, int term) { return term_of(model, term).n_sparse(); }

std::int64_t n_features(const Model &model, int term) { return soap_term(model, term).exact().features.n; }

void density_coefficients(const Model &model, Workspace &workspace, int term_index, const Neighbours &nb, double *out) {
  const SoapTerm &term = soap_term(model, term_index);
  const SoapForm &form = term.exact();
  const CoefficientLayout &layout = form.source.layout;
  const Features &f = form.features;
  after_forward(term, workspace, nb, [&](const Batch &batch, const SoapBuffers &b) {
    for (int i = 0; i < batch.n; ++i)
      for (int l = 0; l <= layout.l_max(); ++l)
        for (int m = 0; m < 2 * l + 1; ++m)
          for (int k = 0; k < layout.n_channels * layout.shells[l].n; ++k)
            *out++ = b.c(form, i)[layout.shells[l].c + std::ptrdiff_t(m) * layout.shells[l].n_row + f.row_of[f.row_start[l] + k]];
  });
}

void features(const Model &model, Workspace &workspace, int term_index, const Neighbours &nb, double *x) {
  const SoapTerm &term = soap_term(model, term_index);
  after_forward(term, workspace, nb, [&](const Batch &batch, const SoapBuffers &b) {
    x = std::copy_n(b.x.data(), batch.n * term.exact().features.n, x);
  });
}

void rows(const Model &model, Workspace &workspace, int term_index, const System &system, const Rows &rows) {
  const Term &term = term_of(model, term_index);
  make_blas_serial();
  for (int species = 0; species < static_cast<int>(model.species().size()); ++species)
    if (term.has_centre(species))
      for_each_batch(system.neighbours, species,
                     [&](const Batch &batch) { term.rows(system, batch, workspace.data().threads[0], rows); });
}

}  // namespace soapgap
