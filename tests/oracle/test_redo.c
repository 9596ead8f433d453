/* The full check of a log: what counts, and the reason for everything that does not. */
#include "agent/oracle/redo.h"
#include "tests/oracle/writers.h"

/* Feeds a file in pieces: a fixed size, or random ones for 0. The entry's moments are the caller's.
 */
static struct manifest_entry check(const uint8_t *file, size_t len, size_t piece)
{
    static struct redo_check c;
    struct err err = {0};
    struct manifest_entry e = {0};
    redo_check_init(&c, len);
    for (size_t at = 0; at < len;) {
        size_t n = piece ? piece : 1 + test_random_below(9000);
        n = n > len - at ? len - at : n;
        redo_check_feed(&c, file + at, n);
        at += n;
    }
    cr_assert(redo_check_finish(&c, &e, &err), "%s", err.text);
    return e;
}

static void expect(const uint8_t *file, size_t len, enum file_state state, const char *word)
{
    struct manifest_entry e = check(file, len, len ? len : 1);
    cr_expect_eq(e.state, state, "%s: %s (wanted %s, '%s')", file_state_text(e.state), e.why,
                 file_state_text(state), word);
    cr_expect(strstr(e.why, word), "'%s' lacks '%s'", e.why, word);
    manifest_entry_done(&e);
}

static size_t size_of(const struct a_log *l) { return (size_t)(l->blocks + 1) * l->size; }

Test(redo, counts_a_whole_log_of_every_size_and_order)
{
    test_random_start("redo/counts_a_whole_log");
    for (int i = 0; i < 6; i++) {
        struct a_log l = plain_log;
        l.order = i & 1 ? ORDER_BIG : ORDER_LITTLE;
        l.size = i < 2 ? 512 : i < 4 ? 1024 : 4096;
        l.compatible = i < 3 ? 0x0b200400 : 0x13000000;
        uint8_t *file = write_log(&l, test_random);
        struct manifest_entry e = check(file, size_of(&l), 0);
        cr_expect_eq(e.state, STATE_GOOD, "%s", e.why);
        cr_expect_eq(e.kind, FILE_ARCHIVED_LOG);
        cr_expect_eq(e.log.thread, 1);
        cr_expect_eq(e.log.sequence, 648);
        cr_expect_eq(e.log.first_scn.n, 10000);
        cr_expect_eq(e.log.next_scn.n, 20000);
        cr_expect_eq(e.log.activation, 77);
        cr_expect_eq(e.block_size, l.size);
        cr_expect_eq(e.log.unverifiable, 0);
        manifest_entry_done(&e);
        free(file);
    }
}

Test(redo, takes_the_1k_code_of_512)
{
    test_random_start("redo/takes_the_1k_code");
    struct a_log l = plain_log;
    l.size = 1024;
    uint8_t *file = write_log(&l, test_random);
    for (uint32_t n = 0; n <= l.blocks; n++) {
        file[n * 1024 + 1] = 0x22;
        seal(file + n * 1024, 1024, n ? 14 : 16);
    }
    expect(file, size_of(&l), STATE_GOOD, "");
    free(file);
}

Test(redo, keeps_the_first_and_the_last_moment_and_at_most_64)
{
    test_random_start("redo/keeps_moments");
    for (uint32_t blocks = 2; blocks < 3000; blocks += blocks < 600 ? 1 : 97) {
        struct a_log l = plain_log;
        l.blocks = blocks;
        uint8_t *file = write_log(&l, test_random);
        struct manifest_entry e = check(file, size_of(&l), 65536);
        cr_assert_eq(e.state, STATE_GOOD, "%s", e.why);
        size_t starts = (blocks - 2) / 4 + 1;
        cr_assert(e.log.moment_count <= 64 && e.log.moment_count <= starts);
        cr_assert(starts > 63 ? e.log.moment_count > 31 : e.log.moment_count == starts,
                  "%zu of %zu", e.log.moment_count, starts);
        cr_assert_eq(e.log.moments[0].scn.n, 10002);
        cr_assert_eq(e.log.moments[e.log.moment_count - 1].scn.n, 10002 + 4 * (starts - 1));
        for (size_t i = 1; i < e.log.moment_count; i++)
            cr_assert(scn_less(e.log.moments[i - 1].scn, e.log.moments[i].scn));
        manifest_entry_done(&e);
        free(file);
    }
}

