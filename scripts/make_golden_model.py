#!/usr/bin/env python3
"""Golden values of the qpt network from an independent implementation (NumPy only, written from the published
description and docs of include/ksgrad/{net,frame}.h, not from the C code).

Input: none (all data are formulas shared with tests/model_case.h).  Output: tests/golden/model_golden.h.
Usage: python3 scripts/make_golden_model.py > tests/golden/model_golden.h
"""
import sys
import numpy as np

LS = {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 0, 1, 2]}


def value(s, i):
    return np.sin(1.3 * i + 0.7 * s + 0.3) * np.cos(0.37 * i * (s + 1))


def system(Z):
    atom, kind, shells = [], [], []
    for a, z in enumerate(Z):
        k = 16 * (z - 1)
        for l in LS[z]:
            shells.append((l, len(atom)))
            for _ in range(2 * l + 1):
                atom.append(a)
                kind.append(k)
                k += 1
    return np.array(atom), np.array(kind), shells


def matrices(cap, n, stream, off, diag):
    out = np.zeros((cap, n, n))
    for b in range(cap):
        for i in range(n):
            for j in range(i + 1):
                out[b, i, j] = out[b, j, i] = off * value(stream, (b * n + i) * n + j) + (diag if i == j else 0)
    return out


def tensors(Z, cap):
    A, n = len(Z), len(system(Z)[0])
    i = np.arange(cap * A * 3)
    t = {"pos": (2.0 * value(11, i % (A * 3)) + 0.1 * value(12, i)).reshape(cap, A, 3)}
    for name, stream, off, diag in (("S_half", 1, 0.02, 1.0), ("hcore", 2, 1.0, -2.0), ("P0", 3, 0.5, 0.5),
                                    ("JK0", 4, 0.7, 1.0), ("Vxc0", 5, 0.2, -0.5), ("F0", 6, 0.4, -1.0)):
        t[name] = matrices(cap, n, stream, off, diag)
    t["S"] = t["S_half"] @ t["S_half"]
    return t


# ---- canonical frames ----
def centre_of(Z, r):
    w = np.array(Z, float)
    return (w[:, None] * r).sum(0) / w.sum()


def frame(kind, Z, r, ref):
    c = centre_of(Z, r)
    w = np.array(Z, float)[:, None]
    if kind == "none":
        return np.eye(3), c
    if kind == "bond":
        c = r[0]
        ex = r[1] - r[0]
        ex /= np.linalg.norm(ex)
        ey = r[2] - r[0]
        ey = ey - ex * (ey @ ex)
        ey /= np.linalg.norm(ey)
        return np.array([ex, ey, np.cross(ex, ey)]), c
    if kind == "inertia":
        e, v = np.linalg.eigh((w * (r - c)).T @ (r - c))
        ax = [v[:, 2], v[:, 1]]
        ax = [a * np.sign((w[:, 0] * ((r - c) @ a) ** 3).sum()) for a in ax]
        return np.array([ax[0], ax[1], np.cross(ax[0], ax[1])]), c
    # kabsch, by the singular value decomposition
    u, _, vt = np.linalg.svd((w * (r - c)).T @ (ref - centre_of(Z, ref)))
    d = np.sign(np.linalg.det(u @ vt))
    return (u @ np.diag([1, 1, d]) @ vt).T, c


def ylm(l, r):
    x, y, z = r.T
    if l == 0:
        return np.ones((len(r), 1))
    if l == 1:
        return r
    return np.stack([x * y, y * z, (2 * z * z - x * x - y * y) / (2 * np.sqrt(3)), x * z, (x * x - y * y) / 2], 1)


def ao_rotation(R, shells, n):
    """Y(R r) = D Y(r), solved for D by least squares over random points."""
    p = np.random.default_rng(1).normal(size=(40, 3))
    D = np.zeros((n, n))
    for l, at in shells:
        d = np.linalg.lstsq(ylm(l, p), ylm(l, p @ R.T), rcond=None)[0].T
        D[at:at + 2 * l + 1, at:at + 2 * l + 1] = d
    return D


