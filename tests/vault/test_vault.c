/* The vault in stories: what is written is read, what was acknowledged survives, what was deleted
 * frees its room. */
#include "tests/vault/volume_world.h"

static void create(struct world *w, const char *volume)
{
    world_ok(w, vault_volume_create(w->vault, volume, &w->err));
}

Test(vault, keeps_a_file_over_snapshots_seals_and_crashes)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a.dbf", 'a', 40000, 0);
    world_snapshot(&w, "orcl", "s1");
    world_write(&w, "orcl", NULL, "a.dbf", 'b', 10000, 5000);
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'b', 10000, 5000);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'a', 5000, 0);
    world_crash(&w);
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'b', 10000, 5000);
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'b', 10000, 5000);
    world_crash(&w);
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'a', 5000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'a', 25000, 15000);
    world_end(&w);
}
