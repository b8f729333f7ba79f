/* frame_point.h -- canonical frames of one molecule and rotation blocks of one shell: plain fp64 formulas shared by the
 * CPU (gcc, clang) and CUDA (nvcc). Contracts: include/ksgrad/frame.h. Rotations are row-major (3, 3), lab -> frame. */
#ifndef KS_FRAME_POINT_H
#define KS_FRAME_POINT_H
#include <math.h>
#include <stdint.h>
#include "ksgrad/model.h"

#ifdef __CUDACC__
#define KS_POINT_FN static __host__ __device__ inline
#else
#define KS_POINT_FN static inline
#endif

/* Eigenvectors (columns of v) and eigenvalues (diagonal of a) of a symmetric n x n matrix, n <= 4: cyclic Jacobi. */
KS_POINT_FN void ks_jacobi(int n, double *a, double *v) {
    for (int i = 0; i < n * n; i++) v[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < 40; sweep++) {
        double off = 0, all = 0;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                all += a[i * n + j] * a[i * n + j];
                if (i != j) off += a[i * n + j] * a[i * n + j];
            }
        if (off <= 1e-34 * all) return;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                if (a[p * n + q] == 0) continue;
                const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                const double t     = (theta >= 0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < n; k++) {
                    const double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    const double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    const double x = v[k * n + p], y = v[k * n + q];
                    v[k * n + p] = c * x - s * y;
                    v[k * n + q] = s * x + c * y;
                }
            }
    }
}

KS_POINT_FN double ks_dot3(const double *a, const double *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
KS_POINT_FN void   ks_cross3(const double *a, const double *b, double *c) {
      c[0] = a[1] * b[2] - a[2] * b[1];
      c[1] = a[2] * b[0] - a[0] * b[2];
      c[2] = a[0] * b[1] - a[1] * b[0];
}
KS_POINT_FN void ks_identity3(double *rot) {
    for (int i = 0; i < 9; i++) rot[i] = i % 4 == 0;
}

/* The shortest rotation that takes the unit vector u to the unit vector w: 1 + [k] + [k]^2 / (1 + u.w), k = u x w. */
KS_POINT_FN void ks_shortest_rotation(const double *u, const double *w, double *rot) {
    const double c = ks_dot3(u, w);
    double       k[3], p[3] = {0, 0, 0};
    ks_cross3(u, w, k);
    if (c > -1 + 1e-12) {
        const double f = 1 / (1 + c);
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) rot[3 * i + j] = (i == j ? c : 0) + f * k[i] * k[j];
        rot[1] -= k[2];
        rot[2] += k[1];
        rot[3] += k[2];
        rot[5] -= k[0];
        rot[6] -= k[1];
        rot[7] += k[0];
        return;
    }
    /* Opposite: half a turn about an axis across u. */
    p[fabs(u[0]) < 0.6 ? 0 : 1] = 1;
    ks_cross3(u, p, k);
    const double r = 1 / sqrt(ks_dot3(k, k));
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) rot[3 * i + j] = 2 * r * r * k[i] * k[j] - (i == j);
}

KS_POINT_FN void ks_charge_centre(int64_t n_atom, const int32_t *Z, const double *pos, double *centre) {
    double sum = 0;
    centre[0] = centre[1] = centre[2] = 0;
    for (int64_t a = 0; a < n_atom; a++) {
        sum += Z[a];
        for (int x = 0; x < 3; x++) centre[x] += Z[a] * pos[3 * a + x];
    }
    for (int x = 0; x < 3; x++) centre[x] /= sum;
}

