/* basis.c -- basis sets in Gaussian94 format: finding the file, reading it, normalising the contractions.
 *
 * Format read: "****" between elements; "H  0" opens an element; a shell is "S 3 1.00" (type, number of
 * primitives, scale factor of the exponents) and one line per primitive: exponent, then one coefficient per
 * contraction ("SP": one for s, one for p). Comments start with '!' or '#'. Own extension, used by minao.gbs:
 * "electrons=X" closing a shell line is the number of electrons the shell has in the spherical free atom. */
#include "chem/basis.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "core/machine.h"
#include "io/sha256.h"
#include "core/text.h"
#include "ksgrad/data.h"
#include "ksgrad/geometry.h"

enum { MAX_FILE_BYTES = 32 << 20, MAX_PRIM = 64, MAX_COLUMN = 32, MAX_TOKEN = MAX_COLUMN + 2, MAX_PATH = 4096 };

const int32_t ks_supported_elements[] = {1, 6, 7, 8, 9};
const int     ks_n_supported_elements = sizeof ks_supported_elements / sizeof ks_supported_elements[0];

/* Radial norm of r^l exp(-a r^2): integral of r^(2l+2) exp(-2 a r^2) dr = Gamma(l + 3/2) / (2 (2a)^(l + 3/2)). */
static double radial_overlap(int l, double a_plus_b) { return tgamma(l + 1.5) / (2.0 * pow(a_plus_b, l + 1.5)); }

static ks_status table_grow(ks_basis_table *t, int64_t shells, int64_t prims) {
    ks_status       st = KS_OK;
    ks_basis_shell *s  = NULL;
    double         *e = NULL, *c = NULL;
    if (t->n_shell + shells > t->cap_shell) {
        const int64_t cap = 2 * (t->n_shell + shells);
        KS_TRY(KS_NEW(s, cap));
        if (t->n_shell) memcpy(s, t->shell, (size_t)t->n_shell * sizeof *s);
        KS_FREE(t->shell);
        t->shell     = s;
        s            = NULL;
        t->cap_shell = cap;
    }
    if (t->n_prim + prims > t->cap_prim) {
        const int64_t cap = 2 * (t->n_prim + prims);
        KS_TRY(KS_NEW(e, cap));
        KS_TRY(KS_NEW(c, cap));
        if (t->n_prim) {
            memcpy(e, t->exponent, (size_t)t->n_prim * sizeof *e);
            memcpy(c, t->coef, (size_t)t->n_prim * sizeof *c);
        }
        KS_FREE(t->exponent);
        KS_FREE(t->coef);
        t->exponent = e;
        t->coef     = c;
        e = c       = NULL;
        t->cap_prim = cap;
    }
done:
    KS_FREE(s);
    KS_FREE(e);
    KS_FREE(c);
    return st;
}

static void table_clear(ks_basis_table *t) {
    KS_FREE(t->path);
    KS_FREE(t->shell);
    KS_FREE(t->exponent);
    KS_FREE(t->coef);
}

typedef struct reader {
    ks_basis_table *t;
    ks_lines        lines;
    int32_t         Z; /* element being read, 0 between elements */
    int             cartesian_line;
} reader;

static void refuse(reader *r, int64_t line, const char *what) {
    if (r->t->refused_line[r->Z]) return;
    r->t->refused_line[r->Z] = (int32_t)line;
    snprintf(r->t->refused_what[r->Z], sizeof r->t->refused_what[r->Z], "%s", what);
}

/* One contraction of the shell block: drops zero coefficients, normalises. */
static ks_status add_contraction(reader *r, int64_t line, int l, double electrons, int n, const double *a,
                                 const double *c, int stride) {
    ks_status       st   = KS_OK;
    ks_basis_table *t    = r->t;
    double          norm = 0.0;
    KS_TRY(table_grow(t, 1, n));
    ks_basis_shell *s = &t->shell[t->n_shell];
    *s = (ks_basis_shell){.Z = r->Z, .l = l, .order = (int32_t)t->n_shell, .prim = t->n_prim, .electrons = electrons};
    for (int k = 0; k < n; k++) {
        if (c[k * stride] == 0.0) continue;
        t->exponent[t->n_prim + s->n_prim] = a[k];
        t->coef[t->n_prim + s->n_prim]     = c[k * stride] / sqrt(radial_overlap(l, 2.0 * a[k]));
        s->n_prim++;
    }
    KS_CHECK(s->n_prim > 0, KS_ERR_DATA, "%s:%lld: %s: all coefficients of a contraction are zero", t->path,
             (long long)line, ks_element_symbol(r->Z));
    for (int i = 0; i < s->n_prim; i++)
        for (int j = 0; j < s->n_prim; j++)
            norm += t->coef[s->prim + i] * t->coef[s->prim + j] *
                    radial_overlap(l, t->exponent[s->prim + i] + t->exponent[s->prim + j]);
    KS_CHECK(isfinite(norm) && norm > 1e-12, KS_ERR_DATA, "%s:%lld: %s: a contraction has norm %.3g", t->path,
             (long long)line, ks_element_symbol(r->Z), norm);
    for (int k = 0; k < s->n_prim; k++) t->coef[s->prim + k] /= sqrt(norm);
    t->n_prim += s->n_prim;
    t->n_shell++;
done:
    return st;
}

