/* Clones of one snapshot and their parent, changed at once by several clients: each is what its own
 * clients made of it, whatever the others do. */
#include "tests/vault/nfs_world.h"

#include "tests/lib/random.h"

TestSuite(nfs_model);

enum { AREAS = 5, NAMES = 6, SIZE_MAX_BYTES = 150000, WRITE_MAX = 40000, CLIENTS = 2 };

struct model {
    bool there[NAMES];
    uint32_t size[NAMES];
    uint8_t bytes[NAMES][SIZE_MAX_BYTES];
};

struct area {
    struct nfs_world *n;
    struct rnd rnd;
    char path[32];
    int rounds;
    struct model model;
    struct client clients[CLIENTS];
    struct fh handles[NAMES];
};

static char *name_of(unsigned which)
{
    static char names[NAMES][4] = {"f0", "f1", "f2", "f3", "f4", "f5"};
    return names[which];
}

static void reopen_clients(struct area *a)
{
    for (int i = 0; i < CLIENTS; i++)
        client_open(&a->clients[i], a->n->port, a->path);
    for (unsigned f = 0; f < NAMES; f++) {
        enum nfsstat3 status =
            do_lookup(&a->clients[0], &a->clients[0].root, name_of(f), &a->handles[f], NULL);
        STATUS(status, a->model.there[f] ? NFS3_OK : NFS3ERR_NOENT);
    }
}

static void close_clients(struct area *a)
{
    for (int i = 0; i < CLIENTS; i++)
        client_done(&a->clients[i]);
}

static void write_some(struct area *a, struct client *c, unsigned f)
{
    struct model *m = &a->model;
    uint32_t offset = (uint32_t)rnd_below(&a->rnd, SIZE_MAX_BYTES - WRITE_MAX);
    uint32_t len = 1 + (uint32_t)rnd_below(&a->rnd, WRITE_MAX - 1);
    if (rnd_chance(&a->rnd, 50)) {
        offset &= ~8191U;
        len = 8192;
    }
    for (uint32_t i = 0; i < len; i++)
        m->bytes[f][offset + i] = (uint8_t)(rnd_next(&a->rnd) >> 32);
    STATUS(do_write(c, &a->handles[f], offset, &m->bytes[f][offset], len,
                    (enum stable_how)rnd_below(&a->rnd, 3)),
           NFS3_OK);
    if (offset + len > m->size[f])
        m->size[f] = offset + len;
}

static void resize(struct area *a, struct client *c, unsigned f)
{
    struct model *m = &a->model;
    uint32_t size = (uint32_t)rnd_below(&a->rnd, SIZE_MAX_BYTES);
    sattr3 set = {.size = {1, {.size = size}}};
    STATUS(do_setattr(c, &a->handles[f], &set, NULL), NFS3_OK);
    if (size < m->size[f])
        memset(&m->bytes[f][size], 0, m->size[f] - size);
    m->size[f] = size;
}

static void make_or_remove(struct area *a, struct client *c, unsigned f)
{
    struct model *m = &a->model;
    if (m->there[f]) {
        STATUS(do_remove(c, &c->root, name_of(f)), NFS3_OK);
        memset(m->bytes[f], 0, sizeof m->bytes[f]);
        m->size[f] = 0;
    } else {
        a->handles[f] = made_file(c, &c->root, name_of(f), 0600);
    }
    m->there[f] = !m->there[f];
}

static void rename_over(struct area *a, struct client *c, unsigned from, unsigned to)
{
    struct model *m = &a->model;
    STATUS(do_rename(c, &c->root, name_of(from), &c->root, name_of(to)), NFS3_OK);
    if (from == to)
        return;
    memcpy(m->bytes[to], m->bytes[from], sizeof m->bytes[to]);
    memset(m->bytes[from], 0, sizeof m->bytes[from]);
    m->size[to] = m->size[from];
    m->size[from] = 0;
    m->there[to] = true;
    m->there[from] = false;
    a->handles[to] = a->handles[from];
}

