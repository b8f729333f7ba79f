/* text.h -- small text helpers shared by the config layer and the command line. Private. */
#ifndef KS_CORE_TEXT_H
#define KS_CORE_TEXT_H
#include <stdint.h>

/* Edit distance with adjacent transpositions (optimal string alignment); texts beyond 63 characters are cut. */
int ks_text_distance(const char *a, const char *b);

/* The nearest of names[0..n-1] within a distance of a third of the word's length (at least 1, transposition 1), or one
 * that begins with word; NULL when nothing is near. */
const char *ks_text_nearest(const char *word, int n, const char *const *names);

/* Whole text -> number; 0 on success. Hexadecimal, infinities, NaN and trailing characters are refused. */
int ks_text_real(const char *text, double *out);
/* Integers; "2e5" is one, "2.5" is not. */
int ks_text_int(const char *text, int64_t *out);
#endif
