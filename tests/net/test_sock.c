/* Sockets: both address families, names, refusals and deadlines. */
#include "agent/net/sock.h"
#include "agent/net/x509.h"

#include "agent/base/clock.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

Test(sock, connects_by_address_and_by_name)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    struct addrinfo *known = NULL;
    size_t count = getaddrinfo("localhost", NULL, NULL, &known) == 0 ? 2 : 1;
    if (known)
        freeaddrinfo(known);
    else
        fprintf(stderr, "SKIPPED net/sock: this host cannot resolve localhost\n");
    for (size_t i = 0; i < count; i++) {
        struct err err = {0};
        char address[SOCK_ADDRESS_MAX];
        uint16_t port;
        AUTO(fd) int listener = sock_listen("127.0.0.1", 0, &port, &err);
        cr_assert(listener >= 0, "%s", err.text);
        AUTO(fd) int fd = sock_connect(hosts[i], port, clock_mono_ms() + 3000, &err);
        cr_assert(fd >= 0, "%s: %s", hosts[i], err.text);
        cr_assert(sock_wait(listener, true, false, clock_mono_ms() + 3000));
        AUTO(fd) int other = sock_accept(listener, address);
        cr_assert(other >= 0);
        cr_assert(strncmp(address, "127.0.0.1:", 10) == 0);
        cr_assert_eq(sock_accept(listener, address), -1);
        cr_assert_eq(errno, EAGAIN);
    }
}

Test(sock, speaks_both_families_on_the_any_address)
{
    struct err err = {0};
    uint16_t port;
    AUTO(fd) int listener = sock_listen("::", 0, &port, &err);
    if (listener < 0) {
        cr_log_warn("SKIPPED: no IPv6 here: %s", err.text);
        return;
    }
    AUTO(fd) int four = sock_connect("127.0.0.1", port, clock_mono_ms() + 3000, &err);
    cr_assert(four >= 0, "%s", err.text);
    AUTO(fd) int six = sock_connect("::1", port, clock_mono_ms() + 3000, &err);
    cr_assert(six >= 0, "%s", err.text);
}

Test(sock, says_why_in_lower_case)
{
    struct err err = {0};
    uint16_t port;
    close(sock_listen("127.0.0.1", 0, &port, &err));
    cr_assert_eq(sock_connect("127.0.0.1", port, clock_mono_ms() + 3000, &err), -1);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    cr_assert_str_eq(err.text, "connection refused");
}

Test(sock, gives_up_at_the_deadline)
{
    struct err err = {0};
    uint64_t begun = clock_mono_ms();
    /* TEST-NET-1: nobody answers, or the machine says at once that it has no way there. */
    cr_assert_eq(sock_connect("192.0.2.1", 7420, begun + 200, &err), -1);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    cr_assert_lt(clock_mono_ms() - begun, 1500);
}

Test(sock, names_a_name_that_does_not_exist)
{
    struct err err = {0};
    uint64_t begun = clock_mono_ms();
    cr_assert_eq(sock_connect("no-such-host.invalid", 7420, begun + 1000, &err), -1);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    cr_assert(strstr(err.text, "no-such-host.invalid"), "%s", err.text);
    cr_assert_lt(clock_mono_ms() - begun, 3000);
}

Test(x509, tells_addresses_from_names)
{
    uint8_t bytes[16];
    size_t len;
    cr_assert(x509_parse_ip("10.0.0.1", bytes, &len) && len == 4 && bytes[0] == 10);
    cr_assert(x509_parse_ip("fd00::7", bytes, &len) && len == 16 && bytes[15] == 7);
    cr_assert(!x509_parse_ip("agent.example", bytes, &len));
    cr_assert(!x509_parse_ip("10.0.0.1.2", bytes, &len));
    cr_assert(!x509_parse_ip("", bytes, &len));
}