static ks_status read_shell(reader *r, char **token, int n_token) {
    static const char letters[] = "SPDFGHIKLMNO";
    ks_status         st        = KS_OK;
    ks_basis_table   *t         = r->t;
    const int64_t     line      = r->lines.number;
    const int         is_sp     = strcasecmp(token[0], "SP") == 0 || strcasecmp(token[0], "L") == 0;
    const char       *at        = strchr(letters, toupper((unsigned char)token[0][0]));
    const int         l         = at ? (int)(at - letters) : -1;
    int64_t           n         = 0;
    double            scale = 1.0, electrons = 0.0;
    double            a[MAX_PRIM], c[MAX_PRIM * MAX_COLUMN];
    int               n_column = 0;
    KS_CHECK(is_sp || (l >= 0 && token[0][1] == '\0'), KS_ERR_DATA,
             "%s:%lld: '%s' is neither an element nor a shell type (S, P, SP, D, ...)", t->path, (long long)line,
             token[0]);
    KS_CHECK(n_token >= 2 && !ks_text_decimal(token[1], &n) && n >= 1 && n <= MAX_PRIM, KS_ERR_DATA,
             "%s:%lld: number of primitives '%s', expected an integer from 1 to %d", t->path, (long long)line,
             n_token >= 2 ? token[1] : "", MAX_PRIM);
    for (int k = 2; k < n_token && k < MAX_TOKEN; k++) {
        if (strncmp(token[k], "electrons=", 10) == 0) {
            KS_CHECK(!ks_text_fortran(token[k] + 10, &electrons) && electrons >= 0.0 && !is_sp &&
                         electrons <= 2.0 * (2 * l + 1),
                     KS_ERR_DATA, "%s:%lld: '%s', expected 0 to %d", t->path, (long long)line, token[k],
                     2 * (2 * l + 1));
            continue;
        }
        KS_CHECK(!ks_text_fortran(token[k], &scale) && scale > 0.0 && k == 2, KS_ERR_DATA,
                 "%s:%lld: scale factor '%s', expected one positive number", t->path, (long long)line, token[k]);
    }
    for (int64_t p = 0; p < n; p++) {
        char *tok[MAX_TOKEN];
        char *text = ks_lines_next(&r->lines);
        KS_CHECK(text, KS_ERR_DATA, "%s:%lld: end of file after %lld of %lld primitives", t->path,
                 (long long)r->lines.number, (long long)p, (long long)n);
        const int k = ks_tokens(text, MAX_TOKEN, tok);
        if (p == 0) n_column = k - 1;
        KS_CHECK(n_column >= 1 && n_column <= MAX_COLUMN && k - 1 == n_column && (!is_sp || n_column == 2), KS_ERR_DATA,
                 "%s:%lld: %d numbers, expected an exponent and %d coefficient%s", t->path, (long long)r->lines.number,
                 k,
                 is_sp ? 2
                 : p   ? n_column
                       : 1,
                 is_sp || (p && n_column > 1) ? "s" : " or more");
        KS_CHECK(!ks_text_fortran(tok[0], &a[p]) && a[p] > 0.0 && a[p] < 1e12, KS_ERR_DATA,
                 "%s:%lld: exponent '%s', expected a number between 0 and 1e12", t->path, (long long)r->lines.number,
                 tok[0]);
        for (int j = 0; j < n_column; j++)
            KS_CHECK(!ks_text_fortran(tok[1 + j], &c[p * n_column + j]), KS_ERR_DATA,
                     "%s:%lld: coefficient '%s', expected a number", t->path, (long long)r->lines.number, tok[1 + j]);
        a[p] *= scale * scale;
    }
    if (!is_sp && l > KS_L_MAX) {
        char what[32];
        snprintf(what, sizeof what, "a shell of type %s", token[0]);
        refuse(r, line, what);
        goto done;
    }
    if (r->cartesian_line && !is_sp && l == 2) {
        refuse(r, line, "Cartesian d functions");
        goto done;
    }
    for (int j = 0; j < n_column; j++)
        KS_TRY(add_contraction(r, line, is_sp ? j : l, electrons, (int)n, a, c + j, n_column));
done:
    return st;
}

