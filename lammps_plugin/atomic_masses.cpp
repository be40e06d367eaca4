// Masses of the elements and of their natural isotopes. SPDX-License-Identifier: GPL-2.0-only
#include "atomic_masses.h"

#include <cstdio>

namespace {

struct ElementMass {
  const char *symbol;
  double standard, lightest, heaviest;    // u
  // Half a unit of room: inputs round masses.
  bool fits(double mass) const { return mass > lightest - 0.5 && mass < heaviest + 0.5; }
};

// Symbol, standard atomic weight, masses of the lightest and the heaviest natural isotope (u). Hydrogen includes tritium.
// Elements without natural isotopes: five mass numbers around the isotope of the longest life.
constexpr ElementMass TABLE[] = {
    {"H", 1.008, 1.00783, 3.01605}, {"He", 4.0026, 3.01603, 4.0026}, {"Li", 6.94, 6.01512, 7.016},
    {"Be", 9.01218, 9.01218, 9.01218}, {"B", 10.81, 10.0129, 11.0093}, {"C", 12.011, 12, 13.0034},
    {"N", 14.007, 14.0031, 15.0001}, {"O", 15.999, 15.9949, 17.9992}, {"F", 18.9984, 18.9984, 18.9984},
    {"Ne", 20.1797, 19.9924, 21.9914}, {"Na", 22.9898, 22.9898, 22.9898}, {"Mg", 24.305, 23.985, 25.9826},
    {"Al", 26.9815, 26.9815, 26.9815}, {"Si", 28.085, 27.9769, 29.9738}, {"P", 30.9738, 30.9738, 30.9738},
    {"S", 32.06, 31.9721, 35.9671}, {"Cl", 35.45, 34.9689, 36.9659}, {"Ar", 39.95, 35.9675, 39.9624},
    {"K", 39.0983, 38.9637, 40.9618}, {"Ca", 40.078, 39.9626, 47.9525}, {"Sc", 44.9559, 44.9559, 44.9559},
    {"Ti", 47.867, 45.9526, 49.9448}, {"V", 50.9415, 49.9472, 50.944}, {"Cr", 51.9961, 49.946, 53.9389},
    {"Mn", 54.938, 54.938, 54.938}, {"Fe", 55.845, 53.9396, 57.9333}, {"Co", 58.9332, 58.9332, 58.9332},
    {"Ni", 58.6934, 57.9353, 63.928}, {"Cu", 63.546, 62.9296, 64.9278}, {"Zn", 65.38, 63.9291, 69.9253},
    {"Ga", 69.723, 68.9256, 70.9247}, {"Ge", 72.63, 69.9242, 75.9214}, {"As", 74.9216, 74.9216, 74.9216},
    {"Se", 78.971, 73.9225, 81.9167}, {"Br", 79.904, 78.9183, 80.9163}, {"Kr", 83.798, 77.9204, 85.9106},
    {"Rb", 85.4678, 84.9118, 86.9092}, {"Sr", 87.62, 83.9134, 87.9056}, {"Y", 88.9058, 88.9058, 88.9058},
    {"Zr", 91.224, 89.9047, 95.9083}, {"Nb", 92.9064, 92.9064, 92.9064}, {"Mo", 95.95, 91.9068, 99.9075},
    {"Tc", 98, 93, 103}, {"Ru", 101.07, 95.9076, 103.905}, {"Rh", 102.905, 102.905, 102.905},
    {"Pd", 106.42, 101.906, 109.905}, {"Ag", 107.868, 106.905, 108.905}, {"Cd", 112.414, 105.906, 115.905},
    {"In", 114.818, 112.904, 114.904}, {"Sn", 118.71, 111.905, 123.905}, {"Sb", 121.76, 120.904, 122.904},
    {"Te", 127.6, 119.904, 129.906}, {"I", 126.904, 126.904, 126.904}, {"Xe", 131.293, 123.906, 135.907},
    {"Cs", 132.905, 132.905, 132.905}, {"Ba", 137.327, 129.906, 137.905}, {"La", 138.905, 137.907, 138.906},
    {"Ce", 140.116, 135.907, 141.909}, {"Pr", 140.908, 140.908, 140.908}, {"Nd", 144.242, 141.908, 149.921},
    {"Pm", 145, 140, 150}, {"Sm", 150.36, 143.912, 153.922}, {"Eu", 151.964, 150.92, 152.921},
    {"Gd", 157.25, 151.92, 159.927}, {"Tb", 158.925, 158.925, 158.925}, {"Dy", 162.5, 155.924, 163.929},
    {"Ho", 164.93, 164.93, 164.93}, {"Er", 167.259, 161.929, 169.935}, {"Tm", 168.934, 168.934, 168.934},
    {"Yb", 173.045, 167.934, 175.943}, {"Lu", 174.967, 174.941, 175.943}, {"Hf", 178.486, 173.94, 179.947},
    {"Ta", 180.948, 179.947, 180.948}, {"W", 183.84, 179.947, 185.954}, {"Re", 186.207, 184.953, 186.956},
    {"Os", 190.23, 183.952, 191.961}, {"Ir", 192.217, 190.961, 192.963}, {"Pt", 195.084, 189.96, 197.968},
    {"Au", 196.967, 196.967, 196.967}, {"Hg", 200.592, 195.966, 203.973}, {"Tl", 204.38, 202.972, 204.974},
    {"Pb", 207.2, 203.973, 207.977}, {"Bi", 208.98, 208.98, 208.98}, {"Po", 209, 204, 214},
    {"At", 210, 205, 215}, {"Rn", 222, 217, 227}, {"Fr", 223, 218, 228},
    {"Ra", 226, 221, 231}, {"Ac", 227, 222, 232}, {"Th", 232.038, 230.033, 232.038},
    {"Pa", 231.036, 231.036, 231.036}, {"U", 238.029, 234.041, 238.051}, {"Np", 237, 232, 242},
    {"Pu", 244, 239, 249}, {"Am", 243, 238, 248}, {"Cm", 247, 242, 252},
    {"Bk", 247, 242, 252}, {"Cf", 251, 246, 256}, {"Es", 252, 247, 257},
    {"Fm", 257, 252, 262}, {"Md", 258, 253, 263}, {"No", 259, 254, 264},
    {"Lr", 262, 257, 267}, {"Rf", 261, 256, 266}, {"Db", 262, 257, 267},
    {"Sg", 266, 261, 271}, {"Bh", 264, 259, 269}, {"Hs", 277, 272, 282},
    {"Mt", 268, 263, 273}, {"Ds", 281, 276, 286}, {"Rg", 272, 267, 277},
    {"Cn", 285, 280, 290}, {"Nh", 286, 281, 291}, {"Fl", 289, 284, 294},
    {"Mc", 289, 284, 294}, {"Lv", 293, 288, 298}, {"Ts", 294, 289, 299},
    {"Og", 294, 289, 299},
};

// The element with this symbol, or nullptr.
const ElementMass *find_element(const std::string &symbol)
{
  for (const auto &element : TABLE)
    if (symbol == element.symbol) return &element;
  return nullptr;
}

std::string short_number(double x)
{
  char text[32];
  std::snprintf(text, sizeof(text), "%g", x);
  return text;
}

}    // namespace

std::string soapgap_lammps::mass_problem(int type, double mass, const std::string &symbol, const std::vector<std::string> &species)
{
  const ElementMass *element = find_element(symbol);
  if (!element || element->fits(mass)) return "";
  std::string others;
  for (const auto &name : species) {
    const ElementMass *other = find_element(name);
    if (other && other->fits(mass)) others += (others.empty() ? "" : " or ") + name;
  }
  return "pair_coeff maps type " + std::to_string(type) + " to " + symbol + ", whose mass is " + short_number(element->standard) +
      ", but the mass of the type is " + short_number(mass) + (others.empty() ? "" : ", that of " + others) +
      ": write the elements of pair_coeff in the order of the atom types, or correct 'mass " + std::to_string(type) + "'";
}
