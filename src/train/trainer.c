/* trainer.c -- see train.h: the training step.
 *
 * The loss of a step is the mean over the frames of the global batch that count. Passes add their gradients with the
 * scale 1/batch; when frames were masked ks_clip multiplies by batch/counted. A step is queued without waiting for
 * anything: slots, learning rate and new geometries go up, loss terms and the gradient's norm come back (ks_fetch).
 *
 * On several ranks each runs the passes of its share of the batch. While the adjoint of the last one goes on, the
 * gradient is summed over the ranks (reducer.h); behind it loss terms and votes are. Everything that a step decides
 * (which frames count, clipping, whether it counts at all) is decided from the sums, by every rank alike. */
#define _GNU_SOURCE
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "ksgrad/linalg.h"
#include "train/trainer_impl.h"

_Static_assert(KS_TERM_COUNTED + 1 == KS_TERM_MIN_GAP && KS_TERM_MIN_GAP + 1 == KS_TERM_N,
               "sums first, then the one that is a minimum");
static double *terms_of(const ks_trainer *t) { return t->block + KS_BLOCK_TERM; }
static double *state_of(const ks_trainer *t) { return t->block + KS_BLOCK_STATE; }

/* ---- one pass ---- */

void ks_pass_release(ks_ctx *ctx, ks_pass_buffers *b) {
    ks_mem_free(ctx, (void **)&b->H0);
    ks_mem_free(ctx, (void **)&b->H0_bar);
    ks_mem_free(ctx, (void **)&b->H_ref);
    ks_mem_free(ctx, (void **)&b->P_ref);
    KS_FREE(b->host);
    b->size = 0;
}

ks_status ks_pass_reserve(ks_ctx *ctx, ks_pass_buffers *b, const ks_batch *batch, int with_labels) {
    ks_status     st    = KS_OK;
    const int64_t size  = ks_batch_mat_size(batch);
    int64_t       bytes = 0;
    if (size <= b->size && (!with_labels || b->H_ref)) return KS_OK;
    const int64_t grown = size > b->size ? size : b->size;
    with_labels         = with_labels || b->H_ref;
    ks_pass_release(ctx, b);
    KS_TRY(ks_mul_i64(grown, (int64_t)sizeof(double), &bytes));
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)&b->H0));
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)&b->H0_bar));
    if (with_labels) {
        KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)&b->H_ref));
        KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)&b->P_ref));
        KS_TRY(KS_NEW(b->host, 2 * grown));
    }
    b->size = grown;
done:
    if (st != KS_OK) ks_pass_release(ctx, b);
    return st;
}

ks_status ks_pass_h0(ks_ctx *ctx, ks_model *model, const ks_batch *batch, int want_adj, ks_pass_buffers *b) {
    ks_status st = KS_OK;
    if (!model) {
        KS_TRY(ks_batch_gather(ctx, batch, offsetof(ks_tensors, F0), b->H0));
        goto done;
    }
    KS_TRY(ks_model_fwd(ctx, model, batch, want_adj, b->H0));
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_segment *g   = &batch->segment[s];
        const int64_t     len = g->tensors->method.n_spin * g->tensors->sys->n_ao * g->tensors->sys->n_ao;
        const ks_term     f0  = {{g->tensors->F0, len, len, g->slot, 1, 0}, 1.0, NULL, 0};
        KS_TRY(ks_combine(ctx, g->n_frame, len, 1, &f0, 1, b->H0 + ks_batch_mat_offset(batch, s)));
    }
done:
    return st;
}

ks_status ks_pass_labels(ks_ctx *ctx, const ks_run_data *d, const ks_batch *batch, const int64_t *frames,
                         ks_pass_buffers *b, double *energy) {
    ks_status st = KS_OK;
    int64_t   k  = 0;
    double   *H = b->host, *P = b->host + b->size;
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const int64_t n  = batch->segment[s].tensors->sys->n_ao;
        int64_t       at = ks_batch_mat_offset(batch, s);
        for (int64_t i = 0; i < batch->segment[s].n_frame; i++, k++, at += n * n) {
            ks_label label = {.n_ao = n, .F = H + at, .P = P + at};
            KS_TRY(ks_data_label_read(d->labels, &d->label_method, frames[k], &label));
            if (energy) energy[k] = label.energy;
        }
    }
    KS_TRY(ks_mem_to_backend(ctx, b->H_ref, H, (size_t)ks_batch_mat_size(batch) * sizeof *H));
    KS_TRY(ks_mem_to_backend(ctx, b->P_ref, P, (size_t)ks_batch_mat_size(batch) * sizeof *P));
