#!/usr/bin/env python3
"""tests/golden/integrals_<name>.bin from PySCF reference files (S, T, V, dipole, 2,000 ERIs, J and K of a matrix).

usage: make_integral_goldens.py <reference folder> ; format: records of char name[16], int64 n, double[n]; little-endian."""
import struct
import sys
import numpy as np

for name, src in (("water", "pyscf_h2o_def2svp_b3lyp5_g3"), ("hcn", "pyscf_hcn_def2svp_lda_g1")):
    d = np.load("%s/%s.npz" % (sys.argv[1], src))
    with open("tests/golden/integrals_%s.bin" % name, "wb") as f:
        for key in ("Z", "pos_bohr", "S", "T", "V", "dip_ints", "eri_idx", "eri_val", "M", "JM", "KM"):
            a = np.ascontiguousarray(d[key], dtype="<f8").ravel()
            f.write(key.encode().ljust(16, b"\0") + struct.pack("<q", a.size) + a.tobytes())
