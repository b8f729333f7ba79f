#!/usr/bin/env python3
"""Writes datasets/basis/*.gbs (Gaussian94) for H, C, N, O, F with the numbers of PySCF (pip install pyscf).

Inputs:  none but PySCF's basis library.    Outputs: def2-svp.gbs sto-3g.gbs 6-31gs.gbs minao.gbs
Usage:   scripts/make_basis.py [OUT_FOLDER]         (default: datasets/basis beside this script)

The exponents and coefficients are published numbers; the literature is named in each file. minao.gbs holds the
contracted ANO functions that are occupied in the free atom, as PySCF's init_guess_by_minao uses them; the number
of electrons of each shell closes its line ("electrons=", an extension of ksgrad's reader).
"""
import os
import sys

import pyscf
from pyscf import gto
from pyscf.scf import atom_hf

ELEMENTS = ["H", "C", "N", "O", "F"]
SETS = {
    "def2-svp": ("def2-svp.gbs", "F. Weigend, R. Ahlrichs, Phys. Chem. Chem. Phys. 7, 3297 (2005), DOI 10.1039/b508541a"),
    "sto-3g": ("sto-3g.gbs", "W. J. Hehre, R. F. Stewart, J. A. Pople, J. Chem. Phys. 51, 2657 (1969), DOI 10.1063/1.1672392"),
    "6-31g*": ("6-31gs.gbs", "W. J. Hehre, R. Ditchfield, J. A. Pople, J. Chem. Phys. 56, 2257 (1972), "
               "DOI 10.1063/1.1677527; P. C. Hariharan, J. A. Pople, Theor. Chim. Acta 28, 213 (1973), DOI 10.1007/BF00533485"),
}
ANO = ("P.-O. Widmark, P.-A. Malmqvist, B. O. Roos, Theor. Chim. Acta 77, 291 (1990), DOI 10.1007/BF01120130 (H); "
       "B. O. Roos, R. Lindh, P.-A. Malmqvist, V. Veryazov, P.-O. Widmark, J. Phys. Chem. A 108, 2851 (2004), "
       "DOI 10.1021/jp031064+ (C, N, O, F)")


def number(x):
    return repr(float(x))


def shell_block(l, rows, column, tail=""):
    rows = [(r[0], r[column]) for r in rows if r[column] != 0.0]
    text = f"{'SPD'[l]}  {len(rows)}  1.00{tail}\n"
    return text + "".join(f"  {number(a):>24s}  {number(c):>24s}\n" for a, c in rows)


def head(name, literature, note=""):
    return (f"! {name} for {', '.join(ELEMENTS)}; Gaussian94 format, spherical functions.\n"
            f"! Literature: {literature}\n"
            f"! Numbers taken from PySCF {pyscf.__version__} by scripts/make_basis.py; published data, no licence claimed.\n"
            + note + "****\n")


def write_set(folder, name):
    file, literature = SETS[name]
    text = head(name, literature)
    for symbol in ELEMENTS:
        text += f"{symbol}  0\n"
        for shell in sorted(gto.basis.load(name, symbol), key=lambda b: b[0]):
            for column in range(1, len(shell[1])):
                text += shell_block(shell[0], shell[1:], column)
        text += "****\n"
    with open(os.path.join(folder, file), "w") as f:
        f.write(text)


def write_minao(folder):
    text = head("minao", ANO, "! Occupied atomic natural orbitals only; electrons= is the occupation of the whole shell.\n")
    for symbol in ELEMENTS:
        text += f"{symbol}  0\n"
        ano = {b[0]: b[1:] for b in gto.basis.load("ano", symbol)}
        for l in range(4):
            n_double, fraction = atom_hf.frac_occ(symbol, l)
            electrons = [2 * (2 * l + 1)] * n_double + [fraction * (2 * l + 1)]
            for column, e in enumerate(electrons, start=1):
                if e > 0:
                    text += shell_block(l, ano[l], column, f"  electrons={round(e, 12):g}")
        text += "****\n"
    with open(os.path.join(folder, "minao.gbs"), "w") as f:
        f.write(text)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "datasets", "basis")
    os.makedirs(folder, exist_ok=True)
    for name in SETS:
        write_set(folder, name)
    write_minao(folder)


if __name__ == "__main__":
    main()
