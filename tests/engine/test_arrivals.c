/* Arrivals: what comes into a live area is told once, who waits is woken, and a full area costs the
 * engine's lane next to nothing. */
#include "agent/engine/arrivals.h"
#include "agent/engine/survey.h"
#include "drivers/registry.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/memory_driver.h"
#include "tests/oracle/writers.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

enum { LATE_S = 60, FULL = 20000, WAITERS = 500, CPU_MOST_MS = 500 };
#define STORE "arrivals-tests"

/* ---- a storage that tells: its area is a plain directory, its events are the test's ---- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    const char *area;
    struct driver_event next; /* while path is not "" */
    uint64_t told;
} storage = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool telling_watch(struct driver_instance *d, uint64_t *io_position, uint64_t timeout_ms,
                          struct driver_event *ret, size_t max, size_t *ret_count, bool *ret_lost,
                          struct err *err)
{
    struct timespec until;
    (void)d, (void)max, (void)ret_lost, (void)err;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(timeout_ms + 999) / 1000;
    pthread_mutex_lock(&storage.mutex);
    while (*io_position && !storage.next.path[0] &&
           pthread_cond_timedwait(&storage.changed, &storage.mutex, &until) == 0)
        continue;
    if (storage.next.path[0]) {
        ret[(*ret_count)++] = storage.next;
        storage.next.path[0] = '\0';
    }
    *io_position = ++storage.told;
    pthread_mutex_unlock(&storage.mutex);
    return true;
}

static struct area *telling_area(struct driver_instance *d, const char *volume,
                                 const char *snapshot, const char *clone, struct err *err)
{
    (void)d, (void)volume, (void)snapshot, (void)clone;
    return area_open_path(storage.area, err);
}

static void tell(const char *path)
{
    pthread_mutex_lock(&storage.mutex);
    storage.next = (struct driver_event){.kind = DRIVER_FILE_ARRIVED, .volume = "v1"};
    IGNORE(!str_copy(storage.next.path, sizeof storage.next.path, path));
    pthread_cond_signal(&storage.changed);
    pthread_mutex_unlock(&storage.mutex);
}

/* ---- an agent of one database ---- */

struct stage {
    char *dir, *area;
    struct config_agent *config;
    struct world *world;
    struct engine *engine;
    struct arrivals *arrivals;
    struct survey_kept *kept; /* on the engine's lane */
    sem_t looked;
    int log; /* what was logged */
};

static struct survey_kept *kept_of(void *arg, const char *database)
{
    cr_assert_str_eq(database, "ORCL");
    return ((struct stage *)arg)->kept;
}

static bool keep(void *arg, const char *database, struct manifest *manifest, struct err *err)
{
    struct stage *s = arg;
    (void)database;
    survey_kept_unref(s->kept);
    s->kept = survey_kept_new(manifest, err);
    sem_post(&s->looked);
    return s->kept != NULL;
}

static void wait_on(sem_t *sem, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LATE_S;
    while (sem_timedwait(sem, &until) != 0)
        cr_assert_eq(errno, EINTR, "%s", what);
}

static void stop(struct stage *s)
{
    if (s->arrivals)
        arrivals_stop(s->arrivals);
}

static void stage_done(struct stage *s)
{
    stop(s);
    if (s->world)
        world_stop(s->world);
    engine_free(TAKE(s->engine));
    arrivals_free(TAKE(s->arrivals));
    survey_kept_unref(TAKE(s->kept));
    world_close(TAKE(s->world));
    config_agent_free(s->config);
    memory_store_reset(STORE);
    drive_dir_free(s->dir);
    drive_dir_free(s->area);
    close(s->log);
}
OWN_DEFINE_INPLACE(stage, struct stage, stage_done);

static void stage_begin(struct stage *s)
{
    static struct driver telling;
    static const char text[] = "[storage m]\ndriver = telling\nstore = " STORE "\n"
                               "[database ORCL]\nstorage = m\nvolume = v1\n";
    struct err err = {0};
    char path[600];
    telling = driver_memory;
    telling.name = "telling";
    telling.area = telling_area;
    telling.watch = telling_watch;
    registry_add_for_tests(&telling);
    memory_store_reset(STORE);
    s->dir = drive_dir();
    s->area = drive_dir();
    storage.area = s->area;
    IGNORE(!str_format(path, sizeof path, "%s/archivelog", s->area));
    cr_assert(sys_mkdir(path, 0750, &err), "%s", err.text);
    IGNORE(!str_format(path, sizeof path, "%s/log", s->dir));
    s->log = sys_open(path, O_RDWR | O_CREAT | O_APPEND, 0600, &err);
    cr_assert(s->log >= 0 && dup2(s->log, STDERR_FILENO) >= 0);
    sem_init(&s->looked, 0, 0);
    s->config = config_agent_parse(text, sizeof text - 1, "d.conf", &err);
    s->world = s->config ? world_open(s->config, &err) : NULL;
    cr_assert(s->world, "%s", err.text);
    cr_assert(driver_volume_create(world_driver(s->world, &s->config->databases[0]), "v1", &err),
              "%s", err.text);
    struct engine_options options = {.act_workers = 1, .world = s->world};
    s->engine = drive_open(s->dir, &options, &err);
    cr_assert(s->engine, "%s", err.text);
    struct arrivals_options watching = {s->engine, kept_of, keep, s};
    s->arrivals = arrivals_new(&watching, &err);
    cr_assert(s->arrivals, "%s", err.text);
}

