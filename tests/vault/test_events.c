/* Events: who waits learns at once what happened to files, once, in order, or that it missed some.
 */
#include "drivers/vault/volume/events.h"
#include "tests/lib/vault_server.h"
#include "tests/vault/volume_world.h"
#include <pthread.h>

enum { ROWS = 64, LONG_MS = 20000 };

static struct view *begin(struct world *w)
{
    world_begin(w);
    world_ok(w, vault_volume_create(w->vault, "orcl", &w->err));
    return world_view(w, "orcl", NULL, NULL);
}

static void end(struct world *w, struct view *view)
{
    view_close(view);
    world_end(w);
}

/* The next event, which is that one. */
static void expect(struct world *w, uint64_t *after, enum vault_event_kind kind, const char *volume,
                   const char *path, const char *from, uint64_t size)
{
    struct vault_event e;
    bool lost = true;
    cr_assert_eq(vault_events_wait(w->vault, *after, LONG_MS, &e, 1, &lost), 1, "no '%s' of '%s'",
                 vault_event_name(kind), path);
    cr_assert_not(lost);
    cr_assert_eq(e.sequence, *after + 1);
    cr_assert_eq(e.kind, kind, "%s of '%s', not %s of '%s'", vault_event_name(e.kind), e.path,
                 vault_event_name(kind), path);
    cr_assert_str_eq(e.volume, volume);
    cr_assert_str_eq(e.path, path);
    cr_assert_eq(e.from != NULL, from != NULL);
    if (from)
        cr_assert_str_eq(e.from, from);
    cr_assert_eq(e.size, size, "%s of '%s': %llu bytes", vault_event_name(kind), path,
                 (unsigned long long)e.size);
    *after = e.sequence;
    vault_events_free(&e, 1);
}

static bool is_quiet(struct world *w, uint64_t after)
{
    struct vault_event e;
    bool lost = true;
    size_t count = vault_events_wait(w->vault, after, 0, &e, 1, &lost);
    vault_events_free(&e, count);
    return count == 0 && !lost;
}

Test(events, names_and_extensions_are_told_in_order_with_their_paths)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_file d, f;
    uint64_t after = vault_events_now(w.vault);
    cr_assert(is_quiet(&w, after));
    world_ok(&w,
             view_create(v, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &d, NULL, &w.err));
    expect(&w, &after, VAULT_CREATED, "orcl", "d", NULL, 0);
    world_ok(&w, view_create(v, NULL, d.file, ".log", INODE_FILE, NULL, NULL, &f, NULL, &w.err));
    expect(&w, &after, VAULT_CREATED, "orcl", "d/.log", NULL, 0);
    world_ok(&w, view_write(v, f.file, "1234", 4, 0, true, NULL, &w.err));
    expect(&w, &after, VAULT_EXTENDED, "orcl", "d/.log", NULL, 4);
    /* Direct NFS gives a file its name when it is whole. */
    world_ok(&w, view_rename(v, NULL, d.file, ".log", d.file, "log", NULL, NULL, &w.err));
    expect(&w, &after, VAULT_RENAMED, "orcl", "d/log", "d/.log", 4);
    clock_test_shift(3000);
    expect(&w, &after, VAULT_QUIET, "orcl", "d/log", NULL, 4);
    cr_assert(is_quiet(&w, after));
    /* Written in place it is no news; extended again it is. */
    world_ok(&w, view_write(v, f.file, "1", 1, 0, true, NULL, &w.err));
    world_ok(&w, view_write(v, f.file, "5", 1, 4, true, NULL, &w.err));
    expect(&w, &after, VAULT_EXTENDED, "orcl", "d/log", NULL, 5);
    world_ok(&w, view_link(v, NULL, f.file, VIEW_ROOT, "second", &f, NULL, &w.err));
    expect(&w, &after, VAULT_CREATED, "orcl", "second", NULL, 5);
    world_ok(&w, view_remove(v, NULL, d.file, "log", false, NULL, &w.err));
    expect(&w, &after, VAULT_REMOVED, "orcl", "d/log", NULL, 5);
    world_ok(&w, view_rename(v, NULL, VIEW_ROOT, "d", VIEW_ROOT, "e", NULL, NULL, &w.err));
    expect(&w, &after, VAULT_RENAMED, "orcl", "e", "d", 0);
    end(&w, v);
}

