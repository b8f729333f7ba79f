/* system.c -- what depends on composition and basis only: shells, guess functions, AO tables; and E_nuc. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "chem/basis.h"
#include "ksgrad/geometry.h"

enum { MAX_ATOM = 4096 };

static void shells_clear(ks_shells *s) {
    KS_FREE(s->shell);
    KS_FREE(s->exponent);
    KS_FREE(s->coef);
}

/* The table's shells of every atom, in atom order; only_occupied: those with electrons. */
static ks_status shells_build(const ks_basis_table *t, int64_t n_atom, const int32_t *Z, int only_occupied,
                              ks_shells *out) {
    ks_status st = KS_OK;
    for (int pass = 0; pass < 2; pass++) {
        out->n_shell = out->n_prim = out->n_ao = 0;
        for (int64_t a = 0; a < n_atom; a++)
            for (int64_t k = t->first[Z[a]]; k < t->first[Z[a] + 1]; k++) {
                const ks_basis_shell *s = &t->shell[k];
                if (only_occupied && s->electrons == 0.0) continue;
                if (pass) {
                    out->shell[out->n_shell] = (ks_shell){.atom   = (int32_t)a,
                                                          .l      = s->l,
                                                          .n_prim = s->n_prim,
                                                          .prim   = (int32_t)out->n_prim,
                                                          .ao     = (int32_t)out->n_ao};
                    memcpy(out->exponent + out->n_prim, t->exponent + s->prim, (size_t)s->n_prim * sizeof(double));
                    memcpy(out->coef + out->n_prim, t->coef + s->prim, (size_t)s->n_prim * sizeof(double));
                }
                if (s->l > out->l_max) out->l_max = s->l;
                out->n_shell++;
                out->n_prim += s->n_prim;
                out->n_ao += 2 * s->l + 1;
            }
        if (pass) break;
        KS_CHECK(out->n_prim <= INT32_MAX, KS_ERR_UNSUPPORTED, "%lld primitives, the limit is %d",
                 (long long)out->n_prim, INT32_MAX);
        KS_TRY(KS_NEW(out->shell, out->n_shell));
        KS_TRY(KS_NEW(out->exponent, out->n_prim));
        KS_TRY(KS_NEW(out->coef, out->n_prim));
    }
done:
    return st;
}

/* Hill order: C, H, then alphabetical; without carbon all alphabetical. Cut to the field when it does not fit. */
static void formula_of(int64_t n_atom, const int32_t *Z, char *out, size_t n_out) {
    int32_t count[KS_BASIS_Z_MAX + 1] = {0};
    size_t  used                      = 0;
    out[0]                            = '\0';
    for (int64_t a = 0; a < n_atom; a++) count[Z[a]]++;
    const int has_carbon = count[6] > 0;
    for (;;) {
        int32_t best = 0;
        for (int32_t z = 1; z <= KS_BASIS_Z_MAX; z++) {
            if (!count[z]) continue;
            const int rank_z    = has_carbon && z == 6 ? 0 : has_carbon && z == 1 ? 1 : 2;
            const int rank_best = has_carbon && best == 6 ? 0 : has_carbon && best == 1 ? 1 : 2;
            if (!best || rank_z < rank_best ||
                (rank_z == rank_best && strcmp(ks_element_symbol(z), ks_element_symbol(best)) < 0))
                best = z;
        }
        if (!best) return;
        char      part[16];
        const int n = count[best] > 1 ? snprintf(part, sizeof part, "%s%d", ks_element_symbol(best), (int)count[best])
                                      : snprintf(part, sizeof part, "%s", ks_element_symbol(best));
        if (used + (size_t)n >= n_out) return;
        memcpy(out + used, part, (size_t)n + 1);
        used += (size_t)n;
        count[best] = 0;
    }
}

/* AOs of one element in the basis; 0 for elements the basis lacks or ksgrad cannot use. */
static int32_t element_n_ao(const ks_basis *b, int32_t Z) {
    int32_t n = 0;
    if (b->ao.refused_line[Z]) return 0;
    for (int64_t k = b->ao.first[Z]; k < b->ao.first[Z + 1]; k++) n += 2 * b->ao.shell[k].l + 1;
    return n;
}

static ks_status check_element(const ks_basis *b, int32_t Z) {
    ks_status st    = KS_OK;
    int       known = 0;
    for (int k = 0; k < ks_n_supported_elements; k++) known |= ks_supported_elements[k] == Z;
    KS_CHECK(known, KS_ERR_UNSUPPORTED, "element %s (Z = %d): this version handles H, C, N, O and F",
             ks_element_symbol(Z) ? ks_element_symbol(Z) : "?", (int)Z);
    KS_TRY(ks_basis_table_check(&b->ao, Z));
    KS_TRY(ks_basis_table_check(&b->guess, Z));
done:
    return st;
}

