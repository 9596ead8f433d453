/* Objects over NFS when answers are lost, bits turned, and the server killed: done or not done. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/io/io.h"
#include "tests/lib/nfs_server.h"
#include "tests/lib/rpc_proxy.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGE = (9 << 20) + 777, SEVERAL = (1 << 20) + 55555 };

static bool is_long(void) { return getenv("EVERCOPY_LONG") != NULL; }

static bool put_text(struct io *io, const char *name, const char *text, enum io_put how,
                     struct err *err)
{
    return io_put(io, name, text, strlen(text), how, err);
}

static bool holds(struct io *io, const char *name, const char *wanted, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = io_get(io, name, 1 << 20, &len, err);
    return text && (str_equal(text, wanted) ||
                    err_set(err, ERR_INTERNAL, "'%s' holds '%.40s'", name, text));
}

static void begin(struct nfs_server *server, const char *test)
{
    struct err err = {0};
    log_set_level(LOG_LEVEL_ERROR);
    if (nfs_server_begin(server, 512, &err))
        return;
    printf("SKIPPED io_nfs/%s: %s\n", test, err.text);
    cr_skip_test("%s", err.text);
}

static struct io *open_at(const struct nfs_server *server, unsigned port, const char *dir,
                          unsigned timeout_s, struct err *err)
{
    char url[600];
    str_format(url, sizeof url, "nfs://127.0.0.1%s/%s?nfsport=%u&mountport=20492&timeout=%u",
               server->dir, dir, port, timeout_s);
    return io_open(url, NULL, 0, err);
}

/* So large that several WRITEs are under way at once. */
static const char *several(void)
{
    static char bytes[SEVERAL];
    for (size_t i = 0; !bytes[1] && i < SEVERAL; i++)
        bytes[SEVERAL - 1 - i] = (char)(i * 7 + i / 5000 + 1);
    return bytes;
}

static bool several_are_whole(struct io *io, struct err *err)
{
    size_t len = 0;
    AUTO(mem) char *got = io_get(io, "f/1/pack/q", SEVERAL, &len, err);
    return got && ((len == SEVERAL && memcmp(got, several(), len) == 0) ||
                   err_set(err, ERR_INTERNAL, "not as it was written"));
}

static bool work(struct io *io, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    AUTO(io_writer) struct io_writer *writer = io_create(io, "f/1/pack/p", err);
    uint32_t swept;
    return writer && io_append(writer, "pa", 2, err) && io_append(writer, "ck", 2, err) &&
           io_finish(TAKE(writer), err) &&
           io_put(io, "f/1/pack/q", several(), SEVERAL, IO_NEW, err) &&
           put_text(io, "f/1/commit/1", "one", IO_NEW, err) &&
           put_text(io, "f/1/note/n", "old", IO_REPLACE, err) &&
           put_text(io, "f/1/note/n", "new", IO_REPLACE, err) && io_list(io, "f/1", &list, err) &&
           put_text(io, "f/1/commit/2", "two", IO_NEW, err) && io_delete(io, "f/1/commit/2", err) &&
           io_sweep(io, "", &swept, err);
}

static void check(struct io *io, enum rpc_spoil how, long n)
{
    struct err err = {0};
    uint64_t bytes;
    AUTO(io_list) struct io_list list = {0};
    cr_expect(holds(io, "f/1/pack/p", "pack", &err), "%d at %ld: %s", how, n, err.text);
    cr_expect(several_are_whole(io, &err), "%d at %ld: %s", how, n, err.text);
    cr_expect(holds(io, "f/1/commit/1", "one", &err), "%d at %ld: %s", how, n, err.text);
    cr_expect(holds(io, "f/1/note/n", "new", &err), "%d at %ld: %s", how, n, err.text);
    cr_expect(!io_size(io, "f/1/commit/2", &bytes, &err) && err.code == ERR_NOT_FOUND);
    cr_expect(io_list(io, "f/1/commit", &list, &err) && list.count == 1, "%d at %ld", how, n);
}

