/* plan.c -- see train.h: how much memory there is, and what is kept in it. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "train/trainer_impl.h"

enum { MICRO_MAX = 64 }; /* larger passes gain nothing on the CPU and cost activations */

/* On the CPU the machine is shared, also by the ranks on it; a GPU, one rank's own, keeps a reserve for scratch and
 * for its libraries. */
static int64_t budget_bytes(const ks_ctx *ctx, const ks_comm *comm, const ks_config *c) {
    if (c->device.memory_gib > 0) return (int64_t)(c->device.memory_gib * 1073741824.0);
    if (!ks_ctx_is_host(ctx)) return ks_mem_available(ctx) / 20 * 17;
    return ks_mem_available(ctx) / 20 * 12 / ks_comm_local_size(comm);
}

/* Matrices of the scratch arena that a Fock build or an adjoint takes at once, per frame. */
enum { SCRATCH_MATRICES = 12 };

/* What a pass holds per frame: H0 and its cotangent, labels, the saved state of both refinements and losses (training
 * and evaluation keep theirs), scratch. */
static ks_status pass_bytes(const ks_config *c, const ks_run_data *d, const ks_method *m, const ks_system *sys,
                            int64_t *bytes) {
    ks_status     st    = KS_OK;
    int64_t       train = 0, eval = 0;
    const int64_t n_mat = (d->needs_labels ? 4 : 2) + SCRATCH_MATRICES;
    KS_TRY(ks_refine_bytes(&c->refine, sys, m->n_spin, 1, &train));
    KS_TRY(ks_refine_bytes(&c->eval_refine, sys, m->n_spin, 0, &eval));
    *bytes = train + eval + 2 * ks_loss_bytes(sys, m->n_spin) +
             n_mat * m->n_spin * sys->n_ao * sys->n_ao * (int64_t)sizeof(double);
done:
    return st;
}

static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

static ks_status largest_frame(ks_ctx *ctx, const ks_config *c, const ks_run_data *d, const ks_model *model,
                               ks_train_plan *p) {
    ks_status st = KS_OK;
    ks_method method;
    KS_TRY(ks_config_method(c, &method));
    for (int64_t s = 0; s < d->n_system; s++) {
        int64_t slot = 0, activation = 0, work = 0;
        KS_TRY(ks_tensors_bytes(ctx, d->system[s], &method, &slot));
        KS_TRY(ks_model_bytes(model, d->system[s], &activation));
        p->slot_bytes       = at_least(p->slot_bytes, slot);
        p->activation_bytes = at_least(p->activation_bytes, activation);
        KS_TRY(pass_bytes(c, d, &method, d->system[s], &work));
        p->work_bytes = at_least(p->work_bytes, work);
    }
done:
    return st;
}

/* Ranks with less memory or other devices: the least budget and the largest figures are everybody's. */
static ks_status agree(ks_comm *comm, ks_train_plan *p) {
    ks_status st   = KS_OK;
    double    x[4] = {-(double)p->budget_bytes, (double)p->slot_bytes, (double)p->activation_bytes,
                      (double)p->work_bytes}; /* exact below 2^53 */
    KS_TRY(ks_comm_host_max(comm, "the memory plan", 4, x));
    double first        = p->budget_bytes == (int64_t)-x[0] ? -(double)ks_comm_rank(comm) : -INFINITY;
    p->budget_bytes     = (int64_t)-x[0];
    p->slot_bytes       = (int64_t)x[1];
    p->activation_bytes = (int64_t)x[2];
    p->work_bytes       = (int64_t)x[3];
    KS_TRY(ks_comm_host_max(comm, "the memory plan", 1, &first));
    p->budget_rank = (int64_t)-first;
done:
    return st;
}

/* The largest pool of at most `most` of which no rank owns more than `fits`; a pool of one batch fits. */
static int64_t pool_that_fits(int64_t fits, int64_t batch, int64_t n_rank, int64_t most) {
    int64_t lo = batch, hi = at_least(most, batch);
    while (lo < hi) {
        const int64_t middle = lo + (hi - lo + 1) / 2;
        if (ks_pool_share(middle, batch, n_rank) <= fits) lo = middle;
        else hi = middle - 1;
    }
    return lo;
}

