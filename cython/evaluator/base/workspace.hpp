// Buffers of one thread. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <vector>

#include "base/buffer.hpp"
#include "density/pair_source.hpp"
#include "base/phases.hpp"

namespace soapgap {

// A neighbour within a triplet term's cutoff: unit vector, distance, cutoff function and its derivative.
struct Near {
  double u[3], r, f, df;
  std::int64_t pair;
};

struct ThreadBuffers {
  EnvironmentBatch environments;
  Buffer scratch, coefficients, x, x_kept, norms, kernel, de_dx, de_dp, de_dc, energies;
  Buffer dc, rows, kept_rows, row_kernel;  // kernel_rows only
  std::vector<Near> near[2];
  std::vector<std::int64_t> slot_of_atom, atom_of_slot;
  Stopwatch watch;
};

struct WorkspaceData {
  std::vector<ThreadBuffers> threads;
};

}  // namespace soapgap
