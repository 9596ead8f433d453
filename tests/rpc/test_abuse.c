/* Hostile clients against a real server: after each of them an honest one is answered at once, and
 * the server has not grown. */
#include "tests/rpc/wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* The allocator's graveyard would hide what the server keeps. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "quarantine_size_mb=1"; }

static struct rpc_client *honest;
static size_t anon_kib;

/* RssAnon of this process, the server in it. */
static size_t rss_anon_kib(void)
{
    struct err err = {0};
    size_t len;
    AUTO(mem) char *text = sys_read_file("/proc/self/status", 1 << 16, &len, &err);
    cr_ok(text, err);
    const char *line = strstr(text, "RssAnon:");
    return line ? strtoull(line + 8, NULL, 10) : 0;
}

static void begin(void)
{
    struct err err = {0};
    world_begin();
    honest = connect_with_ticket("bundle", "host", in_dir("honest.ticket"));
    cr_ok(say(honest, "Say", "good morning", 5000, &err), err);
    anon_kib = rss_anon_kib();
}

static void end(void)
{
    wire_end();
    rpc_client_free(honest);
    clock_test_shift(0);
    world_end();
}

TestSuite(abuse, .init = begin, .fini = end, .timeout = 60);

/* The one that was there before and one that comes anew. */
static void all_is_well(const char *after)
{
    struct err err = {0};
    uint64_t begun = clock_mono_ms();
    AUTO(rpc_client) struct rpc_client *fresh = connect_host();
    cr_assert(say(fresh, "Say", "hello", 5000, &err), "after %s: %s", after, err.text);
    cr_assert(say(honest, "Say", "hello", 5000, &err), "after %s: %s", after, err.text);
    cr_expect_lt(clock_mono_ms() - begun, 2000, "after %s the honest wait", after);
}

static void has_not_grown(size_t mib)
{
    size_t now = rss_anon_kib();
    cr_expect(now < anon_kib + mib * 1024, "grew by %zu KiB", now - anon_kib);
}

#define ECHO "/" SERVICE "/Echo"
#define SAY "/" SERVICE "/Say"
#define LATER "/" SERVICE "/Later"
#define RAW(text) text, sizeof(text) - 1

enum verdict { ENDS, RESETS, GOES_ON };

struct malformed {
    const char *name;
    int type, flags;
    uint32_t stream;
    const char *payload;
    size_t len;
    enum verdict verdict;
};

