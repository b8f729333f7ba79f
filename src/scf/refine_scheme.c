/* refine_scheme.c -- the refinement schemes as node lists.
 *
 * H0 = F0 + W, P_1 = P(H0), F_k = F[P_k], Q_k = P(F_k), K builds:
 *   none      energy at P_1; H = H0                                                            (K = 1)
 *   qpt       P_{k+1} = (P_k + Q_k)/2, the last P_K = Q_{K-1}; H = F_K                         (arXiv 2402.04030)
 *   qptx      as qpt; H = sum w_k F_k, w from the residuals D_k = Q_k - P_k
 *   cdiis     P_{k+1} = P(F_ext), F_ext = sum w_i F_i, w from the commutators; H = F_ext with the last build
 *   anderson  P_{k+1} = sum w_i (P_i + 0.3 D_i) for k < K - 1; P_K = P(sum_{i<K} w_i F_i); H = sum w_k F_k
 *   damped    M_1 = H0, P_k = P(M_k), M_{k+1} = (M_k + F_k)/2; H = M_{K+1}
 * The energy is always taken at an idempotent density (src/README.md section 3). Residuals are in the Loewdin basis. */
#include "scf/refine_impl.h"

static const struct {
    const char *name;
    int         n_build;
} KINDS[] = {
    [KS_REFINE_NONE] = {"none", 1},   [KS_REFINE_QPT] = {"qpt", 3},           [KS_REFINE_QPTX] = {"qptx", 3},
    [KS_REFINE_CDIIS] = {"cdiis", 4}, [KS_REFINE_ANDERSON] = {"anderson", 4}, [KS_REFINE_DAMPED] = {"damped", 3},
};
enum { N_KIND = sizeof KINDS / sizeof *KINDS };

/* Fractions of the new quantity that enter a mixed step. */
static const double QPT_STEP = 0.5, DAMPED_STEP = 0.5, ANDERSON_STEP = 0.3;

ks_status ks_refine_kind_parse(const char *name, ks_refine_kind *out) {
    ks_status st = KS_OK;
    KS_CHECK(name && out, KS_ERR_ARG, "refine kind: NULL argument");
    for (int k = 0; k < N_KIND; k++)
        if (!strcmp(name, KINDS[k].name)) {
            *out = (ks_refine_kind)k;
            return KS_OK;
        }
    KS_CHECK(0, KS_ERR_CONFIG, "refine kind '%s' is unknown; choose none, qpt, qptx, cdiis, anderson or damped", name);
done:
    return st;
}

const char *ks_refine_kind_name(ks_refine_kind kind) {
    return (int)kind >= 0 && (int)kind < N_KIND ? KINDS[kind].name : "?";
}
int ks_refine_default_builds(ks_refine_kind kind) {
    return (int)kind >= 0 && (int)kind < N_KIND ? KINDS[kind].n_build : 0;
}

static ks_node *add_node(ks_scheme *s, ks_node_kind kind, int n_in, int in0, int in1) {
    ks_node *nd = &s->node[s->n_node++];
    *nd = (ks_node){.kind = kind, .out = -1, .n_in = n_in, .in = {in0, in1}, .density = -1, .mix = -1, .save = -1};
    if (kind != KS_NODE_MIX) nd->out = s->n_var++;
    return nd;
}

static int density(ks_scheme *s, int F) {
    ks_node *nd = add_node(s, KS_NODE_DENSITY, 1, F, 0);
    nd->save    = s->n_density++;
    return nd->out;
}
/* The density node that made variable P, or -1 when P is a mixture. */
static int maker(const ks_scheme *s, int P) {
    for (int i = 0; i < s->n_node; i++)
        if (s->node[i].out == P && s->node[i].kind == KS_NODE_DENSITY) return i;
    return -1;
}
static int fock(ks_scheme *s, int P) {
    const int made = maker(s, P);
    ks_node  *nd   = add_node(s, KS_NODE_FOCK, 1, P, 0);
    nd->density    = made;
    return nd->out;
}
static int resid(ks_scheme *s, int Q, int P) { return add_node(s, KS_NODE_RESID, 2, Q, P)->out; }
static int comm(ks_scheme *s, int F, int P) { return add_node(s, KS_NODE_COMM, 2, F, P)->out; }

