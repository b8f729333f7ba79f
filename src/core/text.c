/* text.c -- see text.h. */
#include "core/text.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 63 };

int ks_text_distance(const char *a, const char *b) {
    int          row[3][WORD_MAX + 1];
    const size_t la = strnlen(a, WORD_MAX), lb = strnlen(b, WORD_MAX);
    for (size_t j = 0; j <= lb; j++) row[1][j] = (int)j;
    for (size_t i = 1; i <= la; i++) {
        int *before = row[(i + 2) % 3], *last = row[(i + 0) % 3], *now = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= lb; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[(la + 1) % 3][lb];
}

const char *ks_text_nearest(const char *word, int n, const char *const *names) {
    const int   length = (int)strnlen(word, WORD_MAX);
    int         best   = length < 6 ? 2 : length / 3 + 1; /* exclusive */
    const char *found  = NULL;
    for (int i = 0; i < n; i++) {
        const int d = ks_text_distance(word, names[i]);
        if (d < best) {
            best  = d;
            found = names[i];
        }
    }
    for (int i = 0; i < n && !found && length >= 2; i++)
        if (!strncmp(names[i], word, (size_t)length)) found = names[i];
    return found;
}

int ks_text_real(const char *text, double *out) {
    char        *end = NULL;
    const size_t n   = strlen(text);
    if (n == 0 || strspn(text, "+-0123456789.eE") != n) return -1;
    errno          = 0;
    const double x = strtod(text, &end);
    if (*end || end == text || !isfinite(x)) return -1;
    *out = x;
    return 0;
}

int ks_text_int(const char *text, int64_t *out) {
    char  *end = NULL;
    double x;
    errno             = 0;
    const long long v = strtoll(text, &end, 10);
    if (end != text && !*end && !errno && !isspace((unsigned char)text[0])) {
        *out = v;
        return 0;
    }
    if (ks_text_real(text, &x) || x != floor(x) || fabs(x) > 9007199254740992.0) return -1;
    *out = (int64_t)x;
    return 0;
}
