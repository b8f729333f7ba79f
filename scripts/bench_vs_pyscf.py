#!/usr/bin/env python3
"""Times PySCF and ksgrad alternately in one run, on the same cores with the same number of threads.

Inputs:  a built ksgrad, a Python with PySCF (pip install pyscf), the shipped uracil sample (or --geom NPZ, MD17 or rMD17 layout)
Outputs: a table of seconds and ratios ksgrad / PySCF; --json FILE: the same with every single time
Usage:   scripts/bench_vs_pyscf.py [--ksgrad build/cpu-release/ksgrad] [--threads 2] [--repeat 5] [--only eri,jk] [--json FILE]

Each round runs every case once with ksgrad (a process of its own: one warm-up, one timed run; set-up is not counted) and once
with PySCF (warmed up before the first round), so that both see the same state of the machine. Ratios are medians over the
rounds of the ratio of one pair, for wall time and for CPU time (of all threads), which other programs disturb less.
The cases, uracil (or the given molecule), B3LYP5/def2-SVP:
  eri       all two-electron integrals (PySCF: int2e, 8-fold)         jk     J and K of one density from stored integrals
  grid      level 3 points and weights                                xc     Exc and Vxc from occupied orbitals, level 3
  response  Hessian of Exc applied to a matrix, level 3               scf    whole SCF from minao, default tolerances, level 3
  train     a training step through QPT's three builds, level 1: integrals, grid, 4 J/K, 4 XC potentials, 3 eigenproblems,
            2 responses, 2 J/K and 3 density adjoints backward; ksgrad's figure also has the network (d 192, 6 heads,
            12 layers) with its adjoint and AdamW, PySCF's does not
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = {"eri": 0.15, "jk": 0.30, "grid": 0.30, "xc": 0.25, "response": 0.25, "scf": 0.25, "train": 0.35}
LEVEL = {"train": 1}
SYMBOL = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ksgrad", default=os.path.join(HERE, "..", "build", "cpu-release", "ksgrad"))
    p.add_argument("--geom", default=os.path.join(HERE, "..", "datasets", "uracil-512.npz"))
    p.add_argument("--frame", type=int, default=0)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--repeat", type=int, default=5)
    p.add_argument("--only", default=",".join(LIMIT), help="comma-separated cases")
    p.add_argument("--basis", default="def2-svp")
    p.add_argument("--xc", default="b3lyp5")
    p.add_argument("--json")
    a = p.parse_args()
    a.only = a.only.split(",")
    for case in a.only:
        if case not in LIMIT:
            p.error(f"unknown case '{case}' (there are {', '.join(LIMIT)})")
    return a


class PySCF:
    """PySCF's side: one method per case, everything warmed up."""

    def __init__(self, a):
        import numpy as np
        import pyscf
        from pyscf import dft, gto, lib, scf
        self.np, self.dft, self.scf = np, dft, scf
        self.version = pyscf.__version__
        lib.num_threads(a.threads)
        d = np.load(a.geom)
        Z, R = (d["z"], d["R"]) if "z" in d else (d["nuclear_charges"], d["coords"])
        self.mol = gto.M(atom=[(SYMBOL[int(z)], tuple(x)) for z, x in zip(Z, R[a.frame])], basis=a.basis, verbose=0)
        self.xc = a.xc
        self.grids = self.grid(3)
        self.eri = self.mol.intor("int2e", aosym="s8")
        S, h = self.mol.intor("int1e_ovlp"), self.mol.intor("int1e_kin") + self.mol.intor("int1e_nuc")
        self.nocc = self.mol.nelectron // 2
        e, C = __import__("scipy.linalg", fromlist=["eigh"]).eigh(h, S)
        occ = np.zeros(len(e))
        occ[:self.nocc] = 2
        P = 2 * C[:, :self.nocc] @ C[:, :self.nocc].T
        self.dm = lib.tag_array(P, mo_coeff=C, mo_occ=occ)
        self.tag = lib.tag_array
        self.J = scf.hf.dot_eri_dm(self.eri, P, hermi=1)[0]
        self.ni = dft.numint.NumInt()

    def grid(self, level):
        g = self.dft.gen_grid.Grids(self.mol)
        g.level = level
        return g.build(with_non0tab=True)

    def run(self, case):
        getattr(self, "case_" + case)()

    def case_eri(self):
        self.mol.intor("int2e", aosym="s8")

    def case_jk(self):
        self.scf.hf.dot_eri_dm(self.eri, self.np.asarray(self.dm), hermi=1)

    def case_grid(self):
        self.grid(3)

    def case_xc(self):
        self.ni.nr_rks(self.mol, self.grids, self.xc, self.dm)

    def case_response(self):
        self.ni.nr_rks_fxc(self.mol, self.grids, self.xc, self.dm, self.J, hermi=1)

    def case_scf(self):
        mf = self.dft.RKS(self.mol, xc=self.xc)
        mf.grids.level = 3
        mf.kernel()
        assert mf.converged
        self.cycles = mf.cycles

    def case_train(self):
        """QPT's step without network: Fock builds forward, responses backward."""
        np, mol, ni, scf, nocc = self.np, self.mol, self.ni, self.scf, self.nocc
        hyb = ni.hybrid_coeff(self.xc)
        eri = mol.intor("int2e", aosym="s8")
        S, h = mol.intor("int1e_ovlp"), mol.intor("int1e_kin") + mol.intor("int1e_nuc")
        grids = self.grid(1)
        X = np.linalg.inv(np.linalg.cholesky(S)).T

        def fock(P):
            J, K = scf.hf.dot_eri_dm(eri, np.asarray(P), hermi=1)
            n, exc, vxc = ni.nr_rks(mol, grids, self.xc, P)
            return h + J - 0.5 * hyb * K + vxc

        def response(M, P):
            J, K = scf.hf.dot_eri_dm(eri, M, hermi=1)
            return J - 0.5 * hyb * K + ni.nr_rks_fxc(mol, grids, self.xc, P, M, hermi=1)

        def density(F):
            e, C = np.linalg.eigh(X.T @ F @ X)
            C = X @ C
            occ = np.zeros(len(e))
            occ[:nocc] = 2
            return self.tag(2 * C[:, :nocc] @ C[:, :nocc].T, mo_coeff=C, mo_occ=occ), (e, C)

        def density_adjoint(Pbar, ec):
            e, C = ec
            Y = np.zeros_like(Pbar)
            Y[:nocc, nocc:] = 2 * (C.T @ Pbar @ C)[:nocc, nocc:] / (e[:nocc, None] - e[None, nocc:])
            return C @ (Y + Y.T) @ C.T

        F0 = fock(scf.hf.init_guess_by_minao(mol))
        P1, ec1 = density(F0)
        F1 = fock(P1)
        Q, ecq = density(F1)
        P2 = 0.5 * (np.asarray(P1) + np.asarray(Q))
        F2 = fock(P2)
        P3, ec3 = density(F2)
        F3 = fock(P3)
        P2_bar = response(density_adjoint(F3, ec3), P2)
        P1_bar = 0.5 * P2_bar + response(density_adjoint(0.5 * P2_bar, ecq), P1)
        density_adjoint(P1_bar, ec1)