static const char *path_of(const struct stage *s, uint32_t sequence, char ret[600])
{
    IGNORE(!str_format(ret, 600, "%s/archivelog/1_%05u.arc", s->area, sequence));
    return ret + strlen(s->area) + 1;
}

/* A whole log of that sequence, by rename as a host does it. */
static void put_log(const struct stage *s, uint32_t sequence)
{
    struct err err = {0};
    char path[600], hidden[600];
    struct a_log log = plain_log;
    log.sequence = sequence;
    AUTO(mem) uint8_t *bytes = write_log(&log, test_random);
    path_of(s, sequence, path);
    IGNORE(!str_format(hidden, sizeof hidden, "%s/new", s->dir));
    AUTO(fd) int fd = sys_open(hidden, O_WRONLY | O_CREAT | O_TRUNC, 0640, &err);
    cr_assert(fd >= 0 && sys_write(fd, bytes, (size_t)(log.blocks + 1) * log.size, hidden, &err) &&
                  sys_rename(hidden, path, &err),
              "%s", err.text);
}

static void tell_log(const struct stage *s, uint32_t sequence)
{
    char path[600];
    tell(path_of(s, sequence, path));
}

/* What is kept before anything arrives; with all_logs every file of archivelog counts as a good
 * log. */
static void keep_survey(struct stage *s, bool all_logs)
{
    struct err err = {0};
    struct survey_options options = {.headers_only = all_logs};
    AUTO(area) struct area *area = area_open_path(s->area, &err);
    struct manifest *m = area ? survey_area(area, &options, &err) : NULL;
    cr_assert(m, "%s", err.text);
    for (size_t i = 0; all_logs && i < m->count; i++) {
        m->entries[i].kind = FILE_ARCHIVED_LOG;
        m->entries[i].state = STATE_GOOD;
    }
    cr_assert(s->kept = survey_kept_new(m, &err), "%s", err.text);
}

static void tick(struct engine *engine, void *arg)
{
    struct stage *s = arg;
    struct err err = {0};
    (void)engine;
    cr_assert(arrivals_tick(s->arrivals, s->world, &err), "%s", err.text);
}

/* It watches from here on, and has looked once for what came while nobody did. */
static void watch_begin(struct stage *s)
{
    drive_call(s->engine, tick, s);
    wait_on(&s->looked, "no first look");
}

static size_t logged(const struct stage *s, const char *what)
{
    struct err err = {0};
    char path[600];
    size_t len, count = 0;
    IGNORE(!str_format(path, sizeof path, "%s/log", s->dir));
    AUTO(mem) char *text = sys_read_file(path, 1 << 20, &len, &err);
    cr_assert(text, "%s", err.text);
    for (const char *p = text; (p = strstr(p, what)); p++)
        count++;
    return count;
}

static size_t logged_of(const struct stage *s, uint32_t sequence)
{
    char what[80];
    IGNORE(!str_format(what, sizeof what, "log arrived db=ORCL thread=1 sequence=%u ", sequence));
    return logged(s, what);
}

Test(arrivals, a_log_that_comes_is_told_once_and_one_that_was_there_never)
{
    AUTO(stage) struct stage s = {0};
    test_random_start("arrivals");
    stage_begin(&s);
    put_log(&s, 3);
    keep_survey(&s, false);
    watch_begin(&s);
    cr_expect_eq(logged(&s, "log arrived"), 0);
    put_log(&s, 2); /* before the one that was there, by path */
    tell_log(&s, 2);
    wait_on(&s.looked, "nothing was looked at");
    put_log(&s, 4);
    tell_log(&s, 4);
    wait_on(&s.looked, "nothing was looked at");
    cr_expect_eq(logged_of(&s, 2), 1);
    cr_expect_eq(logged_of(&s, 4), 1);
    cr_expect_eq(logged(&s, "log arrived"), 2);
}

Test(arrivals, a_log_that_vanished_and_came_again_is_told_again)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    char path[600];
    test_random_start("arrivals");
    stage_begin(&s);
    for (uint32_t i = 1; i <= 3; i++)
        put_log(&s, i);
    keep_survey(&s, false);
    watch_begin(&s);
    path_of(&s, 2, path);
    cr_assert(sys_unlink(path, &err), "%s", err.text);
    put_log(&s, 4);
    tell_log(&s, 4);
    wait_on(&s.looked, "nothing was looked at");
    put_log(&s, 2);
    tell_log(&s, 2);
    wait_on(&s.looked, "nothing was looked at");
    cr_expect_eq(logged_of(&s, 4), 1);
    cr_expect_eq(logged_of(&s, 2), 1);
    cr_expect_eq(logged(&s, "log arrived"), 2);
}

