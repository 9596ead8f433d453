/* Messages of the control socket: names of any bytes come through, and hostile messages end the
 * connection instead of the process. */
#include "drivers/vault/control/wire.h"
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    struct wire *ours;
    int theirs;
};

static struct pair pair_of(void)
{
    int fds[2];
    struct err err = {0};
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    struct pair pair = {wire_over(fds[0], &err), fds[1]};
    cr_assert(pair.ours, "%s", err.text);
    return pair;
}

Test(wire, carries_names_of_any_bytes)
{
    const char *names[] = {"", "a b", "100%", "\xff\xfe", "\x01\n\x7f", "\xc3\xa4%41", "%"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct err err = {0};
        AUTO(mem) char *text = wire_escape(names[i], &err);
        cr_assert(text, "%s", err.text);
        for (const char *p = text; *p; p++)
            cr_assert(*p >= 0x20 && *p <= 0x7e);
        AUTO(mem) char *back = wire_unescape(text, &err);
        cr_assert_str_eq(back, names[i]);
    }
}

Test(wire, refuses_escapes_that_are_none)
{
    const char *texts[] = {"%", "%4", "%zz", "%00", "abc%4", "%4G", "%FF"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err err = {0};
        cr_assert_null(wire_unescape(texts[i], &err), "'%s'", texts[i]);
        cr_assert_eq(err.code, ERR_INVALID);
    }
}

Test(wire, carries_numbers_of_64_bits)
{
    const uint64_t numbers[] = {0, 1, 1ULL << 53, (1ULL << 53) + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct err err = {0};
        AUTO(json) json_t *head = json_object();
        cr_assert(wire_put_u64(head, "n", numbers[i], &err), "%s", err.text);
        AUTO(mem) char *text = json_format(head, &err);
        AUTO(json) json_t *back = json_parse(text, strlen(text), &err);
        cr_assert_eq(wire_get_u64(back, "n"), numbers[i]);
    }
}

Test(wire, answers_become_errors_by_their_code)
{
    struct err err = {0};
    struct pair pair = pair_of();
    AUTO(wire) struct wire *theirs = wire_over(pair.theirs, &err);
    AUTO(wire) struct wire *ours = pair.ours;
    AUTO(json) json_t *no = json_object();
    AUTO(message) struct message answer = {0};
    cr_assert(json_put_text(no, "error", "NOT_FOUND", &err));
    cr_assert(wire_put_name(no, "text", "no volume '\xc3\xa4%'", &err));
    cr_assert(wire_send(theirs, no, NULL, 0, &err), "%s", err.text);
    AUTO(json) json_t *ask = json_object();
    cr_assert_not(wire_call(ours, ask, NULL, 0, 5000, &answer, NULL, &err));
    cr_assert_eq(err.code, ERR_NOT_FOUND);
    cr_assert_str_eq(err.text, "no volume '\xc3\xa4%'");
}

/* A refusal is said when the connection is taken, and the connection ended: perhaps before the
 * request was sent. */
Test(wire, a_refusal_is_heard_by_who_has_not_asked_yet)
{
    struct err err = {0};
    struct pair pair = pair_of();
    struct wire *theirs = wire_over(pair.theirs, &err);
    AUTO(wire) struct wire *ours = pair.ours;
    AUTO(json) json_t *no = json_object();
    AUTO(json) json_t *ask = json_object();
    AUTO(message) struct message answer = {0};
    cr_assert(json_put_text(no, "error", "DENIED", &err));
    cr_assert(json_put_text(no, "text", "not this user", &err));
    cr_assert(wire_send(theirs, no, NULL, 0, &err), "%s", err.text);
    wire_close(theirs);
    cr_assert_not(wire_call(ours, ask, NULL, 0, 5000, &answer, NULL, &err));
    cr_assert_eq(err.code, ERR_DENIED, "%s: %s", err_code_name(err.code), err.text);
    cr_assert_str_eq(err.text, "not this user");
    err_clear(&err);
    cr_assert_not(wire_call(ours, ask, NULL, 0, 5000, &answer, NULL, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s: %s", err_code_name(err.code), err.text);
}

static void hears(const void *bytes, size_t len, enum err_code code)
{
    struct pair pair = pair_of();
    AUTO(wire) struct wire *ours = pair.ours;
    AUTO(message) struct message message = {0};
    struct err err = {0};
    bool end = false;
    cr_assert_eq(write(pair.theirs, bytes, len), (ssize_t)len);
    cr_assert_eq(close(pair.theirs), 0);
    cr_assert_not(wire_receive(ours, 5000, &message, &end, &err));
    cr_assert_eq(err.code, code, "%s: %s", err_code_name(err.code), err.text);
}

Test(wire, hostile_messages_are_refused)
{
    hears("\xff\xff\xff\x7f\0\0\0\0", 8, ERR_INVALID);    /* a head of 2 GiB */
    hears("\2\0\0\0\xff\xff\xff\xff{}", 10, ERR_INVALID); /* data of 4 GiB */
    hears("\0\0\0\0\0\0\0\0", 8, ERR_INVALID);            /* no head */
    hears("\2\0\0\0\0\0\0\0[]", 10, ERR_INVALID);         /* no object */
    hears("\2\0\0\0\0\0\0\0{{", 10, ERR_INVALID);         /* no JSON */
    hears("\2\0\0\0\4\0\0\0{}ab", 12, ERR_UNAVAILABLE);   /* ends within */
    hears("\2\0\0", 3, ERR_UNAVAILABLE);
}

Test(wire, an_orderly_end_is_no_error)
{
    struct pair pair = pair_of();
    AUTO(wire) struct wire *ours = pair.ours;
    AUTO(message) struct message message = {0};
    struct err err = {0};
    bool end = false;
    cr_assert_eq(close(pair.theirs), 0);
    cr_assert(wire_receive(ours, 5000, &message, &end, &err), "%s", err.text);
    cr_assert(end);
}

Test(wire, data_of_the_largest_size_comes_through)
{
    struct err err = {0};
    struct pair pair = pair_of();
    AUTO(wire) struct wire *ours = pair.ours;
    AUTO(mem) uint8_t *data = own_alloc(WIRE_DATA_MAX, &err);
    memset(data, 0x5a, WIRE_DATA_MAX);
    AUTO(json) json_t *head = json_object();
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        AUTO(wire) struct wire *theirs = wire_over(pair.theirs, &err);
        _exit(wire_send(theirs, head, data, WIRE_DATA_MAX, &err) ? 0 : 1);
    }
    cr_assert_eq(close(pair.theirs), 0);
    AUTO(message) struct message message = {0};
    bool end = false;
    cr_assert(wire_receive(ours, 5000, &message, &end, &err), "%s", err.text);
    cr_assert_eq(message.data_len, WIRE_DATA_MAX);
    cr_assert_eq(memcmp(message.data, data, WIRE_DATA_MAX), 0);
}
