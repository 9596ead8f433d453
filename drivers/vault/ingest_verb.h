/* The verb `ingest`: asks the vault that serves, waits, prints what became of it. */
#pragma once
#include "agent/base/err.h"

struct ingest_verb {
    const char *volume, *name, *source, *tries; /* tries NULL: as the vault does */
    bool allow_empty, distrust;
};
/* UNAVAILABLE or NOT_FOUND when no vault answers at that socket. */
bool ingest_verb(const struct ingest_verb *verb, const char *socket, struct err *err) MUST;