static void each_record(const char *test, enum rpc_spoil how, long step)
{
    AUTO(nfs_server) struct nfs_server server = {.script = {.to = -1, .from = -1}};
    AUTO(rpc_proxy) struct rpc_proxy proxy = {0};
    struct err err = {0};
    begin(&server, test);
    cr_assert(rpc_proxy_begin(&proxy, 20491, &err), "%s", err.text);
    long records = 100;
    for (long n = 1; n <= records; n += step) {
        char dir[32];
        str_format(dir, sizeof dir, "n%ld", n);
        AUTO(io) struct io *io = open_at(&server, proxy.port, dir, 20, &err);
        cr_assert(io, "%s", err.text);
        IGNORE(rpc_proxy_spoil(&proxy, how, n, 0));
        cr_expect(work(io, &err), "%d at %ld: %s", how, n, err.text);
        err_clear(&err);
        records = rpc_proxy_spoil(&proxy, RPC_WHOLE, 0, 0) - 1;
        check(io, how, n);
    }
    cr_expect(records > 40, "%ld records", records);
}

Test(io_nfs, whichever_answer_is_lost_all_is_done_once)
{
    each_record("whichever_answer_is_lost_all_is_done_once", RPC_LOSE_ANSWER, 1);
}

Test(io_nfs, whichever_call_is_lost_all_is_done_once)
{
    each_record("whichever_call_is_lost_all_is_done_once", RPC_LOSE_CALL, is_long() ? 1 : 4);
}

/* What is tried with a second's patience is opened with more: a busy machine is no defect. */
static struct io *open_patiently(const struct nfs_server *server, unsigned port, const char *dir,
                                 struct err *err)
{
    struct io *io = NULL;
    for (int i = 0; !io && i < 20; i++) {
        err_clear(err);
        io = open_at(server, port, dir, 1, err);
    }
    return io;
}

