/* test_frame.c -- canonical frames of a batch: molecules that were turned and moved by a known amount from the pose
 * that defines their frame. More of the definitions, and special shapes: tests/unit/test_frames.c. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

enum { ATOMS = 6 };
static const double charge[ATOMS] = {1, 2, 1, 2, 1, 2};

/* A pose on the axes: second moment diagonal and falling, third moments positive, centre of charge at the origin. Its
 * size differs from frame to frame. For the bond frame atoms 0, 3 and 4 take the places origin, x axis, xy plane. */
static void pose(ks_frame_kind kind, int64_t f, double *p) {
    static const double axes[3 * ATOMS] = {4, 0, 0, -2, 0, 0, 0, 3, 0, 0, -1.5, 0, 0, 0, 1, 0, 0, -0.5};
    static const double bond[3 * ATOMS] = {0, 0, 0, 1, 2, -1.5, -0.7, 0.4, 2, 2.5, 0, 0, -1.2, 1.9, 0, 3, 3, 3};
    const double       *from            = kind == KS_FRAME_BOND ? bond : axes;
    for (int i = 0; i < 3 * ATOMS; i++) p[i] = from[i] * (1 + 0.1 * sin((double)f));
}
static void turn(int64_t f, double *r) {
    double q[4], s = 0;
    for (int k = 0; k < 4; k++) q[k] = sin(1.7 * (double)f + 2.3 * k + 0.4), s += q[k] * q[k];
    for (int k = 0; k < 4; k++) q[k] /= sqrt(s);
    const double a = q[0], b = q[1], c = q[2], d = q[3];
    const double m[9] = {a * a + b * b - c * c - d * d, 2 * (b * c - a * d),           2 * (b * d + a * c),
                         2 * (b * c + a * d),           a * a - b * b + c * c - d * d, 2 * (c * d - a * b),
                         2 * (b * d - a * c),           2 * (c * d + a * b),           a * a - b * b - c * c + d * d};
    memcpy(r, m, sizeof m);
}

static const t_op    ops[4]; /* in the order of ks_frame_kind */
static ks_frame_kind kind_of(const t_case *c) { return (ks_frame_kind)(c->op - ops); }
static const int32_t bond[3] = {0, 3, 4};

static ks_status build(t_case *c) {
    c->in_size[0]  = ATOMS;
    c->in_size[1]  = 3 * ATOMS;
    c->in_size[2]  = 3 * ATOMS * c->n;
    c->in_size[3]  = c->n;
    c->out_size[0] = 9 * c->n;
    c->out_size[1] = 3 * ATOMS * c->n;
    return KS_OK;
}
static void fill_charge(const t_case *c, double *x) {
    (void)c;
    memcpy(x, charge, sizeof charge);
}
static void fill_reference(const t_case *c, double *x) { pose(kind_of(c), 0, x); }
/* r = R^T r' + shift: R takes it back. */
static void fill_pos(const t_case *c, double *x) {
    for (int64_t f = 0; f < c->n; f++) {
        double p[3 * ATOMS], R[9];
        pose(kind_of(c), f, p);
        turn(f, R);
        for (int a = 0; a < ATOMS; a++)
            for (int k = 0; k < 3; k++) {
                double *r = x + 3 * (ATOMS * f + a) + k;
                *r        = R[k] * p[3 * a] + R[3 + k] * p[3 * a + 1] + R[6 + k] * p[3 * a + 2] + 1.5 * k - 2;
            }
    }
}
static void fill_slot(const t_case *c, double *x) {
    for (int64_t f = 0; f < c->n; f++) x[f] = (double)((f + 2) % c->n);
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_frame_fwd(c->ctx, kind_of(c), c->n, ATOMS, in[0], in[1], bond, in[2], in[3], out[0], out[1]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t b = 0; b < c->n; b++) {
        const int64_t f   = (int64_t)in[3][b];
        double       *rot = ref[0] + 9 * b, *p = ref[1] + 3 * ATOMS * b;
        if (kind_of(c) == KS_FRAME_NONE) {
            for (int i = 0; i < 9; i++) rot[i] = i % 4 == 0;
            for (int i = 0; i < 3 * ATOMS; i++) p[i] = in[2][3 * ATOMS * f + i] - (1.5 * (i % 3) - 2);
        } else {
            pose(kind_of(c), f, p);
            turn(f, rot);
        }
    }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    const int32_t same[3] = {0, 3, 3}, far[3] = {0, 3, ATOMS};
    switch (k) {
    case 0:
        return ks_frame_fwd(c->ctx, KS_FRAME_BOND, c->n, ATOMS, in[0], in[1], same, in[2], in[3], out[0], out[1]);
    case 1:
        return ks_frame_fwd(c->ctx, KS_FRAME_BOND, c->n, ATOMS, in[0], in[1], far, in[2], in[3], out[0], out[1]);
    case 2:
        return ks_frame_fwd(c->ctx, KS_FRAME_KABSCH, c->n, ATOMS, in[0], NULL, NULL, in[2], in[3], out[0], out[1]);
    default:
        return ks_frame_fwd(c->ctx, KS_FRAME_NONE, c->n, 0, in[0], in[1], bond, in[2], in[3], out[0], out[1]);
    }
}