void ks_plan_settle(ks_train_plan *p, int64_t batch, int64_t n_train, int64_t pool, int64_t micro_batch) {
    p->pool         = at_most(pool, n_train);
    p->pool_share   = ks_pool_share(p->pool, batch, p->n_rank);
    p->is_resident  = p->pool == n_train;
    p->share        = (batch + p->n_rank - 1) / p->n_rank;
    const int64_t m = at_least(1, at_most(micro_batch, p->share));
    p->n_pass       = (p->share + m - 1) / m;
    p->micro_batch  = (p->share + p->n_pass - 1) / p->n_pass;
    p->total_bytes  = p->param_bytes + p->micro_batch * (p->activation_bytes + p->work_bytes) +
                     (p->pool_share + p->valid_pool) * p->slot_bytes;
}

static ks_status check_batch(int64_t batch, int64_t n_train, int64_t n_rank) {
    ks_status st = KS_OK;
    KS_CHECK(batch <= n_train, KS_ERR_CONFIG, "train.batch = %lld, but there are %lld training frames",
             (long long)batch, (long long)n_train);
    KS_CHECK(n_rank <= batch, KS_ERR_CONFIG,
             "train.batch = %lld frames cannot be shared out over %lld ranks: a larger batch, or fewer ranks",
             (long long)batch, (long long)n_rank);
done:
    return st;
}

/* Shares the budget out. The least: one frame per pass, a pool of one batch, one validation geometry. Then, in this
 * order: passes, the pool, validation (n_valid frames of a rank). */
static ks_status fit(const ks_config *c, const ks_comm *comm, int64_t n_train, int64_t n_valid, int is_host,
                     ks_train_plan *p) {
    ks_status     st                       = KS_OK;
    char          where[KS_HOST_NAME + 32] = "";
    const int64_t batch = c->train.batch, n_rank = p->n_rank;
    const int64_t frame_bytes = p->activation_bytes + p->work_bytes, least_valid = n_valid ? 1 : 0;
    const int64_t least_pool = ks_pool_share(at_most(at_least(batch, c->train.pool), n_train), batch, n_rank);
    p->share                 = (batch + n_rank - 1) / n_rank;
    p->micro_batch           = c->train.micro_batch ? at_most(c->train.micro_batch, p->share) : 1;
    const int64_t least = p->param_bytes + p->micro_batch * frame_bytes + (least_pool + least_valid) * p->slot_bytes;
    if (n_rank > 1)
        snprintf(where, sizeof where, " on rank %lld (%s)", (long long)p->budget_rank,
                 ks_comm_host(comm, (int)p->budget_rank));
    KS_CHECK(least <= p->budget_bytes, KS_ERR_NOMEM,
             "this run needs at least %.2f GiB%s (%lld geometries of %.1f MiB in the pool, weights and moments %.2f "
             "GiB), the plan may use %.2f GiB%s: "
             "a smaller train.batch or model, a coarser method.grid, or device.memory_gib",
             (double)least / 1073741824, n_rank > 1 ? " on each rank" : "", (long long)least_pool,
             (double)p->slot_bytes / 1048576, (double)p->param_bytes / 1073741824, (double)p->budget_bytes / 1073741824,
             where);
    int64_t free_bytes = p->budget_bytes - least;
    if (!c->train.micro_batch) {
        const int64_t want = (is_host ? at_most(p->share, MICRO_MAX) : p->share) - 1;
        const int64_t more =
            at_most(want, free_bytes / 4 / frame_bytes); /* a quarter of the rest at most: the pool matters more */
        p->micro_batch += more;
        free_bytes -= more * frame_bytes;
    }
    p->valid_pool = least_valid;
    if (n_valid) {
        const int64_t more = at_most(n_valid - 1, free_bytes / 4 / p->slot_bytes);
        p->valid_pool += more;
        free_bytes -= more * p->slot_bytes;
    }
    int64_t pool = c->train.pool;
    if (!pool) {
        const int64_t fits = pool_that_fits(least_pool + free_bytes / p->slot_bytes, batch, n_rank, n_train);
        pool               = fits == n_train ? n_train : at_most(fits, at_least(batch, batch * c->train.reuse));
        p->is_limited      = fits < n_train;
    }
    ks_plan_settle(p, batch, n_train, pool, p->micro_batch);
done:
    return st;
}

