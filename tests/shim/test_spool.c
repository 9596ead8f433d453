/* The spool: no line twice, none lost, none out of its place, whatever is acknowledged when and
 * whoever is killed. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/shim/spool.h"
#include "tests/lib/engine_drive.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOMY = 1 << 20 };

static const struct spool_id id = {.database = "ORCL", .job = "backup-1", .token = 7};

struct place {
    char *top;
    char dir[4100], log[4200], verdict[4200];
};

static void place_done(struct place *p) { drive_dir_free(p->top); }
OWN_DEFINE_INPLACE(place, struct place, place_done);

static void place_init(struct place *p)
{
    p->top = drive_dir();
    cr_assert(str_format(p->dir, sizeof p->dir, "%s/spool", p->top));
    cr_assert(str_format(p->log, sizeof p->log, "%s/backup-1.log", p->dir));
    cr_assert(str_format(p->verdict, sizeof p->verdict, "%s/backup-1.verdict", p->dir));
}

static struct spool *new_spool(uint64_t max)
{
    struct err err = {0};
    struct spool *spool = spool_new(max, &err);
    cr_assert(spool, "%s", err.text);
    return spool;
}

static struct spool *attached(const struct place *p, uint64_t max)
{
    struct err err = {0};
    struct spool *spool = new_spool(max);
    cr_assert(spool_attach(spool, p->dir, &id, &err), "%s", err.text);
    return spool;
}

static void add(struct spool *spool, const char *text) { spool_add(spool, text, strlen(text)); }

/* "first:a,b,c" */
static char *next_lines(struct spool *spool)
{
    static char text[65536];
    struct err err = {0};
    AUTO(mem) struct spool_batch *batch = own_alloc(sizeof *batch, &err);
    spool_rewind(spool);
    cr_assert(batch && spool_read(spool, batch, &err), "%s", err.text);
    int used = snprintf(text, sizeof text, "%llu:", (unsigned long long)batch->first);
    for (size_t i = 0; i < batch->count; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%.*s", i ? "," : "",
                         (int)batch->lines[i].len, batch->lines[i].text);
    return text;
}

Test(spool, lines_said_before_the_run_had_a_name_come_first)
{
    AUTO(place) struct place p = {0};
    place_init(&p);
    struct err err = {0};
    AUTO(spool) struct spool *spool = new_spool(ROOMY);
    add(spool, "one");
    cr_assert(spool_attach(spool, p.dir, &id, &err), "%s", err.text);
    add(spool, "two\nof it");
    add(spool, "");
    cr_expect_str_eq(next_lines(spool), "0:one,two of it,");
    cr_expect_eq(spool_waiting(spool), 3);
    spool_acked(spool, 1);
    cr_expect_str_eq(next_lines(spool), "1:two of it,");
    spool_acked(spool, 1);
    spool_acked(spool, 99);
    cr_expect_str_eq(next_lines(spool), "3:");
    add(spool, "three");
    cr_expect_str_eq(next_lines(spool), "3:three");
}

Test(spool, nobody_else_can_read_it)
{
    AUTO(place) struct place p = {0};
    place_init(&p);
    struct err err = {0};
    struct stat st;
    AUTO(spool) struct spool *spool = attached(&p, ROOMY);
    cr_assert(spool_verdict_put(spool, "{}", &err), "%s", err.text);
    cr_assert(sys_stat(p.log, &st, &err) && (st.st_mode & 0777) == 0600);
    cr_assert(sys_stat(p.verdict, &st, &err) && (st.st_mode & 0777) == 0600);
    cr_assert(sys_stat(p.dir, &st, &err) && (st.st_mode & 0777) == 0700);
}

Test(spool, a_folder_that_others_may_write_is_refused)
{
    AUTO(place) struct place p = {0};
    place_init(&p);
    struct err err = {0};
    cr_assert(sys_mkdir(p.dir, 0777, &err) && sys_chmod(p.dir, 0777, &err));
    AUTO(spool) struct spool *spool = new_spool(ROOMY);
    add(spool, "kept in memory");
    cr_expect_not(spool_attach(spool, p.dir, &id, &err));
    cr_expect_eq(err.code, ERR_DENIED);
    add(spool, "too");
    cr_expect_str_eq(next_lines(spool), "0:kept in memory,too");
    cr_expect_str_eq(spool_end(spool, true), "");
}

Test(spool, the_file_shrinks_when_it_was_sent_and_goes_at_the_end)
{
    AUTO(place) struct place p = {0};
    place_init(&p);
    struct err err = {0};
    struct stat before, after;
    AUTO(spool) struct spool *spool = attached(&p, ROOMY);
    cr_assert(sys_stat(p.log, &before, &err));
    for (int i = 0; i < 1000; i++)
        add(spool, "a line of RMAN's");
    spool_acked(spool, 1000);
    cr_assert(sys_stat(p.log, &after, &err));
    cr_expect_eq(before.st_size, after.st_size);
    cr_expect_str_eq(spool_end(spool, false), "");
    cr_expect_not(sys_stat(p.log, &after, &err));
}

Test(spool, a_full_spool_says_how_many_lines_are_left_out)
{
    AUTO(place) struct place p = {0};
    place_init(&p);
    AUTO(spool) struct spool *spool = attached(&p, 100);
    for (int i = 0; i < 10; i++)
        add(spool, "twenty bytes of text");
    cr_expect_eq(spool_waiting(spool), 4);
    spool_acked(spool, 4);
    add(spool, "after");
    cr_expect_str_eq(next_lines(spool),
                     "4:evercopy: 6 lines were left out, the spool was full,after");
}