Test(redo, never_counts_an_open_log)
{
    test_random_start("redo/never_counts_an_open_log");
    struct a_log l = plain_log;
    l.next = scn_open;
    uint8_t *file = write_log(&l, test_random);
    expect(file, size_of(&l), STATE_OPEN, "not closed");
    struct manifest_entry e = check(file, size_of(&l), 512);
    cr_expect_eq(e.kind, FILE_ONLINE_LOG);
    cr_expect(scn_is_none(e.log.next_scn));
    manifest_entry_done(&e);
    put_u4(file + 512 + 20, ORDER_LITTLE, 0);
    seal(file + 512, 512, 14);
    expect(file, size_of(&l), STATE_OPEN, "never used");
    free(file);
}

Test(redo, never_counts_a_log_without_an_end)
{
    test_random_start("redo/without_an_end");
    uint8_t *file = write_log(&plain_log, test_random);
    put_u4(file + 512 + 156, ORDER_LITTLE, UINT32_MAX);
    seal(file + 512, 512, 14);
    expect(file, size_of(&plain_log), STATE_OPEN, "not closed");
    put_u4(file + 512 + 156, ORDER_LITTLE, 402);
    seal(file + 512, 512, 14);
    expect(file, size_of(&plain_log), STATE_DAMAGED, "end");
    put_u4(file + 512 + 156, ORDER_LITTLE, 1);
    seal(file + 512, 512, 14);
    expect(file, size_of(&plain_log), STATE_DAMAGED, "end");
    free(file);
}

Test(redo, never_counts_a_closed_online_log)
{
    test_random_start("redo/never_counts_a_closed_online_log");
    uint8_t *file = write_log(&plain_log, test_random);
    put_u4(file + 512 + 156, ORDER_LITTLE, 300);
    seal(file + 512, 512, 14);
    memset(file + 350 * 512, 0, 51 * 512);
    expect(file, size_of(&plain_log), STATE_OPEN, "online log");
    put_u4(file + 512 + 40, ORDER_LITTLE, 102400); /* cut, but a little longer than its end */
    seal(file + 512, 512, 14);
    expect(file, size_of(&plain_log), STATE_GOOD, "");
    free(file);
}

