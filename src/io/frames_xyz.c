/* frames_xyz.c -- geometries from xyz and extended xyz files, one or many frames of any composition, in Angstrom.
 *
 * Plain: "symbol x y z", further columns ignored. Extended: a comment line with Properties=... names the columns
 * (species or Z, pos, forces are used); energy=, charge=, Lattice=, pbc= are read from the comment. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "io/frames.h"
#include "core/text.h"
#include "ksgrad/context.h"

enum { MAX_COLUMN = 64 };
static const int64_t max_file_bytes = (int64_t)8 << 30;

typedef struct columns {
    int species, pos, force; /* first column of each, -1: absent */
    int least;               /* columns a line must have */
    int exact;               /* extended xyz: exactly that many */
} columns;

typedef struct builder {
    const char *path;
    ks_frames  *f; /* grows; n_frame frames are complete */
    int64_t     n_frame, cap_frame, n_atom, cap_atom;
    int64_t     n_energy, n_force; /* frames that had one */
} builder;

static ks_status grow(void **array, int64_t used, int64_t cap, size_t size) {
    ks_status st    = KS_OK;
    void     *fresh = NULL;
    KS_TRY(ks_host_zalloc(cap, size, &fresh));
    if (used) memcpy(fresh, *array, (size_t)used * size);
    ks_host_free(array);
    *array = fresh;
done:
    return st;
}

static ks_status make_room(builder *b, int64_t atoms) {
    ks_status st = KS_OK;
    if (b->n_frame + 1 > b->cap_frame) {
        const int64_t cap = 2 * b->cap_frame + 8, n = b->n_frame;
        KS_TRY(grow((void **)&b->f->atom_off, n + 1, cap + 1, sizeof(int64_t)));
        KS_TRY(grow((void **)&b->f->charge, n, cap, sizeof(int32_t)));
        KS_TRY(grow((void **)&b->f->external_energy, n, cap, sizeof(double)));
        b->cap_frame = cap;
    }
    if (b->n_atom + atoms > b->cap_atom) {
        const int64_t cap = 2 * b->cap_atom + atoms + 64, n = b->n_atom;
        KS_TRY(grow((void **)&b->f->Z, n, cap, sizeof(int32_t)));
        KS_TRY(grow((void **)&b->f->pos, 3 * n, 3 * cap, sizeof(double)));
        KS_TRY(grow((void **)&b->f->external_force, 3 * n, 3 * cap, sizeof(double)));
        b->cap_atom = cap;
    }
done:
    return st;
}

/* Finds key=value in an extended comment; values may be quoted. Returns 1 and the value in buf. */
static int comment_value(const char *comment, const char *key, char *buf, size_t n) {
    const size_t n_key = strlen(key);
    for (const char *p = comment; *p;) {
        while (*p == ' ' || *p == '\t') p++;
        const char *word = p;
        while (*p && *p != '=' && *p != ' ' && *p != '\t') p++;
        const size_t n_word = (size_t)(p - word);
        if (*p != '=') {
            if (!*p) return 0;
            continue;
        }
        p++;
        const char  quote = *p == '"' || *p == '\'' ? *p : '\0';
        const char *value = quote ? ++p : p;
        while (*p && (quote ? *p != quote : *p != ' ' && *p != '\t')) p++;
        if (n_word == n_key && strncasecmp(word, key, n_key) == 0 && (size_t)(p - value) < n) {
            memcpy(buf, value, (size_t)(p - value));
            buf[p - value] = '\0';
            return 1;
        }
        if (*p) p++;
    }
    return 0;
}

static ks_status parse_properties(const char *path, int64_t line, char *text, columns *c) {
    ks_status st   = KS_OK;
    char     *save = NULL;
    int       at   = 0;
    *c             = (columns){-1, -1, -1, 0, 1};
    for (char *name = strtok_r(text, ":", &save); name; name = strtok_r(NULL, ":", &save)) {
        char   *type = strtok_r(NULL, ":", &save), *count = strtok_r(NULL, ":", &save);
        int64_t n = 0;
        KS_CHECK(type && strlen(type) == 1 && strchr("SRIL", *type) && count && !ks_text_decimal(count, &n) && n >= 1 &&
                     n <= MAX_COLUMN,
                 KS_ERR_DATA, "%s:%lld: Properties: '%s' needs a type (S, R, I, L) and a number of columns", path,
                 (long long)line, name);
        if (strcasecmp(name, "species") == 0 && *type == 'S' && n == 1) c->species = at;
        if (strcmp(name, "Z") == 0 && *type == 'I' && n == 1 && c->species < 0) c->species = at;
        if (strcasecmp(name, "pos") == 0 && *type == 'R' && n == 3) c->pos = at;
        if ((strcasecmp(name, "forces") == 0 || strcasecmp(name, "force") == 0) && *type == 'R' && n == 3)
            c->force = at;
        at += (int)n;
        KS_CHECK(at <= MAX_COLUMN, KS_ERR_DATA, "%s:%lld: Properties: more than %d columns", path, (long long)line,
                 MAX_COLUMN);
    }
    KS_CHECK(c->species >= 0 && c->pos >= 0, KS_ERR_DATA,
             "%s:%lld: Properties: expected species:S:1 (or Z:I:1) and pos:R:3", path, (long long)line);
    c->least = at;
done:
    return st;
}

