/* An NFS server that lies: MOUNT and NFSv3 on one port, a small export, and one lie at a time. A
 * thread of this process; goes with nfs_liar_done. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

#define LIES(X)                                                                                    \
    X(NONE, "tells the truth")                                                                     \
    X(HUGE_MARKER, "a record of 2 GiB is announced")                                               \
    X(CRUMBS, "a record of endless empty fragments")                                               \
    X(ENDLESS_FRAGMENTS, "a record of fragments that never ends")                                  \
    X(GARBAGE, "random bytes")                                                                     \
    X(CALL_INSTEAD, "a call comes where a reply should")                                           \
    X(WRONG_XID, "another call's answer")                                                          \
    X(TWICE, "every answer comes twice")                                                           \
    X(CUT, "the record ends in the middle of the answer")                                          \
    X(LONG, "more bytes behind the answer")                                                        \
    X(CLOSE_EARLY, "the connection is closed in the middle of every answer")                       \
    X(NEVER, "no answer")                                                                          \
    X(SLOWLY, "byte after byte")                                                                   \
    X(HANG_UP, "every connection is closed at once")                                               \
    X(VERIFIER, "a verifier of 4 GiB")                                                             \
    X(STATUS, "an RPC status that does not exist")                                                 \
    X(DENY, "nobody may ask")                                                                      \
    X(JUKEBOX, "come again, for ever")                                                             \
    X(HANDLE_LONG, "a file handle of 65 bytes")                                                    \
    X(HANDLE_NEGATIVE, "a file handle of 0xfffffff0 bytes")                                        \
    X(HANDLE_EMPTY, "a file handle without bytes")                                                 \
    X(FLAVORS, "four thousand million kinds of authentication")                                    \
    X(NAME_LONG, "a name of 256 bytes")                                                            \
    X(NAME_NEGATIVE, "a name of 0xfffffff0 bytes")                                                 \
    X(NAME_SLASH, "a name that leads elsewhere")                                                   \
    X(NAME_NUL, "a name with NUL in it")                                                           \
    X(NAME_EMPTY, "a name without signs")                                                          \
    X(LIST_AGAIN, "a page that leads to itself")                                                   \
    X(LIST_NOWHERE, "an empty page, and not the last")                                             \
    X(LIST_ENDLESS, "a directory that never ends")                                                 \
    X(DIR_LOOP, "a directory that contains itself")                                                \
    X(DIR_DEEP, "directories without end in one another")                                          \
    X(KIND, "a file of kind 99")                                                                   \
    X(SIZE, "a file of 2^64-1 bytes")                                                              \
    X(FLAG, "a flag of 7")                                                                         \
    X(DATA_MORE, "more data than was asked for")                                                   \
    X(DATA_NEGATIVE, "data of 0xfffffff0 bytes")                                                   \
    X(DATA_COUNT, "a count that is not the data's")                                                \
    X(DATA_NOTHING, "no data, and not the end")                                                    \
    X(DATA_END, "the end in the middle of the file")                                               \
    X(DATA_END_UNTOLD, "the end in the middle of the file, without attributes")                    \
    X(DATA_OTHER, "another file's attributes")                                                     \
    X(DATA_TURNED, "the file turns into a directory")                                              \
    X(STALE, "every handle is stale")                                                              \
    X(REPLACED, "the handle is stale, and its name is another file's")                             \
    X(FORGETS, "every handle from before is stale, new ones are good")                             \
    X(RTMAX, "reads of at most 0 bytes")                                                           \
    X(BAD_COOKIE, "every page's cookie is bad")                                                    \
    X(NOISE, "random bytes where the results should be")                                           \
    X(FLIP, "one bit of the answer is another")

#define LIE_ENUM(name, text) LIE_##name,
enum lie { LIES(LIE_ENUM) LIE_COUNT };
#undef LIE_ENUM

enum {
    LIAR_FILE_BYTES = 700000
}; /* of its file "f", whose byte i is (uint8_t)(i * 7 + i / 4096) */

struct nfs_liar;
/* from: how many of its answers are true before it begins (the mount itself takes two). */
struct nfs_liar *nfs_liar_new(enum lie lie, unsigned from, struct err *err) MUST;
void nfs_liar_free(struct nfs_liar *liar);
OWN_DEFINE(nfs_liar, struct nfs_liar, nfs_liar_free);
/* nfs://127.0.0.1/export?...; as long as it lives. */
const char *nfs_liar_url(const struct nfs_liar *liar);
unsigned nfs_liar_answers(const struct nfs_liar *liar); /* given so far */
const char *lie_name(enum lie lie);
const char *lie_text(enum lie lie);