done:
    return st;
}

/* Network, refinement and loss; loss terms are added, buf->H0_bar is made. */
static ks_status forward_body(ks_trainer *t, const ks_batch *batch) {
    ks_status        st     = KS_OK;
    const int        labels = t->data->needs_labels;
    ks_pass_buffers *b      = &t->buf;
    KS_TRY(ks_pass_h0(t->ctx, t->model, batch, 1, b));
    KS_TRY(ks_mem_zero(t->ctx, b->H0_bar, (size_t)ks_batch_mat_size(batch) * sizeof(double)));
    KS_TRY(ks_loss_step(t->ctx, t->loss, t->refine, batch, b->H0, labels ? b->H_ref : NULL, labels ? b->P_ref : NULL,
                        1.0 / (double)t->config->train.batch, b->H0_bar, terms_of(t)));
done:
    return st;
}

/* And back; gradients are added. */
static ks_status pass_body(ks_trainer *t, const ks_batch *batch) {
    ks_status st = KS_OK;
    KS_TRY(forward_body(t, batch));
    KS_TRY(ks_model_adj(t->ctx, t->model, batch, t->buf.H0_bar)); /* H0 = F0 + W: the cotangent of W is that of H0 */
done:
    return st;
}

/* The last pass of a step on several ranks: with the sums over them. */
static ks_status last_pass_body(ks_trainer *t, const ks_batch *batch) {
    ks_status st = KS_OK;
    KS_TRY(forward_body(t, batch));
    KS_TRY(ks_reducer_begin(t->reducer));
    KS_TRY(ks_model_adj(t->ctx, t->model, batch, t->buf.H0_bar));
    KS_TRY(ks_reducer_end(t->reducer, KS_BLOCK_LEAST - KS_BLOCK_VOTE, t->block + KS_BLOCK_VOTE, 1,
                          t->block + KS_BLOCK_LEAST));
done:
    return st;
}

static ks_status run_pass(ks_trainer *t, const ks_batch *batch, const int64_t *frames, int is_last) {
    ks_status st = KS_OK;
    KS_TRY(ks_pass_reserve(t->ctx, &t->buf, batch, t->data->needs_labels));
    if (t->data->needs_labels) KS_TRY(ks_pass_labels(t->ctx, t->data, batch, frames, &t->buf, NULL));
    KS_TRY(ks_recorder_run(t->recorder, t, batch, t->reducer && is_last ? last_pass_body : pass_body));
done:
    return st;
}

/* ---- the step ---- */

static ks_status update_body(ks_trainer *t, const ks_batch *unused) {
    (void)unused;
    return ks_reducer_update(t->ctx, t->reducer, ks_model_params(t->model), &t->config->optim,
                             (double)t->config->train.batch, terms_of(t) + KS_TERM_COUNTED, t->block + KS_BLOCK_SQUARE,
                             state_of(t));
}

/* This rank's votes and builds go where the sums will be. One rank keeps them on the host. */
static ks_status upload_votes(ks_trainer *t, const ks_flight *f) {
    ks_status st = KS_OK;
    double    own[KS_VOTE_N + 1];
    for (int k = 0; k < KS_VOTE_N; k++) own[k] = f->vote[k];
    own[KS_VOTE_N] = (double)f->n_built;
    if (t->comm) KS_TRY(ks_mem_to_backend(t->ctx, t->block + KS_BLOCK_VOTE, own, sizeof own));
done:
    return st;
}

int ks_trainer_depth(const ks_trainer *t) { return ks_ctx_is_host(t->ctx) ? 1 : KS_FLIGHT_MAX; }
int ks_trainer_pending(const ks_trainer *t) { return t->n_flight; }

