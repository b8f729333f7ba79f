/* config_yaml.c -- see config_yaml.h. */
#include "train/config_yaml.h"
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 16, PLACE_BYTES = 1200 };

typedef struct reader {
    yaml_parser_t yaml;
    yaml_event_t  event;
    int           has_event;
    const char   *name;
    int           with_position;
    ks_arena     *arena;
    char          place_text[PLACE_BYTES];
} reader;

static const char *place(reader *r, size_t line, size_t column) {
    if (r->with_position) snprintf(r->place_text, sizeof r->place_text, "%s:%zu:%zu", r->name, line + 1, column + 1);
    else snprintf(r->place_text, sizeof r->place_text, "%s", r->name);
    return r->place_text;
}
static const char *place_of_event(reader *r) { return place(r, r->event.start_mark.line, r->event.start_mark.column); }

static ks_status next_event(reader *r) {
    ks_status st = KS_OK;
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->yaml, &r->event);
    if (!r->has_event) {
        const yaml_mark_t m = r->yaml.problem_mark;
        KS_CHECK(r->yaml.error != YAML_READER_ERROR, KS_ERR_CONFIG, "%s: not UTF-8 text (byte %zu: %s)", r->name,
                 r->yaml.problem_offset, r->yaml.problem ? r->yaml.problem : "unreadable");
        KS_CHECK(0, KS_ERR_CONFIG, "%s: %s%s%s", place(r, m.line, m.column),
                 r->yaml.problem ? r->yaml.problem : "cannot parse", r->yaml.context ? " " : "",
                 r->yaml.context ? r->yaml.context : "");
    }
done:
    return st;
}

static ks_status refuse_extras(reader *r, const yaml_char_t *tag, const yaml_char_t *anchor) {
    ks_status st = KS_OK;
    KS_CHECK(!tag, KS_ERR_CONFIG, "%s: tags ('%s') are not allowed in a config", place_of_event(r), (const char *)tag);
    KS_CHECK(!anchor, KS_ERR_CONFIG, "%s: anchors ('&%s') are not allowed in a config", place_of_event(r),
             (const char *)anchor);
done:
    return st;
}

static ks_status read_node(reader *r, int depth,
                           ks_node **out); /* from the current event; leaves its last event current */

static ks_status read_scalar(reader *r, ks_node *node) {
    ks_status    st   = KS_OK;
    char        *text = NULL;
    const size_t n    = r->event.data.scalar.length;
    const char  *from = (const char *)r->event.data.scalar.value;
    for (size_t i = 0; i < n; i++)
        KS_CHECK((unsigned char)from[i] >= 32 && from[i] != 127, KS_ERR_CONFIG,
                 "%s: control character 0x%02x in a value", place_of_event(r), (unsigned char)from[i]);
    KS_TRY(KS_TAKE(r->arena, text, n + 1));
    memcpy(text, from, n);
    text[n]         = '\0';
    node->text      = text;
    node->is_quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
done:
    return st;
}

static ks_status check_key(reader *r, const ks_node *map, const ks_node *key) {
    ks_status st = KS_OK;
    KS_CHECK(key->kind == KS_NODE_SCALAR && key->text[0], KS_ERR_CONFIG, "%s: a key must be a word",
             place(r, (size_t)key->line - 1, (size_t)key->column - 1));
    for (const ks_node *k = map->child; k && k != key; k = k->next->next)
        KS_CHECK(strcmp(k->text, key->text), KS_ERR_CONFIG, "%s: key '%s' is repeated (first at line %d)",
                 place(r, (size_t)key->line - 1, (size_t)key->column - 1), key->text, k->line);
done:
    return st;
}

static ks_status read_children(reader *r, int depth, yaml_event_type_t end, ks_node *node) {
    ks_status st   = KS_OK;
    ks_node **tail = &node->child;
    int       n    = 0;
    for (;;) {
        KS_TRY(next_event(r));
        if (r->event.type == end) break;
        KS_TRY(read_node(r, depth + 1, tail));
        if (node->kind == KS_NODE_MAP && n % 2 == 0) KS_TRY(check_key(r, node, *tail));
        tail = &(*tail)->next;
        n++;
    }
done:
    return st;
}

static ks_status read_node(reader *r, int depth, ks_node **out) {
    ks_status          st   = KS_OK;
    ks_node           *node = NULL;
    const yaml_event_t e    = r->event;
    KS_CHECK(depth < DEPTH_MAX, KS_ERR_CONFIG, "%s: nested more than %d levels", place_of_event(r), DEPTH_MAX);
    KS_TRY(KS_TAKE(r->arena, node, 1));
    *node = (ks_node){.line = (int)e.start_mark.line + 1, .column = (int)e.start_mark.column + 1};
    *out  = node;
    switch (e.type) {
    case YAML_SCALAR_EVENT:
        KS_TRY(refuse_extras(r, e.data.scalar.tag, e.data.scalar.anchor));
        node->kind = KS_NODE_SCALAR;
        KS_TRY(read_scalar(r, node));
        break;
    case YAML_SEQUENCE_START_EVENT:
        KS_TRY(refuse_extras(r, e.data.sequence_start.tag, e.data.sequence_start.anchor));
        node->kind = KS_NODE_LIST;
        KS_TRY(read_children(r, depth, YAML_SEQUENCE_END_EVENT, node));
        break;
    case YAML_MAPPING_START_EVENT:
        KS_TRY(refuse_extras(r, e.data.mapping_start.tag, e.data.mapping_start.anchor));
        node->kind = KS_NODE_MAP;
        KS_TRY(read_children(r, depth, YAML_MAPPING_END_EVENT, node));
        break;
    case YAML_ALIAS_EVENT:
        KS_CHECK(0, KS_ERR_CONFIG, "%s: aliases ('*%s') are not allowed in a config", place_of_event(r),
                 (const char *)e.data.alias.anchor);
    default:
        KS_CHECK(0, KS_ERR_CONFIG, "%s: unexpected YAML", place_of_event(r));
    }
done:
    return st;
}

ks_status ks_yaml_parse(const char *text, size_t length, const char *name, int with_position, ks_arena *arena,
                        ks_node **root) {
    ks_status st = KS_OK;
    reader    r  = {.name = name, .with_position = with_position, .arena = arena};
    *root        = NULL;
    KS_CHECK(yaml_parser_initialize(&r.yaml), KS_ERR_NOMEM, "%s: YAML parser", name);
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, length);
    KS_TRY(next_event(&r)); /* stream start */
    KS_TRY(next_event(&r));
    if (r.event.type == YAML_STREAM_END_EVENT) goto done;
    KS_TRY(next_event(&r)); /* behind document start */
    KS_TRY(read_node(&r, 0, root));
    KS_TRY(next_event(&r)); /* document end */
    KS_TRY(next_event(&r));
    KS_CHECK(r.event.type == YAML_STREAM_END_EVENT, KS_ERR_CONFIG, "%s: a second YAML document begins here",
             place_of_event(&r));
done:
    if (r.has_event) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.yaml);
    return st;
}
