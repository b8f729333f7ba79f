/* test_system.c -- AO tables, vocabulary, formula, nuclear repulsion. */
#include <string.h>
#include "ks_test.h"

static void uracil(void) {
    /* MD17 order. */
    const int32_t Z[12] = {6, 6, 7, 6, 7, 6, 8, 8, 1, 1, 1, 1};
    ks_basis     *b     = NULL;
    ks_system    *s     = NULL;
    T_OK(ks_basis_load("DEF2-SVP", &b));
    T_CHECK(strcmp(ks_basis_name(b), "def2-svp") == 0, "%s", ks_basis_name(b));
    T_OK(ks_system_create(b, 12, Z, &s));
    T_CHECK(s->n_ao == 132 && s->n_electron == 58 && s->basis.n_shell == 60 && s->basis.l_max == 2, "%lld AOs",
            (long long)s->n_ao);
    T_CHECK(s->guess.n_ao == 44 && s->guess.n_shell == 28, "%lld guess functions", (long long)s->guess.n_ao);
    T_CHECK(strcmp(s->formula, "C4H4N2O2") == 0, "%s", s->formula);
    T_CHECK(s->n_ao_kind == 5 + 4 * 14, "vocabulary %lld", (long long)s->n_ao_kind);
    int count[3] = {0};
    for (int64_t k = 0; k < s->basis.n_shell; k++) count[s->basis.shell[k].l]++;
    T_CHECK(count[0] == 32 && count[1] == 20 && count[2] == 8, "%d %d %d", count[0], count[1], count[2]);
    for (int64_t i = 0; i < s->n_ao; i++) {
        T_CHECK(s->ao_kind[i] >= 0 && s->ao_kind[i] < s->n_ao_kind, "kind %d", s->ao_kind[i]);
        for (int64_t j = 0; j < i; j++) {
            /* Same kind exactly when the element and the place within the element agree. */
            const int64_t fi = 0, zi = Z[s->ao_atom[i]], zj = Z[s->ao_atom[j]];
            int64_t       oi = fi, oj = fi;
            while (i - oi > 0 && s->ao_atom[i - oi - 1] == s->ao_atom[i]) oi++;
            while (j - oj > 0 && s->ao_atom[j - oj - 1] == s->ao_atom[j]) oj++;
            T_CHECK((s->ao_kind[i] == s->ao_kind[j]) == (zi == zj && oi == oj), "AO %lld %lld", (long long)i,
                    (long long)j);
        }
    }
    T_CHECK(ks_system_is_same(s, 12, Z) && !ks_system_is_same(s, 11, Z), "same");
    const int32_t other[12] = {6, 6, 7, 6, 7, 6, 8, 8, 1, 1, 1, 8};
    T_CHECK(!ks_system_is_same(s, 12, other), "another composition");
    ks_system_destroy(&s);
    ks_system_destroy(&s);
    ks_system_destroy(NULL);

    /* The vocabulary does not depend on the molecule. */
    const int32_t h = 1;
    T_OK(ks_system_create(b, 1, &h, &s));
    T_CHECK(s->n_ao_kind == 61 && s->ao_kind[0] == 0 && strcmp(s->formula, "H") == 0, "%s", s->formula);
    ks_system_destroy(&s);
    ks_basis_destroy(&b);
}

static void formulas(void) {
    const struct {
        int32_t     n, Z[6];
        const char *text;
    } c[]       = {{3, {8, 1, 1}, "H2O"},
                   {2, {1, 9}, "FH"},
                   {3, {1, 6, 7}, "CHN"},
                   {4, {7, 1, 1, 1}, "H3N"},
                   {3, {8, 6, 8}, "CO2"}};
    ks_basis *b = NULL;
    T_OK(ks_basis_load("sto-3g", &b));
    for (size_t k = 0; k < sizeof c / sizeof c[0]; k++) {
        ks_system *s = NULL;
        T_OK(ks_system_create(b, c[k].n, c[k].Z, &s));
        T_CHECK(strcmp(s->formula, c[k].text) == 0, "%s instead of %s", s->formula, c[k].text);
        ks_system_destroy(&s);
    }
    /* Arguments. */
    ks_system    *s   = NULL;
    const int32_t bad = 0, h = 1;
    T_ERR(ks_system_create(b, 0, &h, &s), KS_ERR_ARG);
    T_ERR(ks_system_create(b, -1, &h, &s), KS_ERR_ARG);
    T_ERR(ks_system_create(b, (int64_t)1 << 40, &h, &s), KS_ERR_ARG);
    T_ERR(ks_system_create(b, 1, &bad, &s), KS_ERR_UNSUPPORTED);
    T_ERR(ks_system_create(NULL, 1, &h, &s), KS_ERR_ARG);
    T_ERR(ks_system_create(b, 1, NULL, &s), KS_ERR_ARG);
    ks_basis_destroy(&b);
    ks_basis_destroy(&b);
}

static void repulsion(void) {
    const int32_t Z[3]    = {8, 1, 1};
    double        pos[18] = {0, 0, 0, 3, 4, 0, 0, 0, -2, /**/ 1, 1, 1, 1, 1, 3, 1, 5, 1};
    double        e[2];
    ks_basis     *b = NULL;
    ks_system    *s = NULL;
    T_OK(ks_basis_load("sto-3g", &b));
    T_OK(ks_system_create(b, 3, Z, &s));
    T_OK(ks_nuclear_repulsion(s, 2, pos, e));
    T_CLOSE(e[0], 8.0 / 5 + 8.0 / 2 + 1 / sqrt(29.0), 0, 1e-15);
    T_CLOSE(e[1], 8.0 / 2 + 8.0 / 4 + 1 / sqrt(20.0), 0, 1e-15);
    T_OK(ks_nuclear_repulsion(s, 0, NULL, NULL));
    pos[9 + 6] = pos[9], pos[9 + 7] = pos[10], pos[9 + 8] = pos[11] + 9e-4;
    T_ERR(ks_nuclear_repulsion(s, 2, pos, e), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "frame 1") && strstr(ks_error_message(), "atoms 0 and 2"), "%s",
            ks_error_message());
    pos[4] = NAN;
    T_ERR(ks_nuclear_repulsion(s, 1, pos, e), KS_ERR_DATA);
    T_ERR(ks_nuclear_repulsion(s, -1, pos, e), KS_ERR_ARG);
    ks_system_destroy(&s);
    ks_basis_destroy(&b);
}

int main(void) {
    uracil();
    formulas();
    repulsion();
    return t_done("system", 8000);
}
