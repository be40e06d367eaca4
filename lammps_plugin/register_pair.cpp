// Registers the pair style. SPDX-License-Identifier: GPL-2.0-only
//
// Called by soapgapplugin.cpp once it knows that this is the LAMMPS whose headers were used here.
#include "pair_soapgap.h"
#include "plugin_abi.h"

#include "lammps.h"

using namespace LAMMPS_NS;

static void *create_pair(void *lammps)
{
  return static_cast<void *>(static_cast<Pair *>(new PairSoapGAP(static_cast<LAMMPS *>(lammps))));
}

extern "C" __attribute__((visibility("default"))) void soapgap_register(void *lammps, void *handle, void *regfunc)
{
  lammpsplugin_t plugin = {};
  plugin.version = static_cast<LAMMPS *>(lammps)->version;
  plugin.style = "pair";
  plugin.name = "soapgap";
  plugin.info = "SOAP/GAP interatomic potentials";
  plugin.author = "the soapgap developers";
  plugin.creator.v1 = &create_pair;
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lammps);
}