/* Molecules only: a cell is let pass when the file says that it does not repeat. */
static ks_status check_cell(const char *path, int64_t line, const char *comment) {
    ks_status st = KS_OK;
    char      value[256];
    if (!comment_value(comment, "Lattice", value, sizeof value)) goto done;
    const int periodic = !comment_value(comment, "pbc", value, sizeof value) || strpbrk(value, "Tt1") != NULL;
    KS_CHECK(
        !periodic, KS_ERR_UNSUPPORTED,
        "%s:%lld: periodic cell (Lattice); ksgrad handles molecules: write pbc=\"F F F\" when the cell is only a box",
        path, (long long)line);
done:
    return st;
}

/* The energy of the frame into the builder, its charge, the columns. */
static ks_status read_comment(builder *b, int64_t line, const char *comment, columns *c) {
    ks_status st = KS_OK;
    char      value[512];
    int64_t   charge = 0;
    *c               = (columns){0, 1, -1, 4, 0};
    if (comment_value(comment, "Properties", value, sizeof value)) KS_TRY(parse_properties(b->path, line, value, c));
    KS_TRY(check_cell(b->path, line, comment));
    if (c->exact && comment_value(comment, "energy", value, sizeof value)) {
        KS_CHECK(!ks_text_fortran(value, &b->f->external_energy[b->n_frame]), KS_ERR_DATA,
                 "%s:%lld: energy='%s', expected a number", b->path, (long long)line, value);
        b->n_energy++;
    }
    if (comment_value(comment, "charge", value, sizeof value) ||
        comment_value(comment, "total_charge", value, sizeof value)) {
        KS_CHECK(!ks_text_decimal(value, &charge) && charge >= -100 && charge <= 100, KS_ERR_DATA,
                 "%s:%lld: charge='%s', expected an integer from -100 to 100", b->path, (long long)line, value);
        b->f->charge[b->n_frame] = (int32_t)charge;
    }
done:
    return st;
}

static ks_status read_atom(builder *b, int64_t line, char *text, const columns *c, int64_t a, int64_t n_atom) {
    ks_status st = KS_OK;
    char     *token[MAX_COLUMN];
    KS_CHECK(text, KS_ERR_DATA, "%s:%lld: end of file in frame %lld after %lld of %lld atoms", b->path, (long long)line,
             (long long)b->n_frame, (long long)a, (long long)n_atom);
    const int n = ks_tokens(text, MAX_COLUMN, token);
    KS_CHECK(n >= c->least && (!c->exact || n == c->least), KS_ERR_DATA,
             "%s:%lld: %d columns, expected %d%s (atom %lld of %lld, frame %lld)", b->path, (long long)line, n,
             c->least, c->exact ? "" : ": symbol x y z", (long long)a, (long long)n_atom, (long long)b->n_frame);
    const int32_t Z = ks_element_number(token[c->species]);
    KS_CHECK(Z > 0, KS_ERR_DATA, "%s:%lld: '%.20s' is not an element", b->path, (long long)line, token[c->species]);
    b->f->Z[b->n_atom + a] = Z;
    for (int x = 0; x < 3; x++) {
        double v;
        KS_CHECK(!ks_text_fortran(token[c->pos + x], &v) && fabs(v) < 1e5, KS_ERR_DATA,
                 "%s:%lld: coordinate '%.40s', expected a finite number of Angstrom below 1e5", b->path,
                 (long long)line, token[c->pos + x]);
        b->f->pos[3 * (b->n_atom + a) + x] = v / KS_BOHR_ANG;
        if (c->force < 0) continue;
        KS_CHECK(!ks_text_fortran(token[c->force + x], &v), KS_ERR_DATA, "%s:%lld: force '%.40s', expected a number",
                 b->path, (long long)line, token[c->force + x]);
        b->f->external_force[3 * (b->n_atom + a) + x] = v;
    }
done:
    return st;
}