Test(events, a_file_that_grows_is_told_at_most_once_a_second_and_quiet_only_when_it_rests)
{
    struct world w;
    struct view *v = begin(&w);
    uint64_t file = world_file(&w, v, "a"), after = vault_events_now(w.vault);
    uint64_t begun_ms = clock_mono_ms(), size = 0, told_us = 0;
    struct vault_event e = {0};
    bool lost;
    for (size_t told = 0; told < 2 && clock_mono_ms() - begun_ms < LONG_MS;) {
        world_ok(&w, view_write(v, file, "12345678", 8, size, false, NULL, &w.err));
        size += 8;
        if (vault_events_wait(w.vault, after, 5, &e, 1, &lost) == 0)
            continue;
        cr_assert_eq(e.kind, VAULT_EXTENDED);
        cr_assert_geq(e.time_us - told_us, 990000);
        told_us = e.time_us;
        after = e.sequence;
        told++;
        vault_events_free(&e, 1);
    }
    world_ok(&w, view_write(v, file, "12345678", 8, size, false, NULL, &w.err));
    size += 8;
    do { /* what grew since is told before it is quiet */
        vault_events_free(&e, 1);
        clock_test_shift(3000);
        cr_assert_eq(vault_events_wait(w.vault, after, LONG_MS, &e, 1, &lost), 1);
        after = e.sequence;
    } while (e.kind == VAULT_EXTENDED && e.size < size);
    if (e.kind == VAULT_EXTENDED)
        expect(&w, &after, VAULT_QUIET, "orcl", "a", NULL, size);
    cr_assert_eq(e.size, size);
    vault_events_free(&e, 1);
    end(&w, v);
}

Test(events, clones_are_told_apart_from_what_they_come_from)
{
    struct world w;
    struct view *v = begin(&w);
    uint64_t file = world_file(&w, v, "a");
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_clone_create(w.vault, "orcl", "c", "s", NULL, 0, &w.err));
    struct view *c = world_view(&w, "orcl", NULL, "c");
    uint64_t after = vault_events_now(w.vault);
    world_ok(&w, view_write(v, file, "1", 1, 0, false, NULL, &w.err));
    expect(&w, &after, VAULT_EXTENDED, "orcl", "a", NULL, 1);
    world_ok(&w, view_write(c, file, "12", 2, 0, false, NULL, &w.err));
    expect(&w, &after, VAULT_EXTENDED, "orcl/c", "a", NULL, 2);
    view_close(c);
    end(&w, v);
}

Test(events, who_comes_too_late_or_from_before_a_restart_is_told_that_it_missed_some)
{
    struct world w;
    struct view *v = begin(&w);
    struct vault_event rows[ROWS];
    struct view_file f;
    bool lost = false;
    uint64_t after = vault_events_now(w.vault), first = after;
    for (int i = 0; i < 2100; i++) {
        world_ok(&w,
                 view_create(v, NULL, VIEW_ROOT, "x", INODE_FILE, NULL, NULL, &f, NULL, &w.err));
        world_ok(&w, view_remove(v, NULL, VIEW_ROOT, "x", false, NULL, &w.err));
    }
    size_t count = vault_events_wait(w.vault, after, 0, rows, ROWS, &lost);
    cr_assert(lost);
    cr_assert_eq(count, ROWS);
    cr_assert_eq(rows[0].sequence, first + 4200 - 4096 + 1);
    after = rows[ROWS - 1].sequence;
    vault_events_free(rows, count);
    count = vault_events_wait(w.vault, after, 0, rows, ROWS, &lost);
    cr_assert_not(lost);
    cr_assert_eq(rows[0].sequence, after + 1);
    vault_events_free(rows, count);
    view_close(v);
    after = vault_events_now(w.vault);
    world_crash(&w);
    count = vault_events_wait(w.vault, after, LONG_MS, rows, ROWS, &lost);
    vault_events_free(rows, count);
    cr_assert(lost);
    end(&w, NULL);
}

static void *write_later(void *arg)
{
    struct world *w = arg;
    AUTO(view) struct view *v = world_view(w, "orcl", NULL, NULL);
    struct view_file f;
    world_ok(w, view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &f, NULL, &w->err));
    return NULL;
}

Test(events, who_waits_is_woken)
{
    struct world w;
    struct view *v = begin(&w);
    uint64_t after = vault_events_now(w.vault), begun_ms = clock_mono_ms();
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, write_later, &w), 0);
    expect(&w, &after, VAULT_CREATED, "orcl", "a", NULL, 0);
    cr_assert_lt(clock_mono_ms() - begun_ms, LONG_MS);
    pthread_join(thread, NULL);
    end(&w, v);
}

