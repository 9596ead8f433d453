/* A raw ONC RPC client for tests: it says what it is told to, lies included. It waits 20 s at most.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RAW_HEAD = 44 /* of a call with AUTH_NONE, marker included */ };
void raw_put(uint8_t *to, uint32_t n);
uint32_t raw_get(const uint8_t *from);
/* -1 when nobody takes it. buffer: of the socket, 0: as the system has it. */
int raw_connect(uint16_t port, int buffer);
/* The same as another client: 127.0.0.host. */
int raw_connect_as(uint16_t port, int buffer, uint8_t host);
/* A whole call; returns its length, RAW_HEAD + len. */
size_t raw_call(uint8_t *to, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                const void *args, size_t len);
bool raw_send(int fd, const void *bytes, size_t len);
bool raw_read(int fd, void *to, size_t len);
/* One reply without its marker; its length, 0: the connection has ended, or what came is no reply
 * of at most size bytes. */
size_t raw_reply(int fd, uint8_t *to, size_t size);
/* The server ended the connection within the wait; what still came is dropped. */
bool raw_ended(int fd);
/* So it did within ms, or bytes came. */
bool raw_stirs(int fd, int ms);
/* Ends it with a reset. */
void raw_reset(int fd);

/* ---- a program whose answers are easy to check ---- */
enum { ECHO_PROGRAM = 400000, ECHO_VERSION = 3 };
enum {
    ECHO_NULL,
    ECHO_BACK,   /* the arguments */
    ECHO_SLOW,   /* the same, as a slow call */
    ECHO_MANY,   /* as many bytes as the argument says, each xid's last byte */
    ECHO_SILENT, /* no reply */
    ECHO_HELD,   /* says that it waits, until echo_let_go; SYSTEM_ERR where half of those may do */
    ECHO_TAKEN,  /* held the same way, then no results: the arguments alone take memory */
    ECHO_PROCEDURES
};
struct echo;
struct nfsd_program;
struct echo *echo_new(void);
void echo_free(struct echo *echo);
struct nfsd_program echo_program(struct echo *echo);
/* Until so many calls are held; false after 20 s. */
bool echo_await_held(struct echo *echo, unsigned count);
void echo_let_go(struct echo *echo);
/* Until so many clients have gone. */
bool echo_await_gone(struct echo *echo, unsigned count);