ks_status ks_trainer_queue(ks_trainer *t, const int vote[KS_VOTE_N]) {
    ks_status  st     = KS_OK;
    ks_params *params = ks_model_params(t->model);
    ks_flight *f      = &t->flight[(t->first_flight + t->n_flight) % KS_FLIGHT_MAX];
    KS_CHECK(t->n_flight < ks_trainer_depth(t), KS_ERR_ARG, "step %lld: %d steps are on their way, limit %d",
             (long long)t->step + 1, t->n_flight, ks_trainer_depth(t));
    f->start = ks_wall_seconds();
    f->step  = t->step + 1;
    if (t->n_flight == 0) t->waited = ks_comm_wait_seconds(t->comm); /* not what validation or a checkpoint waited */
    for (int k = 0; k < KS_VOTE_N; k++) f->vote[k] = vote && vote[k];
    KS_TRY(ks_pool_next(t->pool, &f->n_built));
    f->build_seconds = ks_wall_seconds() - f->start;
    KS_TRY(ks_params_zero_grad(params));
    KS_TRY(ks_loss_terms_reset(t->ctx, terms_of(t)));
    KS_TRY(ks_optim_upload(t->ctx, &t->config->optim, f->step, state_of(t)));
    KS_TRY(upload_votes(t, f));
    for (int64_t p = 0; p < ks_pool_n_pass(t->pool); p++) {
        const int64_t  *frames = NULL;
        const ks_batch *pass   = ks_pool_pass(t->pool, p, &frames);
        KS_TRY(run_pass(t, pass, frames, p + 1 == ks_pool_n_pass(t->pool)));
    }
    KS_TRY(ks_recorder_run(t->recorder, t, NULL, update_body));
    KS_TRY(ks_fetch_start(f->fetch, t->block, KS_BLOCK_FETCH * sizeof(double)));
    ks_pool_done(t->pool);
    t->n_flight++;
    t->step++;
    t->samples += t->config->train.batch;
done:
    return st;
}

ks_status ks_leave_together(ks_comm *comm, ks_status st) {
    ks_status heard = KS_OK;
    if (st != KS_OK && ks_comm_rank(comm) > 0) heard = ks_comm_barrier(comm, "the end of the run");
    return heard != KS_OK ? heard : st;
}

/* Whether a step counts; from sums, so that all ranks find the same. */
static ks_status judge(const ks_trainer *t, int64_t step, double loss, const double *terms, const double *state) {
    ks_status     st    = KS_OK;
    const int64_t batch = t->config->train.batch, n_masked = batch - (int64_t)terms[KS_TERM_COUNTED];
    KS_CHECK(2 * n_masked <= batch, KS_ERR_NUMERIC,
             "step %lld: %lld of %lld frames have a HOMO-LUMO gap below 1e-4 Ha or values that are not finite "
             "(smallest gap %.3g Ha): "
             "a smaller optim.lr, or loss.self_consistency 0.1, keeps the network from running away",
             (long long)step, (long long)n_masked, (long long)batch, terms[KS_TERM_MIN_GAP]);
    KS_CHECK(state[KS_STEP_OK] != 0.0 && isfinite(loss), KS_ERR_NUMERIC, "step %lld: loss %g, gradient norm %g",
             (long long)step, loss, state[KS_STEP_NORM]);
done:
    return ks_leave_together(t->comm, st);
}

static double mean_if(double weight, double sum, double n) { return weight > 0 ? sum / n : NAN; }