Test(spool, a_living_shims_spool_is_left_alone)
{
    AUTO(place) struct place p = {0};
    place_init(&p);
    struct err err = {0};
    AUTO(spool) struct spool *spool = attached(&p, ROOMY);
    cr_expect_null(spool_adopt(p.dir, "backup-1.log", &err));
    cr_expect_eq(err.code, ERR_BUSY);
}

Test(spool, a_killed_shims_lines_and_verdict_are_found)
{
    AUTO(place) struct place p = {0};
    place_init(&p);
    struct err err = {0};
    struct spool *killed = attached(&p, ROOMY);
    add(killed, "zero");
    spool_acked(killed, 1);
    add(killed, "one");
    add(killed, "two");
    cr_assert(spool_verdict_put(killed, "{\"verdict\":3}", &err));
    spool_free(killed);
    {
        AUTO(fd) int fd = sys_open(p.log, O_WRONLY | O_APPEND, 0, &err);
        cr_assert(fd >= 0 && sys_write(fd, "3\tcut by the ki", 15, "log", &err));
    }
    AUTO(spool) struct spool *found = spool_adopt(p.dir, "backup-1.log", &err);
    cr_assert(found, "%s", err.text);
    cr_expect_str_eq(spool_who(found)->database, "ORCL");
    cr_expect_eq(spool_who(found)->token, 7);
    cr_expect_str_eq(next_lines(found), "1:one,two");
    AUTO(mem) char *verdict = spool_verdict_get(found, &err);
    cr_expect_str_eq(verdict, "{\"verdict\":3}");
    cr_assert(spool_remove(found, &err));
    struct stat st;
    cr_expect_not(sys_stat(p.log, &st, &err));
    cr_expect_not(sys_stat(p.verdict, &st, &err));
}

Test(spool, strange_files_are_no_spools)
{
    static const char *const texts[] = {
        "",
        "evercopy spool 1",
        "evercopy spool 1\tORCL\tbackup-1\t\n",
        "evercopy spool 2\tORCL\tbackup-1\t7\n",
        "evercopy spool 1\tORCL\t../x\t7\n",
        "evercopy spool 1\tORCL\tbackup-2\t7\n",
        "evercopy spool 1\tORCL\tbackup-1\t7\n0\ta\n2\tc\n",
        "evercopy spool 1\tORCL\tbackup-1\n",
    };
    AUTO(place) struct place p = {0};
    place_init(&p);
    struct err none = {0};
    cr_assert(sys_mkdir(p.dir, 0700, &none));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err err = {0};
        cr_assert(sys_write_file(p.log, texts[i], strlen(texts[i]), 0600, &none));
        AUTO(spool) struct spool *spool = spool_adopt(p.dir, "backup-1.log", &err);
        cr_expect_null(spool, "text %zu", i);
    }
    struct err err = {0};
    cr_expect_null(spool_adopt(p.dir, "backup-1.verdict", &err));
}

/* A run that may be killed between any two things it does, and an agent that keeps what it gets. */
Test(spool, whatever_happens_the_agent_gets_every_line_once_and_in_order)
{
    const char *given = getenv("EVERCOPY_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)clock_wall_us();
    unsigned shown = seed;
    int rounds = getenv("EVERCOPY_LONG") ? 2000 : 60;
    for (int round = 0; round < rounds; round++) {
        AUTO(place) struct place p = {0};
        place_init(&p);
        struct err err = {0};
        AUTO(spool) struct spool *spool = attached(&p, ROOMY);
        uint64_t said = 0, known = 0; /* lines; the agent's next */
        for (int step = 0; step < 200; step++) {
            char text[40];
            AUTO(mem) struct spool_batch *batch = own_alloc(sizeof *batch, &err);
            unsigned what = (unsigned)rand_r(&seed) % 10;
            if (what < 6) {
                cr_assert(str_format(text, sizeof text, "line %llu", (unsigned long long)said++));
                add(spool, text);
            } else if (what < 9) {
                if (rand_r(&seed) % 2)
                    spool_rewind(spool); /* else it reads on, as a stream does */
                cr_assert(spool_read(spool, batch, &err), "seed %u: %s", shown, err.text);
                cr_assert(batch->first <= known, "seed %u: a hole", shown);
                for (size_t i = 0; i < batch->count; i++) {
                    uint64_t number = batch->first + i;
                    str_format(text, sizeof text, "line %llu", (unsigned long long)number);
                    cr_assert(strlen(text) == batch->lines[i].len &&
                                  strncmp(text, batch->lines[i].text, strlen(text)) == 0,
                              "seed %u: line %llu", shown, (unsigned long long)number);
                    known += number == known;
                }
                if (what != 8) /* else the answer was lost */
                    spool_acked(spool, known);
            } else {
                spool_free(TAKE(spool));
                spool = spool_adopt(p.dir, "backup-1.log", &err);
                cr_assert(spool, "seed %u: %s", shown, err.text);
                if (spool_waiting(spool) == 0)
                    break; /* nothing tells the number of the next line: nobody writes on */
            }
        }
        cr_assert(known + spool_waiting(spool) >= said, "seed %u: lines are lost", shown);
    }
}
