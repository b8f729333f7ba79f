#!/usr/bin/env python3
"""Writes datasets/uracil-512.npz and datasets/water-512.npz: thermal geometries from GFN2-xTB dynamics at 500 K.

Inputs:  the program xtb (Debian package xtb, 6.5.1), numpy.     Outputs: NAME-512.npz in the MD17 layout
Usage:   scripts/make_samples.py [--only uracil|water] [--frames 512] [OUT_FOLDER]     (default: datasets)

Sampling: Newtonian dynamics in segments of 40 to 80 fs (step 0.5 fs). Before each segment all velocities are drawn
anew from the Maxwell-Boltzmann distribution (Andersen, J. Chem. Phys. 72, 2384 (1980), DOI 10.1063/1.439486), without
overall translation and rotation; the last geometry of a segment is a frame. The length of a segment is random: with a
fixed one the fast vibrations return in phase (a correlation of -0.9 between neighbouring frames' O-H lengths for 60 fs).
20 segments of equilibration are dropped. Random numbers: numpy.random.RandomState(SEED), so that a run can be repeated on the same machine.

Layout: z (n_atom) uint8; R (n_frame, n_atom, 3) float32, Angstrom, rounded to 1e-5, centred on the centre of mass and
turned onto the first frame (Kabsch). No energies: those of another method would only invite misuse.
"""
import argparse
import os
import subprocess
import tempfile

import numpy as np

SEED, TEMPERATURE, STEP_FS, SEGMENT_STEPS, EQUILIBRATION = 20250701, 500.0, 0.5, (80, 160), 20
BOHR = 0.52917721092
KT = 3.166811563e-6 * TEMPERATURE
MASS = {1: 1.00784, 6: 12.0107, 7: 14.0067, 8: 15.999}
AMU = 1822.888486
SYMBOL = {1: "H", 6: "C", 7: "N", 8: "O"}

# GFN2-xTB minima. Uracil in MD17's atom order: C C N C N C O O H H H H.
START = {
    "uracil": [
        (6, 1.62050, 0.29542, -0.04399), (6, 1.41325, -1.02839, 0.04153), (7, 0.15709, -1.55348, 0.09647),
        (6, -0.98916, -0.77877, 0.06957), (7, -0.74422, 0.56723, -0.01758), (6, 0.49315, 1.21256, -0.08082),
        (8, -2.09230, -1.26091, 0.11814), (8, 0.54965, 2.41633, -0.15750), (1, 2.22399, -1.74161, 0.07122),
        (1, 0.01333, -2.55110, 0.16032), (1, -1.56288, 1.16564, -0.04064), (1, 2.60825, 0.71822, -0.08793)],
    "water": [(8, 0.0, 0.0, 0.10389), (1, 0.0, 0.77212, -0.46494), (1, 0.0, -0.77212, -0.46494)],
}


def draw_velocities(rng, mass, pos):
    """Maxwell-Boltzmann, bohr per atomic time unit, without total momentum and angular momentum."""
    v = rng.normal(size=pos.shape) * np.sqrt(KT / mass)[:, None]
    v -= (mass[:, None] * v).sum(0) / mass.sum()
    r = pos - (mass[:, None] * pos).sum(0) / mass.sum()
    inertia = sum(m * (x @ x * np.eye(3) - np.outer(x, x)) for m, x in zip(mass, r))
    angular = (mass[:, None] * np.cross(r, v)).sum(0)
    return v - np.cross(np.linalg.solve(inertia, angular), r)


def segment(folder, z, pos, vel, time_fs):
    """time_fs of NVE from (pos, vel), both atomic units; returns the last positions."""
    with open(os.path.join(folder, "start.xyz"), "w") as f:
        f.write(f"{len(z)}\n\n")
        for q, r in zip(z, pos * BOHR):
            f.write(f"{SYMBOL[q]} {r[0]:.10f} {r[1]:.10f} {r[2]:.10f}\n")
    with open(os.path.join(folder, "mdrestart"), "w") as f:
        f.write(" -1.0\n")
        for r, v in zip(pos, vel):
            f.write("".join(f"{x:22.14E}" for x in (*r, *v)).replace("E", "D") + "\n")
    with open(os.path.join(folder, "md.inp"), "w") as f:
        f.write(f"$md\n temp={TEMPERATURE}\n time={time_fs / 1000:.6f}\n step={STEP_FS}\n dump={time_fs}\n"
                " nvt=false\n hmass=1\n shake=0\n restart=true\n$end\n")
    done = subprocess.run(["xtb", "start.xyz", "--gfn", "2", "--md", "--input", "md.inp"], cwd=folder, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    if done.returncode != 0 or "normal exit of md()" not in done.stdout:
        raise SystemExit(f"xtb failed:\n{done.stdout[-2000:]}\n{done.stderr[-500:]}")
    with open(os.path.join(folder, "mdrestart")) as f:
        rows = [line.replace("D", "E").split() for line in f][1:]
    state = np.array(rows, float)
    return state[:, :3]


def align(frames, mass):
    """Centre of mass at the origin, rotated onto the first frame (Kabsch 1976, DOI 10.1107/S0567739476001873)."""
    out = []
    for r in frames:
        r = r - (mass[:, None] * r).sum(0) / mass.sum()
        if out:
            u, _, vt = np.linalg.svd((r * mass[:, None]).T @ out[0])
            d = np.sign(np.linalg.det(u @ vt))
            r = r @ (u @ np.diag([1, 1, d]) @ vt)
        out.append(r)
    return np.array(out)


def sample(name, n_frame):
    z = np.array([row[0] for row in START[name]], np.uint8)
    pos = np.array([row[1:] for row in START[name]]) / BOHR
    mass = np.array([MASS[q] for q in z]) * AMU
    rng = np.random.RandomState(SEED)
    frames = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(EQUILIBRATION + n_frame):
            time_fs = STEP_FS * rng.randint(SEGMENT_STEPS[0], SEGMENT_STEPS[1] + 1)
            pos = segment(folder, z, pos, draw_velocities(rng, mass, pos), time_fs)
            if k >= EQUILIBRATION:
                frames.append(pos * BOHR)
    return z, np.round(align(frames, mass), 5).astype(np.float32)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder", nargs="?", default=os.path.join(here, "..", "datasets"))
    p.add_argument("--only", choices=sorted(START))
    p.add_argument("--frames", type=int, default=512)
    a = p.parse_args()
    for name in [a.only] if a.only else START:
        z, r = sample(name, a.frames)
        np.savez_compressed(os.path.join(a.folder, f"{name}-{a.frames}.npz"), z=z, R=r,
                            name=np.array(name), r_unit=np.array("Ang"),
                            source=np.array(f"GFN2-xTB, 500 K, seed {SEED}, scripts/make_samples.py"))


if __name__ == "__main__":
    main()