ks_status ks_trainer_collect(ks_trainer *t, ks_step_result *out) {
    ks_status              st    = KS_OK;
    const ks_loss_weights *w     = &t->config->loss;
    const int64_t          batch = t->config->train.batch;
    const ks_flight       *f     = &t->flight[t->first_flight];
    KS_CHECK(t->n_flight > 0, KS_ERR_ARG, "no step is on its way");
    KS_TRY(ks_comm_fetch_wait(t->comm, f->fetch, "a training step", f->step));
    const double *block = ks_fetch_host(f->fetch), *terms = block + KS_BLOCK_TERM, *state = block + KS_BLOCK_STATE;
    const double  n = terms[KS_TERM_COUNTED], loss = ks_loss_value(w, terms) / n;
    const int64_t n_masked = batch - (int64_t)n;
    KS_TRY(judge(t, f->step, loss, terms, state));
    const double now = ks_wall_seconds(), waited = ks_comm_wait_seconds(t->comm);
    *out = (ks_step_result){.step             = f->step,
                            .loss             = loss,
                            .energy           = terms[KS_TERM_ENERGY] / n,
                            .commutator       = mean_if(w->commutator, terms[KS_TERM_COMMUTATOR], n),
                            .self_consistency = mean_if(w->self_consistency, terms[KS_TERM_SELF_CONSISTENCY], n),
                            .hamiltonian      = mean_if(w->hamiltonian, terms[KS_TERM_HAMILTONIAN], n),
                            .density          = mean_if(w->density, terms[KS_TERM_DENSITY], n),
                            .lr               = state[KS_STEP_LR],
                            .grad_norm        = state[KS_STEP_NORM],
                            .min_gap          = terms[KS_TERM_MIN_GAP],
                            .n_frame          = batch,
                            .n_masked         = n_masked,
                            .n_built          = t->comm ? (int64_t)block[KS_BLOCK_BUILT] : f->n_built,
                            .build_seconds    = f->build_seconds,
                            .seconds          = now - fmax(f->start, t->collected_at),
                            .wait_seconds     = waited - t->waited};
    for (int k = 0; k < KS_VOTE_N; k++) out->vote[k] = t->comm ? block[KS_BLOCK_VOTE + k] > 0 : f->vote[k];
    t->collected_at = now;
    t->waited       = waited;
    t->first_flight = (t->first_flight + 1) % KS_FLIGHT_MAX;
    t->n_flight--;
done:
    if (st != KS_OK && t->n_flight) { /* that step changed nothing; a later one on its way is not counted either */
        t->step     = f->step - 1;
        t->n_flight = 0;
    }
    return st;
}

ks_status ks_trainer_step(ks_trainer *t, ks_step_result *out) {
    ks_status st = KS_OK;
    KS_TRY(ks_trainer_queue(t, NULL));
    KS_TRY(ks_trainer_collect(t, out));
done:
    return st;
}

/* ---- creation ---- */

/* Reference geometry of each composition: its first training frame, else its first validation frame. */
static ks_status set_references(ks_trainer *t) {
    ks_status          st = KS_OK;
    const ks_run_data *d  = t->data;
    const ks_frames   *f  = d->frames;
    for (int64_t s = 0; s < d->n_system; s++) {
        int64_t found = -1;
        int     part  = KS_PART_TRAIN;
        for (; part <= KS_PART_VALID && found < 0; part++)
            for (int64_t i = 0; i < d->split->n[part] && found < 0; i++)
                if (d->frame_system[d->split->index[part][i]] == s) found = d->split->index[part][i];
        if (found < 0) continue;
        KS_TRY(
            ks_model_set_reference(t->model, d->system[s]->n_atom, d->system[s]->Z, f->pos + 3 * f->atom_off[found]));
        if (part > KS_PART_VALID && ks_comm_rank(t->comm) == 0)
            ks_log(KS_LOG_WARN, "composition %s is in the validation set only", d->system[s]->formula);
    }
done:
    return st;
}

static ks_status make_pool(ks_trainer *t) {
    ks_pool_options opt = {.n_entry     = t->plan.pool,
                           .batch       = t->config->train.batch,
                           .reuse       = t->config->train.reuse,
                           .micro_batch = t->plan.micro_batch,
                           .seed        = (uint64_t)t->config->run.seed};
    ks_comm_share(t->comm, opt.batch, &opt.lane_lo, &opt.lane_hi);
    ks_pool_destroy(&t->pool);
    return ks_pool_create(t->ctx, t->data, &t->method, t->data->split->n[KS_PART_TRAIN],
                          t->data->split->index[KS_PART_TRAIN], &opt, &t->pool);
}

