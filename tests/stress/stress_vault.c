/* The vault under everything at once, for the thread sanitizer: writers, readers, who waits for
 * events, snapshots, clones, drops and seals of two volumes. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/events.h"
#include "tests/lib/memory_io.h"
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 60, BYTES = 4 * RECORD_BYTES };

static struct vault *vault;
static atomic_bool over;

static void fine(bool ok, const struct err *err)
{
    if (ok)
        return;
    fprintf(stderr, "stress_vault: %s\n", err->text);
    abort();
}

/* Each write is one byte all over, so a reader of a snapshot sees one byte alone. */
static void *writer(void *name)
{
    struct err err = {0};
    AUTO(view) struct view *view = view_open(vault, name, NULL, NULL, &err);
    fine(view != NULL, &err);
    struct view_file file;
    static char bytes[2][BYTES];
    char *mine = bytes[((const char *)name)[1] - '0'];
    fine(view_create(view, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &file, NULL, &err), &err);
    for (unsigned i = 0; !over; i++) {
        memset(mine, (int)(i % 250) + 1, BYTES);
        fine(view_write(view, file.file, mine, BYTES, 0, i % 3 == 0, NULL, &err), &err);
        if (i % 7 == 0)
            fine(view_commit(view, file.file, NULL, &err), &err);
        if (i % 11 == 0) {
            struct view_file other;
            fine(
                view_create(view, NULL, VIEW_ROOT, "b", INODE_FILE, NULL, NULL, &other, NULL, &err),
                &err);
            fine(view_link(view, NULL, file.file, VIEW_ROOT, "l", &other, NULL, &err), &err);
            fine(view_remove(view, NULL, VIEW_ROOT, "b", false, NULL, &err), &err);
            fine(view_rename(view, NULL, VIEW_ROOT, "l", VIEW_ROOT, "b", NULL, NULL, &err), &err);
            fine(view_remove(view, NULL, VIEW_ROOT, "b", false, NULL, &err), &err);
        }
    }
    return NULL;
}

static void *reader(void *name)
{
    struct err err = {0};
    AUTO(view) struct view *view = view_open(vault, name, NULL, NULL, &err);
    fine(view != NULL, &err);
    static char bytes[2][BYTES];
    char *mine = bytes[((const char *)name)[1] - '0'];
    while (!over) {
        struct view_file file;
        struct err none = {0};
        if (view_find(view, "a", &file, &none))
            fine(view_read(view, file.file, mine, BYTES, 0, &err) >= 0, &err);
    }
    return NULL;
}

static void *listener(void *name)
{
    static struct vault_event rows[2][16];
    struct vault_event *mine = rows[((const char *)name)[1] - '0'];
    uint64_t after = vault_events_now(vault);
    while (!over) {
        bool lost;
        size_t count = vault_events_wait(vault, after, 100, mine, 16, &lost);
        for (size_t i = 0; i < count; i++) {
            assert(mine[i].sequence == after + 1 || (lost && i == 0));
            after = mine[i].sequence;
        }
        vault_events_free(mine, count);
    }
    return NULL;
}

static void one_byte(const char *volume, const char *snapshot, const char *clone)
{
    struct err err = {0}, none = {0};
    char bytes[BYTES];
    AUTO(view) struct view *view = view_open(vault, volume, snapshot, clone, &err);
    fine(view != NULL, &err);
    struct view_file file;
    if (!view_find(view, "a", &file, &none))
        return;
    ssize_t n = view_read(view, file.file, bytes, sizeof bytes, 0, &err);
    fine(n >= 0, &err);
    for (ssize_t i = 1; i < n; i++)
        assert(bytes[i] == bytes[0]);
}

static void round_of(unsigned i)
{
    struct err err = {0};
    const char *both[] = {"v0", "v1"};
    char name[32], clone[32];
    const char *volume = both[i % 2];
    str_format(name, sizeof name, "s%u", i);
    str_format(clone, sizeof clone, "c%u", i);
    fine(vault_snapshot_create(vault, both, 2, name, &err), &err);
    fine(vault_clone_create(vault, volume, clone, name, NULL, 0, &err), &err);
    size_t count = 0; /* asks for unique bytes, which the sealers count */
    own_free(vault_snapshot_list(vault, volume, &count, &err));
    one_byte("v0", name, NULL);
    one_byte(volume, NULL, clone);
    struct vault_part part = {NULL, "a", "x/a"};
    str_format(clone, sizeof clone, "d%u", i);
    if (i > 3)
        fine(vault_clone_create(vault, volume, clone, NULL, &part, 1, &err), &err);
    if (i >= 5) {
        str_format(name, sizeof name, "s%u", i - 5);
        fine(vault_snapshot_drop(vault, "v0", name, &err), &err);
        fine(vault_snapshot_drop(vault, "v1", name, &err), &err);
        str_format(clone, sizeof clone, "c%u", i - 5);
        one_byte(both[(i - 5) % 2], NULL, clone);
        fine(vault_clone_drop(vault, both[(i - 5) % 2], clone, &err), &err);
    }
}

int main(void)
{
    struct err err = {0};
    struct memory_io *memory;
    char box[64];
    str_format(box, sizeof box, "%s/evercopy-stress.XXXXXX",
               access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
    assert(mkdtemp(box));
    struct io *io = memory_io_open(0, &memory, &err);
    fine(io != NULL, &err);
    struct vault_options options = {
        .layer_bytes = 100000, .debt_bytes = 200000, .reserve_bytes = 4096, .seal_threads = 2};
    vault = vault_open(box, io, &options, &err);
    fine(vault != NULL, &err);
    fine(vault_volume_create(vault, "v0", &err), &err);
    fine(vault_volume_create(vault, "v1", &err), &err);
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    void *(*const runs[])(void *) = {writer, writer, reader, reader, listener, listener};
    static char names[][3] = {"v0", "v1", "v0", "v1", "v0", "v1"};
    for (int i = 0; i < THREADS; i++)
        assert(pthread_create(&threads[i], NULL, runs[i], names[i]) == 0);
    for (unsigned i = 0; i < ROUNDS; i++)
        round_of(i);
    over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    vault_close(vault);
    vault = vault_open(box, io, &options, &err);
    fine(vault != NULL, &err);
    vault_close(vault);
    io_close(io);
    fine(sys_remove_tree(box, &err), &err);
    puts("stress_vault: fine");
    return 0;
}
