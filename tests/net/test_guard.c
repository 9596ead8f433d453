/* The guard alone: what it counts, what it forgives, what it calls late. */
#include "agent/net/guard.h"
#include <criterion/criterion.h>
#include <string.h>

static struct guard guard;
static uint64_t now_ms;

static void begin(void)
{
    now_ms = 5000;
    guard_init(&guard, now_ms);
    cr_assert_null(
        guard_bytes(&guard, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, now_ms));
}

TestSuite(guard, .init = begin);

static const char *send_frame(int type, int flags, size_t len)
{
    uint8_t bytes[600] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, (uint8_t)type,
                          (uint8_t)flags};
    return guard_bytes(&guard, bytes, 9 + len, now_ms);
}

/* How many of these, one after the other, before the peer has to go. */
static int how_many(int type, int flags, size_t len, int most)
{
    for (int i = 0; i < most; i++)
        if (send_frame(type, flags, len))
            return i;
    return most;
}

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 6, WINDOW_UPDATE = 8, CONTINUATION };

Test(guard, nonsense_is_limited_and_forgiven_with_time)
{
    static const struct {
        int type, flags;
        size_t len;
        int limit, next_second;
    } cases[] = {
        {PING, 0, 8, 2000, 200},     {WINDOW_UPDATE, 0, 4, 2000, 200},
        {PRIORITY, 0, 5, 2000, 200}, {DATA, 0, 0, 2000, 200},
        {DATA, 8, 100, 2000, 200},   {0x77, 0, 3, 2000, 200},
        {SETTINGS, 0, 6, 100, 10},   {SETTINGS, 1, 0, 2000, 200},
        {RST_STREAM, 0, 4, 500, 33}, {CONTINUATION, 0, 10, 100, 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        cr_expect_eq(how_many(cases[i].type, cases[i].flags, cases[i].len, 5000), cases[i].limit,
                     "type %d", cases[i].type);
        now_ms += 1000;
        cr_expect_eq(how_many(cases[i].type, cases[i].flags, cases[i].len, 5000),
                     cases[i].next_second, "type %d, a second later", cases[i].type);
    }
}

Test(guard, work_is_never_too_much_and_pays_for_chatter)
{
    cr_assert_eq(how_many(DATA, 0, 500, 100000), 100000);
    cr_assert_eq(how_many(DATA, 1, 0, 100000), 100000, "the end of a request is no chatter");
    for (int i = 0; i < 20000; i++) { /* a reader's windows and pings beside what it is sent */
        guard_sent(&guard);
        cr_assert_null(send_frame(WINDOW_UPDATE, 0, 4));
        cr_assert_null(send_frame(WINDOW_UPDATE, 0, 4));
        cr_assert_null(send_frame(PING, 0, 8));
    }
    guard_sent(&guard);
    cr_assert_eq(how_many(PING, 0, 8, 5000), 2000, "credit does not pile up");
}

Test(guard, sees_the_same_frames_however_they_are_cut)
{
    for (size_t piece = 1; piece < 40; piece++) {
        uint8_t bytes[20 * (9 + 6)] = {0};
        begin();
        for (size_t i = 0; i < 20; i++) {
            bytes[i * 15 + 2] = 6;
            bytes[i * 15 + 3] = SETTINGS;
        }
        for (int round = 0; round < 5; round++)
            for (size_t at = 0; at < sizeof bytes; at += piece)
                cr_assert_null(guard_bytes(&guard, bytes + at,
                                           piece < sizeof bytes - at ? piece : sizeof bytes - at,
                                           now_ms));
        cr_assert_eq(how_many(SETTINGS, 0, 6, 10), 0, "pieces of %zu", piece);
    }
}

Test(guard, tells_what_was_begun_and_not_ended)
{
    cr_assert_null(guard_late(&guard, now_ms + 10000));
    cr_assert(strstr(guard_late(&guard, now_ms + 10001), "greeting"));
    cr_assert_null(send_frame(SETTINGS, 0, 6));
    cr_assert_null(guard_late(&guard, now_ms + 999999));
    cr_assert_null(guard_bytes(&guard, (const uint8_t *)"\0\0\5\0\0", 5, now_ms));
    now_ms += 29000;
    cr_assert_null(guard_bytes(&guard, (const uint8_t *)"\0\0\0\1ab", 6, now_ms));
    cr_assert_null(guard_late(&guard, now_ms));
    now_ms += 2000;
    cr_assert(strstr(guard_late(&guard, now_ms), "a frame was begun"), "a byte now and then");
    cr_assert_null(guard_bytes(&guard, (const uint8_t *)"cde", 3, now_ms));
    cr_assert_null(guard_late(&guard, now_ms + 999999));
}

Test(guard, headers_are_one_piece_until_their_last_frame)
{
    cr_assert_null(send_frame(SETTINGS, 0, 6));
    cr_assert_null(send_frame(HEADERS, 0, 10));
    now_ms += 20000;
    cr_assert_null(send_frame(CONTINUATION, 0, 10));
    now_ms += 11000;
    cr_assert(strstr(guard_late(&guard, now_ms), "request headers"));
    cr_assert_null(send_frame(CONTINUATION, 4, 10));
    cr_assert_null(guard_late(&guard, now_ms + 999999));
}