ks_status ks_system_create(const ks_basis *basis, int64_t n_atom, const int32_t *Z, ks_system **out) {
    ks_status  st                            = KS_OK;
    ks_system *s                             = NULL;
    int32_t    kind_base[KS_BASIS_Z_MAX + 1] = {0};
    KS_CHECK(basis && Z && out, KS_ERR_ARG, "system: NULL argument");
    *out = NULL;
    KS_CHECK(n_atom >= 1 && n_atom <= MAX_ATOM, KS_ERR_ARG, "system with %lld atoms, expected 1 to %d",
             (long long)n_atom, MAX_ATOM);
    for (int64_t a = 0; a < n_atom; a++) KS_TRY(check_element(basis, Z[a]));
    KS_TRY(KS_ZNEW(s, 1));
    s->n_atom = n_atom;
    KS_TRY(KS_NEW(s->Z, n_atom));
    for (int64_t a = 0; a < n_atom; a++) {
        s->Z[a] = Z[a];
        s->n_electron += Z[a];
    }
    formula_of(n_atom, Z, s->formula, sizeof s->formula);
    snprintf(s->basis_name, sizeof s->basis_name, "%s", basis->name);
    KS_TRY(shells_build(&basis->ao, n_atom, Z, 0, &s->basis));
    KS_TRY(shells_build(&basis->guess, n_atom, Z, 1, &s->guess));
    s->n_ao = s->basis.n_ao;

    KS_TRY(KS_NEW(s->guess_occ, s->guess.n_ao));
    int64_t g = 0;
    for (int64_t a = 0; a < n_atom; a++)
        for (int64_t k = basis->guess.first[Z[a]]; k < basis->guess.first[Z[a] + 1]; k++) {
            const ks_basis_shell *sh = &basis->guess.shell[k];
            if (sh->electrons == 0.0) continue;
            for (int m = 0; m < 2 * sh->l + 1; m++) s->guess_occ[g++] = sh->electrons / (2 * sh->l + 1);
        }

    for (int k = 0; k < ks_n_supported_elements; k++) {
        const int32_t z = ks_supported_elements[k];
        kind_base[z]    = (int32_t)s->n_ao_kind;
        s->n_ao_kind += element_n_ao(basis, z);
    }
    KS_TRY(KS_NEW(s->ao_atom, s->n_ao));
    KS_TRY(KS_NEW(s->ao_l, s->n_ao));
    KS_TRY(KS_NEW(s->ao_m, s->n_ao));
    KS_TRY(KS_NEW(s->ao_kind, s->n_ao));
    int32_t first_ao = 0; /* of the current atom */
    for (int64_t k = 0; k < s->basis.n_shell; k++) {
        const ks_shell *sh = &s->basis.shell[k];
        if (k == 0 || sh->atom != s->basis.shell[k - 1].atom) first_ao = sh->ao;
        for (int32_t m = 0; m < 2 * sh->l + 1; m++) {
            s->ao_atom[sh->ao + m] = sh->atom;
            s->ao_l[sh->ao + m]    = sh->l;
            s->ao_m[sh->ao + m]    = m;
            s->ao_kind[sh->ao + m] = kind_base[Z[sh->atom]] + sh->ao + m - first_ao;
        }
    }
    *out = s;
    s    = NULL;
done:
    ks_system_destroy(&s);
    return st;
}

void ks_system_destroy(ks_system **system) {
    if (!system || !*system) return;
    ks_system *s = *system;
    KS_FREE(s->Z);
    shells_clear(&s->basis);
    shells_clear(&s->guess);
    KS_FREE(s->guess_occ);
    KS_FREE(s->ao_atom);
    KS_FREE(s->ao_l);
    KS_FREE(s->ao_m);
    KS_FREE(s->ao_kind);
    KS_FREE(*system);
}

int ks_system_is_same(const ks_system *system, int64_t n_atom, const int32_t *Z) {
    return system && Z && system->n_atom == n_atom && memcmp(system->Z, Z, (size_t)n_atom * sizeof *Z) == 0;
}

ks_status ks_nuclear_repulsion(const ks_system *system, int64_t n_frame, const double *pos, double *e_nuc) {
    ks_status st = KS_OK;
    KS_CHECK(system && n_frame >= 0 && (n_frame == 0 || (pos && e_nuc)), KS_ERR_ARG, "nuclear repulsion of %lld frames",
             (long long)n_frame);
    for (int64_t f = 0; f < n_frame; f++) {
        const double *r = pos + f * system->n_atom * 3;
        double        e = 0.0;
        for (int64_t a = 0; a < system->n_atom; a++)
            for (int64_t b = 0; b < a; b++) {
                const double dx = r[3 * a] - r[3 * b], dy = r[3 * a + 1] - r[3 * b + 1],
                             dz = r[3 * a + 2] - r[3 * b + 2];
                const double d  = sqrt(dx * dx + dy * dy + dz * dz);
                /* Negated, so that a NaN coordinate fails too. */
                KS_CHECK(!!(d >= 1e-3), KS_ERR_DATA,
                         "frame %lld: atoms %lld and %lld are %.3g bohr apart, the limit is 1e-3", (long long)f,
                         (long long)b, (long long)a, d);
                e += (double)system->Z[a] * system->Z[b] / d;
            }
        e_nuc[f] = e;
    }
done:
    return st;
}
