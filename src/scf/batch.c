/* batch.c -- extents, offsets and gathers of batches; see ksgrad/batch.h. */
#include <stddef.h>
#include "scf/scf_impl.h"

int64_t ks_batch_n_frame(const ks_batch *batch) { return ks_batch_frame_offset(batch, batch->n_segment); }

int64_t ks_batch_frame_offset(const ks_batch *batch, int64_t segment) {
    int64_t sum = 0;
    for (int64_t s = 0; s < segment; s++) sum += batch->segment[s].n_frame;
    return sum;
}

int64_t ks_batch_mat_size(const ks_batch *batch) { return ks_batch_mat_offset(batch, batch->n_segment); }

int64_t ks_batch_mat_offset(const ks_batch *batch, int64_t segment) {
    int64_t sum = 0;
    for (int64_t s = 0; s < segment; s++) {
        const ks_seg sg = ks_seg_of(batch, s);
        sum += sg.n_mat * sg.n * sg.n;
    }
    return sum;
}

int64_t ks_batch_vec_size(const ks_batch *batch) { return ks_batch_vec_offset(batch, batch->n_segment); }

int64_t ks_batch_vec_offset(const ks_batch *batch, int64_t segment) {
    int64_t sum = 0;
    for (int64_t s = 0; s < segment; s++) {
        const ks_seg sg = ks_seg_of(batch, s);
        sum += sg.n_mat * sg.n;
    }
    return sum;
}

/* Matrices with a spin extent in the pool, as against those shared by the spins: 1, 0, or -1 for any other member. */
static int member_has_spin(size_t offset) {
    static const size_t spin[]   = {offsetof(ks_tensors, P0), offsetof(ks_tensors, JK0), offsetof(ks_tensors, Vxc0),
                                    offsetof(ks_tensors, F0)};
    static const size_t shared[] = {offsetof(ks_tensors, S),     offsetof(ks_tensors, T),      offsetof(ks_tensors, V),
                                    offsetof(ks_tensors, hcore), offsetof(ks_tensors, S_half), offsetof(ks_tensors, X)};
    for (size_t i = 0; i < sizeof spin / sizeof *spin; i++)
        if (offset == spin[i]) return 1;
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        if (offset == shared[i]) return 0;
    return -1;
}

ks_status ks_batch_gather(ks_ctx *ctx, const ks_batch *batch, size_t member_offset, double *out) {
    ks_status st       = KS_OK;
    const int has_spin = member_has_spin(member_offset);
    KS_CHECK(ctx && batch && out, KS_ERR_ARG, "batch gather: NULL argument");
    KS_CHECK(has_spin >= 0, KS_ERR_ARG, "batch gather: member at offset %zu of ks_tensors is not an (n, n) matrix",
             member_offset);
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg     = ks_seg_of(batch, s);
        const double *member = *(double *const *)((const char *)sg.ts + member_offset);
        const int64_t nn = sg.n * sg.n, n_spin = sg.ts->method.n_spin;
        double       *dst    = out + ks_batch_mat_offset(batch, s);
        const ks_term whole  = {ks_vec_pool(&sg, member, n_spin * nn), 1.0, NULL, 0};
        const ks_term shared = {ks_seg_pool(&sg, member), 1.0, NULL, 0};
        if (has_spin) KS_TRY(ks_combine(ctx, sg.n_frame, n_spin * nn, 1, &whole, 0, dst));
        else KS_TRY(ks_combine(ctx, sg.n_mat, nn, 1, &shared, 0, dst));
    }
done:
    return st;
}

ks_status ks_batch_gap(ks_ctx *ctx, const ks_batch *batch, const double *eps, int min, double *gap) {
    ks_status st = KS_OK;
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg sg  = ks_seg_of(batch, s);
        const ks_occ occ = ks_seg_occ(&sg);
        KS_TRY(ks_gap(ctx, sg.n_frame, sg.n, &occ, eps + ks_batch_vec_offset(batch, s), min,
                      gap + ks_batch_frame_offset(batch, s)));
    }
done:
    return st;
}