Test(arrivals, of_many_only_the_first_are_told_one_by_one)
{
    AUTO(stage) struct stage s = {0};
    test_random_start("arrivals");
    stage_begin(&s);
    keep_survey(&s, false);
    for (uint32_t i = 1; i <= 30; i++)
        put_log(&s, i);
    watch_begin(&s);
    cr_expect_eq(logged(&s, "log arrived"), 20);
    cr_expect_eq(logged(&s, "more logs arrived db=ORCL count=10"), 1);
}

static void take_cpu(struct engine *engine, void *arg)
{
    struct timespec now;
    (void)engine;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    *(uint64_t *)arg = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

Test(arrivals, a_log_among_twenty_thousand_costs_the_engine_no_time)
{
    AUTO(stage) struct stage s = {0};
    char path[600];
    uint64_t before_ms, after_ms;
    struct err err = {0};
    test_random_start("arrivals");
    stage_begin(&s);
    for (uint32_t i = 1; i <= FULL; i++) {
        path_of(&s, i, path);
        AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT, 0640, &err);
        cr_assert(fd >= 0, "%s", err.text);
    }
    keep_survey(&s, true);
    drive_call(s.engine, take_cpu, &before_ms);
    put_log(&s, FULL + 1);
    watch_begin(&s);
    drive_call(s.engine, take_cpu, &after_ms);
    cr_expect_eq(logged_of(&s, FULL + 1), 1);
    cr_expect_eq(logged(&s, "log arrived"), 1);
    cr_expect(after_ms - before_ms < CPU_MOST_MS, "%d ms", (int)(after_ms - before_ms));
}

/* ---- who waits ---- */

struct waiter {
    struct arrivals_wait wait; /* first member */
    sem_t *woken;
    size_t times;
};

static void woken(struct arrivals_wait *wait)
{
    struct waiter *w = (struct waiter *)wait;
    w->times++;
    sem_post(w->woken);
}

struct waiters {
    struct stage *stage;
    struct waiter all[WAITERS];
    sem_t woken;
    uint64_t due_ms;
};

static void all_wait(struct engine *engine, void *arg)
{
    struct waiters *w = arg;
    struct arrivals *a = w->stage->arrivals;
    (void)engine;
    cr_expect(arrivals_watches(a, "ORCL"));
    for (size_t i = 0; i < WAITERS; i++) {
        w->all[i] = (struct waiter){.wait = {.database = "ORCL",
                                             .news = arrivals_news(a, "ORCL"),
                                             .due_ms = w->due_ms,
                                             .woken = woken},
                                    .woken = &w->woken};
        arrivals_wait(a, &w->all[i].wait);
    }
}

static void waiters_begin(struct waiters *w, struct stage *s, uint64_t ms)
{
    w->stage = s;
    w->due_ms = clock_mono_ms() + ms;
    sem_init(&w->woken, 0, 0);
    drive_call(s->engine, all_wait, w);
}

/* Each of them, and none twice. */
static void waiters_end(struct waiters *w)
{
    for (size_t i = 0; i < WAITERS; i++)
        wait_on(&w->woken, "one is not woken");
    for (size_t i = 0; i < WAITERS; i++)
        cr_expect_eq(w->all[i].times, 1);
    sem_destroy(&w->woken);
}

Test(arrivals, all_who_wait_are_woken_by_what_comes)
{
    AUTO(stage) struct stage s = {0};
    struct waiters w;
    int still;
    test_random_start("arrivals");
    stage_begin(&s);
    keep_survey(&s, false);
    watch_begin(&s);
    waiters_begin(&w, &s, (uint64_t)LATE_S * 1000);
    sem_getvalue(&w.woken, &still);
    cr_expect_eq(still, 0);
    put_log(&s, 1);
    tell_log(&s, 1);
    waiters_end(&w);
    cr_expect_eq(logged_of(&s, 1), 1);
}

Test(arrivals, who_waits_is_woken_when_his_time_is_over)
{
    AUTO(stage) struct stage s = {0};
    struct waiters w;
    stage_begin(&s);
    keep_survey(&s, false);
    watch_begin(&s);
    waiters_begin(&w, &s, 50);
    waiters_end(&w);
}

Test(arrivals, a_stop_wakes_who_waits)
{
    AUTO(stage) struct stage s = {0};
    struct waiters w;
    stage_begin(&s);
    keep_survey(&s, false);
    watch_begin(&s);
    waiters_begin(&w, &s, (uint64_t)LATE_S * 1000);
    stop(&s);
    waiters_end(&w);
}