static int compare_shells(const void *pa, const void *pb) {
    const ks_basis_shell *a = pa, *b = pb;
    if (a->Z != b->Z) return a->Z < b->Z ? -1 : 1;
    if (a->l != b->l) return a->l < b->l ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static ks_status read_table(const char *path, ks_basis_table *t) {
    ks_status st     = KS_OK;
    char     *text   = NULL;
    int64_t   n_text = 0;
    reader    r      = {.t = t};
    int       skip   = 0; /* inside a core potential */
    KS_TRY(ks_host_strdup(path, &t->path));
    KS_TRY(ks_text_read(path, MAX_FILE_BYTES, &text, &n_text));
    r.lines.next = text;
    for (char *line; (line = ks_lines_next(&r.lines));) {
        char *token[MAX_TOKEN];
        line[strcspn(line, "!#")] = '\0';
        const int n               = ks_tokens(line, MAX_TOKEN, token);
        if (n == 0) continue;
        if (strncmp(token[0], "****", 4) == 0) {
            r.Z = skip = 0;
            continue;
        }
        if (skip) continue;
        if (!r.Z) {
            if (n == 1 && strcasecmp(token[0], "spherical") == 0) continue;
            if (n == 1 && strcasecmp(token[0], "cartesian") == 0) {
                r.cartesian_line = (int)r.lines.number;
                continue;
            }
            const size_t len    = strlen(token[0]);
            const int    is_ecp = len > 4 && strcasecmp(token[0] + len - 4, "-ECP") == 0;
            if (is_ecp) token[0][len - 4] = '\0';
            r.Z = ks_element_number(token[0][0] == '-' ? token[0] + 1 : token[0]);
            KS_CHECK(r.Z > 0, KS_ERR_DATA, "%s:%lld: '%s' is not an element symbol", path, (long long)r.lines.number,
                     token[0]);
            if (is_ecp) {
                refuse(&r, r.lines.number, "an effective core potential");
                skip = 1;
                continue;
            }
            KS_CHECK(!t->header_line[r.Z], KS_ERR_DATA, "%s:%lld: element %s occurs twice, first on line %d", path,
                     (long long)r.lines.number, ks_element_symbol(r.Z), t->header_line[r.Z]);
            t->header_line[r.Z] = (int32_t)r.lines.number;
            continue;
        }
        KS_TRY(read_shell(&r, token, n));
    }
    /* Every Gaussian94 element ends in ****: a file cut short inside one must not pass as a smaller basis. */
    KS_CHECK(!r.Z, KS_ERR_DATA, "%s:%lld: end of file inside element %s, expected ****", path,
             (long long)r.lines.number, ks_element_symbol(r.Z));
    KS_CHECK(t->n_shell > 0, KS_ERR_DATA, "%s: no basis functions in this file", path);
    qsort(t->shell, (size_t)t->n_shell, sizeof *t->shell, compare_shells);
    for (int64_t s = 0, z = 0; z <= KS_BASIS_Z_MAX + 1; z++) {
        while (s < t->n_shell && t->shell[s].Z < z) s++;
        t->first[z] = s;
    }
done:
    KS_FREE(text);
    return st;
}

ks_status ks_basis_table_check(const ks_basis_table *t, int32_t Z) {
    ks_status   st     = KS_OK;
    const char *symbol = ks_element_symbol(Z);
    KS_CHECK(symbol, KS_ERR_DATA, "atomic number %d, expected 1 to %d", (int)Z, KS_BASIS_Z_MAX);
    KS_CHECK(!t->refused_line[Z], KS_ERR_UNSUPPORTED,
             "%s:%d: %s has %s; this version handles spherical s, p and d shells", t->path, t->refused_line[Z], symbol,
             t->refused_what[Z]);
    KS_CHECK(t->first[Z + 1] > t->first[Z], KS_ERR_DATA, "%s: no functions for element %s", t->path, symbol);
done:
    return st;
}

/* "6-31G(d,p)" -> "6-31gss.gbs": lower case, each '*' an 's', as basis files are named. */
static ks_status file_name_of(const char *name, char *lower, size_t n_lower, char *file, size_t n_file) {
    ks_status st = KS_OK;
    size_t    k  = 0;
    KS_CHECK(strlen(name) + 8 < n_lower && strlen(name) + 8 < n_file, KS_ERR_ARG, "basis name '%.40s...' is too long",
             name);
    for (const char *p = name; *p; p++)
        if (!isspace((unsigned char)*p)) lower[k++] = (char)tolower((unsigned char)*p);
    lower[k]    = '\0';
    char *paren = strchr(lower, '(');
    if (paren && strcmp(paren, "(d)") == 0) memcpy(paren, "*", 2);
    if (paren && strcmp(paren, "(d,p)") == 0) memcpy(paren, "**", 3);
    for (k = 0; lower[k]; k++) file[k] = lower[k] == '*' ? 's' : lower[k];
    memcpy(file + k, ".gbs", 5);
done:
    return st;
}

/* First of KSGRAD_BASIS_PATH and the folders of shipped data that has the file. */
static ks_status find_file(const char *file, char *path, size_t n_path) {
    ks_status   st  = KS_OK;
    const char *env = getenv("KSGRAD_BASIS_PATH");
    char        folder[MAX_PATH];
    while (env && *env) {
        const size_t n = strcspn(env, ":");
        if (n && (size_t)snprintf(path, n_path, "%.*s/%s", (int)n, env, file) < n_path && ks_file_exists(path))
            goto done;
        env += n + (env[n] == ':');
    }
    for (int k = 0; ks_data_folder(k, folder, sizeof folder); k++)
        if ((size_t)snprintf(path, n_path, "%s/basis/%s", folder, file) < n_path && ks_file_exists(path)) goto done;
    KS_CHECK(
        0, KS_ERR_IO,
        "basis file '%s' found neither in KSGRAD_BASIS_PATH ('%s') nor in %s/basis, %s/basis or ../share/ksgrad/basis "
        "beside the program; shipped are def2-svp, sto-3g and 6-31g*; others: give the path of a Gaussian94 (.gbs) "
        "file",
        file, getenv("KSGRAD_BASIS_PATH") ? getenv("KSGRAD_BASIS_PATH") : "", KS_SOURCE_DATADIR, KS_INSTALL_DATADIR);
done:
    return st;
}

ks_status ks_basis_load(const char *name_or_path, ks_basis **out) {
    ks_status st = KS_OK;
    ks_basis *b  = NULL;
    char      path[MAX_PATH], lower[sizeof b->name], file[sizeof b->name];
    KS_CHECK(name_or_path && *name_or_path && out, KS_ERR_ARG, "basis: no name given");
    *out = NULL;
    KS_TRY(KS_ZNEW(b, 1));
    if (ks_file_exists(name_or_path)) {
        const char *slash = strrchr(name_or_path, '/');
        snprintf(b->name, sizeof b->name, "%s", slash ? slash + 1 : name_or_path);
        char *dot = strrchr(b->name, '.');
        if (dot && dot > b->name) *dot = '\0';
        KS_TRY(read_table(name_or_path, &b->ao));
    } else {
        KS_CHECK(!strchr(name_or_path, '/'), KS_ERR_IO, "basis file %s: no such file", name_or_path);
        KS_TRY(file_name_of(name_or_path, lower, sizeof lower, file, sizeof file));
        snprintf(b->name, sizeof b->name, "%s", lower);
        KS_TRY(find_file(file, path, sizeof path));
        KS_TRY(read_table(path, &b->ao));
    }
    KS_TRY(find_file("minao.gbs", path, sizeof path));
    KS_TRY(read_table(path, &b->guess));
    *out = b;
    b    = NULL;
done:
    ks_basis_destroy(&b);
    return st;
}

void ks_basis_destroy(ks_basis **basis) {
    if (!basis || !*basis) return;
    table_clear(&(*basis)->ao);
    table_clear(&(*basis)->guess);
    KS_FREE(*basis);
}

const char *ks_basis_name(const ks_basis *basis) { return basis ? basis->name : ""; }

void ks_basis_sha256(const ks_basis *basis, char hex[65]) {
    const ks_basis_table *t = &basis->ao;
    ks_sha256             h;
    ks_sha256_start(&h);
    for (int e = 0; e < ks_n_supported_elements; e++) {
        const int32_t Z = ks_supported_elements[e];
        if (t->refused_line[Z]) continue;
        for (int64_t k = t->first[Z]; k < t->first[Z + 1]; k++) {
            const ks_basis_shell *s = &t->shell[k];
            ks_sha256_i64(&h, s->Z);
            ks_sha256_i64(&h, s->l);
            ks_sha256_i64(&h, s->n_prim);
            for (int32_t p = 0; p < s->n_prim; p++) {
                /* Nine digits: the last bits of the norm depend on the machine's pow(). */
                char text[64];
                ks_sha256_add(
                    &h, text,
                    (size_t)snprintf(text, sizeof text, "%.9e %.9e\n", t->exponent[s->prim + p], t->coef[s->prim + p]));
            }
        }
    }
    ks_sha256_end(&h, hex);
}