/* Axis of largest extent of the charge-weighted second moment about `centre`; ext: eigenvalues, falling. */
KS_POINT_FN void ks_principal_axes(int64_t n_atom, const int32_t *Z, const double *pos, const double *centre,
                                   double axis[3][3], double ext[3]) {
    double m[9]     = {0}, v[9];
    int    order[3] = {0, 1, 2};
    for (int64_t a = 0; a < n_atom; a++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                m[3 * i + j] += Z[a] * (pos[3 * a + i] - centre[i]) * (pos[3 * a + j] - centre[j]);
    ks_jacobi(3, m, v);
    for (int i = 0; i < 2; i++)
        for (int j = i + 1; j < 3; j++)
            if (m[4 * order[j]] > m[4 * order[i]]) {
                const int t = order[i];
                order[i]    = order[j];
                order[j]    = t;
            }
    for (int i = 0; i < 3; i++) {
        ext[i] = m[4 * order[i]];
        for (int x = 0; x < 3; x++) axis[i][x] = v[3 * x + order[i]];
    }
}

/* Turns an axis to where the third moment is positive; where symmetry makes it vanish, to the first atom off the plane.
 */
KS_POINT_FN void ks_orient_axis(int64_t n_atom, const int32_t *Z, const double *pos, const double *centre,
                                double *axis) {
    double third = 0, size = 0, most = 0, sign = 1;
    for (int64_t a = 0; a < n_atom; a++) {
        const double r[3] = {pos[3 * a] - centre[0], pos[3 * a + 1] - centre[1], pos[3 * a + 2] - centre[2]};
        const double u    = ks_dot3(r, axis);
        third += Z[a] * u * u * u;
        size += Z[a] * fabs(u * u * u);
        most = fmax(most, fabs(u));
    }
    if (fabs(third) > 1e-10 * size) sign = third < 0 ? -1 : 1;
    else
        for (int64_t a = 0; a < n_atom; a++) {
            const double r[3] = {pos[3 * a] - centre[0], pos[3 * a + 1] - centre[1], pos[3 * a + 2] - centre[2]};
            const double u    = ks_dot3(r, axis);
            if (fabs(u) > 1e-6 * most) {
                sign = u < 0 ? -1 : 1;
                break;
            }
        }
    for (int x = 0; x < 3; x++) axis[x] *= sign;
}

KS_POINT_FN void ks_frame_inertia(int64_t n_atom, const int32_t *Z, const double *pos, const double *centre,
                                  double *rot) {
    const double x_axis[3] = {1, 0, 0};
    double       axis[3][3], ext[3];
    ks_principal_axes(n_atom, Z, pos, centre, axis, ext);
    if (!(ext[0] > 0)) { /* one atom */
        ks_identity3(rot);
        return;
    }
    ks_orient_axis(n_atom, Z, pos, centre, axis[0]);
    if (ext[1] <= 1e-12 * ext[0]) { /* linear */
        ks_shortest_rotation(axis[0], x_axis, rot);
        return;
    }
    ks_orient_axis(n_atom, Z, pos, centre, axis[1]);
    ks_cross3(axis[0], axis[1], axis[2]);
    for (int i = 0; i < 9; i++) rot[i] = axis[i / 3][i % 3];
}

/* Kabsch's problem by Horn's quaternion (DOI 10.1364/JOSAA.4.000629): proper rotations only, planar molecules included.
 */
KS_POINT_FN void ks_frame_kabsch(int64_t n_atom, const int32_t *Z, const double *pos, const double *centre,
                                 const double *ref, double *rot) {
    double c[3], s[3][3] = {{0}}, v[16];
    int    best = 0, second = -1;
    ks_charge_centre(n_atom, Z, ref, c);
    for (int64_t a = 0; a < n_atom; a++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) s[i][j] += Z[a] * (pos[3 * a + i] - centre[i]) * (ref[3 * a + j] - c[j]);
    double n[16] = {
        s[0][0] + s[1][1] + s[2][2], s[1][2] - s[2][1], s[2][0] - s[0][2], s[0][1] - s[1][0], s[1][2] - s[2][1],
        s[0][0] - s[1][1] - s[2][2], s[0][1] + s[1][0], s[2][0] + s[0][2], s[2][0] - s[0][2], s[0][1] + s[1][0],
        s[1][1] - s[0][0] - s[2][2], s[1][2] + s[2][1], s[0][1] - s[1][0], s[2][0] + s[0][2], s[1][2] + s[2][1],
        s[2][2] - s[0][0] - s[1][1]};
    ks_jacobi(4, n, v);
    for (int k = 1; k < 4; k++)
        if (n[5 * k] > n[5 * best]) best = k;
    for (int k = 0; k < 4; k++)
        if (k != best && (second < 0 || n[5 * k] > n[5 * second])) second = k;
    if (n[5 * best] - n[5 * second] <= 1e-10 * fabs(n[5 * best])) {
        /* A turn about the molecule's axis costs nothing: one atom, or a linear molecule. */
        double axis[3][3], ext[3], w[3], norm;
        ks_principal_axes(n_atom, Z, pos, centre, axis, ext);
        for (int j = 0; j < 3; j++) w[j] = s[0][j] * axis[0][0] + s[1][j] * axis[0][1] + s[2][j] * axis[0][2];
        norm = sqrt(ks_dot3(w, w));
        if (!(norm > 0)) {
            ks_identity3(rot);
            return;
        }
        for (int j = 0; j < 3; j++) w[j] /= norm;
        ks_shortest_rotation(axis[0], w, rot);
        return;
    }
    const double q0 = v[best], q1 = v[4 + best], q2 = v[8 + best], q3 = v[12 + best];
    rot[0] = q0 * q0 + q1 * q1 - q2 * q2 - q3 * q3;
    rot[1] = 2 * (q1 * q2 - q0 * q3);
    rot[2] = 2 * (q1 * q3 + q0 * q2);
    rot[3] = 2 * (q1 * q2 + q0 * q3);
    rot[4] = q0 * q0 - q1 * q1 + q2 * q2 - q3 * q3;
    rot[5] = 2 * (q2 * q3 - q0 * q1);
    rot[6] = 2 * (q1 * q3 - q0 * q2);
    rot[7] = 2 * (q2 * q3 + q0 * q1);
    rot[8] = q0 * q0 - q1 * q1 - q2 * q2 + q3 * q3;
}

/* Sine of the angle at `o` between atoms x and p; ex: unit vector o -> x, ey: unit vector across it towards p. */
KS_POINT_FN double ks_bond_axes(const double *pos, int64_t o, int64_t x, int64_t p, double *ex, double *ey) {
    double to_x[3], to_p[3], nx, np, along, ny;
    for (int i = 0; i < 3; i++) {
        to_x[i] = pos[3 * x + i] - pos[3 * o + i];
        to_p[i] = pos[3 * p + i] - pos[3 * o + i];
    }
    nx = sqrt(ks_dot3(to_x, to_x));
    np = sqrt(ks_dot3(to_p, to_p));
    for (int i = 0; i < 3; i++) ex[i] = to_x[i] / nx;
    along = ks_dot3(to_p, ex);
    for (int i = 0; i < 3; i++) ey[i] = to_p[i] - along * ex[i];
    ny = sqrt(ks_dot3(ey, ey));
    for (int i = 0; i < 3; i++) ey[i] /= ny;
    return ny / np;
}

/* Returns 0, or 1 when the named atoms do not span a plane. */
KS_POINT_FN int ks_frame_bond(int64_t n_atom, const double *pos, const int32_t bond[3], double *rot) {
    const double x_axis[3] = {1, 0, 0};
    const int    chosen    = bond[0] || bond[1] || bond[2];
    double       ex[3], ey[3], ez[3];
    int64_t      p = 2;
    if (chosen) {
        if (!(ks_bond_axes(pos, bond[0], bond[1], bond[2], ex, ey) > 1e-6)) return 1;
    } else {
        if (n_atom == 1) {
            ks_identity3(rot);
            return 0;
        }
        while (p < n_atom && !(ks_bond_axes(pos, 0, 1, p, ex, ey) > 0.0998334166468282)) p++;
        if (p >= n_atom) { /* linear */
            for (int i = 0; i < 3; i++) ex[i] = pos[3 + i] - pos[i];
            const double r = 1 / sqrt(ks_dot3(ex, ex));
            for (int i = 0; i < 3; i++) ex[i] *= r;
            ks_shortest_rotation(ex, x_axis, rot);
            return 0;
        }
    }
    ks_cross3(ex, ey, ez);
    for (int i = 0; i < 3; i++) {
        rot[i]     = ex[i];
        rot[3 + i] = ey[i];
        rot[6 + i] = ez[i];
    }
    return 0;
}

/* What ks_frame_at found. */
enum { KS_FRAME_FOUND, KS_FRAME_FLAT, KS_FRAME_NOT_FINITE };

/* Rotation and rotated positions of one molecule. Anything but KS_FRAME_FOUND: rot and out are not to be used. */
KS_POINT_FN int ks_frame_at(ks_frame_kind kind, int64_t n_atom, const int32_t *Z, const double *ref,
                            const int32_t *bond, const double *pos, double *rot, double *out) {
    double centre[3];
    int    found = KS_FRAME_FOUND;
    ks_charge_centre(n_atom, Z, pos, centre);
    switch (kind) {
    case KS_FRAME_NONE:
        ks_identity3(rot);
        break;
    case KS_FRAME_KABSCH:
        ks_frame_kabsch(n_atom, Z, pos, centre, ref, rot);
        break;
    case KS_FRAME_INERTIA:
        ks_frame_inertia(n_atom, Z, pos, centre, rot);
        break;
    case KS_FRAME_BOND:
        if (ks_frame_bond(n_atom, pos, bond, rot)) return KS_FRAME_FLAT;
        for (int x = 0; x < 3; x++) centre[x] = pos[3 * bond[0] + x];
        break;
    }
    for (int64_t a = 0; a < n_atom; a++) {
        const double d[3] = {pos[3 * a] - centre[0], pos[3 * a + 1] - centre[1], pos[3 * a + 2] - centre[2]};
        for (int x = 0; x < 3; x++) {
            out[3 * a + x] = ks_dot3(rot + 3 * x, d);
            if (!isfinite(out[3 * a + x])) found = KS_FRAME_NOT_FINITE;
        }
    }
    return found;
}

/* Position features by the addition theorem: (c, s) = (cos, sin) f theta to those of (f + 1) theta; 1 ulp a step. */
#define KS_POS_OMEGA (2 * 3.14159265358979323846 / 20)
KS_POINT_FN void ks_angle_step(double c1, double s1, double *c, double *s) {
    const double next = *c * c1 - *s * s1;
    *s                = *s * c1 + *c * s1;
    *c                = next;
}

/* (R Q_i R^T)_uv, the rotated quadratic form of d function i (R is orthogonal). */
KS_POINT_FN double ks_d_form(const double *rot, int i, int u, int v) {
    const double  h = 0.70710678118654752, t = 0.40824829046386302; /* 1/sqrt 2, 1/sqrt 6 */
    const double *ru = rot + 3 * u, *rv = rot + 3 * v;
    switch (i) {
    case 0:
        return h * (ru[0] * rv[1] + ru[1] * rv[0]);
    case 1:
        return h * (ru[1] * rv[2] + ru[2] * rv[1]);
    case 2:
        return t * (3 * ru[2] * rv[2] - (u == v));
    case 3:
        return h * (ru[0] * rv[2] + ru[2] * rv[0]);
    default:
        return h * (ru[0] * rv[0] - ru[1] * rv[1]);
    }
}

/* Element (j, i) of the block of D for a shell of angular momentum l <= 2. For d, the rotated form of function i is
 * symmetric and traceless, and row j is its component along Q_j. */
KS_POINT_FN double ks_shell_rotation_at(int l, const double *rot, int j, int i) {
    const double h = 0.70710678118654752, t = 0.40824829046386302;
    if (l == 0) return 1;
    if (l == 1) return rot[3 * j + i];
    switch (j) {
    case 0:
        return 2 * h * ks_d_form(rot, i, 0, 1);
    case 1:
        return 2 * h * ks_d_form(rot, i, 1, 2);
    case 2:
        return 3 * t * ks_d_form(rot, i, 2, 2);
    case 3:
        return 2 * h * ks_d_form(rot, i, 0, 2);
    default:
        return h * (ks_d_form(rot, i, 0, 0) - ks_d_form(rot, i, 1, 1));
    }
}
#endif
