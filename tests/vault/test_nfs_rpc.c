/* Records out of any fragments, calls out of records, and reply heads; lies end the connection. */
#include "drivers/vault/nfs/record.h"
#include "tests/lib/nfs_raw.h"
#include "tests/lib/random.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t LAST = 0x80000000u;

/* ---- records ---- */

static size_t put_fragment(uint8_t *to, const uint8_t *bytes, size_t len, bool last)
{
    raw_put(to, (uint32_t)len | (last ? LAST : 0));
    memcpy(to + 4, bytes, len);
    return len + 4;
}

static size_t put_in_fragments(struct rnd *rnd, uint8_t *to, const uint8_t *bytes, size_t len)
{
    size_t out = 0;
    size_t at = 0;
    while (at < len && rnd_below(rnd, 4)) {
        size_t n = 1 + rnd_below(rnd, len - at);
        out += put_fragment(to + out, bytes + at, n, false);
        at += n;
    }
    return out + put_fragment(to + out, bytes + at, len - at, true);
}

Test(nfs_rpc, records_come_out_whole_however_they_are_cut)
{
    enum { RECORDS = 60, RECORD = 700 };
    struct rnd rnd = rnd_begin("nfs_rpc");
    uint8_t bytes[RECORD];
    uint8_t *stream = malloc(RECORDS * RECORD * 8);
    size_t lens[RECORDS];
    size_t size = 0;
    for (size_t i = 0; i < RECORDS; i++) {
        lens[i] = 4 + 4 * rnd_below(&rnd, RECORD / 4 - 1);
        memset(bytes, (int)i, lens[i]);
        size += put_in_fragments(&rnd, stream + size, bytes, lens[i]);
    }
    uint8_t *buffer = malloc(size);
    struct record record = {0};
    size_t filled = 0;
    size_t seen = 0;
    for (size_t fed = 0; fed < size || seen < RECORDS;) {
        size_t n = 1 + rnd_below(&rnd, 300);
        n = n < size - fed ? n : size - fed;
        memcpy(buffer + filled, stream + fed, n);
        filled += n;
        fed += n;
        size_t at;
        size_t len;
        enum record_step step;
        while ((step = record_next(&record, buffer, filled, &at, &len)) == RECORD_WHOLE) {
            cr_assert(seen < RECORDS && len == lens[seen]);
            for (size_t i = 0; i < len; i++)
                cr_assert_eq(buffer[at + i], seen);
            seen++;
        }
        cr_assert_eq(step, RECORD_MORE);
        cr_assert_gt(record.need, filled - record.begin);
        if (rnd_below(&rnd, 2)) {
            memmove(buffer, buffer + record.begin, filled - record.begin);
            filled -= record.begin;
            record_moved(&record);
        }
    }
    free(buffer);
    free(stream);
}

Test(nfs_rpc, a_lie_is_seen_before_its_bytes_are_waited_for)
{
    const uint32_t rows[][3] = {
        {LAST | 0x7fffffff},                   /* longer than any record */
        {LAST | (RPC_RECORD_MAX + 4)},         /* a little longer */
        {RPC_RECORD_MAX + 1},                  /* the same, not even the last */
        {0},                                   /* an empty fragment that is not the last */
        {LAST},                                /* an empty record */
        {LAST | 5},                            /* no multiple of four */
        {4, 0x41414141, LAST | RPC_RECORD_MAX} /* together too long */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct record record = {0};
        uint8_t bytes[12];
        size_t at;
        size_t len;
        for (size_t word = 0; word < 3; word++)
            raw_put(bytes + word * 4, rows[i][word]);
        cr_assert_eq(record_next(&record, bytes, rows[i][2] ? 12 : 4, &at, &len), RECORD_LIE,
                     "row %zu", i);
    }
}

Test(nfs_rpc, endless_fragments_end)
{
    uint8_t *bytes = malloc(8 * (RECORD_FRAGMENTS_MAX + 2));
    struct record record = {0};
    size_t at;
    size_t len;
    size_t filled = 0;
    enum record_step step = RECORD_MORE;
    size_t count = 0;
    for (; step == RECORD_MORE; count++) {
        raw_put(bytes + filled, 1);
        filled += 5;
        step = record_next(&record, bytes, filled, &at, &len);
        cr_assert_leq(count, RECORD_FRAGMENTS_MAX);
    }
    cr_assert_eq(step, RECORD_LIE);
    free(bytes);
}