/* ---- over the control socket ---- */

struct served {
    struct vault_server server;
    struct err err;
};

static void served_ok(struct served *s, bool ok) { cr_assert(ok, "%s", s->err.text); }

static struct wire *connected(struct served *s)
{
    struct wire *wire = wire_connect(s->server.socket, &s->err);
    served_ok(s, wire != NULL);
    return wire;
}

static json_t *asking(struct served *s, const char *op)
{
    json_t *head = json_object();
    served_ok(s, head && json_put_text(head, "op", op, &s->err));
    return head;
}

static json_t *poll_head(struct served *s, uint64_t after)
{
    json_t *head = asking(s, "events");
    served_ok(s, wire_put_u64(head, "after", after, &s->err));
    served_ok(s, json_put_u64(head, "timeout_ms", 30000, &s->err));
    return head;
}

static struct message called(struct served *s, struct wire *wire, json_t *taken)
{
    AUTO(json) json_t *head = taken;
    struct message answer = {0};
    served_ok(s, wire_call(wire, head, NULL, 0, LONG_MS, &answer, NULL, &s->err));
    return answer;
}

/* What begins a poll and does not wait for its answer. */
static struct wire *polling(struct served *s, uint64_t after)
{
    struct wire *wire = connected(s);
    AUTO(json) json_t *head = poll_head(s, after);
    served_ok(s, wire_send(wire, head, NULL, 0, &s->err));
    return wire;
}

Test(events, are_polled_over_the_socket_until_the_asker_or_the_server_goes)
{
    AUTO(mem) struct served *s = calloc(1, sizeof *s);
    char dir[] = "/tmp/evercopy-events-XXXXXX", path[300];
    cr_assert(mkdtemp(dir));
    served_ok(s, vault_server_begin(&s->server, dir, NULL, "reserve = 1M\n", &s->err));
    struct wire *wire = connected(s);
    json_t *make = asking(s, "volume.create");
    served_ok(s, wire_put_name(make, "name", "orcl", &s->err));
    struct message answer = called(s, wire, make);
    message_done(&answer);
    answer = called(s, wire, asking(s, "events"));
    uint64_t last = wire_get_u64(answer.head, "last");
    cr_assert_eq(json_array_size(json_object_get(answer.head, "events")), 0);
    message_done(&answer);
    served_ok(s, vault_server_write(&s->server, "orcl", NULL, "a\xff", "1234", 4, 0, &s->err));
    const char *wanted[] = {"created", "extended"};
    for (size_t seen = 0; seen < 2;) {
        answer = called(s, wire, poll_head(s, last));
        const json_t *rows = json_object_get(answer.head, "events");
        cr_assert_not(json_flag(answer.head, "lost"));
        for (size_t i = 0; i < json_array_size(rows) && seen < 2; i++, seen++) {
            const json_t *row = json_array_get(rows, i);
            AUTO(mem) char *name = NULL;
            served_ok(s, wire_get_name(row, "path", &name, &s->err));
            cr_assert_str_eq(json_text(row, "kind"), wanted[seen]);
            cr_assert_str_eq(json_text(row, "volume"), "orcl");
            cr_assert_str_eq(name, "a\xff");
            cr_assert_eq(wire_get_u64(row, "sequence"), ++last);
        }
        message_done(&answer);
    }
    /* Who goes is not waited for: `settle` comes back when all they asked has ended. */
    uint64_t begun_ms = clock_mono_ms();
    last += 100000; /* no number of this start: told so at once */
    answer = called(s, wire, poll_head(s, last));
    cr_assert(json_flag(answer.head, "lost"));
    last = wire_get_u64(answer.head, "last");
    message_done(&answer);
    wire_close(polling(s, last));
    answer = called(s, wire, asking(s, "settle"));
    message_done(&answer);
    struct wire *other = polling(s, last);
    served_ok(s, vault_server_stop(&s->server, &s->err));
    cr_assert_lt(clock_mono_ms() - begun_ms, 15000);
    wire_close(other);
    wire_close(wire);
    vault_server_done(&s->server);
    str_format(path, sizeof path, "%s", dir);
    served_ok(s, sys_remove_tree(path, &s->err));
}
