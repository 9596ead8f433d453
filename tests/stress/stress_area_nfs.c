/* Threads that read, list and close over NFS at once, from a server that forgets handles; for the
 * thread sanitizer. */
#include "agent/base/str.h"
#include "drivers/area/area.h"
#include "tests/lib/nfs_liar.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, ROUNDS = 15, PIECE = 256 << 10 };

struct task {
    struct area *area;
    struct area_handle *shared;
    bool ok;
};

static bool read_all(struct area_handle *file, struct err *err)
{
    AUTO(mem) uint8_t *bytes = own_alloc(PIECE, err);
    for (uint64_t offset = 0; bytes;) {
        ssize_t n = area_file_read(file, bytes, PIECE, offset, err);
        if (n < 0)
            return false;
        for (ssize_t i = 0; i < n; i++)
            if (bytes[i] != (uint8_t)((offset + (uint64_t)i) * 7 + (offset + (uint64_t)i) / 4096))
                return err_set(err, ERR_CORRUPT, "wrong byte");
        offset += (uint64_t)n;
        if (n < PIECE)
            return offset == LIAR_FILE_BYTES;
    }
    return false;
}

static bool one_round(struct task *task, struct err *err)
{
    uint64_t size;
    uint64_t mtime_us;
    AUTO(area_list) struct area_list list = {0};
    AUTO(area_handle) struct area_handle *own = area_file_open(task->area, "f", err);
    AUTO(area_handle) struct area_handle *begun = area_file_open(task->area, "f", err);
    uint8_t byte;
    return own && begun && read_all(own, err) && read_all(task->shared, err) &&
           area_file_stat(task->shared, &size, &mtime_us, err) &&
           area_list(task->area, 9, &list, err) && list.count == 2 &&
           area_file_read(begun, &byte, 1, 5, err) == 1;
}

static void *work(void *arg)
{
    struct task *task = arg;
    struct err err = {0};
    for (int i = 0; i < ROUNDS && task->ok; i++)
        task->ok = one_round(task, &err);
    if (!task->ok)
        fprintf(stderr, "stress_area_nfs: %s\n", err.text);
    return NULL;
}

int main(void)
{
    struct err err = {0};
    struct task tasks[THREADS];
    pthread_t threads[THREADS];
    bool ok = true;
    AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(LIE_FORGETS, 60, &err);
    AUTO(area)
    struct area *area = liar ? area_nfs_open(nfs_liar_url(liar), NULL, NULL, &err) : NULL;
    AUTO(area_handle) struct area_handle *shared = area ? area_file_open(area, "f", &err) : NULL;
    if (!shared) {
        fprintf(stderr, "stress_area_nfs: %s\n", err.text);
        return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (struct task){.area = area, .shared = shared, .ok = true};
        if (pthread_create(&threads[i], NULL, work, &tasks[i]) != 0)
            return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ok = ok && tasks[i].ok;
    }
    printf("stress_area_nfs: %s\n", ok ? "ok" : "failed");
    return !ok;
}