static void *to_backend(ks_ctx *ctx, const void *host, size_t bytes) {
    void *p = NULL;
    T_OK(ks_mem_alloc(ctx, bytes, &p));
    T_OK(ks_mem_to_backend(ctx, p, host, bytes));
    return p;
}

/* The middle one of three frames has no canonical frame: an error; where it is met by a kernel the frame's results are
 * NaN, and those of the others have the bits that they have without it. */
static void test_frame_of_its_own(ks_frame_kind kind, int on_a_line) {
    const t_case  c        = {.op = &ops[kind], .n = 3};
    const int32_t Z[ATOMS] = {1, 2, 1, 2, 1, 2};
    ks_ctx       *ctx      = t_op_ctx(2);
    double        pos[9 * ATOMS], ref[3 * ATOMS], out[2][9 * ATOMS], rot[2][27];
    void         *dZ, *dref, *drot, *dout;
    int           other = 0;
    fill_pos(&c, pos);
    fill_reference(&c, ref);
    dZ   = to_backend(ctx, Z, sizeof Z);
    dref = to_backend(ctx, ref, sizeof ref);
    drot = to_backend(ctx, rot[0], sizeof rot[0]);
    dout = to_backend(ctx, out[0], sizeof out[0]);
    for (int k = 0; k < 2; k++) {
        double *broken = pos + 3 * ATOMS;
        for (int x = 0; k && x < 3; x++)
            if (on_a_line) broken[12 + x] = 2 * broken[9 + x] - broken[x]; /* atom 4 behind atom 3, seen from 0 */
            else broken[3 + x] = NAN;
        void     *dpos = to_backend(ctx, pos, sizeof pos);
        ks_status st   = ks_frame_fwd(ctx, kind, 3, ATOMS, dZ, dref, bond, dpos, NULL, drot, dout);
        if (st == KS_OK) st = ks_sync(ctx);
        T_CHECK(k ? st == KS_ERR_DATA || st == KS_ERR_NUMERIC : st == KS_OK, "%s", ks_status_text(st));
        if (k) T_CHECK(strstr(ks_error_message(), "frame 1"), "%s", ks_error_message());
        T_OK(ks_mem_to_host(ctx, rot[k], drot, sizeof rot[k]));
        T_OK(ks_mem_to_host(ctx, out[k], dout, sizeof out[k]));
        ks_mem_free(ctx, &dpos);
    }
    if (strcmp(t_op_backend(), "cpu")) { /* the CPU stops at the first one */
        for (int i = 0; i < 27; i++) other += i / 9 == 1 ? !isnan(rot[1][i]) : rot[0][i] != rot[1][i];
        for (int i = 0; i < 9 * ATOMS; i++) other += i / (3 * ATOMS) == 1 ? !isnan(out[1][i]) : out[0][i] != out[1][i];
        T_CHECK(other == 0, "%d elements", other);
    }
    ks_mem_free(ctx, &dZ);
    ks_mem_free(ctx, &dref);
    ks_mem_free(ctx, &drot);
    ks_mem_free(ctx, &dout);
    ks_ctx_destroy(&ctx);
}

/* Jacobi's eigenvectors and the angles of the pose: tens of eps, relative to components up to 1; the positions lose
 * 12 eps / 4 more by the shift. */
#define OP(title)                                                                                                      \
    {                                                                                                                  \
        .name = title, .n = 40, .n_size = 5, .sizes = {0, 1, 31, 33, 70}, .build = build, .fwd = fwd,                  \
        .golden = golden, .bad = bad, .n_bad = 4,                                                                      \
        .in  = {{.name = "Z", .type = T_I32, .fill = fill_charge},                                                     \
                {.name = "ref", .fill = fill_reference},                                                               \
                {.name = "pos", .fill = fill_pos},                                                                     \
                {.name = "slot", .type = T_I32, .fill = fill_slot}},                                                   \
        .out = {                                                                                                       \
            {.name = "rot"},                                                                                           \
            {.name = "pos_out"}                                                                                        \
        }                                                                                                              \
    }
static const t_op ops[4] = {OP("frame none"), OP("frame kabsch"), OP("frame bond"), OP("frame inertia")};

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) t_op_run(&ops[k]);
    test_frame_of_its_own(KS_FRAME_BOND, 1);
    for (int kind = KS_FRAME_NONE; kind <= KS_FRAME_INERTIA; kind++) test_frame_of_its_own((ks_frame_kind)kind, 0);
    return t_done("frame", 4 * 4 + 5 * 10);
}