ks_reducer_options ks_reducer_options_of(const ks_config *c) {
    return (ks_reducer_options){.bucket_bytes = (int64_t)(c->comm.bucket_mib * 1048576),
                                .wire_bf16    = c->comm.wire,
                                .shard        = c->comm.shard_moments};
}

ks_status ks_trainer_create(ks_ctx *ctx, ks_comm *comm, const ks_config *config, const ks_run_data *data,
                            ks_trainer **out) {
    ks_status                st     = KS_OK;
    ks_trainer              *t      = NULL;
    ks_model_options         model  = config->model.options;
    const ks_loss_weights    both   = {.energy = 1, .commutator = 1};
    const ks_reducer_options reduce = ks_reducer_options_of(config);
    KS_TRY(KS_ZNEW(t, 1));
    t->ctx = ctx, t->comm = comm, t->config = config, t->data = data, t->best_step = -1;
    KS_TRY(ks_comm_check_equal(comm, "the geometries of data.file and their split", data->hash));
    KS_TRY(ks_config_method(config, &t->method));
    model.n_ao_kind = data->system[0]->n_ao_kind;
    KS_TRY(ks_model_create(ctx, &model, (uint64_t)config->run.seed, &t->model));
    KS_TRY(set_references(t));
    KS_TRY(ks_train_make_plan(ctx, comm, config, data, t->model, &t->plan));
    KS_TRY(ks_refine_create(ctx, &config->refine, &t->refine));
    KS_TRY(ks_loss_create(ctx, &config->loss, &t->loss));
    KS_TRY(ks_refine_create(ctx, &config->eval_refine, &t->eval_refine));
    KS_TRY(ks_loss_create(ctx, &both, &t->eval_loss));
    KS_TRY(ks_reducer_create(ctx, comm, ks_model_params(t->model), &reduce, &t->reducer));
    KS_TRY(make_pool(t));
    KS_TRY(ks_mem_alloc(ctx, KS_BLOCK_N * sizeof(double), (void **)&t->block));
    KS_TRY(ks_mem_alloc(ctx, KS_TERM_N * sizeof(double), (void **)&t->eval_terms));
    for (int k = 0; k < KS_FLIGHT_MAX; k++)
        KS_TRY(ks_fetch_create(ctx, KS_BLOCK_FETCH * sizeof(double), &t->flight[k].fetch));
    if (config->device.graphs && ks_ctx_has_graphs(ctx) && ks_comm_is_queued(comm))
        KS_TRY(ks_recorder_create(ctx, &t->recorder));
    if (t->plan.valid_pool)
        KS_TRY(ks_valid_set_create(ctx, comm, config, data, &t->method, t->plan.valid_pool, &t->valid));
    *out = t;
    t    = NULL;
done:
    ks_trainer_destroy(&t);
    return st;
}

void ks_trainer_destroy(ks_trainer **pt) {
    if (!pt || !*pt) return;
    ks_trainer *t = *pt;
    ks_valid_set_release(&t->valid);
    ks_pass_release(t->ctx, &t->buf);
    ks_recorder_destroy(&t->recorder);
    for (int k = 0; k < KS_FLIGHT_MAX; k++) ks_fetch_destroy(&t->flight[k].fetch);
    ks_mem_free(t->ctx, (void **)&t->block);
    ks_mem_free(t->ctx, (void **)&t->eval_terms);
    ks_reducer_destroy(&t->reducer);
    ks_pool_destroy(&t->pool);
    ks_loss_destroy(&t->loss);
    ks_loss_destroy(&t->eval_loss);
    ks_refine_destroy(&t->refine);
    ks_refine_destroy(&t->eval_refine);
    ks_model_destroy(&t->model);
    KS_FREE(*pt);
}

ks_model            *ks_trainer_model(ks_trainer *t) { return t->model; }
const ks_train_plan *ks_trainer_plan(const ks_trainer *t) { return &t->plan; }
int64_t              ks_trainer_steps_done(const ks_trainer *t) { return t->step - t->n_flight; }
int64_t              ks_trainer_best_step(const ks_trainer *t) { return t->best_step; }

/* ---- checkpoints ---- */

