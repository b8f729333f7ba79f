#!/usr/bin/env python3
"""Makes src/chem/grid_lebedev_table.h: Lebedev rules as octahedral orbits.

Usage: python3 scripts/make_lebedev.py > src/chem/grid_lebedev_table.h        (standard library only, ~10 s)

Input: the orbit structure and six-digit positions of the published rules (Lebedev 1975-1977, Lebedev and Laikov 1999,
doi:10.1134/S1064562499020282), below as "code weight [a [b]]". Output: the same parameters refined by Newton's method in
60-digit arithmetic on the defining equations: the rule of degree L integrates every octahedral invariant
e2^i e3^j, 4i + 6j <= L, with e2 = x2 y2 + y2 z2 + z2 x2 and e3 = x2 y2 z2, exactly. The system is square; the residual of
the printed 17-digit values is checked.

Orbit codes: 0 (1,0,0), 1 (0,a,a) with a = 1/sqrt 2, 2 (a,a,a) with a = 1/sqrt 3, 3 (a,a,b), 4 (a,b,0), 5 (a,b,c).
"""
from decimal import Decimal as D, getcontext

getcontext().prec = 60
STARTS = {  # (points, degree): orbits
        (38, 9): """0 9.5238e-03; 2 3.2143e-02; 4 2.8571e-02 0.459701""",
        (50, 11): """0 1.2698e-02; 1 2.2575e-02; 2 2.1094e-02; 3 2.0173e-02 0.301511""",
        (74, 13): """0 5.1307e-04; 1 1.6604e-02; 2 -2.9586e-02; 3 2.6576e-02 0.480384; 4 1.6522e-02 0.320773""",
        (86, 15): """0 1.1544e-02; 2 1.1944e-02; 3 1.1111e-02 0.369603; 3 1.1877e-02 0.694354; 4 1.1812e-02
        0.374243""",
        (110, 17): """0 3.8283e-03; 2 9.7937e-03; 3 8.2117e-03 0.185116; 3 9.9428e-03 0.690421; 3 9.5955e-03 0.395689;
        4 9.6950e-03 0.478369""",
        (146, 19): """0 5.9963e-04; 1 7.3730e-03; 2 7.2105e-03; 3 7.1164e-03 0.676441; 3 6.7538e-03 0.417496; 3
        7.5744e-03 0.157468; 5 6.9911e-03 0.140355 0.449333""",
        (170, 21): """0 5.5448e-03; 1 6.0713e-03; 2 6.3837e-03; 3 5.1834e-03 0.255125; 3 6.3179e-03 0.674360; 3
        6.2017e-03 0.431891; 4 5.4771e-03 0.261393; 5 5.9684e-03 0.499045 0.144663""",
        (194, 23): """0 1.7823e-03; 1 5.7169e-03; 2 5.5734e-03; 3 5.6087e-03 0.671297; 3 5.1582e-03 0.289247; 3
        5.5188e-03 0.444693; 3 4.1068e-03 0.129934; 4 5.0518e-03 0.345770; 5 5.5302e-03 0.159042 0.836036""",
        (230, 25): """0 -5.5226e-02; 2 4.4503e-03; 3 4.4968e-03 0.449204; 3 5.0492e-03 0.252042; 3 3.9764e-03
        0.698191; 3 4.4014e-03 0.658741; 3 1.7245e-02 0.040385; 4 4.2311e-03 0.582384; 4 5.1981e-03 0.354588; 5
        4.6957e-03 0.227218 0.486466""",
        (266, 27): """0 -1.3138e-03; 1 -2.5227e-03; 2 4.1869e-03; 3 5.3152e-03 0.703937; 3 4.0471e-03 0.101253; 3
        4.1125e-03 0.464745; 3 3.5956e-03 0.327742; 3 4.2561e-03 0.662034; 4 4.2296e-03 0.850651; 5 4.0809e-03
        0.323348 0.115311; 5 4.0715e-03 0.231479 0.524494""",
        (302, 29): """0 8.5459e-04; 2 3.5991e-03; 3 3.4498e-03 0.351564; 3 3.6048e-03 0.656633; 3 3.5767e-03 0.472905;
        3 2.3521e-03 0.096183; 3 3.1090e-03 0.221965; 3 3.6500e-03 0.701177; 4 2.9823e-03 0.264415; 4 3.6008e-03
        0.571896; 5 3.5715e-03 0.251003 0.800073; 5 3.3923e-03 0.123355 0.412772""",
        (350, 31): """0 3.0068e-03; 2 3.0506e-03; 3 1.6211e-03 0.706897; 3 3.0057e-03 0.479468; 3 2.9910e-03 0.192753;
        3 2.9822e-03 0.693036; 3 2.7216e-03 0.360830; 3 3.0335e-03 0.649849; 4 3.0079e-03 0.193295; 4 2.8820e-03
        0.380049; 5 2.9584e-03 0.289956 0.793454; 5 3.0360e-03 0.096841 0.828080; 5 2.8322e-03 0.183343 0.907466""",
        (434, 35): """0 5.2659e-04; 1 2.5482e-03; 2 2.5123e-03; 3 2.5304e-03 0.690935; 3 2.0143e-03 0.177484; 3
        2.5017e-03 0.491434; 3 2.5133e-03 0.645666; 3 2.3027e-03 0.286129; 3 1.4625e-03 0.075681; 3 2.4454e-03
        0.392726; 4 2.4174e-03 0.881813; 4 1.9110e-03 0.977643; 5 2.4169e-03 0.205482 0.868946; 5 2.5122e-03 0.590516
        0.799928; 5 2.4966e-03 0.555015 0.771746; 5 2.2366e-03 0.937181 0.334436""",
        (590, 41): """0 3.0951e-04; 2 1.8524e-03; 3 1.8718e-03 0.704095; 3 1.8588e-03 0.680774; 3 1.8520e-03 0.637255;
        3 1.8467e-03 0.504442; 3 1.8185e-03 0.421576; 3 1.7496e-03 0.331792; 3 1.6172e-03 0.238474; 3 1.3847e-03
        0.145904; 3 9.7643e-04 0.060950; 4 1.8572e-03 0.611684; 4 1.7052e-03 0.396476; 4 1.3003e-03 0.172478; 5
        1.8429e-03 0.561026 0.351828; 5 1.8027e-03 0.474239 0.263472; 5 1.8498e-03 0.598413 0.181664; 5 1.7139e-03
        0.379104 0.172080; 5 1.5552e-03 0.277867 0.082130; 5 1.8022e-03 0.503356 0.089992""",
}
SIZE = (6, 12, 8, 24, 24, 48)