Test(nfs_rpc, the_longest_record_fits_its_buffer)
{
    struct record record = {0};
    uint8_t *bytes = malloc(RECORD_BUFFER_MAX);
    uint8_t *data = calloc(1, RPC_RECORD_MAX);
    size_t filled = 0;
    size_t at;
    size_t len;
    for (int i = 1; i < RECORD_FRAGMENTS_MAX; i++)
        filled += put_fragment(bytes + filled, data, 4, false);
    filled +=
        put_fragment(bytes + filled, data, RPC_RECORD_MAX - 4 * (RECORD_FRAGMENTS_MAX - 1), true);
    cr_assert_leq(filled, RECORD_BUFFER_MAX);
    cr_assert_eq(record_next(&record, bytes, filled - 1, &at, &len), RECORD_MORE);
    cr_assert_eq(record.need, filled);
    cr_assert_eq(record_next(&record, bytes, filled, &at, &len), RECORD_WHOLE);
    cr_assert_eq(len, RPC_RECORD_MAX);
    free(data);
    free(bytes);
}

/* ---- calls ---- */

struct words {
    uint8_t bytes[1024];
    size_t len;
};

static void add(struct words *words, uint32_t n)
{
    raw_put(words->bytes + words->len, n);
    words->len += 4;
}

static struct words call_begun(uint32_t direction, uint32_t version)
{
    struct words words = {.len = 0};
    add(&words, 77);
    add(&words, direction);
    add(&words, version);
    add(&words, 100003);
    add(&words, 3);
    add(&words, 6);
    return words;
}

static void add_opaque(struct words *words, uint32_t flavor, const void *bytes, uint32_t len)
{
    add(words, flavor);
    add(words, len);
    memset(words->bytes + words->len, 0, len + 3);
    if (len)
        memcpy(words->bytes + words->len, bytes, len);
    words->len += (len + 3) & ~3u;
}

static struct words sys_body(const char *machine, uint32_t groups)
{
    struct words body = {.len = 0};
    add(&body, 1);
    uint32_t len = (uint32_t)strlen(machine);
    add(&body, len);
    memcpy(body.bytes + body.len, machine, len);
    body.len += (len + 3) & ~3u;
    add(&body, 54321);
    add(&body, 54322);
    add(&body, groups);
    for (uint32_t i = 0; i < groups; i++)
        add(&body, 1000 + i);
    return body;
}

Test(nfs_rpc, a_call_says_who_asks)
{
    struct rpc_call call;
    uint8_t reply[RPC_REFUSAL_MAX];
    size_t len = 0;
    struct words body = sys_body("dbhost", 16);
    struct words words = call_begun(0, 2);
    add_opaque(&words, 1, body.bytes, (uint32_t)body.len);
    add_opaque(&words, 0, NULL, 0);
    add(&words, 0xabcdef01);
    cr_assert_eq(rpc_parse(words.bytes, words.len, &call, reply, &len), RPC_IS_CALL);
    cr_assert(call.xid == 77 && call.program == 100003 && call.version == 3 && call.procedure == 6);
    cr_assert(call.cred.known && call.cred.uid == 54321 && call.cred.gid == 54322);
    cr_assert(call.cred.group_count == 16 && call.cred.groups[15] == 1015);
    cr_assert(call.cred.machine_len == 6 && memcmp(call.cred.machine, "dbhost", 6) == 0);
    cr_assert(call.args_len == 4 && raw_get(call.args) == 0xabcdef01);

    words = call_begun(0, 2);
    add_opaque(&words, 0, NULL, 0);
    add_opaque(&words, 0, NULL, 0);
    cr_assert_eq(rpc_parse(words.bytes, words.len, &call, reply, &len), RPC_IS_CALL);
    cr_assert_not(call.cred.known);
    cr_assert_eq(call.args_len, 0);
}

Test(nfs_rpc, replies_and_scraps_are_no_calls)
{
    struct rpc_call call;
    uint8_t reply[RPC_REFUSAL_MAX];
    size_t len = 0;
    struct words words = call_begun(1, 0); /* REPLY, ACCEPTED */
    cr_assert_eq(rpc_parse(words.bytes, words.len, &call, reply, &len), RPC_IS_NONSENSE);
    words = call_begun(2, 2);
    cr_assert_eq(rpc_parse(words.bytes, words.len, &call, reply, &len), RPC_IS_NONSENSE);
    words = call_begun(0, 2);
    for (size_t n = 0; n < words.len; n += 4)
        cr_assert_eq(rpc_parse(words.bytes, n, &call, reply, &len), RPC_IS_NONSENSE, "%zu", n);
}

