/* A client meets a damaged block: the log says which, of each file. */
#include "agent/base/sys.h"
#include "tests/vault/nfs_world.h"
#include <unistd.h>

enum { RECORDS = 5, BYTES = RECORDS * RECORD_BYTES };

/* Bytes that do not press: each file has a frame of its own, as long as the file. */
static void write_noise(struct world *w, const char *name, unsigned seed)
{
    AUTO(view) struct view *view = world_view(w, "v", NULL, NULL);
    AUTO(mem) uint8_t *bytes = own_alloc(BYTES, &w->err);
    for (size_t i = 0; bytes && i < BYTES; i++)
        bytes[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
    world_ok(w, bytes && view_write(view, world_file(w, view, name), bytes, BYTES, 0, true, NULL,
                                    &w->err));
}

/* A bit in the midst of each of two frames of the pack that holds them. */
static void damage(struct world *w)
{
    char name[IO_NAME_MAX];
    uint64_t size = 0;
    for (size_t i = 0; memory_io_name(w->memory, i, name); i++)
        if (strstr(name, "/pack/") && io_size(w->io, name, &size, &w->err) && size > BYTES)
            cr_assert(memory_io_flip(w->memory, name, BYTES / 2, 1) &&
                      memory_io_flip(w->memory, name, BYTES + BYTES / 2, 1));
}

static enum nfsstat3 read_all(struct client *c, const char *name)
{
    struct fh file;
    cr_assert_eq(do_lookup(c, &c->root, name, &file, NULL), NFS3_OK);
    return do_read(c, &file, 0, NULL, BYTES, NULL, NULL);
}

static char *read_log(int fd, struct err *err)
{
    size_t size = 1 << 16;
    char *text = own_alloc(size, err);
    ssize_t n = text ? pread(fd, text, size - 1, 0) : -1;
    cr_assert_geq(n, 0);
    return text;
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)); at++)
        count++;
    return count;
}

Test(nfs_damage, names_volume_file_and_record_in_the_log_once_for_each_file)
{
    struct nfs_world n;
    char log[] = "/tmp/evercopy-nfs-damage-XXXXXX";
    nfs_world_begin(&n);
    write_noise(&n.w, "a.dbf", 1);
    write_noise(&n.w, "b.dbf", 2);
    world_snapshot(&n.w, "v", "s");
    world_ok(&n.w, vault_seal(n.w.vault, "v", &n.w.err));
    nfs_world_unserve(&n);
    world_reopen(&n.w);
    damage(&n.w);
    nfs_world_serve(&n);
    AUTO(fd) int fd = mkstemp(log);
    AUTO(fd) int saved = dup(2);
    cr_assert(fd >= 0 && unlink(log) == 0 && saved >= 0 && dup2(fd, 2) == 2);
    {
        AUTO(client) struct client c = {0};
        client_open(&c, n.port, "/v");
        for (int round = 0; round < 3; round++) {
            cr_expect_eq(read_all(&c, "a.dbf"), NFS3ERR_IO);
            cr_expect_eq(read_all(&c, "b.dbf"), NFS3ERR_IO);
        }
    }
    dup2(saved, 2);
    AUTO(mem) char *text = read_log(fd, &n.w.err);
    cr_expect_eq(count_of(text, "volume 'v' file 'a.dbf' bytes 0 to 40959: record 0: "), 1, "%s",
                 text);
    cr_expect_eq(count_of(text, "volume 'v' file 'b.dbf' bytes 0 to 40959: record 0: "), 1, "%s",
                 text);
    cr_expect_eq(count_of(text, "an NFS call failed"), 2, "%s", text);
    AUTO(view) struct view *view = world_view(&n.w, "v", "s", NULL);
    char byte;
    cr_expect_eq(view_read(view, world_file(&n.w, view, "a.dbf"), &byte, 1, 20000, &n.w.err), -1);
    cr_expect(strstr(n.w.err.text, "volume 'v' snapshot 's' file 'a.dbf' bytes 20000 to 20000: "),
              "%s", n.w.err.text);
    view_close(TAKE(view));
    nfs_world_end(&n);
}
