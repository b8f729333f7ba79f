/* jk_cpu.c -- J and K on the CPU: densities into internal order, chunks of the store in parallel, chunks summed in order.
 *
 * Work is cut into (frame, group of up to KS_DM_MAX densities, chunk of rows). The cut depends on the problem only, every
 * chunk has its own accumulators and they are summed in fixed order: results do not depend on the thread count. */
#include <omp.h>
#include <string.h>
#include "ops/eri.h"
#include "ops/integrals_cpu.h"

enum { WORK_BYTES = 64 << 20 /* accumulators of as many (frame, group) at a time as fit in this, at least one */ };

/* Symmetric part of D into internal order; padding is zero. */
static void pack_density(const ks_eri_plan *p, const double *D, double *DK) {
    const int64_t n = p->n_ao, np = p->n_pad;
    memset(DK, 0, (size_t)(np * np) * sizeof *DK);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            DK[p->ao_of_ext[i] * np + p->ao_of_ext[j]] = 0.5 * (D[i * n + j] + D[j * n + i]);
}

static void pack_tiles(const ks_eri_plan *p, const double *D, double *DJ) {
    const int64_t n = p->n_pad;
    for (const ks_eri_strip *s = p->strip; s < p->strip + p->n_strip; s++)
        for (int32_t t = s->tile, l = s->l0; t < s[1].tile; t++, l += p->width)
            for (int32_t k = s->k0; k < s->k0 + KS_TILE_ROWS; k++)
                for (int32_t w = 0; w < p->width; w++) *DJ++ = 2.0 * D[k * n + l + w];
}

/* J (+)= Y + Y^T in PySCF order; sq: (n_pad, n_pad) of scratch. */
static void unpack_j(const ks_eri_plan *p, const double *Y, double *sq, int add, double *J) {
    const int64_t n = p->n_ao, np = p->n_pad;
    for (const ks_eri_strip *s = p->strip; s < p->strip + p->n_strip; s++)
        for (int32_t t = s->tile, l = s->l0; t < s[1].tile; t++, l += p->width)
            for (int32_t k = s->k0; k < s->k0 + KS_TILE_ROWS; k++)
                for (int32_t w = 0; w < p->width; w++, Y++)
                    if (l + w <= k) sq[k * np + l + w] = sq[(l + w) * np + k] = l + w == k ? 2.0 * *Y : *Y;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const double v = sq[p->ao_of_ext[i] * np + p->ao_of_ext[j]];
            J[i * n + j]   = add ? J[i * n + j] + v : v;
        }
}

static void unpack_k(const ks_eri_plan *p, const double *X, int add, double *K) {
    const int64_t n = p->n_ao, np = p->n_pad;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const int64_t a = p->ao_of_ext[i], b = p->ao_of_ext[j];
            const double  v = X[a * np + b] + X[b * np + a];
            K[i * n + j]    = add ? K[i * n + j] + v : v;
        }
}

/* Sizes of the arrays of one (frame, group); offsets in doubles from its start:
 * [DJ | DK][density], then per chunk [Y | X][density]. */
typedef struct jk_layout {
    int64_t n_tile, n_sq, n_one; /* tile-ordered array, square array, both */
    int64_t n_group;             /* groups of densities of a frame */
    int     size;                /* densities of a full group */
    int64_t n_item;              /* doubles of one (frame, group) */
    int64_t n_thread;            /* doubles of scratch of one thread */
} jk_layout;

typedef struct jk_job {
    const ks_eri_cpu *eri;
    const int32_t    *slot;
    int64_t           n_dm;
    const double     *DJ, *DK;
    double           *J, *K;
    int               add;
} jk_job;

static int group_size(const jk_layout *lay, const jk_job *job, int64_t item) {
    const int64_t left = job->n_dm - item % lay->n_group * lay->size;
    return left < lay->size ? (int)left : lay->size;
}

static int64_t first_matrix(const jk_layout *lay, const jk_job *job, int64_t item) {
    return item / lay->n_group * job->n_dm + item % lay->n_group * lay->size;
}

static void load_densities(const jk_layout *lay, const jk_job *job, int64_t item, double *work, double *tmp) {
    const ks_eri_plan *p  = job->eri->plan;
    const int64_t      n2 = (int64_t)p->n_ao * p->n_ao, m0 = first_matrix(lay, job, item);
    for (int m = 0, n = group_size(lay, job, item); m < n; m++, work += lay->n_one) {
        if (job->J) {
            pack_density(p, job->DJ + (m0 + m) * n2, tmp);
            pack_tiles(p, tmp, work);
        }
        if (job->K) pack_density(p, job->DK + (m0 + m) * n2, work + lay->n_tile);
    }
}

