/* Kept stores: unpacked, opened, compared with what was seen of them, looked through; and how
 * today's are kept: EVERCOPY_KEEP_RELEASED=FOLDER. */
#pragma once
#include "agent/base/log.h"
#include "drivers/vault/store/fsck.h"
#include "drivers/vault/store/scrub.h"
#include "tests/lib/vault_fsck.h"
#include "tests/vault/released_world.h"
#include "tests/vault/tools_world.h"

struct kept {
    char dir[64], store[100], far[100];
    struct world w;
};

static inline void kept_paths(struct kept *k)
{
    *k = (struct kept){.w.options = {.seal_by_hand = true, .reserve_bytes = 4096}};
    k->w.options.store.threads = 1;
    log_set_level(LOG_LEVEL_ERROR);
    IGNORE(str_format(k->dir, sizeof k->dir, "%s/evercopy-released.XXXXXX",
                      access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir));
    cr_assert(mkdtemp(k->dir));
    IGNORE(str_format(k->w.box, sizeof k->w.box, "%s/box", k->dir));
    IGNORE(str_format(k->store, sizeof k->store, "%s/store", k->dir));
    IGNORE(str_format(k->far, sizeof k->far, "%s/far", k->dir));
}

static inline void kept_open(struct kept *k)
{
    k->w.io = io_open(k->store, NULL, 0, &k->w.err);
    world_ok(&k->w, k->w.io != NULL);
    world_open(&k->w);
}

static inline void kept_close(struct kept *k)
{
    vault_close(TAKE(k->w.vault));
    io_close(TAKE(k->w.io));
}

static inline void kept_end(struct kept *k)
{
    kept_close(k);
    world_ok(&k->w, sys_remove_tree(k->dir, &k->w.err));
}

static inline void kept_run(struct world *w, const char *const *argv)
{
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    struct exec exec = {.argv = argv, .envp = envp, .deadline_ms = 60000};
    struct exec_result result = {0};
    world_ok(w, exec_run(&exec, &result, &w->err));
    cr_assert_eq(result.exit_code, 0, "%s failed", argv[0]);
}

static inline void kept_unpack(struct kept *k, const char *version, const char *which)
{
    char archive[300], here[200];
    kept_paths(k);
    cr_assert(getcwd(here, sizeof here));
    IGNORE(str_format(archive, sizeof archive, "%s/tests/data/%s/%s.tar.gz", here, version, which));
    kept_run(&k->w, (const char *const[]){"/bin/tar", "-xzf", archive, "-C", k->dir, NULL});
}

static inline char *kept_lines(struct world *w, const char *version, const char *which)
{
    char path[300];
    size_t len;
    IGNORE(str_format(path, sizeof path, "tests/data/%s/%s.lines", version, which));
    char *text = sys_read_file(path, 1 << 20, &len, &w->err);
    world_ok(w, text != NULL);
    return text;
}

/* Every line of `text` (of those that begin so) is among what is seen. */
static inline size_t kept_expect_lines(const struct seen *s, char *text, const char *beginning)
{
    size_t count = 0;
    for (char *cursor = text; cursor && *cursor;) {
        char *line = str_field(&cursor, '\n');
        if (!str_starts(line, beginning))
            continue;
        if (!bsearch(&line, s->lines, s->count, sizeof s->lines[0], seen_order)) {
            for (size_t i = 0; i < s->count; i++)
                printf("  %s\n", s->lines[i]);
            fflush(stdout);
            cr_assert_fail("is not seen any more: %s", line);
        }
        count++;
    }
    cr_assert_gt(count, 0, "no line begins with '%s'", beginning);
    return count;
}

static inline void kept_expect_sound(struct kept *k)
{
    static struct tells tells;
    struct fsck_result fsck = {0};
    struct scrub_result scrub = {0};
    tells = (struct tells){0};
    world_ok(&k->w, fsck_store(k->w.io, &(struct fsck_options){.found = tw_tell, .arg = &tells},
                               &fsck, &k->w.err));
    world_ok(&k->w, scrub_store(k->w.io, &(struct scrub_options){.found = tw_tell, .arg = &tells},
                                &scrub, &k->w.err));
    tw_print(&tells);
    cr_assert_eq(tells.count, 0, "%zu findings", tells.count);
    cr_assert_gt(scrub.states, 0);
}

/* What is there now, for later versions, when somebody wants it kept. */
static inline void kept_keep(struct kept *k, const char *which)
{
    const char *to = getenv("EVERCOPY_KEEP_RELEASED");
    char archive[300], path[300];
    if (!to)
        return;
    AUTO(str) struct str text = {0};
    world_ok(&k->w, sys_mkdirs(to, 0755, &k->w.err));
    IGNORE(str_format(archive, sizeof archive, "%s/%s.tar.gz", to, which));
    IGNORE(str_format(path, sizeof path, "%s/%s.lines", to, which));
    kept_run(&k->w, (const char *const[]){"/bin/tar", "-cSf", archive,
                                          "--use-compress-program=gzip -9n", "--owner=0",
                                          "--group=0", "-C", k->dir, "box", "store", "far", NULL});
    kept_open(k);
    AUTO(seen) struct seen seen = seen_all(&k->w, false);
    for (size_t i = 0; i < seen.count; i++)
        str_printf(&text, "%s\n", seen.lines[i]);
    world_ok(&k->w, str_ok(&text, &k->w.err) &&
                        sys_write_file(path, text.text, text.len, 0644, &k->w.err));
    kept_close(k);
}