ks_status ks_train_make_plan(ks_ctx *ctx, ks_comm *comm, const ks_config *c, const ks_run_data *d, ks_model *model,
                             ks_train_plan *plan) {
    ks_status                st     = KS_OK;
    const int64_t            n_rank = ks_comm_size(comm), n_train = d->split->n[KS_PART_TRAIN];
    const ks_reducer_options reduce  = ks_reducer_options_of(c);
    ks_train_plan            p       = {.budget_bytes = budget_bytes(ctx, comm, c), .n_rank = n_rank};
    int64_t                  n_valid = c->valid.every ? at_most(c->valid.frames, d->split->n[KS_PART_VALID]) : 0;
    KS_TRY(ks_leave_together(comm, check_batch(c->train.batch, n_train, n_rank)));
    n_valid       = (n_valid + n_rank - 1) / n_rank;
    p.param_bytes = ks_reducer_param_bytes(ks_model_params(model), comm, &reduce);
    KS_TRY(largest_frame(ctx, c, d, model, &p));
    KS_TRY(agree(comm, &p));
    KS_TRY(ks_leave_together(comm, fit(c, comm, n_train, n_valid, ks_ctx_is_host(ctx), &p)));
    *plan = p;
done:
    return st;
}

static double mib(int64_t bytes) { return (double)bytes / 1048576; }

ks_status ks_train_print_plan(const ks_config *c, const ks_run_data *d, const ks_train_plan *p, char **text) {
    ks_status st   = KS_OK;
    char     *raw  = NULL;
    size_t    size = 0;
    FILE     *out  = open_memstream(&raw, &size);
    KS_CHECK(out, KS_ERR_NOMEM, "text of the memory plan");
    fprintf(out, "memory plan%-16s     number   MiB each       MiB\n", p->n_rank > 1 ? " of a rank" : "");
#define ROW(name, n, bytes)                                                                                            \
    fprintf(out, "  %-26s %9lld %10.2f %9.1f\n", name, (long long)(n), mib(bytes), mib(bytes) * (double)(n))
    ROW("weights, gradient, moments", 1, p->param_bytes);
    ROW("geometries in the pool", p->pool_share, p->slot_bytes);
    ROW("validation geometries", p->valid_pool, p->slot_bytes);
    ROW("network, frames of a pass", p->micro_batch, p->activation_bytes);
    ROW("matrices, frames of a pass", p->micro_batch, p->work_bytes);
#undef ROW
    fprintf(out, "  %-26s %9s %10s %9.1f of %.1f\n", "total", "", "", mib(p->total_bytes), mib(p->budget_bytes));
    const int is_even = p->n_rank * p->n_pass * p->micro_batch == c->train.batch;
    fprintf(out, "  batch %lld = %lld rank%s x %lld pass%s x %s%lld frame%s; ", (long long)c->train.batch,
            (long long)p->n_rank, p->n_rank == 1 ? "" : "s", (long long)p->n_pass, p->n_pass == 1 ? "" : "es",
            is_even ? "" : "at most ", (long long)p->micro_batch, p->micro_batch == 1 ? "" : "s");
    if (p->is_resident) fprintf(out, "all training geometries stay in memory");
    else
        fprintf(out, "%lld of %lld training geometries in memory, each visited %lld times", (long long)p->pool,
                (long long)d->split->n[KS_PART_TRAIN], (long long)c->train.reuse);
    const int rc = fclose(out);
    out          = NULL;
    KS_CHECK(rc == 0 && raw, KS_ERR_NOMEM, "text of the memory plan");
    KS_TRY(ks_host_strdup(raw, text));
done:
    if (out) fclose(out);
    free(raw);
    return st;
}
