#!/usr/bin/env python3
"""Writes src/pointwise/hermite_terms.h: which Hermite functions (t, u, v) each spherical function of a shell pair has."""
S = {0: [[(0, 0, 0)]], 1: [[(1, 0, 0)], [(0, 1, 0)], [(0, 0, 1)]],
     2: [[(1, 1, 0)], [(0, 1, 1)], [(0, 0, 2), (2, 0, 0), (0, 2, 0)], [(1, 0, 1)], [(2, 0, 0), (0, 2, 0)]]}
NAME = "SPD"
out = []
for la in range(3):
    for lb in range(la + 1):
        rows, start = [], [0]
        for a in S[la]:
            for b in S[lb]:
                terms = set()
                for x in a:
                    for y in b:
                        n = [x[d] + y[d] for d in range(3)]
                        terms |= {(t, u, v) for t in range(n[0] + 1) for u in range(n[1] + 1) for v in range(n[2] + 1)}
                terms = sorted(terms, key=lambda w: (sum(w), -w[0], -w[1]))
                start.append(start[-1] + len(terms))
                rows.append(" ".join("X(%d,%d,%d)" % w for w in terms))
        c = NAME[la] + NAME[lb]
        out.append("#define KS_TERMS_%s(X) \\\n" % c + " \\\n".join("    " + r for r in rows))
        out.append("#define KS_TERM_START_%s %s" % (c, ", ".join(map(str, start))))
herm = sorted(((t, u, v) for t in range(5) for u in range(5) for v in range(5) if t + u + v < 5), key=lambda w: (sum(w), -w[0], -w[1]))
rows = [" ".join("X(%d,%d,%d)" % w for w in herm if sum(w) == k) for k in range(5)]
out.append("/* compact order up to degree 4 */\n#define KS_HERMITES(X) \\\n" + " \\\n".join("    " + r for r in rows))
with open("src/pointwise/hermite_terms.h", "w") as f:
    f.write("""/* hermite_terms.h -- the Hermite functions (t,u,v) of each spherical function (ma, mb) of a shell pair: one line per
 * function, mb fastest; the sparsity pattern of the pair tables. Made by scripts/make_hermite_terms.py. */
#ifndef KS_HERMITE_TERMS_H
#define KS_HERMITE_TERMS_H
/* clang-format off */
""" + "\n".join(out) + "\n/* clang-format on */\n#endif\n")