def ksgrad(a, case):
    """(wall, cpu) of one timed run of a case, and ksgrad's own report."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "b.json")
        cmd = [a.ksgrad, "bench", a.geom, "--frames", str(a.frame), "--only", case, "--grid", str(LEVEL.get(case, 3)), "--xc", a.xc,
               "--basis", a.basis, "--threads", str(a.threads), "--repeat", "1", "--warmup", "1", "--json", out, "--quiet"]
        done = subprocess.run(cmd, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(cmd)}\n{done.stderr}")
        with open(out) as f:
            report = json.load(f)
    op = report["ops"][0]
    return op["seconds"], op["cpu_seconds"], report


def main():
    a = arguments()
    os.environ["OMP_NUM_THREADS"] = str(a.threads)  # before NumPy and PySCF are loaded
    other = PySCF(a)
    for case in a.only:
        other.run(case)
    times = {case: [] for case in a.only}
    report = {}
    for k in range(a.repeat):
        for case in a.only:
            wall, cpu, report = ksgrad(a, case)
            w0, c0 = time.perf_counter(), time.process_time()
            other.run(case)
            times[case].append({"ksgrad": wall, "ksgrad_cpu": cpu, "pyscf": time.perf_counter() - w0,
                                "pyscf_cpu": time.process_time() - c0})
        print(f"round {k + 1} of {a.repeat}", file=sys.stderr)
    print(f"{report['formula']}, {a.xc}/{a.basis}, {a.threads} threads, {a.repeat} rounds; ksgrad {report['method']['program']} "
          f"({report['isa']}), PySCF {other.version}")
    print(f"{'':10}{'ksgrad s':>10}{'PySCF s':>10}{'ratio':>8}{'(least':>9}{'most)':>8}{'cpu s':>10}{'cpu s':>10}{'ratio':>8}{'aim':>8}")
    rows = {}
    for case, t in times.items():
        m = {key: statistics.median(x[key] for x in t) for key in t[0]}
        r = [x["ksgrad"] / x["pyscf"] for x in t]
        rc = [x["ksgrad_cpu"] / x["pyscf_cpu"] for x in t]
        rows[case] = dict(m, ratio=statistics.median(r), ratio_min=min(r), ratio_max=max(r), ratio_cpu=statistics.median(rc),
                          aim=LIMIT[case], level=LEVEL.get(case, 3), pairs=t)
        print(f"{case:10}{m['ksgrad']:10.4f}{m['pyscf']:10.4f}{rows[case]['ratio']:8.3f}{min(r):9.3f}{max(r):8.3f}"
              f"{m['ksgrad_cpu']:10.4f}{m['pyscf_cpu']:10.4f}{rows[case]['ratio_cpu']:8.3f}{LIMIT[case]:8.2f}")
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"formula": report["formula"], "xc": a.xc, "basis": a.basis, "threads": a.threads, "pyscf": other.version,
                       "ksgrad": report["method"]["program"], "isa": report["isa"], "cases": rows}, f, indent=1)


if __name__ == "__main__":
    main()