Test(io_nfs, an_answer_with_a_bit_turned_ends_in_an_error_or_in_nothing)
{
    AUTO(nfs_server) struct nfs_server server = {.script = {.to = -1, .from = -1}};
    AUTO(rpc_proxy) struct rpc_proxy proxy = {0};
    struct err err = {0};
    const char *given = getenv("EVERCOPY_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)clock_wall_us();
    begin(&server, "an_answer_with_a_bit_turned_ends_in_an_error_or_in_nothing");
    cr_assert(rpc_proxy_begin(&proxy, 20491, &err), "%s", err.text);
    for (int i = 0; i < (is_long() ? 2000 : 40); i++) {
        char dir[32];
        char path[256];
        unsigned at = (unsigned)rand_r(&seed) % 60 + 1;
        unsigned chance = (unsigned)rand_r(&seed);
        str_format(dir, sizeof dir, "b%d", i);
        err_clear(&err);
        AUTO(io) struct io *io = open_patiently(&server, proxy.port, dir, &err);
        cr_assert(io, "%s", err.text);
        IGNORE(rpc_proxy_spoil(&proxy, RPC_TURN_A_BIT, (long)at, chance));
        bool done = work(io, &err);
        IGNORE(rpc_proxy_spoil(&proxy, RPC_WHOLE, 0, 0));
        cr_expect(done || err.code != ERR_NONE, "seed %u", seed);
        str_format(path, sizeof path, "%s/%s", server.dir, dir);
        cr_expect(sys_remove_tree(path, &err), "%s", err.text);
    }
}

/* ---- a server that is killed ---- */

Test(io_nfs, what_a_server_forgot_before_it_committed_is_sent_again)
{
    AUTO(nfs_server) struct nfs_server server = {.script = {.to = -1, .from = -1}};
    AUTO(rpc_proxy) struct rpc_proxy proxy = {0};
    struct err err = {0};
    begin(&server, "what_a_server_forgot_before_it_committed_is_sent_again");
    cr_assert(rpc_proxy_begin(&proxy, 20491, &err), "%s", err.text);
    AUTO(io) struct io *io = open_at(&server, proxy.port, "v", 20, &err);
    cr_assert(io, "%s", err.text);
    IGNORE(rpc_proxy_spoil(&proxy, RPC_OTHER_LIFE, 2, 0));
    cr_expect(put_text(io, "a", "text", IO_NEW, &err), "%s", err.text);
    cr_expect(proxy.writes == 3, "%ld writes", proxy.writes);
    IGNORE(rpc_proxy_spoil(&proxy, RPC_OTHER_LIFE, 1000, 0));
    cr_expect(!put_text(io, "b", "text", IO_NEW, &err) && err.code == ERR_UNAVAILABLE, "%s",
              err.text);
    IGNORE(rpc_proxy_spoil(&proxy, RPC_WHOLE, 0, 0));
    err_clear(&err);
    cr_expect(holds(io, "a", "text", &err), "%s", err.text);
    cr_expect(!holds(io, "b", "text", &err) && err.code == ERR_NOT_FOUND, "%s", err.text);
}

struct writing {
    struct io *io;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned finished;
    bool ended;
    struct err err;
};

enum { PACKS = 12 };

static void fill(uint32_t *words, size_t count, unsigned number)
{
    for (size_t i = 0; i < count; i++)
        words[i] = (uint32_t)(i * 2654435761U) + number;
}

static bool write_one(struct io *io, uint32_t *words, unsigned number, struct err *err)
{
    char name[32];
    fill(words, LARGE / 4, number);
    str_format(name, sizeof name, "f/pack/%08u", number);
    AUTO(io_writer) struct io_writer *writer = io_create(io, name, err);
    return writer && io_append(writer, words, LARGE, err) && io_finish(TAKE(writer), err) &&
           put_text(io, "f/note", name, IO_REPLACE, err);
}

static void *write_on(void *arg)
{
    struct writing *w = arg;
    AUTO(mem) uint32_t *words = own_alloc(LARGE, &w->err);
    for (unsigned i = 0; words && i < PACKS && write_one(w->io, words, i, &w->err); i++) {
        pthread_mutex_lock(&w->lock);
        w->finished++;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Each step of the writer is bounded by the store's own time. */
static void wait_for(struct writing *w, unsigned finished)
{
    pthread_mutex_lock(&w->lock);
    while (w->finished < finished && !w->ended)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

Test(io_nfs, a_server_killed_while_it_is_written_to_loses_nothing_and_halves_nothing)
{
    AUTO(nfs_server) struct nfs_server server = {.script = {.to = -1, .from = -1}};
    struct err err = {0};
    begin(&server, "a_server_killed_while_it_is_written_to_loses_nothing_and_halves_nothing");
    AUTO(io) struct io *io = open_at(&server, 20491, "k", 60, &err);
    struct writing writing = {.io = io};
    pthread_mutex_init(&writing.lock, NULL);
    pthread_cond_init(&writing.changed, NULL);
    pthread_t thread;
    cr_assert(io && pthread_create(&thread, NULL, write_on, &writing) == 0, "%s", err.text);
    for (unsigned kill = 1; kill <= 4; kill++) {
        wait_for(&writing, kill * 2);
        cr_expect(nfs_server_kill(&server, &err) && nfs_server_start(&server, &err), "%s",
                  err.text);
    }
    pthread_join(thread, NULL);
    cr_expect(writing.err.code == ERR_NONE, "%s", writing.err.text);
    cr_expect(writing.finished == PACKS, "%u", writing.finished);
    AUTO(mem) uint32_t *words = own_alloc(LARGE, &err);
    AUTO(io_list) struct io_list list = {0};
    cr_assert(words && io_list(io, "f/pack", &list, &err), "%s", err.text);
    cr_expect(list.count == writing.finished);
    for (size_t i = 0; i < list.count; i++) {
        char name[64];
        size_t len;
        str_format(name, sizeof name, "f/pack/%s", list.entries[i].name);
        AUTO(mem) char *got = io_get(io, name, LARGE, &len, &err);
        fill(words, LARGE / 4, (unsigned)i);
        cr_expect(got && len == LARGE && memcmp(got, words, LARGE / 4 * 4) == 0, "%s: %s", name,
                  err.text);
    }
}
