/* Object stores for tests, on loopback: fake_s3.py, which checks signatures and fails on demand;
 * s3rver from npm and OpenStack Swift where they are. They go with the process. */
#pragma once
#include "agent/base/own.h"
#include "drivers/vault/io/io.h"
#include "tests/lib/script.h"

struct object_store {
    struct script script;
    unsigned port;
    char credentials[256]; /* the file */
};
/* flags: NULL-terminated, fake_s3.py says which. UNSUPPORTED with the reason where it cannot run.
 */
bool object_store_fake(struct object_store *s, const char *dir, const char *const *flags,
                       struct err *err) MUST;
bool object_store_s3rver(struct object_store *s, const char *dir, struct err *err) MUST;
bool object_store_swift(struct object_store *s, const char *dir, struct err *err) MUST;
/* A line to the fake, its answer as a number (ok: 0). */
long object_store_tell(struct object_store *s, const char *line);
/* The bucket "vault"; further options behind those that are needed. */
struct io *object_store_open(struct object_store *s, const char *prefix,
                             const struct io_option *more, size_t count, struct err *err) MUST;
void object_store_done(struct object_store *s);
OWN_DEFINE_INPLACE(object_store, struct object_store, object_store_done);
