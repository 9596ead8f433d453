/* gRPC's small codes: message frames, timeouts, percent and base64. */
#include "agent/rpc/frame.h"

#include <criterion/criterion.h>
#include <string.h>

Test(frame, finds_messages_however_the_bytes_arrive)
{
    static const uint8_t wire[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\1z";
    static const char *const expected[] = {"abc", "", "z"};
    for (size_t piece = 1; piece < sizeof wire; piece++) {
        AUTO(frame_reader) struct frame_reader reader = {0};
        struct err err = {0};
        size_t found = 0;
        for (size_t at = 0; at < sizeof wire - 1; at += piece) {
            const uint8_t *p = wire + at;
            size_t len = sizeof wire - 1 - at < piece ? sizeof wire - 1 - at : piece;
            while (len)
                if (frame_read(&reader, &p, &len, 100, &err) == FRAME_MESSAGE) {
                    cr_assert_lt(found, 3);
                    cr_assert_eq(reader.len, strlen(expected[found]));
                    cr_assert(!reader.len ||
                              memcmp(reader.bytes, expected[found], reader.len) == 0);
                    found++;
                }
        }
        cr_assert_eq(found, 3, "pieces of %zu", piece);
        cr_assert(frame_is_between(&reader));
    }
}

static enum err_code code_of(const void *bytes, size_t len)
{
    AUTO(frame_reader) struct frame_reader reader = {0};
    struct err err = {0};
    const uint8_t *p = bytes;
    enum frame_event event = frame_read(&reader, &p, &len, 100, &err);
    cr_assert_eq(event == FRAME_FAILED, err.code != ERR_NONE);
    return err.code;
}

Test(frame, refuses_bad_prefixes)
{
    cr_expect_eq(code_of("\0\0\0\0\x64", 5), ERR_NONE);
    cr_expect_eq(code_of("\0\0\0\0\x65", 5), ERR_LIMIT);
    cr_expect_eq(code_of("\0\xff\xff\xff\xff", 5), ERR_LIMIT);
    cr_expect_eq(code_of("\1\0\0\0\0", 5), ERR_UNSUPPORTED);
    cr_expect_eq(code_of("\2\0\0\0\0", 5), ERR_INVALID);
}

Test(frame, takes_memory_for_what_came_not_for_what_was_promised)
{
    AUTO(frame_reader) struct frame_reader reader = {0};
    struct err err = {0};
    const uint8_t *p = (const uint8_t *)"\0\0\x40\0\0x";
    size_t len = 6;
    cr_assert_eq(frame_read(&reader, &p, &len, 4 << 20, &err), FRAME_MORE);
    cr_assert_leq(reader.capacity, 4096);
}

Test(frame, reads_timeouts)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t ms;
    } table[] = {
        {"300m", true, 300},      {"1S", true, 1000}, {"2M", true, 120000},
        {"1H", true, 3600000},    {"1u", true, 1},    {"1001u", true, 2},
        {"1n", true, 1},          {"0m", true, 0},    {"99999999H", true, 359999996400000},
        {"100000000m", false, 0}, {"m", false, 0},    {"", false, 0},
        {"1", false, 0},          {"-1m", false, 0},  {"1x", false, 0},
        {" 1m", false, 0},        {"1.5S", false, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t ms = 0;
        cr_expect_eq(frame_parse_timeout(table[i].text, &ms), table[i].ok, "%s", table[i].text);
        cr_expect_eq(ms, table[i].ms, "%s", table[i].text);
    }
}

Test(frame, writes_timeouts_that_it_can_read)
{
    static const uint64_t table[] = {1, 99999999, 100000000, 100000999, UINT64_MAX};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[16];
        uint64_t back = 0;
        frame_format_timeout(table[i], text);
        cr_assert(frame_parse_timeout(text, &back), "%s", text);
        cr_expect(back == table[i] || (table[i] > 99999999 && back % 1000 == 0), "%s", text);
    }
}

Test(frame, percent_codes_come_back)
{
    static const char *const table[] = {"", "plain", "50% bad\nline é", "%", "%4", "%zz", "a%00b"};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        AUTO(str) struct str s = {0};
        char back[64];
        frame_percent_encode(&s, table[i]);
        for (size_t k = 0; k < s.len; k++)
            cr_expect(s.text[k] >= 0x20 && s.text[k] <= 0x7e);
        frame_percent_decode(back, sizeof back, s.text ? s.text : "");
        cr_expect_str_eq(back, table[i]);
    }
    char text[8];
    frame_percent_decode(text, sizeof text, "%zz%4%00%41bcdefgh");
    cr_expect_str_eq(text, "%zz%4%0");
}

Test(frame, base64_comes_back_with_and_without_padding)
{
    uint8_t bytes[32];
    for (size_t len = 0; len < sizeof bytes; len++) {
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)(i * 77 + len);
        AUTO(str) struct str s = {0};
        frame_base64_encode(&s, bytes, len);
        for (int pass = 0; pass < 2; pass++) {
            uint8_t back[64];
            size_t back_len;
            cr_assert(frame_base64_decode(s.text ? s.text : "", back, &back_len));
            cr_assert_eq(back_len, len);
            cr_assert_eq(memcmp(back, bytes, len), 0);
            while (s.len && s.text[s.len - 1] == '=')
                s.text[--s.len] = '\0';
        }
    }
    uint8_t scrap[16];
    size_t len;
    cr_assert(!frame_base64_decode("a?b=", scrap, &len));
    cr_assert(!frame_base64_decode("abcde", scrap, &len));
}
