// What LAMMPS and a plugin say to each other. SPDX-License-Identifier: GPL-2.0-only
//
// LAMMPS installs no header for this, so the few lines are declared here as its manual states them
// (https://docs.lammps.org/Developer_plugins.html). They have not changed since plugins came, in 2021; the C++
// classes of LAMMPS change with every release.
#ifndef SOAPGAP_PLUGIN_ABI_H
#define SOAPGAP_PLUGIN_ABI_H

extern "C" {

// One style that a plugin adds. LAMMPS copies the struct and keeps the pointers.
struct lammpsplugin_t {
  const char *version;    // the LAMMPS it was built for, as LAMMPS words it: "22 Jul 2025"
  const char *style;      // "pair"
  const char *name;       // "soapgap"
  const char *info;
  const char *author;
  union {
    void *(*v1)(void *lammps);                  // pair, bond, angle, ... : makes a new instance
    void *(*v2)(void *lammps, int, char **);    // fix, compute, region, command
  } creator;
  void *handle;           // of the shared object, as given to lammpsplugin_init
};

typedef void (*lammpsplugin_regfunc)(lammpsplugin_t *, void *lammps);

// The one function of libsoapgap_pair.so: registers the pair style with the LAMMPS that it was built for.
typedef void (*soapgap_register_t)(void *lammps, void *handle, void *regfunc);
}

#endif
