/* trainer.c -- see train.h: the training step.
 *
 * The loss of a step is the mean over the frames of the global batch that count. Passes add their gradients with the
 * scale 1/batch; when frames were masked the sum is multiplied by batch/counted before the optimiser sees it. */
#define _GNU_SOURCE
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "ksgrad/linalg.h"
#include "train/trainer_impl.h"

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

/* Network, refinement, loss and back; gradients are added, sums over frames are added to `sum`. */
static ks_status run_pass(ks_trainer *t, const ks_batch *batch, const int64_t *frames, double scale,
                          ks_loss_terms *sum) {
    ks_status        st     = KS_OK;
    ks_loss_terms    terms  = {0};
    const int        labels = t->data->needs_labels;
    ks_pass_buffers *b      = &t->buf;
    KS_TRY(ks_pass_reserve(t->ctx, b, batch, labels));
    if (labels) KS_TRY(ks_pass_labels(t->ctx, t->data, batch, frames, b, NULL));
    KS_TRY(ks_pass_h0(t->ctx, t->model, batch, 1, b));
    KS_TRY(ks_mem_zero(t->ctx, b->H0_bar, (size_t)ks_batch_mat_size(batch) * sizeof(double)));
    KS_TRY(ks_loss_step(t->ctx, t->loss, t->refine, batch, b->H0, labels ? b->H_ref : NULL, labels ? b->P_ref : NULL,
                        scale, b->H0_bar, &terms));
    KS_TRY(ks_model_adj(t->ctx, t->model, batch, b->H0_bar)); /* H0 = F0 + W: the cotangent of W is that of H0 */
    sum->energy += terms.energy;
    sum->commutator += terms.commutator;
    sum->self_consistency += terms.self_consistency;
    sum->hamiltonian += terms.hamiltonian;
    sum->density += terms.density;
    sum->loss += terms.loss;
    sum->n_frame += terms.n_frame;
    sum->n_masked += terms.n_masked;
    sum->min_gap = fmin(sum->min_gap, terms.min_gap);
done:
    return st;
}

/* ---- the step ---- */

/* Gradients times factor, through the host: only when frames were masked. */
static ks_status scale_gradient(ks_trainer *t, double factor) {
    ks_status     st     = KS_OK;
    ks_params    *params = ks_model_params(t->model);
    const int64_t n      = ks_params_total(params);
    const size_t  elem   = ks_params_elem_bytes(params);
    if (!t->grad_host) KS_TRY(ks_host_alloc(n, elem, &t->grad_host));
    KS_TRY(ks_mem_to_host(t->ctx, t->grad_host, ks_params_flat(params, 'g'), (size_t)n * elem));
    for (int64_t i = 0; i < n; i++) {
        if (elem == sizeof(float)) ((float *)t->grad_host)[i] = (float)(((float *)t->grad_host)[i] * factor);
        else ((double *)t->grad_host)[i] *= factor;
    }
    KS_TRY(ks_mem_to_backend(t->ctx, ks_params_flat(params, 'g'), t->grad_host, (size_t)n * elem));
done:
    return st;
}

static double mean_if(double weight, double sum, int64_t n) { return weight > 0 ? sum / (double)n : NAN; }

ks_status ks_trainer_step(ks_trainer *t, ks_step_result *out) {
    ks_status              st      = KS_OK;
    const ks_loss_weights *w       = &t->config->loss;
    ks_params             *params  = ks_model_params(t->model);
    const int64_t          batch   = t->config->train.batch;
    const double           start   = ks_wall_seconds();
    ks_loss_terms          sum     = {.min_gap = INFINITY};
    int64_t                n_built = 0;
    double                 norm    = 0;
    KS_TRY(ks_pool_next(t->pool, &n_built));
    const double built = ks_wall_seconds();
    KS_TRY(ks_params_zero_grad(params));
    for (int64_t p = 0; p < ks_pool_n_pass(t->pool); p++) {
        const int64_t  *frames = NULL;
        const ks_batch *pass   = ks_pool_pass(t->pool, p, &frames);
        KS_TRY(run_pass(t, pass, frames, 1.0 / (double)batch, &sum));
    }
    KS_CHECK(2 * sum.n_masked <= batch, KS_ERR_NUMERIC,
             "step %lld: %lld of %lld frames have a HOMO-LUMO gap below 1e-4 Ha or values that are not finite "
             "(smallest gap %.3g Ha): "
             "a lower optim.lr, or loss.self_consistency 0.1, keeps the network from running away",
             (long long)t->step + 1, (long long)sum.n_masked, (long long)batch, sum.min_gap);
    if (sum.n_masked) KS_TRY(scale_gradient(t, (double)batch / (double)sum.n_frame));
    KS_TRY(ks_grad_norm(t->ctx, params, &norm));
    KS_CHECK(isfinite(norm) && isfinite(sum.loss), KS_ERR_NUMERIC, "step %lld: loss %g, gradient norm %g",
             (long long)t->step + 1, sum.loss / (double)batch, norm);
    KS_TRY(ks_adamw_step(t->ctx, params, &t->config->optim, t->step + 1, norm));
    KS_TRY(ks_sync(t->ctx));
    ks_pool_done(t->pool);
    t->step++;
    t->samples += batch;
    const int64_t n = sum.n_frame;
    *out            = (ks_step_result){.step             = t->step,
                                       .loss             = sum.loss / (double)n,
                                       .energy           = sum.energy / (double)n,
                                       .commutator       = mean_if(w->commutator, sum.commutator, n),
                                       .self_consistency = mean_if(w->self_consistency, sum.self_consistency, n),
                                       .hamiltonian      = mean_if(w->hamiltonian, sum.hamiltonian, n),
                                       .density          = mean_if(w->density, sum.density, n),
                                       .lr               = ks_optim_lr(&t->config->optim, t->step),
                                       .grad_norm        = norm,
                                       .min_gap          = sum.min_gap,
                                       .n_frame          = batch,
                                       .n_masked         = sum.n_masked,
                                       .n_built          = n_built,
                                       .build_seconds    = built - start,
                                       .seconds          = ks_wall_seconds() - start};
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
        if (part > KS_PART_VALID)
            ks_log(KS_LOG_WARN, "composition %s is in the validation set only", d->system[s]->formula);
    }