static void run_chunk(const jk_layout *lay, const jk_job *job, int64_t item, int64_t chunk, double *work, double *tmp) {
    const ks_eri_plan *p     = job->eri->plan;
    const int64_t      frame = item / lay->n_group, slot = job->slot ? job->slot[frame] : frame;
    double            *acc = work + (1 + chunk) * lay->size * lay->n_one;
    memset(acc, 0, (size_t)(lay->size * lay->n_one) * sizeof *acc);
    p->isa->jk(p, p->chunk_row[chunk], p->chunk_row[chunk + 1],
               job->eri->store + slot * p->n_store + p->chunk_offset[chunk], group_size(lay, job, item), lay->n_one,
               job->J ? work : NULL, job->K ? work + lay->n_tile : NULL, acc, acc + lay->n_tile, tmp);
}

static void store_results(const jk_layout *lay, const jk_job *job, int64_t item, double *work, double *tmp) {
    const ks_eri_plan *p = job->eri->plan;
    const int64_t n2 = (int64_t)p->n_ao * p->n_ao, m0 = first_matrix(lay, job, item), n_acc = lay->size * lay->n_one;
    double       *acc = work + n_acc;
    for (int64_t c = 1; c < p->n_chunk; c++)
        for (int64_t i = 0; i < n_acc; i++) acc[i] += acc[c * n_acc + i];
    for (int m = 0, n = group_size(lay, job, item); m < n; m++, acc += lay->n_one) {
        if (job->J) unpack_j(p, acc, tmp, job->add, job->J + (m0 + m) * n2);
        if (job->K) unpack_k(p, acc + lay->n_tile, job->add, job->K + (m0 + m) * n2);
    }
}

/* J[DJ] and K[DK]; add: into J and K, which may be the same array. */
static ks_status jk_run(ks_ctx *ctx, int64_t n_frame, const jk_job *job) {
    ks_status           st    = KS_OK;
    const ks_eri_plan  *p     = job->eri->plan;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    jk_layout lay = {.n_tile = (int64_t)p->n_tile * KS_TILE_ROWS * p->width, .n_sq = (int64_t)p->n_pad * p->n_pad};
    int64_t   n_all, n_at_once;
    double   *work = NULL, *tmp = NULL;
    lay.n_one    = lay.n_tile + lay.n_sq;
    lay.size     = job->n_dm < KS_DM_MAX ? (int)job->n_dm : KS_DM_MAX;
    lay.n_group  = (job->n_dm + lay.size - 1) / lay.size;
    lay.n_item   = (1 + p->n_chunk) * lay.size * lay.n_one;
    lay.n_thread = lay.n_sq + KS_DM_MAX * p->n_pad;
    n_all        = n_frame * lay.n_group;
    n_at_once    = WORK_BYTES / (lay.n_item * (int64_t)sizeof(double));
    n_at_once    = n_at_once < 1 ? 1 : n_at_once > n_all ? n_all : n_at_once;
    KS_TRY(KS_TAKE(arena, work, n_at_once * lay.n_item));
    KS_TRY(KS_TAKE(arena, tmp, ctx->n_thread * lay.n_thread));
    for (int64_t i0 = 0; i0 < n_all; i0 += n_at_once) {
        const int64_t n = n_all - i0 < n_at_once ? n_all - i0 : n_at_once;
#pragma omp parallel num_threads(ctx->n_thread)
        {
            double *mine = tmp + omp_get_thread_num() * lay.n_thread;
#pragma omp for schedule(static)
            for (int64_t k = 0; k < n; k++) load_densities(&lay, job, i0 + k, work + k * lay.n_item, mine);
#pragma omp for collapse(2) schedule(dynamic)
            for (int64_t k = 0; k < n; k++)
                for (int64_t c = 0; c < p->n_chunk; c++) run_chunk(&lay, job, i0 + k, c, work + k * lay.n_item, mine);
#pragma omp for schedule(static)
            for (int64_t k = 0; k < n; k++) store_results(&lay, job, i0 + k, work + k * lay.n_item, mine);
        }
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

ks_status ks_jk_cpu(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *D,
                    double *J, double *K) {
    const jk_job job = {impl, slot, n_dm, D, D, J, K, 0};
    return jk_run(ctx, n_frame, &job);
}

ks_status ks_jk_adj_cpu(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                        const double *J_bar, const double *K_bar, double *D_bar) {
    const jk_job job = {impl, slot, n_dm, J_bar, K_bar, J_bar ? D_bar : NULL, K_bar ? D_bar : NULL, 1};
    return jk_run(ctx, n_frame, &job);
}