ks_status ks_trainer_load(ks_trainer *t, const char *dir) {
    ks_status      st       = KS_OK;
    const int      is_first = ks_comm_rank(t->comm) == 0;
    const int64_t  batch    = t->config->train.batch;
    int64_t        pool     = t->plan.pool;
    ks_moments     moments  = {0};
    ks_train_state state    = {.best_step = -1};
    KS_CHECK(t->step == 0, KS_ERR_ARG, "a checkpoint is loaded before the first step");
    KS_TRY(ks_reducer_moments_room(t->reducer, &moments));
    KS_TRY(ks_checkpoint_load_state(t->ctx, dir, t->model, &moments, &state));
    KS_TRY(ks_reducer_set_moments(t->reducer, &moments));
    KS_CHECK(state.data_hash == t->data->hash, KS_ERR_DATA,
             "%s was trained on other geometries or another split than %s: --resume=never starts anew", dir,
             t->config->data.file);
    /* The plan is part of the arithmetic (sums over passes, order of the frames): it stays as it was, unless the
     * config asks. */
    if (!t->config->train.pool && state.pool_size >= batch) {
        pool               = state.pool_size;
        t->plan.is_limited = 0;
    }
    ks_plan_settle(&t->plan, batch, t->data->split->n[KS_PART_TRAIN], pool,
                   t->config->train.micro_batch ? t->plan.micro_batch : state.micro_batch);
    if (t->plan.total_bytes > t->plan.budget_bytes && is_first)
        ks_log(KS_LOG_WARN,
               "the pool of %s, %lld geometries, needs %.2f GiB on each of %lld ranks, planned with are %.2f GiB: more "
               "ranks, or a train.pool that fits (the frames then come in another order)",
               dir, (long long)pool, (double)t->plan.total_bytes / 1073741824, (long long)t->plan.n_rank,
               (double)t->plan.budget_bytes / 1073741824);
    KS_TRY(make_pool(t));
    if (ks_pool_is_like(t->pool, state.n_word, state.word)) KS_TRY(ks_pool_load(t->pool, state.n_word, state.word));
    else if (is_first)
        ks_log(KS_LOG_WARN,
               "train.pool or train.batch changed: the pool starts anew, the run is not bit by bit the same");
    t->step        = state.step;
    t->samples     = state.samples;
    t->best_step   = state.best_step;
    t->best_energy = state.best_energy;
done:
    ks_moments_clear(&moments);
    ks_train_state_clear(&state);
    return st;
}

ks_status ks_trainer_check_weights(ks_trainer *t) {
    ks_status st   = KS_OK;
    uint64_t  hash = 0;
    if (!t->comm) return KS_OK;
    KS_TRY(ks_params_hash(t->ctx, ks_model_params(t->model), &hash));
    KS_TRY(ks_comm_check_equal(t->comm, "the weights", hash));
done:
    return st;
}

ks_status ks_trainer_save(ks_trainer *t, const char *ckpt_dir, const char *config_text, const char *command) {
    ks_status      st      = KS_OK;
    ks_train_state state   = {.step        = t->step,
                              .samples     = t->samples,
                              .best_step   = t->best_step,
                              .best_energy = t->best_energy,
                              .data_hash   = t->data->hash,
                              .micro_batch = t->plan.micro_batch,
                              .pool_size   = t->plan.pool,
                              .n_word      = ks_pool_n_word(t->pool)};
    ks_moments     moments = {0};
    KS_CHECK(t->n_flight == 0, KS_ERR_ARG, "checkpoint of step %lld while %d steps are on their way",
             (long long)t->step, t->n_flight);
    KS_TRY(ks_trainer_check_weights(t));
    KS_TRY(ks_reducer_gather_moments(t->reducer, &moments));
    if (ks_comm_rank(t->comm) != 0) goto done;
    KS_TRY(KS_NEW(state.word, state.n_word));
    ks_pool_save(t->pool, state.word);
    KS_TRY(ks_checkpoint_save(t->ctx, ckpt_dir, config_text, command, t->model, &moments, &state));
done:
    ks_moments_clear(&moments);
    ks_train_state_clear(&state);
    return st;
}