/* Weights of the residuals D[1..k]; residual k enters the Gram matrix here. */
static int mix(ks_scheme *s, int k, const int *D) {
    ks_node *nd = add_node(s, KS_NODE_MIX, k, 0, 0);
    for (int i = 0; i < k; i++) nd->in[i] = D[i + 1];
    nd->save = s->n_mix++;
    return s->n_node - 1;
}
static int mean(ks_scheme *s, int a, int b, double part_b) {
    ks_node *nd  = add_node(s, KS_NODE_COMBINE, 2, a, b);
    nd->alpha[0] = 1.0 - part_b;
    nd->alpha[1] = part_b;
    return nd->out;
}
/* sum_i w_i ((1 - step) A_i + step B_i), i = 1..k; B NULL: sum_i w_i A_i. */
static int extrapolate(ks_scheme *s, int k, int mix_node, const int *A, const int *B, double step) {
    ks_node *nd = add_node(s, KS_NODE_COMBINE, B ? 2 * k : k, 0, 0);
    nd->mix     = mix_node;
    for (int i = 0; i < k; i++) {
        nd->in[i] = A[i + 1], nd->weight[i] = i, nd->alpha[i] = B ? 1.0 - step : 1.0;
        if (B) nd->in[k + i] = B[i + 1], nd->weight[k + i] = i, nd->alpha[k + i] = step;
    }
    return nd->out;
}

ks_status ks_scheme_make(const ks_refine_options *opt, ks_scheme *s) {
    ks_status st            = KS_OK;
    int P[KS_BUILD_MAX + 1] = {0}, F[KS_BUILD_MAX + 1] = {0}, Q[KS_BUILD_MAX + 1] = {0}, D[KS_BUILD_MAX + 1] = {0};
    int H = 0, m = -1; /* variable 0 is H0; m: the latest weights */
    KS_CHECK((int)opt->kind >= 0 && (int)opt->kind < N_KIND, KS_ERR_ARG, "refine kind %d is unknown", (int)opt->kind);
    const int K = opt->n_build ? opt->n_build : KINDS[opt->kind].n_build;
    KS_CHECK(K >= 1 && K <= KS_BUILD_MAX, KS_ERR_ARG, "refine %s with %d Fock builds, limits 1 and %d",
             KINDS[opt->kind].name, K, KS_BUILD_MAX);
    KS_CHECK(opt->kind != KS_REFINE_NONE || K == 1, KS_ERR_ARG, "refine none has one Fock build, not %d", K);
    memset(s, 0, sizeof *s);
    s->n_build = K;
    s->n_var   = 1;
    switch (opt->kind) {
    case KS_REFINE_NONE:
        P[1] = density(s, 0);
        F[1] = fock(s, P[1]);
        break;
    case KS_REFINE_QPT:
    case KS_REFINE_QPTX:
        for (int k = 1; k <= K; k++) {
            if (k == 1) P[k] = density(s, 0);
            else P[k] = k < K ? mean(s, P[k - 1], Q[k - 1], QPT_STEP) : Q[k - 1];
            F[k] = fock(s, P[k]);
            if (k < K || opt->kind == KS_REFINE_QPTX) Q[k] = density(s, F[k]);
        }
        H = F[K];
        if (opt->kind == KS_REFINE_QPTX) {
            for (int k = 1; k <= K; k++) {
                D[k] = resid(s, Q[k], P[k]);
                m    = mix(s, k, D);
            }
            H = extrapolate(s, K, m, F, NULL, 0.0);
        }
        break;
    case KS_REFINE_CDIIS:
        for (int k = 1; k <= K; k++) {
            P[k] = density(s, H);
            F[k] = fock(s, P[k]);
            D[k] = comm(s, F[k], P[k]);
            H    = extrapolate(s, k, mix(s, k, D), F, NULL, 0.0);
        }
        break;
    case KS_REFINE_ANDERSON:
        for (int k = 1; k <= K; k++) {
            if (k == 1) P[k] = density(s, 0);
            else
                P[k] = k < K ? extrapolate(s, k - 1, m, P, Q, ANDERSON_STEP)
                             : density(s, extrapolate(s, k - 1, m, F, NULL, 0.0));
            F[k] = fock(s, P[k]);
            Q[k] = density(s, F[k]);
            D[k] = resid(s, Q[k], P[k]);
            m    = mix(s, k, D);
        }
        H = extrapolate(s, K, m, F, NULL, 0.0);
        break;
    case KS_REFINE_DAMPED:
        for (int k = 1; k <= K; k++) {
            P[k] = density(s, H);
            F[k] = fock(s, P[k]);
            H    = mean(s, H, F[k], DAMPED_STEP);
        }
        break;
    }
    s->var_H        = H;
    s->var_P        = P[K];
    s->var_F        = F[K];
    s->last_density = s->node[maker(s, P[K])].save;
done:
    return st;
}