# ---- network ----
def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def norm(x, g, s):
    return g * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + s


def scaled(m):
    return m / np.abs(m).max()


def names(o):
    """(name, shape, all ones at the start, all zeros at the start), in the order of registration."""
    d, h = o["d"], o["heads"]
    p = [("position.weight", (d, 123)), ("position.bias", (d,)), ("embedding.weight", (64, d))]
    for l in range(o["layers"]):
        b = f"block.{l:02d}."
        p += [(b + "ln1.gain", (d,)), (b + "ln1.shift", (d,)), (b + "attn.qkv.weight", (3 * d, d)), (b + "attn.qkv.bias", (3 * d,))]
        if o["bias"] == "learned":
            p += [(b + "attn.mix", (h, 7))]
        p += [(b + "attn.proj.weight", (d, d)), (b + "attn.proj.bias", (d,)), (b + "ln2.gain", (d,)), (b + "ln2.shift", (d,)),
              (b + "mlp.fc.weight", (4 * d, d)), (b + "mlp.fc.bias", (4 * d,)), (b + "mlp.out.weight", (d, 4 * d)), (b + "mlp.out.bias", (d,))]
    p += [("head.ln.gain", (d,)), ("head.ln.shift", (d,)), ("head.q.weight", (d, d)), ("head.q.bias", (d,))]
    if o["head"] == "bilinear":
        p += [("head.k.weight", (d, d)), ("head.k.bias", (d,))]
    return p


def parameters(o):
    out = {}
    for k, (name, shape) in enumerate(names(o)):
        i = np.arange(np.prod(shape))
        out[name] = (0.2 * np.sin(0.9 * i + 1.7 * k) + (1.0 if name.endswith("gain") else 0.0)).reshape(shape)
    return out


