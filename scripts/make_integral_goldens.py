#!/usr/bin/env python3
"""Integral goldens in tests/golden from PySCF.

usage: make_integral_goldens.py <folder of reference npz files>
integrals_{water,hcn}.bin: S, T, V, dipole, 2,000 ERIs, J and K of a matrix, def2-SVP (from the reference files).
integrals_hard.bin: shells made to be difficult (exponents 0.03 to 60,000, coincident centres, a centre 25 bohr away,
four primitives in d), computed here. Format: records of char name[16], int64 n, double[n]; little-endian."""
import struct
import sys
import numpy as np


def write(name, records):
    with open("tests/golden/integrals_%s.bin" % name, "wb") as f:
        for key, a in records.items():
            a = np.ascontiguousarray(a, dtype="<f8").ravel()
            f.write(key.encode().ljust(16, b"\0") + struct.pack("<q", a.size) + a.tobytes())


for name, src in (("water", "pyscf_h2o_def2svp_b3lyp5_g3"), ("hcn", "pyscf_hcn_def2svp_lda_g1")):
    d = np.load("%s/%s.npz" % (sys.argv[1], src))
    write(name, {k: d[k] for k in ("Z", "pos_bohr", "S", "T", "V", "dip_ints", "eri_idx", "eri_val", "M", "JM", "KM")})

from pyscf import ao2mo, gto, scf  # noqa: E402

sets = {
    "H1": [[0, (60000.0, 0.1), (900.0, 0.4), (40.0, 0.6), (1.5, 0.2)], [0, (0.03, 1.0)], [1, (120.0, 0.3), (0.4, 0.9)]],
    "H2": [[2, (90.0, 0.1), (8.0, 0.3), (1.1, 0.7), (0.2, 0.5)], [1, (0.9, 1.0)]],
    "H3": [[0, (1.3, 1.0)], [2, (0.7, 1.0)], [2, (3000.0, 1.0)]],
    "H4": [[0, (0.11, 1.0)], [1, (2.0, 0.5), (0.3, 0.6)], [2, (0.5, 1.0)]],
}
atoms = [("H1", (0, 0, 0)), ("H2", (0, 0, 0)), ("H3", (0.3, -0.2, 0.5)), ("H4", (0, 0, 25.0))]
mol = gto.M(atom=atoms, unit="Bohr", basis=sets, spin=0, charge=0, verbose=0)
rng = np.random.default_rng(5)
n = mol.nao
M = rng.standard_normal((n, n))
M = M + M.T
eri = ao2mo.restore(1, mol.intor("int2e"), n)
J, K = scf.hf.dot_eri_dm(eri, M, hermi=1)
idx = rng.integers(0, n, (3000, 4))
shell, exponent, coef = [], [], []
for b in range(mol.nbas):
    shell.append((mol.bas_atom(b), mol.bas_angular(b), mol.bas_nprim(b)))
    exponent += list(mol.bas_exp(b))
    coef += list(mol._libcint_ctr_coeff(b).ravel())
with mol.with_common_orig((0, 0, 0)):
    dip = mol.intor("int1e_r")
write("hard", {
    "Z": mol.atom_charges(), "pos_bohr": mol.atom_coords(), "S": mol.intor("int1e_ovlp"), "T": mol.intor("int1e_kin"),
    "V": mol.intor("int1e_nuc"), "dip_ints": dip, "eri_idx": idx, "eri_val": eri[tuple(idx.T)], "M": M, "JM": J, "KM": K,
    "shell": shell, "exponent": exponent, "coef": coef})
print("hard:", n, "AOs")