static ks_status read_frame(builder *b, ks_lines *lines, char *count_line) {
    ks_status     st     = KS_OK;
    const int64_t line   = lines->number;
    int64_t       n_atom = 0;
    columns       c;
    char         *token[2];
    const int     n_token = ks_tokens(count_line, 2, token);
    KS_CHECK(n_token == 1 && !ks_text_decimal(token[0], &n_atom) && n_atom >= 1 && n_atom <= KS_FRAME_MAX_ATOM,
             KS_ERR_DATA, "%s:%lld: '%.40s', expected a number of atoms from 1 to %d alone on the line (frame %lld)",
             b->path, (long long)line, token[0], KS_FRAME_MAX_ATOM, (long long)b->n_frame);
    KS_TRY(make_room(b, n_atom));
    char *comment = ks_lines_next(lines);
    KS_CHECK(comment, KS_ERR_DATA, "%s:%lld: end of file, expected a comment line", b->path, (long long)line);
    KS_TRY(read_comment(b, lines->number, comment, &c));
    for (int64_t a = 0; a < n_atom; a++) {
        char *text = ks_lines_next(lines);
        KS_TRY(read_atom(b, lines->number, text, &c, a, n_atom));
    }
    if (c.force >= 0) b->n_force++;
    b->n_atom += n_atom;
    b->f->atom_off[++b->n_frame] = b->n_atom;
done:
    return st;
}

static int decimals(const char *token, size_t n) {
    const char *dot = memchr(token, '.', n);
    return dot ? (int)(token + n - dot) - 1 : 0;
}

/* A file that does not end in a newline may have been cut inside its last number. All that can be seen is that this
 * number has fewer digits than its neighbour; then the file is refused. */
static ks_status check_end(const char *path, const char *text, int64_t n) {
    ks_status st = KS_OK;
    if (n == 0 || text[n - 1] == '\n') goto done;
    const char *end = text + n, *last = end, *before_end, *before;
    while (last > text && !strchr(" \t\n", last[-1])) last--;
    before_end = last;
    while (before_end > text && strchr(" \t", before_end[-1])) before_end--;
    before = before_end;
    while (before > text && !strchr(" \t\n", before[-1])) before--;
    KS_CHECK(decimals(last, (size_t)(end - last)) >= decimals(before, (size_t)(before_end - before)), KS_ERR_DATA,
             "%s: the file ends without a newline in '%.40s', shorter than the number before it: cut off? (if not, add "
             "a newline)",
             path, last);
done:
    return st;
}

ks_status ks_frames_read_xyz(const char *path, ks_frames **out) {
    ks_status st   = KS_OK;
    char     *text = NULL;
    int64_t   n    = 0;
    builder   b    = {.path = path};
    *out           = NULL;
    KS_TRY(ks_text_read(path, max_file_bytes, &text, &n));
    KS_TRY(check_end(path, text, n));
    KS_TRY(ks_frames_alloc(path, 0, 0, 0, 0, &b.f));
    ks_lines lines = {.next = text};
    for (char *line; (line = ks_lines_next(&lines));)
        if (line[strspn(line, " \t\r")] != '\0') KS_TRY(read_frame(&b, &lines, line));
    b.f->n_frame = b.n_frame;
    KS_CHECK(b.n_frame > 0, KS_ERR_DATA, "%s: no frames", path);
    KS_CHECK(b.n_energy == 0 || b.n_energy == b.n_frame, KS_ERR_DATA,
             "%s: %lld of %lld frames have an energy, expected all or none", path, (long long)b.n_energy,
             (long long)b.n_frame);
    KS_CHECK(b.n_force == 0 || b.n_force == b.n_frame, KS_ERR_DATA,
             "%s: %lld of %lld frames have forces, expected all or none", path, (long long)b.n_force,
             (long long)b.n_frame);
    if (!b.n_energy) KS_FREE(b.f->external_energy);
    if (!b.n_force) KS_FREE(b.f->external_force);
    KS_TRY(ks_frames_check(b.f));
    *out = b.f;
    b.f  = NULL;
done:
    ks_frames_destroy(&b.f);
    KS_FREE(text);
    return st;
}