def forward(o, Z, t, b, ref):
    atom, kind, shells = system(Z)
    n, d, h = len(atom), o["d"], o["heads"]
    p = parameters(o)
    R, c = frame(o["frame"], Z, t["pos"][b], ref)
    D = ao_rotation(R, shells, n)
    r = (t["pos"][b] - c) @ R.T
    w = 2 * np.pi * np.arange(20) / 20
    feat = np.concatenate([r, np.cos(w[None, :, None] * r[:, None, :]).reshape(len(Z), 60),
                           np.sin(w[None, :, None] * r[:, None, :]).reshape(len(Z), 60)], 1)
    u = feat @ p["position.weight"].T + p["position.bias"]
    turn = lambda m: D @ m[b] @ D.T
    Li = np.linalg.inv(np.linalg.cholesky(turn(t["S"])))
    gram = (u @ u.T)[np.ix_(atom, atom)]
    # the network's own order: Gram, Hcore, L^-1 Hcore L^-T, P0, JK0, Vxc0, F0
    bias = np.array([scaled(m) for m in (gram, turn(t["hcore"]), Li @ turn(t["hcore"]) @ Li.T, turn(t["P0"]), turn(t["JK0"]),
                                         turn(t["Vxc0"]), turn(t["F0"]))])
    pairs = np.zeros((h, 7))
    for k, m in enumerate((1, 0, 2, 3, 4, 5, 6)):  # the published order: Hcore, Gram, ...
        pairs[2 * k:2 * k + 2, m] = 1
    x = p["embedding.weight"][kind] / np.sqrt(d) + u[atom]
    for l in range(o["layers"]):
        q = lambda s: p[f"block.{l:02d}." + s]
        y = norm(x, q("ln1.gain"), q("ln1.shift")) @ q("attn.qkv.weight").T + q("attn.qkv.bias")
        Q, K, V = (y[:, i * d:(i + 1) * d].reshape(n, h, d // h).transpose(1, 0, 2) for i in range(3))
        mix = q("attn.mix") if o["bias"] == "learned" else pairs
        s = Q @ K.transpose(0, 2, 1) / np.sqrt(d // h) + np.einsum("hk,kst->hst", mix, bias)
        s = np.exp(s - s.max(-1, keepdims=True))
        s /= s.sum(-1, keepdims=True)
        x = x + (s @ V).transpose(1, 0, 2).reshape(n, d) @ q("attn.proj.weight").T + q("attn.proj.bias")
        y = norm(x, q("ln2.gain"), q("ln2.shift")) @ q("mlp.fc.weight").T + q("mlp.fc.bias")
        x = x + gelu(y) @ q("mlp.out.weight").T + q("mlp.out.bias")
    x = norm(x, p["head.ln.gain"], p["head.ln.shift"])
    Q = x @ p["head.q.weight"].T + p["head.q.bias"]
    K = x @ p["head.k.weight"].T + p["head.k.bias"] if o["head"] == "bilinear" else Q
    W = D.T @ ((Q @ K.T + K @ Q.T) / (2 * np.sqrt(d))) @ D
    return t["S_half"][b] @ W @ t["S_half"][b] if o["output"] == "lowdin" else W


CASES = [
    dict(d=12, heads=3, layers=2, bias="learned", head="bilinear", output="lowdin", frame="none"),
    dict(d=12, heads=3, layers=2, bias="learned", head="bilinear", output="lowdin", frame="kabsch"),
    dict(d=12, heads=3, layers=2, bias="learned", head="bilinear", output="ao", frame="bond"),
    dict(d=28, heads=14, layers=1, bias="pairs", head="qpt", output="ao", frame="inertia"),
]
Z, CAP, SLOT = [3, 1, 2], 2, 1
ENUM = {"learned": "KS_BIAS_LEARNED", "pairs": "KS_BIAS_PAIRS", "bilinear": "KS_HEAD_BILINEAR", "qpt": "KS_HEAD_QPT",
        "lowdin": "KS_OUTPUT_LOWDIN", "ao": "KS_OUTPUT_AO", "none": "KS_FRAME_NONE", "kabsch": "KS_FRAME_KABSCH",
        "bond": "KS_FRAME_BOND", "inertia": "KS_FRAME_INERTIA"}

if __name__ == "__main__":
    t = tensors(Z, CAP)
    n = len(system(Z)[0])
    print("/* model_golden.h -- W of the qpt network, slot %d of %d of the made-up molecule {%s} of model_case.h with references\n"
          " * at slot 0 and parameters 0.2 sin(0.9 i + 1.7 k) (+ 1 for gains), element i of parameter k.\n"
          " * Made by scripts/make_golden_model.py with NumPy %s. Do not edit. */" % (SLOT, CAP, ", ".join(map(str, Z)), np.__version__))
    print("enum { GOLDEN_CASES = %d, GOLDEN_N = %d };" % (len(CASES), n))
    print("static const ks_model_options golden_options[GOLDEN_CASES] = {")
    for o in CASES:
        print('    {.kind = "qpt", .d_model = %d, .heads = %d, .layers = %d, .bias = %s,\n'
              "     .head = %s, .output = %s, .frame = %s, .precision = KS_FP64, .n_ao_kind = 64}," % (o["d"], o["heads"], o["layers"], *(ENUM[o[k]] for k in ("bias", "head", "output", "frame"))))
    print("};\nstatic const double golden_W[GOLDEN_CASES][GOLDEN_N * (GOLDEN_N + 1) / 2] = { /* lower triangles */")
    for o in CASES:
        W = forward(o, Z, t, SLOT, t["pos"][0])
        assert np.abs(W - W.T).max() < 1e-12 * np.abs(W).max(), o
        v = ["%.16e" % x for x in W[np.tril_indices(n)]]
        print("    {" + ",\n     ".join(", ".join(v[i:i + 4]) for i in range(0, len(v), 4)) + "},")
    print("};")
