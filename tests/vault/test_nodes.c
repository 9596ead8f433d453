/* Decoded nodes kept: what is given is what was put, for as long as it is held. */
#include "drivers/vault/store/nodes.h"
#include <criterion/criterion.h>

static const struct node *put(struct nodes *nodes, uint64_t family, uint32_t frame)
{
    struct err err = {0};
    AUTO(mem) struct node *node = own_alloc(sizeof *node, &err);
    node->prefix = frame;
    node->patterns = own_alloc(sizeof *node->patterns, &err);
    node->pattern_count = 1;
    node->places[3] = (struct place){.kind = PLACE_STORED, .birth = 10 + frame};
    node->places[4] = (struct place){.kind = PLACE_STORED, .birth = 5};
    const struct node *held = nodes_put(nodes, family, (struct addr){1, frame, 2}, node, &err);
    cr_assert(held, "%s", err.text);
    return held;
}

Test(nodes, are_found_by_family_and_address_only)
{
    struct err err = {0};
    struct nodes *nodes = nodes_new(&err);
    nodes_release(put(nodes, 7, 9));
    const struct node *held = nodes_get(nodes, 7, (struct addr){1, 9, 2});
    cr_assert(held);
    cr_assert_eq(held->prefix, 9);
    cr_assert_eq(nodes_youngest(held), 19);
    nodes_release(held);
    cr_assert_null(nodes_get(nodes, 8, (struct addr){1, 9, 2}));
    cr_assert_null(nodes_get(nodes, 7, (struct addr){2, 9, 2}));
    cr_assert_null(nodes_get(nodes, 7, (struct addr){1, 8, 2}));
    cr_assert_null(nodes_get(nodes, 7, (struct addr){1, 9, 3}));
    nodes_release(NULL);
    nodes_free(nodes);
}

Test(nodes, one_that_is_held_outlives_its_place)
{
    struct err err = {0};
    struct nodes *nodes = nodes_new(&err);
    const struct node *first = put(nodes, 7, 0);
    size_t kept = 0;
    for (uint32_t frame = 1; frame < 5000; frame++)
        nodes_release(put(nodes, 7, frame));
    for (uint32_t frame = 0; frame < 5000; frame++) {
        const struct node *held = nodes_get(nodes, 7, (struct addr){1, frame, 2});
        kept += held != NULL;
        cr_assert(!held || held->prefix == frame);
        nodes_release(held);
    }
    cr_assert_gt(kept, 100);
    cr_assert_lt(kept, 1000, "it does not grow without end");
    cr_assert_eq(first->prefix, 0);
    cr_assert_eq(first->places[3].birth, 10);
    nodes_release(first);
    nodes_free(nodes);
}