static void expect_refusal(const struct words *words, uint32_t why, uint32_t reason)
{
    struct rpc_call call;
    uint8_t reply[RPC_REFUSAL_MAX];
    size_t len = 0;
    uint8_t *exact = malloc(words->len); /* so that a read beyond is seen */
    memcpy(exact, words->bytes, words->len);
    cr_assert_eq(rpc_parse(exact, words->len, &call, reply, &len), RPC_IS_REFUSED);
    free(exact);
    cr_assert_eq(len, why == 0 ? 28 : 24);
    cr_assert_eq(raw_get(reply), LAST | (uint32_t)(len - 4));
    cr_assert_eq(raw_get(reply + 4), 77);
    cr_assert_eq(raw_get(reply + 8), 1);
    cr_assert_eq(raw_get(reply + 12), 1);
    cr_assert_eq(raw_get(reply + 16), why);
    cr_assert_eq(raw_get(reply + 20), reason);
    cr_assert(why || raw_get(reply + 24) == 2);
}

Test(nfs_rpc, another_version_of_rpc_is_told_which_one)
{
    struct words words = call_begun(0, 3);
    expect_refusal(&words, 0, 2);
    words.len = 12; /* what follows is that version's matter */
    expect_refusal(&words, 0, 2);
}

Test(nfs_rpc, credentials_that_are_none_are_refused)
{
    enum { BAD_CREDENTIALS = 1, BAD_VERIFIER = 3, TOO_WEAK = 5 };
    char machine[256];
    memset(machine, 'm', 255);
    machine[255] = '\0';
    const struct {
        const char *machine;
        uint32_t groups, cut;
    } bodies[] = {{"h", 17, 0}, {"h", 16, 4}, {"h", 0, 4}, {machine, 0, 8}, {"h", 0, 20}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct words body = sys_body(bodies[i].machine, bodies[i].groups);
        struct words words = call_begun(0, 2);
        add_opaque(&words, 1, body.bytes, (uint32_t)body.len - bodies[i].cut);
        add_opaque(&words, 0, NULL, 0);
        expect_refusal(&words, 1, BAD_CREDENTIALS);
    }
    const struct {
        uint32_t flavor, len, reason;
    } rows[] = {{6, 0, TOO_WEAK},          {390003, 20, TOO_WEAK},
                {0, 404, BAD_CREDENTIALS}, {1, 0xffffffff, BAD_CREDENTIALS},
                {1, 100, BAD_CREDENTIALS}, {0, 0xfffffffd, BAD_CREDENTIALS},
                {1, 8, BAD_CREDENTIALS}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct words words = call_begun(0, 2);
        add(&words, rows[i].flavor);
        add(&words, rows[i].len);
        for (int n = 0; n < 5; n++)
            add(&words, 0);
        expect_refusal(&words, 1, rows[i].reason);
    }
    for (uint32_t len = 401; len > 4; len = len == 401 ? 0xfffffffe : 4) {
        struct words words = call_begun(0, 2);
        add_opaque(&words, 0, NULL, 0);
        add(&words, 0);
        add(&words, len);
        expect_refusal(&words, 1, BAD_VERIFIER);
    }
    struct words words = call_begun(0, 2);
    add_opaque(&words, 0, NULL, 0);
    expect_refusal(&words, 1, BAD_VERIFIER);
}

Test(nfs_rpc, heads_count_the_results_behind_them)
{
    uint8_t head[RPC_HEAD_BYTES + 8];
    cr_assert_eq(rpc_head(head, 5, RPC_SUCCESS, 0, 0, 100), RPC_HEAD_BYTES);
    cr_assert_eq(raw_get(head), LAST | 124);
    cr_assert_eq(raw_get(head + 4), 5);
    cr_assert_eq(raw_get(head + 24), 0);
    cr_assert_eq(rpc_head(head, 5, RPC_PROG_MISMATCH, 3, 4, 0), RPC_HEAD_BYTES + 8);
    cr_assert_eq(raw_get(head), LAST | 32);
    cr_assert_eq(raw_get(head + 24), 2);
    cr_assert(raw_get(head + 28) == 3 && raw_get(head + 32) == 4);
}