Test(redo, names_what_is_wrong_with_a_header)
{
    test_random_start("redo/names_what_is_wrong_with_a_header");
    static const struct {
        size_t at;
        uint32_t value;
        enum file_state state;
        const char *word;
    } table[] = {
        {48, 12u << 16 | 2, STATE_FOREIGN, "foreign"},
        {48, 9u << 16 | 2, STATE_GOOD, ""},
        {48, 7u << 16 | 2, STATE_DAMAGED, "type"},
        {44, 1024, STATE_DAMAGED, "block size"},
        {176, 0, STATE_DAMAGED, "thread"},
        {180, 30000, STATE_DAMAGED, "next SCN"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t *file = write_log(&plain_log, test_random);
        put_u4(file + 512 + table[i].at, ORDER_LITTLE, table[i].value);
        seal(file + 512, 512, 14);
        expect(file, size_of(&plain_log), table[i].state, table[i].word);
        free(file);
    }
}

Test(redo, names_what_is_wrong_with_block_zero)
{
    test_random_start("redo/names_what_is_wrong_with_block_zero");
    size_t size = size_of(&plain_log);
    uint8_t *file = write_log(&plain_log, test_random);
    file[100] = 1;
    expect(file, size, STATE_DAMAGED, "block 0");
    file[21] = 3;
    expect(file, size, STATE_DAMAGED, "size code");
    memset(file, 0, 512);
    expect(file, size, STATE_IN_FLIGHT, "first block");
    put_u4(file + 4, ORDER_LITTLE, 512);
    put_u4(file + 12, ORDER_LITTLE, 0x5a5b5c5d);
    expect(file, size, STATE_UNUSABLE, "10g");
    memset(file, 'x', 512);
    expect(file, size, STATE_OTHER, "not a redo log");
    write_block_zero(file, ORDER_LITTLE, 512, plain_log.blocks);
    memset(file + 512, 0, 512);
    expect(file, size, STATE_IN_FLIGHT, "header block");
    free(file);
}

Test(redo, reports_that_memory_ran_out_and_keeps_the_entry)
{
    test_random_start("redo/memory");
    uint8_t *file = write_log(&plain_log, test_random);
    static struct redo_check c;
    struct err err = {0};
    struct manifest_entry e = {.size = 7};
    redo_check_init(&c, size_of(&plain_log));
    redo_check_feed(&c, file, size_of(&plain_log));
    own_fault(1);
    cr_expect_not(redo_check_finish(&c, &e, &err));
    own_fault(0);
    cr_expect_eq(err.code, ERR_NO_MEMORY);
    cr_expect_eq(e.size, 7);
    free(file);
}

Test(redo, names_the_damaged_block)
{
    test_random_start("redo/names_the_damaged_block");
    static const struct {
        size_t offset;
        const char *word;
    } table[] = {
        {300, "checksum"}, {4, "number"}, {8, "sequence"}, {1, "no redo block"}, {14, "checksum"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t *file = write_log(&plain_log, test_random);
        file[17 * 512 + table[i].offset] ^= 0x15;
        if (table[i].offset != 14 && table[i].offset != 300)
            seal(file + 17 * 512, 512, 14);
        expect(file, size_of(&plain_log), STATE_DAMAGED, table[i].word);
        expect(file, size_of(&plain_log), STATE_DAMAGED, "block 17 ");
        free(file);
    }
}

Test(redo, tells_an_unwritten_tail_from_a_hole)
{
    test_random_start("redo/tells_an_unwritten_tail");
    uint8_t *file = write_log(&plain_log, test_random);
    memset(file + 300 * 512, 0, 101 * 512);
    expect(file, size_of(&plain_log), STATE_IN_FLIGHT, "from block 300 on not written");
    memcpy(file + 400 * 512, file + 200 * 512, 512);
    expect(file, size_of(&plain_log), STATE_DAMAGED, "block 300");
    free(file);
    file = write_log(&plain_log, test_random);
    struct a_log old = plain_log;
    old.sequence = 645;
    for (uint32_t n = 390; n <= 400; n++)
        write_redo_block(file + n * 512, &old, n, 0);
    expect(file, size_of(&plain_log), STATE_IN_FLIGHT, "old content");
    free(file);
}

Test(redo, counts_blocks_without_checksum_apart)
{
    test_random_start("redo/without_checksum");
    uint8_t *file = write_log(&plain_log, test_random);
    int cleared = 0;
    for (int n = 2; n < 12; n++) {
        cleared += file[n * 512 + 14] || file[n * 512 + 15];
        file[n * 512 + 14] = file[n * 512 + 15] = 0;
    }
    struct manifest_entry e = check(file, size_of(&plain_log), 700);
    cr_expect_eq(e.state, STATE_GOOD, "%s", e.why);
    cr_expect_eq(e.log.unverifiable, (uint64_t)cleared);
    manifest_entry_done(&e);
    free(file);
}

Test(redo, wants_the_exact_size)
{
    test_random_start("redo/wants_the_exact_size");
    size_t size = size_of(&plain_log);
    uint8_t *file = calloc(1, size + 512);
    uint8_t *log = write_log(&plain_log, test_random);
    memcpy(file, log, size);
    expect(file, size + 1, STATE_DAMAGED, "more than");
    expect(file, size + 512, STATE_DAMAGED, "more than");
    expect(file, size - 512, STATE_IN_FLIGHT, "written or cut");
    expect(file, size - 100, STATE_TRUNCATED, "truncated");
    expect(file, 900, STATE_IN_FLIGHT, "before its header");
    expect(file, 0, STATE_OTHER, "empty");
    free(file);
    free(log);
}

Test(redo, notices_a_file_that_changed_under_the_reader)
{
    test_random_start("redo/notices_change");
    uint8_t *file = write_log(&plain_log, test_random);
    static struct redo_check c;
    struct err err = {0};
    struct manifest_entry e = {0};
    redo_check_init(&c, size_of(&plain_log));
    redo_check_feed(&c, file, 100 * 512);
    cr_assert(redo_check_finish(&c, &e, &err));
    cr_expect_eq(e.state, STATE_IN_FLIGHT);
    cr_expect(strstr(e.why, "changed"), "%s", e.why);
    manifest_entry_done(&e);
    free(file);
}

Test(redo, keeps_path_and_time_of_the_entry)
{
    test_random_start("redo/keeps_path");
    uint8_t *file = write_log(&plain_log, test_random);
    static struct redo_check c;
    struct err err = {0};
    struct manifest_entry e = {.path = strdup("archivelog/1_648_928161908.dbf"), .mtime_us = 42};
    for (int round = 0; round < 2; round++) {
        redo_check_init(&c, size_of(&plain_log));
        redo_check_feed(&c, file, size_of(&plain_log));
        cr_assert(redo_check_finish(&c, &e, &err));
        cr_expect_str_eq(e.path, "archivelog/1_648_928161908.dbf");
        cr_expect_eq(e.mtime_us, 42);
        cr_expect_eq(e.size, size_of(&plain_log));
    }
    manifest_entry_done(&e);
    free(file);
}

Test(redo, survives_every_prefix_and_never_counts_one)
{
    test_random_start("redo/survives_every_prefix");
    struct a_log l = plain_log;
    l.blocks = 9;
    uint8_t *file = write_log(&l, test_random);
    for (size_t len = 0; len < size_of(&l); len++) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, file, len);
        struct manifest_entry e = check(exact, len, 0);
        cr_assert_neq(e.state, STATE_GOOD, "prefix of %zu", len);
        manifest_entry_done(&e);
        free(exact);
    }
    free(file);
}

