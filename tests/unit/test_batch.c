/* test_batch.c -- batches and pools of geometry tensors: layout, gathers, errors that name the frame, rebuilding of
 * slots. */
#include <stddef.h>
#include "scf_case.h"

static void expect(ks_status got, ks_status want, const char *a, const char *b) {
    const char *m = ks_error_message();
    T_CHECK(got == want, "got '%s' (%s), expected '%s'", ks_status_text(got), m, ks_status_text(want));
    T_CHECK(strstr(m, a) && strstr(m, b), "message '%s' does not name '%s' and '%s'", m, a, b);
    ks_error_clear();
}

static void test_layout(ks_ctx *ctx, t_pool *w, t_pool *h) {
    int32_t       slots[3] = {1, 0, 0};
    ks_segment    seg[2]   = {{w->ts, 2, slots}, {h->ts, 1, slots + 2}};
    ks_batch      b        = {2, seg};
    const int64_t nw = w->sys->n_ao, nh = h->sys->n_ao;
    T_CHECK(ks_batch_n_frame(&b) == 3 && ks_batch_frame_offset(&b, 1) == 2, "frames");
    T_CHECK(ks_batch_mat_offset(&b, 1) == 2 * nw * nw && ks_batch_mat_size(&b) == 2 * nw * nw + nh * nh, "matrices");
    T_CHECK(ks_batch_vec_offset(&b, 1) == 2 * nw && ks_batch_vec_size(&b) == 2 * nw + nh, "vectors");
    const int64_t size = ks_batch_mat_size(&b);
    double       *out = t_dev(ctx, size), *got = t_host(size), *one = t_host(nh * nh > nw * nw ? nh * nh : nw * nw);
    const size_t  members[] = {offsetof(ks_tensors, S), offsetof(ks_tensors, hcore), offsetof(ks_tensors, F0),
                               offsetof(ks_tensors, JK0), offsetof(ks_tensors, X)};
    for (size_t m = 0; m < sizeof members / sizeof *members; m++) {
        T_OK(ks_batch_gather(ctx, &b, members[m], out));
        t_get(ctx, got, out, size);
        for (int f = 0; f < 3; f++) {
            const ks_tensors *ts = f < 2 ? w->ts : h->ts;
            const int64_t     nn = ts->sys->n_ao * ts->sys->n_ao;
            t_get(ctx, one, *(double *const *)((const char *)ts + members[m]) + slots[f] * nn, nn);
            T_CHECK(!memcmp(one, got + (f < 2 ? f * nw * nw : 2 * nw * nw), (size_t)nn * sizeof *one),
                    "gather of member %zu, frame %d", m, f);
        }
    }
    expect(ks_batch_gather(ctx, &b, offsetof(ks_tensors, dip), out), KS_ERR_ARG, "member", "matrix");
    ks_mem_free(ctx, (void **)&out);
    free(got), free(one);
}

static void test_errors(ks_ctx *ctx, t_pool *w) {
    double      pos[18];
    int32_t     slot[2] = {0, 1}, odd[2] = {0, 1}, many[2] = {0, 11}, few[2] = {-40, 0};
    ks_method   two   = w->ts->method;
    ks_tensors *t     = NULL;
    int64_t     bytes = 0;
    memcpy(pos, T_WATER_POS, sizeof T_WATER_POS), memcpy(pos + 9, T_WATER_POS, sizeof T_WATER_POS);
    expect(ks_tensors_build(w->ts, 2, slot, pos, odd), KS_ERR_UNSUPPORTED, "frame 1", "9 electrons");
    expect(ks_tensors_build(w->ts, 2, slot, pos, many), KS_ERR_DATA, "frame 1", "charge 11");
    expect(ks_tensors_build(w->ts, 2, slot, pos, few), KS_ERR_DATA, "frame 0", "7 orbitals");
    slot[1] = 2;
    expect(ks_tensors_build(w->ts, 2, slot, pos, NULL), KS_ERR_ARG, "frame 1", "slot 2");
    slot[1] = 1;
    pos[11] = NAN;
    expect(ks_tensors_build(w->ts, 2, slot, pos, NULL), KS_ERR_DATA, "frame 1", "not finite");
    memcpy(pos + 12, pos + 15, 3 * sizeof *pos);
    pos[11] = T_WATER_POS[2];
    expect(ks_tensors_build(w->ts, 2, slot, pos, NULL), KS_ERR_DATA, "frame 1", "atoms 1 and 2");
    two.n_spin = 2;
    expect(ks_tensors_create(ctx, w->sys, &two, 1, &t), KS_ERR_UNSUPPORTED, "n_spin", "2");
    expect(ks_tensors_create(ctx, w->sys, &w->ts->method, 0, &t), KS_ERR_ARG, "capacity", "0");
    two = w->ts->method, two.grid_level = 9;
    expect(ks_tensors_create(ctx, w->sys, &two, 1, &t), KS_ERR_ARG, "level", "9");
    T_OK(ks_tensors_bytes(ctx, w->sys, &w->ts->method, &bytes));
    T_CHECK(bytes > 13 * 49 * 8 && bytes < 100000000, "%lld bytes a slot", (long long)bytes);
    T_OK(ks_tensors_build(w->ts, 0, NULL, NULL, NULL));
    ks_tensors_destroy(&t);
    ks_tensors_destroy(NULL);
}