/* RFC 9113 sections 4 to 6, RFC 7541: what each of these deserves. */
static const struct malformed malformed[] = {
    {"DATA on stream 0", DATA, 0, 0, RAW("x"), ENDS},
    {"DATA on a stream that was never begun", DATA, 0, 5, RAW("x"), ENDS},
    {"DATA with more padding than bytes", DATA, PADDED, 1,
     RAW("\xff"
         "ab"),
     ENDS},
    {"HEADERS on stream 0", HEADERS, END_HEADERS, 0, RAW("\x83"), ENDS},
    {"HEADERS on a stream of the server's", HEADERS, END_HEADERS, 2, RAW("\x83"), ENDS},
    {"HEADERS with more padding than bytes", HEADERS, END_HEADERS | PADDED, 3, RAW("\xff\x83"),
     ENDS},
    {"HEADERS that point behind the table", HEADERS, END_HEADERS, 3, RAW("\xff\xff\x03"), ENDS},
    {"HEADERS with a number without end", HEADERS, END_HEADERS, 3,
     RAW("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), ENDS},
    {"HEADERS that enlarge the table", HEADERS, END_HEADERS, 3, RAW("\x3f\xe1\xff\x7f\x83"), ENDS},
    {"HEADERS with broken Huffman code", HEADERS, END_HEADERS, 3,
     RAW("\x00\x83\xff\xff\xff\x01"
         "a"),
     ENDS},
    {"HEADERS with a text longer than they are", HEADERS, END_HEADERS, 3,
     RAW("\x00\x7f"
         "abc"),
     ENDS},
    {"a request without method and path", HEADERS, END_HEADERS | END_STREAM, 3, RAW("\x87"),
     RESETS},
    {"a request with two methods", HEADERS, END_HEADERS | END_STREAM, 3, RAW("\x83\x82\x87\x84"),
     RESETS},
    {"a header name in capitals", HEADERS, END_HEADERS | END_STREAM, 3,
     RAW("\x83\x87\x84\x00\x02Te\x08trailers"), RESETS},
    {"a 'connection' header", HEADERS, END_HEADERS | END_STREAM, 3,
     RAW("\x83\x87\x84\x00\x0a"
         "connection\x05"
         "close"),
     RESETS},
    {"a pseudo-header behind others", HEADERS, END_HEADERS | END_STREAM, 3,
     RAW("\x83\x87\x00\x02te\x08trailers\x84"), RESETS},
    {"a header value with a line end", HEADERS, END_HEADERS | END_STREAM, 3,
     RAW("\x83\x87\x84\x00\x02te\x03"
         "a\nb"),
     RESETS},
    {"a stream that depends on itself", HEADERS, END_HEADERS | END_STREAM | 0x20, 3,
     RAW("\x00\x00\x00\x03\x00\x83\x87\x84"), ENDS},
    {"PRIORITY of four bytes", PRIORITY, 0, 1, RAW("abcd"), ENDS},
    {"RST_STREAM on stream 0", RST_STREAM, 0, 0, RAW("\0\0\0\x08"), ENDS},
    {"RST_STREAM of a stream never begun", RST_STREAM, 0, 9, RAW("\0\0\0\x08"), ENDS},
    {"RST_STREAM of three bytes", RST_STREAM, 0, 1, RAW("\0\0\0"), ENDS},
    {"SETTINGS of five bytes", SETTINGS, 0, 0, RAW("\0\3\0\0\0"), ENDS},
    {"SETTINGS on a stream", SETTINGS, 0, 1, RAW(""), ENDS},
    {"SETTINGS acknowledged with bytes", SETTINGS, ACK, 0, RAW("\0\3\0\0\0\1"), ENDS},
    {"SETTINGS with a window above 2^31-1", SETTINGS, 0, 0, RAW("\0\4\xff\xff\xff\xff"), ENDS},
    {"SETTINGS with frames of 100 bytes", SETTINGS, 0, 0, RAW("\0\5\0\0\0\x64"), ENDS},
    {"SETTINGS with push 2", SETTINGS, 0, 0, RAW("\0\2\0\0\0\2"), ENDS},
    {"SETTINGS never heard of", SETTINGS, 0, 0, RAW("\x77\x77\0\0\0\2"), GOES_ON},
    {"PUSH_PROMISE from a client", PUSH_PROMISE, END_HEADERS, 1, RAW("\0\0\0\2\x83"), ENDS},
    {"PING of seven bytes", PING, 0, 0, RAW("1234567"), ENDS},
    {"PING on a stream", PING, 0, 1, RAW("12345678"), ENDS},
    {"GOAWAY on a stream", GOAWAY, 0, 1, RAW("\0\0\0\0\0\0\0\0"), ENDS},
    {"GOAWAY of seven bytes", GOAWAY, 0, 0, RAW("\0\0\0\0\0\0\0"), ENDS},
    {"WINDOW_UPDATE by nothing", WINDOW_UPDATE, 0, 0, RAW("\0\0\0\0"), ENDS},
    {"WINDOW_UPDATE of three bytes", WINDOW_UPDATE, 0, 0, RAW("\0\0\1"), ENDS},
    {"WINDOW_UPDATE beyond 2^31-1", WINDOW_UPDATE, 0, 0, RAW("\x7f\xff\xff\xff"), ENDS},
    {"WINDOW_UPDATE of a stream never begun", WINDOW_UPDATE, 0, 9, RAW("\0\0\0\1"), ENDS},
    {"CONTINUATION of nothing", CONTINUATION, END_HEADERS, 1, RAW("\x83"), ENDS},
    {"a frame never heard of", UNHEARD_OF, 0xff, 77, RAW("what?"), GOES_ON},
};

static void try_malformed(const struct malformed *what)
{
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(wire) struct wire wire = {0};
    wire_open(&wire);
    add_greeting(&bytes);
    if (what->stream == 1) /* is open by then */
        add_request(&bytes, 1, END_HEADERS, ECHO);
    add_frame(&bytes, what->type, what->flags, what->stream, what->payload, what->len);
    IGNORE(wire_send(&wire, &bytes, false, 5000));
    if (what->verdict == ENDS) {
        cr_expect(wire_ends(&wire, 3000), "%s: the connection goes on", what->name);
    } else {
        cr_expect(wire_lives(&wire), "%s: the connection ended", what->name);
        cr_expect_eq(wire.resets, what->verdict == RESETS, "%s: resets", what->name);
    }
}

Test(abuse, each_malformed_frame_ends_what_it_has_to)
{
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        try_malformed(&malformed[i]);
    all_is_well("malformed frames");
    has_not_grown(16);
}

/* More than one frame is needed for these. */
Test(abuse, frames_in_a_wrong_order_end_the_connection)
{
    static const char *const names[] = {"no greeting", "HTTP/1.1", "headers interrupted",
                                        "a frame of 16 MiB", "DATA after the end"};
    for (int i = 0; i < 5; i++) {
        AUTO(bytes) struct bytes bytes = {0};
        AUTO(wire) struct wire wire = {0};
        wire_open(&wire);
        if (i == 1)
            add(&bytes, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
        if (i == 0)
            add_request(&bytes, 1, END_HEADERS, SAY);
        if (i >= 2)
            add_greeting(&bytes);
        if (i == 2) {
            add_request(&bytes, 1, 0, SAY);
            add_frame(&bytes, PING, 0, 0, "12345678", 8);
        }
        if (i == 3)
            add_head(&bytes, 0xffffff, DATA, 0, 1);
        if (i == 4) {
            add_request(&bytes, 1, END_HEADERS | END_STREAM, LATER);
            add_frame(&bytes, DATA, 0, 1, "x", 1);
            add_frame(&bytes, PING, 0, 0, "1234567", 7);
        }
        IGNORE(wire_send(&wire, &bytes, false, 5000));
        cr_expect(wire_ends(&wire, 3000), "%s", names[i]);
    }
    all_is_well("a wrong order");
}

struct flood {
    const char *name;
    int type, flags;
    uint32_t stream;
    const char *payload;
    size_t len;
    bool deaf; /* reads no answer */
};

static const struct flood floods[] = {
    {"PING", PING, 0, 0, RAW("12345678"), false},
    {"PING without reading", PING, 0, 0, RAW("12345678"), true},
    {"answers to no PING", PING, ACK, 0, RAW("12345678"), false},
    {"SETTINGS", SETTINGS, 0, 0, RAW("\0\3\0\0\0\1"), false},
    {"SETTINGS without reading", SETTINGS, 0, 0, RAW(""), true},
    {"empty DATA", DATA, 0, 1, RAW(""), false},
    {"DATA of padding", DATA, PADDED, 1, RAW("\2\0\0"), false},
    {"WINDOW_UPDATE", WINDOW_UPDATE, 0, 0, RAW("\0\0\0\1"), false},
    {"WINDOW_UPDATE of a stream", WINDOW_UPDATE, 0, 1, RAW("\0\0\0\1"), false},
    {"PRIORITY", PRIORITY, 0, 7, RAW("\0\0\0\0\1"), false},
    {"frames never heard of", UNHEARD_OF, 0, 0, RAW("?"), false},
};

static void try_flood(const struct flood *flood)
{
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(wire) struct wire wire = {0};
    uint64_t begun = clock_mono_ms();
    wire_open(&wire);
    add_greeting(&bytes);
    add_request(&bytes, 1, END_HEADERS, ECHO);
    for (int i = 0; i < 60000; i++)
        add_frame(&bytes, flood->type, flood->flags, flood->stream, flood->payload, flood->len);
    IGNORE(wire_send(&wire, &bytes, flood->deaf, 5000)); /* sockets may have room for all of it */
    cr_expect(wire_ends(&wire, 3000), "%s: the connection goes on", flood->name);
    cr_expect(wire.goaway == 11 || wire.goaway == -1, "%s: GOAWAY %d", flood->name, wire.goaway);
    cr_expect_lt(clock_mono_ms() - begun, 6000, "%s", flood->name);
}

Test(abuse, floods_of_frames_that_carry_nothing_are_sent_away)
{
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++)
        try_flood(&floods[i]);
    all_is_well("floods");
    has_not_grown(24);
}

/* 20,000 requests, each followed by the frame that ends it; returns GOAWAY's code. */
static int end_each_request(int type, const char payload[4], const char *name)
{
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(wire) struct wire wire = {0};
    wire_open(&wire);
    add_greeting(&bytes);
    for (uint32_t i = 0; i < 20000; i++) {
        add_request(&bytes, 1 + 2 * i, END_HEADERS, LATER);
        add_frame(&bytes, type, 0, 1 + 2 * i, payload, 4);
    }
    IGNORE(wire_send(&wire, &bytes, false, 10000)); /* sockets may have room for all of it */
    cr_expect(wire_ends(&wire, 3000));
    all_is_well(name);
    has_not_grown(24);
    return wire.goaway;
}

/* CVE-2023-44487: HEADERS and RST_STREAM, so that no limit of streams at once is ever met. */
Test(abuse, rapid_reset_is_sent_away)
{
    int goaway = end_each_request(RST_STREAM, "\0\0\0\x08", "rapid reset");
    cr_expect(goaway == 11 || goaway == -1, "%d", goaway);
}

/* CVE-2025-8671: the server is made to do the resetting. */
Test(abuse, resets_that_the_server_is_made_to_send_count_too)
{
    IGNORE(end_each_request(WINDOW_UPDATE, "\x7f\xff\xff\xff", "provoked resets") == 0);
}

/* CVE-2024-28182 */
Test(abuse, headers_that_go_on_and_on_are_sent_away)
{
    for (int empty = 0; empty < 2; empty++) {
        AUTO(bytes) struct bytes bytes = {0};
        AUTO(bytes) struct bytes block = {0};
        AUTO(wire) struct wire wire = {0};
        wire_open(&wire);
        add_greeting(&bytes);
        add_request(&bytes, 1, 0, SAY);
        while (block.len < 15000)
            add_literal(&block, "x-more", "and more, and more, and more, and more, and more");
        for (int i = 0; i < 300; i++)
            add_frame(&bytes, CONTINUATION, 0, 1, block.at, empty ? 0 : block.len);
        IGNORE(wire_send(&wire, &bytes, false, 5000));
        cr_expect(wire_ends(&wire, 3000));
    }
    all_is_well("endless headers");
    has_not_grown(16);
}

/* One entry of the table, named again and again: 60 KiB on the wire, 60 MiB when written out. */
Test(abuse, a_header_bomb_resets_its_stream)
{
    static char fill[1001];
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(bytes) struct bytes block = {0};
    AUTO(wire) struct wire wire = {0};
    wire_open(&wire);
    memset(fill, 'x', 1000);
    add_greeting(&bytes);
    add_request_block(&block, SAY);
    add(&block, "\x40\x01z\x7f\xe9\x06", 6); /* indexed from now on, 1000 bytes */
    add(&block, fill, 1000);
    while (block.len < 16000)
        add(&block, "\xbe", 1);
    add_frame(&bytes, HEADERS, 0, 1, block.at, block.len);
    memset(block.at, 0xbe, block.len);
    for (int i = 0; i < 3; i++)
        add_frame(&bytes, CONTINUATION, i == 2 ? END_HEADERS : 0, 1, block.at, block.len);
    IGNORE(wire_send(&wire, &bytes, false, 5000));
    cr_expect(wire_lives(&wire) ? wire.resets == 1 : wire.closed);
    all_is_well("a header bomb");
    has_not_grown(16);
}

/* Asks for far more than it ever takes. */
Test(abuse, a_reader_with_a_window_of_nothing_costs_a_bounded_amount)
{
    enum { REQUESTS = 120, BYTES = 1 << 20 };
    struct err err = {0};
    AUTO(mem) uint8_t *message = own_alloc(BYTES, &err);
    AUTO(wire) struct wire wire = {0};
    AUTO(bytes) struct bytes greeting = {0};
    wire_open(&wire);
    add(&greeting, PREFACE, 24);
    add_frame(&greeting, SETTINGS, 0, 0, "\0\4\0\0\0\0", 6);
    cr_assert(wire_send(&wire, &greeting, false, 5000));
    message[0] = 0x0a; /* field 1, bytes, as long as the rest */
    size_t inside = BYTES - 5 - 4;
    const uint8_t varint[3] = {(uint8_t)(inside & 0x7f) | 0x80,
                               (uint8_t)(inside >> 7 & 0x7f) | 0x80, (uint8_t)(inside >> 14)};
    memcpy(message + 1, varint, 3);
    for (uint32_t i = 0; i < REQUESTS && !wire.closed; i++) {
        AUTO(bytes) struct bytes bytes = {0};
        uint32_t stream = 1 + 2 * i;
        const uint8_t prefix[5] = {0, 0, (BYTES - 5) >> 16, (BYTES - 5) >> 8 & 0xff,
                                   (BYTES - 5) & 0xff};
        add_request(&bytes, stream, END_HEADERS, ECHO);
        add_frame(&bytes, DATA, 0, stream, prefix, 5);
        for (size_t at = 0; at < BYTES - 5; at += 16384) {
            size_t len = BYTES - 5 - at < 16384 ? BYTES - 5 - at : 16384;
            add_frame(&bytes, DATA, at + len == BYTES - 5 ? END_STREAM : 0, stream, message + at,
                      len);
        }
        cr_assert(wire_send(&wire, &bytes, false, 10000));
        cr_assert(wire_lives(&wire)); /* windows of our own are open again */
    }
    has_not_grown(100);
    all_is_well("a window of nothing");
    clock_test_shift(1000);
    cr_assert(!wire_ends(&wire, 1500));
    clock_test_shift(123000);
    cr_expect(wire_ends(&wire, 3000), "who takes nothing may stay for ever");
    all_is_well("a reader that is gone");
}

enum stage {
    HALF_HELLO,
    NO_GREETING,
    HALF_GREETING,
    HALF_FRAME,
    HALF_HEADERS,
    HALF_BLOCK,
    HALF_DATA
};

static void send_stage(struct wire *wire, enum stage stage)
{
    AUTO(bytes) struct bytes bytes = {0};
    if (stage == HALF_GREETING)
        add(&bytes, PREFACE, 11);
    if (stage > HALF_GREETING)
        add_greeting(&bytes);
    if (stage == HALF_FRAME)
        add(&bytes, "\0\0\x08", 3);
    if (stage == HALF_HEADERS) {
        add_request(&bytes, 1, END_HEADERS, SAY);
        bytes.len -= 9;
    }
    if (stage == HALF_BLOCK)
        add_request(&bytes, 1, 0, SAY);
    if (stage == HALF_DATA) {
        add_request(&bytes, 1, END_HEADERS, ECHO);
        add_head(&bytes, 100, DATA, 0, 1);
        add(&bytes, "\0\0\0\0", 4);
    }
    if (bytes.len)
        cr_assert(wire_send(wire, &bytes, false, 5000));
}

/* Slow loris: whatever is begun and not ended is ended by the server, at every stage. */
Test(abuse, nothing_that_is_begun_may_wait_for_ever)
{
    struct err err = {0};
    struct wire wires[HALF_DATA + 1] = {0};
    int half = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 5000, &err);
    cr_assert_geq(half, 0);
    cr_assert_eq(send(half, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11, MSG_NOSIGNAL), 11);
    for (int stage = NO_GREETING; stage <= HALF_DATA; stage++) {
        wire_open(&wires[stage]);
        send_stage(&wires[stage], (enum stage)stage);
    }
    cr_assert(!wire_ends(&wires[HALF_DATA], 1200)); /* a tick has seen all of them */
    clock_test_shift(11000);
    char byte;
    cr_expect(sock_wait(half, true, false, clock_mono_ms() + 5000) && recv(half, &byte, 1, 0) <= 0,
              "half a ClientHello may wait");
    cr_expect(wire_ends(&wires[NO_GREETING], 3000), "no greeting");
    cr_expect(wire_ends(&wires[HALF_GREETING], 3000), "half a greeting");
    clock_test_shift(32000);
    for (int stage = HALF_FRAME; stage <= HALF_DATA; stage++)
        cr_expect(wire_ends(&wires[stage], 3000), "stage %d may wait", stage);
    all_is_well("slow peers");
    close(half);
    for (int stage = NO_GREETING; stage <= HALF_DATA; stage++)
        wire_close(&wires[stage]);
}

Test(abuse, a_connection_without_calls_ends_after_a_while)
{
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(wire) struct wire wire = {0};
    wire_open(&wire);
    add_greeting(&bytes);
    cr_assert(wire_send(&wire, &bytes, false, 5000));
    cr_assert(wire_lives(&wire));
    clock_test_shift(10 * 60000);
    cr_assert(wire_lives(&wire));
    cr_assert(!wire_ends(&wire, 1500));
    cr_assert(wire_lives(&wire));
    clock_test_shift(16 * 60000);
    cr_assert(wire_ends(&wire, 3000));
    cr_assert_eq(wire.goaway, 0);
}

/* A dead host: its calls must not stay open for as long as TCP believes in it. */
Test(abuse, a_silent_peer_with_a_call_open_loses_it)
{
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(wire) struct wire wire = {0};
    wire_open(&wire);
    add_greeting(&bytes);
    add_request(&bytes, 1, END_HEADERS, LATER);
    add_frame(&bytes, DATA, END_STREAM, 1,
              "\0\0\0\0\x06\x0a\x04"
              "9000",
              11);
    cr_assert(wire_send(&wire, &bytes, true, 5000));
    usleep(100000);          /* the call is on its way */
    clock_test_shift(61000); /* it is asked by PING, and says nothing */
    usleep(1200000);
    cr_assert_eq(world.cancelled, 0);
    clock_test_shift(122000);
    cr_assert(eventually(world.cancelled == 1));
    cr_assert(wire_ends(&wire, 3000));
    all_is_well("a dead host");
}

/* Cut or reset at any byte of a valid conversation. */
Test(abuse, connections_cut_at_any_byte_leave_nothing_behind)
{
    AUTO(bytes) struct bytes bytes = {0};
    add_greeting(&bytes);
    add_request(&bytes, 1, END_HEADERS, SAY);
    add_frame(&bytes, DATA, END_STREAM, 1, "\0\0\0\0\x05\x0a\3abc", 10);
    add_request(&bytes, 3, END_HEADERS | END_STREAM, LATER);
    size_t whole = bytes.len;
    for (size_t len = 0; len <= whole; len += 7) {
        struct wire wire;
        wire_open(&wire);
        bytes.len = len;
        IGNORE(wire_send(&wire, &bytes, false, 5000));
        struct linger now = {.l_onoff = 1};
        if (len % 2)
            cr_assert_eq(setsockopt(wire.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
        wire_close(&wire);
    }
    all_is_well("cut connections");
    has_not_grown(16);
}

/* Valid conversations with a few bytes changed; the seed is printed for repeating it. */
Test(abuse, changed_bytes_harm_nobody)
{
    uint64_t seed;
    clock_random(&seed, sizeof seed);
    printf("seed=%llu\n", (unsigned long long)seed);
    for (int round = 0; round < 150; round++) {
        AUTO(bytes) struct bytes bytes = {0};
        struct wire wire;
        wire_open(&wire);
        add_greeting(&bytes);
        for (uint32_t i = 0; i < 4; i++) {
            add_request(&bytes, 1 + 2 * i, END_HEADERS, i % 2 ? SAY : ECHO);
            add_frame(&bytes, DATA, END_STREAM, 1 + 2 * i, "\0\0\0\0\x05\x0a\3abc", 10);
        }
        for (int i = 0; i < 1 + round % 5; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes.at[24 + (seed >> 33) % (bytes.len - 24)] = (uint8_t)(seed >> 25);
        }
        IGNORE(wire_send(&wire, &bytes, false, 5000));
        wire_read(&wire);
        wire_close(&wire);
    }
    all_is_well("changed bytes");
    has_not_grown(16);
}

/* Plain TCP rubbish, and TLS with rubbish inside it. */
Test(abuse, what_is_no_tls_is_let_go)
{
    struct err err = {0};
    static uint8_t noise[20000];
    for (int i = 0; i < 40; i++) {
        AUTO(fd) int fd = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 5000, &err);
        cr_ok(fd >= 0, err);
        clock_random(noise, sizeof noise);
        if (i % 2)
            memcpy(noise, "\x16\x03\x01\x40\x00", 5); /* one handshake record of 16 KiB */
        IGNORE(send(fd, noise, i % 4 ? sizeof noise : 300, MSG_NOSIGNAL | MSG_DONTWAIT) < 0);
    }
    all_is_well("noise");
    has_not_grown(16);
}

/* ---- certificates ---- */

static bool may_enter(const char *ca, const char *cert, const char *key)
{
    struct err err = {0};
    struct wire wire;
    struct tls_files files = {in_dir(ca), in_dir(cert), in_dir(key)};
    AUTO(tls_context) struct tls_context *context = tls_context_new(TLS_CLIENT, &files, &err);
    cr_ok(context, err);
    bool in = wire_try(&wire, context, &err);
    if (in) { /* the server's last word may come after ours */
        AUTO(bytes) struct bytes bytes = {0};
        add_greeting(&bytes);
        in = wire_send(&wire, &bytes, false, 5000) && wire_lives(&wire);
    }
    wire_close(&wire);
    return in;
}

static bool may_enter_as(const char *name)
{
    char cert[64];
    char key[64];
    str_format(cert, sizeof cert, "bundle/%s.crt", name);
    str_format(key, sizeof key, "bundle/%s.key", name);
    return may_enter("bundle/ca.crt", cert, key);
}

static void enroll_at(const char *name, int64_t days_from_now)
{
    clock_test_wall(clock_wall_us() + (uint64_t)(days_from_now * 86400 * 1000000));
    enroll(name, "admin", "bundle");
    clock_test_wall(0);
}

Test(abuse, only_valid_certificates_of_our_authority_enter)
{
    struct err err = {0};
    enroll_at("expired", -30);
    enroll_at("early", 30);
    make_authority(in_dir("other"));
    struct ca_request request = {.name = "spy", .role = "admin"};
    cr_ok(ca_enroll(in_dir("other"), &request, in_dir("spy"), &err), err);
    cr_expect(may_enter_as("host"));
    cr_expect(!may_enter_as("expired"), "expired");
    cr_expect(!may_enter_as("early"), "not valid yet");
    cr_expect(!may_enter("bundle/ca.crt", "spy/spy.crt", "spy/spy.key"), "of another authority");
    cr_expect(!may_enter("bundle/ca.crt", "other/ca.crt", "other/ca.key"), "signed by itself");
    cr_expect(!may_enter("bundle/ca.crt", "pki/server.crt", "pki/server.key"),
              "issued for a server");
    all_is_well("wrong certificates");
}

Test(abuse, a_certificate_without_a_role_enters_and_may_do_nothing)
{
    struct err err = {0};
    cr_expect(!may_enter("bundle/ca.crt", "pki/ca.crt", "pki/ca.key"), "the authority itself");
    enroll("none", "operator", "bundle");
    AUTO(rpc_client) struct rpc_client *client = connect_as("bundle", "none");
    cr_ok(say(client, "Say", "", 5000, &err), err);
    cr_assert(!say(client, "Admin", "", 5000, &err));
    cr_assert_eq(err.code, ERR_DENIED);
}

/* ---- many connections ---- */

static void many_adjust(struct rpc_server_options *options)
{
    options->connections_max = 12000;
    options->connections_per_peer_max = 12000;
}

static void many_begin(void)
{
    world_adjust = many_adjust;
    begin();
}

TestSuite(crowd, .init = many_begin, .fini = end, .timeout = 240);

static bool may_open(size_t files)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur >= files)
        return true;
    limit.rlim_cur = files;
    if (limit.rlim_max < files)
        limit.rlim_max = files;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* The other ends, in a process of their own, as descriptors are scarce: "r" when all are open, then
 * waits for a word; exits 0 when each that was asked is served still. */
static int be_the_crowd(size_t count, int pipe_fd)
{
    struct err err = {0};
    char word = 'r';
    AUTO(bytes) struct bytes bytes = {0};
    struct wire *wires = own_alloc(count * sizeof *wires, &err);
    add_greeting(&bytes);
    for (size_t i = 0; wires && i < count; i++) {
        wire_open(&wires[i]);
        if (!wire_send(&wires[i], &bytes, false, 5000))
            return 1;
    }
    if (send(pipe_fd, &word, 1, 0) != 1 || recv(pipe_fd, &word, 1, 0) != 1)
        return 2;
    for (size_t i = 0; i < count; i += count / 50)
        if (!wire_lives(&wires[i]))
            return 3;
    return 0;
}

static void serve_a_crowd(size_t count)
{
    int pair[2];
    char word = 0;
    int status = -1;
    if (!may_open(count + 200)) {
        printf("SKIPPED rpc/abuse: %zu connections: RLIMIT_NOFILE cannot be raised to %zu\n", count,
               count + 200);
        return;
    }
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(be_the_crowd(count, pair[1]));
    close(pair[1]);
    bool all = recv(pair[0], &word, 1, 0) == 1;
    size_t grown = rss_anon_kib() - anon_kib;
    all_is_well("all are connected");
    IGNORE(send(pair[0], &word, 1, MSG_NOSIGNAL) < 0);
    waitpid(child, &status, 0);
    close(pair[0]);
    cr_assert(all && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the crowd ended with %x",
              status);
    cr_expect_lt(grown, count * 100, "%zu KiB for %zu connections", grown, count);
    all_is_well("all are gone");
}

Test(crowd, a_thousand_connections_at_once_are_served) { serve_a_crowd(1000); }

Test(crowd, ten_thousand_connections_at_once_are_served)
{
    if (!getenv("EVERCOPY_LONG")) {
        cr_skip_test("a long test: EVERCOPY_LONG");
        return;
    }
    serve_a_crowd(10000);
}