static void compare(struct area *a, struct client *c, unsigned f)
{
    AUTO(mem) uint8_t *bytes = own_alloc(SIZE_MAX_BYTES + 1, &c->err);
    struct model *m = &a->model;
    uint32_t len = 0;
    if (!m->there[f]) {
        STATUS(do_lookup(c, &c->root, name_of(f), NULL, NULL), NFS3ERR_NOENT);
        return;
    }
    STATUS(do_read(c, &a->handles[f], 0, bytes, SIZE_MAX_BYTES + 1, &len, NULL), NFS3_OK);
    cr_assert_eq(len, m->size[f], "%s%s is %u bytes, not %u", a->path, name_of(f), len, m->size[f]);
    for (uint32_t i = 0; i < len; i++)
        cr_assert_eq(bytes[i], m->bytes[f][i], "%s/%s differs at %u", a->path, name_of(f), i);
}

static void *play(void *arg)
{
    struct area *a = arg;
    for (int i = 0; i < a->rounds; i++) {
        struct client *c = &a->clients[rnd_below(&a->rnd, CLIENTS)];
        unsigned f = (unsigned)rnd_below(&a->rnd, NAMES);
        uint64_t dice = rnd_below(&a->rnd, 100);
        if (dice >= 90 || !a->model.there[f])
            make_or_remove(a, c, f);
        else if (dice < 45)
            write_some(a, c, f);
        else if (dice < 55)
            resize(a, c, f);
        else if (dice < 60)
            rename_over(a, c, f, (unsigned)rnd_below(&a->rnd, NAMES));
        else
            compare(a, c, f);
    }
    return NULL;
}

static void play_all(struct area *areas, int count)
{
    pthread_t threads[AREAS];
    for (int i = 0; i < count; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, play, &areas[i]), 0);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void compare_all(struct area *areas, int count)
{
    for (int i = 0; i < count; i++)
        for (unsigned f = 0; f < NAMES; f++)
            compare(&areas[i], &areas[i].clients[f % CLIENTS], f);
}

/* areas[0] is the parent, the others clones; the last is a clone nobody changes. */
Test(nfs_model, of_clones_and_their_parent_has_no_write_in_two_places)
{
    const int rounds = getenv("EVERCOPY_LONG") ? 3000 : 60;
    struct rnd rnd = rnd_begin("nfs_model");
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(mem) struct area *areas = own_alloc(AREAS * sizeof *areas, &n.w.err);
    for (int i = 0; i < AREAS; i++) {
        areas[i].n = &n;
        areas[i].rnd.state = rnd_next(&rnd);
        areas[i].rounds = rounds;
        str_format(areas[i].path, sizeof areas[i].path, i ? "/v/c%d" : "/v", i);
    }
    reopen_clients(&areas[0]);
    play_all(areas, 1);
    world_snapshot(&n.w, "v", "s");
    for (int i = 1; i < AREAS; i++) {
        world_ok(&n.w,
                 vault_clone_create(n.w.vault, "v", areas[i].path + 3, "s", NULL, 0, &n.w.err));
        areas[i].model = areas[0].model;
        reopen_clients(&areas[i]);
    }
    for (int phase = 0; phase < 3; phase++) {
        play_all(areas, AREAS - 1);
        compare_all(areas, AREAS);
        for (int i = 0; i < AREAS; i++)
            close_clients(&areas[i]);
        if (phase == 0) /* clones now stand on the store */
            world_ok(&n.w, vault_seal(n.w.vault, "v", &n.w.err));
        nfs_world_unserve(&n);
        world_reopen(&n.w);
        nfs_world_serve(&n);
        for (int i = 0; i < AREAS; i++)
            reopen_clients(&areas[i]);
        compare_all(areas, AREAS);
    }
    for (int i = 0; i < AREAS; i++)
        close_clients(&areas[i]);
    nfs_world_end(&n);
}
