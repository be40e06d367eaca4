// What LAMMPS loads of soapgap. SPDX-License-Identifier: GPL-2.0-only
//
// LAMMPS loads every *plugin.so it is pointed to and calls lammpsplugin_init. The layouts of LAMMPS's C++ classes
// differ between versions, and so does MPI_Comm between MPI libraries: the wrong pair style would crash, or would
// not load for want of a symbol. So this file touches neither. It asks LAMMPS through its C functions what it is,
// compares that with what the pair style was built for, and only then opens libsoapgap_pair.so beside itself.
// When they do not fit it says so in one line and registers nothing; LAMMPS runs on without the style.
#include "plugin_abi.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <string>

// What the pair style beside this file was built for: SOAPGAP_LAMMPS_VERSION, SOAPGAP_MPI_FAMILY and
#ifdef LAMMPS_BIGBIG
static constexpr int BUILT_TAGINT = 64;
#else
static constexpr int BUILT_TAGINT = 32;
#endif

namespace {

using version_t = int (*)(void *);
using setting_t = int (*)(void *, const char *);
using mpi_version_t = int (*)(char *, int *);

template <typename F> F host_function(const char *name)
{
  return reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
}

// "MPICH", "Open MPI" or "serial". MPICH's binary interface is shared by Intel MPI, MVAPICH and Cray MPICH.
std::string mpi_family()
{
  const auto library_version = host_function<mpi_version_t>("MPI_Get_library_version");
  if (!library_version) return "serial";
  std::string text(65536, '\0');    // more than any MPI_MAX_LIBRARY_VERSION_STRING
  int length = 0;
  library_version(&text[0], &length);
  if (std::strstr(text.c_str(), "Open MPI")) return "Open MPI";
  return std::strstr(text.c_str(), "LAMMPS MPI STUBS") ? "serial" : "MPICH";
}

std::string describe(int version, int bigint_bits, int tagint_bits, const std::string &mpi)
{
  return "LAMMPS " + std::to_string(version) + " (bigint " + std::to_string(bigint_bits) + " bit, tagint " +
      std::to_string(tagint_bits) + " bit, MPI: " + mpi + ")";
}

// How the LAMMPS that is asking differs from the one that the pair style was built for; empty when they fit.
std::string mismatch(void *lammps, version_t version, setting_t setting)
{
  const std::string found =
      describe(version(lammps), 8 * setting(lammps, "bigint"), 8 * setting(lammps, "tagint"), mpi_family());
  const std::string built = describe(SOAPGAP_LAMMPS_VERSION, 64, BUILT_TAGINT, SOAPGAP_MPI_FAMILY);
  if (found == built) return "";
  return "found " + found + ", this plugin was built for " + built +
      "; install the LAMMPS it was built for, or rebuild it for yours: cmake -S lammps_plugin -B build "
      "-DLAMMPS_INCLUDE_DIR=... (see soapgap's docs/lammps.md)";
}

std::string folder_of_this_file()
{
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&folder_of_this_file), &info) || !info.dli_fname) return "";
  const std::string path = info.dli_fname;
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

// Opens the pair style and lets it register itself; returns what went wrong, or nothing.
std::string open_pair_style(void *lammps, void *handle, void *regfunc)
{
  const std::string file = folder_of_this_file() + "libsoapgap_pair.so";
  void *library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  void *symbol = library ? dlsym(library, "soapgap_register") : nullptr;
  if (!symbol) {
    const char *reason = dlerror();
    return std::string(reason ? reason : file.c_str()) + "; run 'soapgap doctor', which looks for the cause";
  }
  reinterpret_cast<soapgap_register_t>(symbol)(lammps, handle, regfunc);
  return "";
}

}    // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lammps, void *handle, void *regfunc)
{
  const auto version = host_function<version_t>("lammps_version");
  const auto setting = host_function<setting_t>("lammps_extract_setting");
  std::string problem;
  if (!version || !setting)
    problem = "the host program does not export LAMMPS's C functions lammps_version and lammps_extract_setting; "
              "build LAMMPS as a shared library (-DBUILD_SHARED_LIBS=yes)";
  else
    problem = mismatch(lammps, version, setting);
  if (problem.empty()) problem = open_pair_style(lammps, handle, regfunc);
  if (problem.empty()) return;
  if (setting && setting(lammps, "universe_rank") > 0) return;
  std::fprintf(stderr, "soapgap: pair_style soapgap is not available: %s\n", problem.c_str());
}