def double_factorial(n):
    return 1 if n <= 0 else n * double_factorial(n - 2)


def mean_monomial(i, j, k):
    """Mean of x^2i y^2j z^2k over the unit sphere."""
    return D(double_factorial(2 * i - 1) * double_factorial(2 * j - 1) * double_factorial(2 * k - 1)) / \
        D(double_factorial(2 * (i + j + k) + 1))


def factorial(n):
    return 1 if n <= 1 else n * factorial(n - 1)


def mean_invariant(i, j):
    """Mean of e2^i e3^j: multinomial expansion of e2^i."""
    total = D(0)
    for p in range(i + 1):
        for q in range(i - p + 1):
            r = i - p - q
            total += D(factorial(i)) / (factorial(p) * factorial(q) * factorial(r)) * \
                mean_monomial(p + r + j, p + q + j, q + r + j)
    return total


def invariants(code, par):
    """e2, e3 of an orbit and their derivatives with respect to its parameters."""
    if code == 0:
        return D(0), D(0), [], []
    if code == 1:
        return D(1) / 4, D(0), [], []
    if code == 2:
        return D(1) / 3, D(1) / 27, [], []
    a = par[0]
    if code == 4:  # z = 0
        return a**2 * (1 - a**2), D(0), [2 * a - 4 * a**3], [D(0)]
    b = a if code == 3 else par[1]
    u, v = a * a, b * b
    w = 1 - u - v
    e2, e3 = u * v + v * w + w * u, u * v * w
    # dw = -du - dv
    e2a, e2b = 2 * a * (v + w - v - u), 2 * b * (u + w - v - u)
    e3a, e3b = 2 * a * (v * w - u * v), 2 * b * (u * w - u * v)
    if code == 3:
        return e2, e3, [e2a + e2b], [e3a + e3b]
    return e2, e3, [e2a, e2b], [e3a, e3b]


