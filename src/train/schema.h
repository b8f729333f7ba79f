/* schema.h -- the table of config keys: one row per key, everything else (parser, dump, reference.yaml, diff) walks it.
 * Private. */
#ifndef KS_SCHEMA_H
#define KS_SCHEMA_H
#include <stddef.h>
#include "ksgrad/config.h"

typedef enum ks_key_type {
    KS_KEY_INT,   /* int64_t */
    KS_KEY_INT32, /* int */
    KS_KEY_REAL,  /* double */
    KS_KEY_ENUM,  /* int: index into choices */
    KS_KEY_TEXT,  /* char[size]; one of choices when given */
    KS_KEY_PATH,  /* char[size]; made absolute */
    KS_KEY_NAMED, /* char[size]; a name, or a path when it holds a '/' */
    KS_KEY_INTS,  /* int64_t[3], count in the int64_t just before; 0 or 3 of them */
    KS_KEY_ATOMS  /* int32_t[3] */
} ks_key_type;

typedef struct ks_key {
    const char     *path;
    ks_key_type     type;
    size_t          offset;
    size_t          size;    /* TEXT, PATH, NAMED: bytes of the buffer */
    const char     *value;   /* the default, as it would stand in a file */
    double          lo, hi;  /* numbers: closed range ... */
    int             open_lo; /* ... but lo itself excluded */
    const char     *choices; /* ENUM, TEXT: "a|b|c" */
    const char     *unit;    /* NULL: none */
    ks_config_class kind;
    const char     *doc;
} ks_key;

extern const ks_key ks_schema[];
extern const int    ks_schema_n;

/* Row of an exact path, -1: none. */
int ks_schema_find(const char *path);
/* Is there a row below path ("optim" -> "optim.lr")? */
int ks_schema_is_section(const char *path);
/* Copies choice k of a list "a|b|c"; 0 when there is no such choice. */
int ks_schema_choice(const char *choices, int k, char *out, size_t size);

/* A value as YAML text, as it stands in config (strings quoted where needed); returns its length. */
int ks_schema_print(const ks_key *key, const ks_config *config, char *out, size_t size);
/* Is the row part of a dump? (a split is either a name or a mapping) */
int ks_schema_is_shown(const ks_key *key, const ks_config *config);

/* Rules between keys; where(user, path, out, size) writes the prefix of a message about that key. */
typedef void (*ks_config_where)(const void *user, const char *path, char *out, size_t size);
KS_NODISCARD ks_status ks_config_rules(const ks_config *config, ks_config_where where, const void *user);
#endif
