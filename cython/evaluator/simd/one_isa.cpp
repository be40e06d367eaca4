// One instruction set's copy of the hot loops: compiled several times, each with its own SOAPGAP_ISA and flags.
// SPDX-License-Identifier: BSD-3-Clause
#include "density/neighbour_derivative.hpp"
#include "simd/loops.hpp"

namespace soapgap {
namespace SOAPGAP_ISA {

#define SOAPGAP_TEXT2(x) #x
#define SOAPGAP_TEXT(x) SOAPGAP_TEXT2(x)

extern const Loops loops;
const Loops loops = {
    {SOAPGAP_TEXT(SOAPGAP_ISA), dot, subtract_and_scale, add_scaled, add_to_each, narrow, add_widened},
    {expansion_scratch, expand_density, pull_back_density, neighbour_derivative},
    {power_spectrum, pull_back_power_spectrum, power_spectrum_tangent},
    {power, polynomial_kernel, polynomial_powers},
    {gaussian_row, triplet_value, self_similarity, triplet_row, add_triplet_row},
};

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