/* Spoils a whole log in one of the ways logs are spoiled; returns the new length. */
static size_t damage(uint8_t *file, const struct a_log *l)
{
    size_t size = l->size, len = size_of(l);
    uint32_t n = 2 + test_random_below(l->blocks - 2);
    uint8_t *b = file + n * size;
    struct a_log other = *l;
    switch (test_random_below(7)) {
    case 0:
        file[test_random_below((uint32_t)len)] ^= (uint8_t)(1u << test_random_below(8));
        return len;
    case 1: /* misplaced */
        memcpy(b, b + size, size);
        return len;
    case 2: /* torn */
        for (size_t i = size / 2; i < size; i++)
            b[i] = (uint8_t)(b[i] * 3 + i);
        b[size - 1] ^= 0x41;
        return len;
    case 3: /* stale block of an older log, sound in itself */
        other.sequence -= 1 + test_random_below(9);
        write_redo_block(b, &other, n, 0);
        return len;
    case 4: /* sequence in the header only */
        other.sequence++;
        write_redo_block(file + size, &other, 1, 0);
        return len;
    case 5: /* cut */
        return test_random_below((uint32_t)len);
    default: /* extra bytes */
        return len + 1 + test_random_below(2000);
    }
}

Test(redo, sees_every_kind_of_random_damage_whatever_the_pieces)
{
    test_random_start("redo/sees_every_kind_of_random_damage");
    for (int round = 0; round < 600; round++) {
        struct a_log l = plain_log;
        l.order = (enum byte_order)test_random_below(2);
        l.size = (uint32_t[]){512, 1024, 4096}[test_random_below(3)];
        l.blocks = 3 + test_random_below(60);
        uint8_t *log = write_log(&l, test_random);
        uint8_t *file = calloc(1, size_of(&l) + 4096);
        memcpy(file, log, size_of(&l));
        size_t len = damage(file, &l);
        struct manifest_entry whole = check(file, len, len ? len : 1);
        cr_assert_neq(whole.state, STATE_GOOD, "round %d", round);
        cr_assert(whole.why[0]);
        for (size_t piece = 0; piece < 1600; piece += 1 + test_random_below(500)) {
            struct manifest_entry e = check(file, len, piece);
            cr_assert_eq(e.state, whole.state);
            cr_assert_str_eq(e.why, whole.why);
            cr_assert_eq(e.log.moment_count, whole.log.moment_count);
            manifest_entry_done(&e);
        }
        manifest_entry_done(&whole);
        free(file);
        free(log);
    }
}

Test(redo, samples)
{
    const char *dir = samples_dir();
    if (!dir)
        cr_skip_test("EVERCOPY_SAMPLES is not set");
    size_t len, zero_len;
    uint8_t *b = read_sample(dir, "redo-512-blk1-11204-online.bin", &len);
    uint8_t *z = read_sample(dir, "redo-512-blk0-50MB.bin", &zero_len);
    struct redo_header h;
    redo_header_read(b, ORDER_LITTLE, &h);
    cr_expect_eq(h.sequence, 66);
    cr_expect_eq(h.thread, 1);
    cr_expect_eq(h.file.dbid, 0x596dfdac);
    cr_expect_str_eq(h.file.db_name, "ORCL");
    cr_expect_eq(h.file.compatible, 0x0b200400);
    cr_expect_eq(h.file.blocks, 0x19000);
    cr_expect_eq(h.file.file_no, 3);
    cr_expect_eq(h.file.type, 2);
    cr_expect_eq(h.file.activation, 0x596d54ac);
    cr_expect_eq(h.first_scn.n, 0xc7476);
    cr_expect(scn_is_none(h.next_scn));
    cr_expect_eq(h.next_block, UINT32_MAX);
    cr_expect_eq(h.resetlogs_id, 0x39f8b22c);
    cr_expect_eq(h.resetlogs_scn.n, 1);
    cr_expect_eq(h.first_time, 0x3a0bf81d);
    cr_expect_eq(h.enabled_scn.n, 1);
    cr_expect_str_eq(h.description,
                     "Thread 0001, Seq# 0000000066, SCN 0x0000000c7476-0xffffffffffff");
    uint8_t head[1024];
    memcpy(head, z, 512);
    memcpy(head + 512, b, 512);
    struct manifest_entry e = check(head, sizeof head, 1);
    cr_expect_eq(e.state, STATE_OPEN, "%s", e.why);
    cr_expect_eq(e.kind, FILE_ONLINE_LOG);
    manifest_entry_done(&e);
    free(b);
    free(z);
}
