/* data_impl.h -- inside of a ksgrad data file (private). Layout: datasets/README.md. */
#ifndef KS_IO_DATA_IMPL_H
#define KS_IO_DATA_IMPL_H
#include "io/h5.h"
#include "ksgrad/data.h"

#define KS_DATA_FORMAT "ksgrad-dataset"
enum { KS_DATA_VERSION = 1, KS_DATA_MAX_GROUP = 10000, KS_DATA_MAX_SET = 64 };

typedef struct ks_data_group { /* frames of one composition */
    char    *name;
    int64_t  n_atom, n_frame;
    int32_t *Z;
} ks_data_group;

typedef struct ks_label_block {
    char    *path; /* group in the file */
    int64_t  n, n_ao;
    int64_t *frame; /* (n) */
    uint8_t *done;  /* (n) */
} ks_label_block;

typedef struct ks_label_set {
    char           *path;
    ks_label_method method;
    int64_t         n_block;
    ks_label_block *block;
    int32_t        *block_of; /* (n_frame of the file) -1: no room reserved */
    int64_t        *row_of;
} ks_label_set;

struct ks_data {
    ks_h5         *h5;
    char          *path;
    int64_t        n_frame, n_group, n_set;
    ks_data_group *group;
    int32_t       *group_of; /* (n_frame) */
    int64_t       *row_of;   /* (n_frame) */
    int            has_energy, has_force;
    char           unit[32]; /* of the external energies */
    ks_label_set  *set;
};

void ks_split_hash(const ks_split *split, char hex[65]);
/* Frame numbers in range and distinct; name is for the message. */
KS_NODISCARD ks_status ks_split_check(const ks_split *split, int64_t n_frame, const char *name);

KS_NODISCARD ks_status ks_label_sets_load(ks_data *data);
void                   ks_label_sets_free(ks_data *data);
ks_label_set          *ks_label_set_find(ks_data *data, const ks_label_method *method); /* NULL: none */
#endif