done:
    return st;
}

static ks_status make_pool(ks_trainer *t, int64_t pool, int64_t micro_batch) {
    const ks_pool_options opt = {pool, t->config->train.batch, micro_batch, t->config->train.reuse,
                                 (uint64_t)t->config->run.seed};
    ks_pool_destroy(&t->pool);
    return ks_pool_create(t->ctx, t->data, &t->method, t->data->split->n[KS_PART_TRAIN],
                          t->data->split->index[KS_PART_TRAIN], &opt, &t->pool);
}

ks_status ks_trainer_create(ks_ctx *ctx, const ks_config *config, const ks_run_data *data, ks_trainer **out) {
    ks_status             st    = KS_OK;
    ks_trainer           *t     = NULL;
    ks_model_options      model = config->model.options;
    const ks_loss_weights both  = {.energy = 1, .commutator = 1};
    KS_TRY(KS_ZNEW(t, 1));
    t->ctx = ctx, t->config = config, t->data = data, t->best_step = -1;
    KS_TRY(ks_config_method(config, &t->method));
    model.n_ao_kind = data->system[0]->n_ao_kind;
    KS_TRY(ks_model_create(ctx, &model, (uint64_t)config->run.seed, &t->model));
    KS_TRY(set_references(t));
    KS_TRY(ks_train_make_plan(config, data, t->model, &t->plan));
    KS_TRY(ks_refine_create(ctx, &config->refine, &t->refine));
    KS_TRY(ks_loss_create(ctx, &config->loss, &t->loss));
    KS_TRY(ks_refine_create(ctx, &config->eval_refine, &t->eval_refine));
    KS_TRY(ks_loss_create(ctx, &both, &t->eval_loss));
    KS_TRY(make_pool(t, t->plan.pool, t->plan.micro_batch));
    if (t->plan.valid_pool) KS_TRY(ks_valid_set_create(ctx, config, data, &t->method, t->plan.valid_pool, &t->valid));
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
    KS_FREE(t->grad_host);
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
int64_t              ks_trainer_steps_done(const ks_trainer *t) { return t->step; }
int64_t              ks_trainer_best_step(const ks_trainer *t) { return t->best_step; }

/* ---- checkpoints ---- */

ks_status ks_trainer_load(ks_trainer *t, const char *dir) {
    ks_status      st    = KS_OK;
    ks_train_state state = {.best_step = -1};
    KS_CHECK(t->step == 0, KS_ERR_ARG, "a checkpoint is loaded before the first step");
    KS_TRY(ks_checkpoint_load_state(t->ctx, dir, t->model, &state));
    KS_CHECK(state.data_hash == t->data->hash, KS_ERR_DATA,
             "%s was trained on other geometries or another split than %s: --resume=never starts anew", dir,
             t->config->data.file);
    /* The plan is part of the arithmetic (sums over passes, order of the frames): it stays as it was, unless the
     * config asks. */
    t->plan.pool        = t->config->train.pool ? t->plan.pool : state.pool_size;
    t->plan.micro_batch = t->config->train.micro_batch ? t->plan.micro_batch : state.micro_batch;
    t->plan.n_pass      = (t->config->train.batch + t->plan.micro_batch - 1) / t->plan.micro_batch;
    t->plan.is_resident = t->plan.pool >= t->data->split->n[KS_PART_TRAIN];
    KS_TRY(make_pool(t, t->plan.pool, t->plan.micro_batch));
    if (ks_pool_n_word(t->pool) == state.n_word && state.pool_size == t->plan.pool)
        KS_TRY(ks_pool_load(t->pool, state.n_word, state.word));
    else
        ks_log(KS_LOG_WARN,
               "train.pool or train.batch changed: the pool starts anew, the run is not bit by bit the same");
    t->step        = state.step;
    t->samples     = state.samples;
    t->best_step   = state.best_step;
    t->best_energy = state.best_energy;
done:
    ks_train_state_clear(&state);
    return st;
}

ks_status ks_trainer_save(ks_trainer *t, const char *ckpt_dir, const char *config_text, const char *command) {
    ks_status      st    = KS_OK;
    ks_train_state state = {.step        = t->step,
                            .samples     = t->samples,
                            .best_step   = t->best_step,
                            .best_energy = t->best_energy,
                            .data_hash   = t->data->hash,
                            .micro_batch = t->plan.micro_batch,
                            .pool_size   = t->plan.pool,
                            .n_word      = ks_pool_n_word(t->pool)};
    KS_TRY(KS_NEW(state.word, state.n_word));
    ks_pool_save(t->pool, state.word);
    KS_TRY(ks_checkpoint_save(t->ctx, ckpt_dir, config_text, command, t->model, &state));
done:
    ks_train_state_clear(&state);
    return st;
}
