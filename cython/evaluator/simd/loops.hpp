// All hot loops of one instruction set. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/loops.hpp"
#include "density/loops.hpp"
#include "features/loops.hpp"
#include "kernel/loops.hpp"
#include "terms/loops.hpp"

namespace soapgap {

struct Loops {
  RowLoops rows;
  DensityLoops density;
  FeatureLoops features;
  KernelLoops kernel;
  FewBodyLoops few_body;
};

}  // namespace soapgap