def solve(a, b):
    n = len(b)
    a = [row[:] + [x] for row, x in zip(a, b)]
    for c in range(n):
        p = max(range(c, n), key=lambda r: abs(a[r][c]))
        a[c], a[p] = a[p], a[c]
        for r in range(c + 1, n):
            f = a[r][c] / a[c][c]
            for k in range(c, n + 1):
                a[r][k] -= f * a[c][k]
    x = [D(0)] * n
    for c in reversed(range(n)):
        x[c] = (a[c][n] - sum(a[c][k] * x[k] for k in range(c + 1, n))) / a[c][c]
    return x


def equations(orbits, degree):
    """Residuals and Jacobian; unknowns in order: w, parameters of each orbit."""
    res, jac = [], []
    power = lambda x, n: D(1) if n == 0 else x**n
    for i in range(degree // 4 + 1):
        for j in range((degree - 4 * i) // 6 + 1):
            row, r = [], -mean_invariant(i, j)
            for code, w, par in orbits:
                e2, e3, d2, d3 = invariants(code, par)
                f = power(e2, i) * power(e3, j)
                r += SIZE[code] * w * f
                row.append(SIZE[code] * f)
                for g2, g3 in zip(d2, d3):
                    df = (i * power(e2, i - 1) * power(e3, j) * g2 if i else 0) + \
                        (j * power(e2, i) * power(e3, j - 1) * g3 if j else 0)
                    row.append(SIZE[code] * w * df)
            res.append(r)
            jac.append(row)
    return res, jac


def refine(text, degree):
    orbits = []
    for item in text.split(";"):
        t = item.split()
        orbits.append([int(t[0]), D(t[1]), [D(x) for x in t[2:]]])
    for _ in range(12):
        res, jac = equations(orbits, degree)
        assert len(res) == len(jac[0]), "the system must be square"
        if max(map(abs, res)) < D("1e-50"):
            break
        step = iter(solve(jac, res))
        for o in orbits:
            o[1] -= next(step)
            o[2] = [p - next(step) for p in o[2]]
    printed = [[c, D(repr(float(w))), [D(repr(float(p))) for p in par]] for c, w, par in orbits]
    assert max(map(abs, equations(printed, degree)[0])) < D("1e-15")
    return orbits


def main():
    print("/* grid_lebedev_table.h -- made by scripts/make_lebedev.py; do not edit.")
    print(" * Orbits {code, a, b, weight} of each Lebedev rule; weights sum to 1 over its points. */")
    orbits, rules = [], []
    for (n, degree), text in STARTS.items():
        rule = refine(" ".join(text.split()), degree)
        assert sum(SIZE[o[0]] for o in rule) == n
        rules.append((n, degree, len(orbits), len(rule)))
        orbits += rule
    print("static const ks_lebedev_orbit lebedev_orbit[%d] = {" % len(orbits))
    for code, w, par in orbits:
        a, b = (par + [D(0), D(0)])[:2]
        print("    {%d, %r, %r, %r}," % (code, float(a), float(b), float(w)))
    print("};")
    print("/* {points, degree, first orbit, orbits} */")
    print("static const ks_lebedev_rule lebedev_rule[%d] = {" % len(rules))
    for r in rules:
        print("    {%d, %d, %d, %d}," % r)
    print("};")


main()