/* More frames than a chunk; a slot rebuilt alone has the bits it had in company, and the others keep theirs. */
static void test_slots(ks_ctx *ctx) {
    enum { B = 40, N = 2, NN = 4 };
    const int32_t Z[2] = {1, 1};
    double        pos[6 * B], all[B * NN], again[B * NN], E0[B], e1[B];
    for (int f = 0; f < B; f++) {
        const double p[6] = {0, 0, 0, 0, 0.01 * f, 1.3 + 0.02 * f};
        memcpy(pos + 6 * f, p, sizeof p);
    }
    t_pool  p = t_pool_make(ctx, "sto-3g", "lda", 0, 2, Z, B, pos, NULL);
    int32_t slot[B];
    t_get(ctx, all, p.ts->F0, B * NN), t_get(ctx, E0, p.ts->E0, B);
    T_CHECK(E0[0] < 0 && E0[B - 1] < 0 && E0[0] != E0[B - 1], "energies %g %g", E0[0], E0[B - 1]);
    slot[0] = 17;
    T_OK(ks_tensors_build(p.ts, 1, slot, pos, NULL)); /* frame 0 into slot 17 */
    t_get(ctx, again, p.ts->F0, B * NN), t_get(ctx, e1, p.ts->E0, B);
    T_CHECK(!memcmp(again + 17 * NN, all, sizeof(double) * NN) && e1[17] == E0[0], "a rebuilt slot differs by %g",
            e1[17] - E0[0]);
    T_CHECK(!memcmp(again, all, sizeof(double) * 17 * NN) &&
                !memcmp(again + 18 * NN, all + 18 * NN, sizeof(double) * (B - 18) * NN),
            "other slots moved");
    for (int f = 0; f < B; f++) slot[f] = B - 1 - f; /* backwards: chunks of 32 and 8 */
    T_OK(ks_tensors_build(p.ts, B, slot, pos, NULL));
    const int64_t warm = ks_alloc_count();
    T_OK(ks_tensors_build(p.ts, B, slot, pos, NULL));
    T_CHECK(ks_alloc_count() == warm, "%lld allocations in a repeated build", (long long)(ks_alloc_count() - warm));
    t_get(ctx, again, p.ts->F0, B * NN);
    int same = 1;
    for (int f = 0; f < B; f++) same = same && !memcmp(again + (B - 1 - f) * NN, all + f * NN, sizeof(double) * NN);
    T_CHECK(same, "frames in another order have other bits");
    pos[6 * 35 + 5] = 0.0, pos[6 * 35 + 4] = 0.0;
    expect(ks_tensors_build(p.ts, B, slot, pos, NULL), KS_ERR_DATA, "frame 35", "bohr apart");
    t_pool_drop(&p);
}

static void test_faults(ks_ctx *ctx, t_pool *w) {
    int failed = 0;
    for (int64_t n = 1; n < 200; n++) {
        ks_tensors *t       = NULL;
        int32_t     slot[1] = {0};
        ks_alloc_fail_after(n);
        ks_status st = ks_tensors_create(ctx, w->sys, &w->ts->method, 1, &t);
        if (st == KS_OK) st = ks_tensors_build(t, 1, slot, T_WATER_POS, NULL);
        ks_alloc_fail_after(0);
        ks_tensors_destroy(&t);
        if (st == KS_OK) break;
        T_CHECK(st == KS_ERR_NOMEM, "allocation %lld failed: %s", (long long)n, ks_status_text(st));
        ks_error_clear();
        failed++;
    }
    T_CHECK(failed >= 10, "only %d allocations were made to fail", failed);
}

int main(void) {
    ks_ctx *ctx = NULL;
    double  pos[18];
    T_OK(ks_ctx_create(NULL, &ctx));
    t_moved(T_WATER_POS, 3, 2, 9, pos);
    t_pool w = t_pool_make(ctx, "sto-3g", "lda", 0, 3, T_WATER_Z, 2, pos, NULL),
           h = t_pool_make(ctx, "sto-3g", "lda", 0, 3, T_HCN_Z, 1, T_HCN_POS, NULL);
    test_layout(ctx, &w, &h);
    test_errors(ctx, &w);
    test_slots(ctx);
    test_faults(ctx, &w);
    t_pool_drop(&w);
    t_pool_drop(&h);
    ks_ctx_destroy(&ctx);
    return t_done("batch", 90);
}
