/* One request of the control socket: what it asks, and the answer under construction. */
#pragma once
#include "drivers/vault/control/exporter.h"
#include "drivers/vault/control/ingests.h"
#include "drivers/vault/control/wire.h"
#include "drivers/vault/volume/vault.h"

enum { CALL_VIEWS_MAX = 64, CALL_PAGE = 1000 };

struct call {
    struct vault *vault;
    struct ingests *ingests;
    const struct exporter *exporter; /* NULL: none */
    uid_t uid;                       /* who asks */
    struct view **views;             /* of the connection, CALL_VIEWS_MAX places */
    int fd; /* the asker's: it hangs up when that goes or the server stops; -1: none */
    const json_t *ask;
    const uint8_t *data;
    size_t data_len;
    json_t *answer;
    uint8_t *reply; /* WIRE_DATA_MAX bytes */
    size_t reply_len;
};
/* True for what must not be done twice when it is asked twice under one key. */
bool call_changes(const struct call *call);
/* True for what comes after all that askers who have gone had begun or kept open. */
bool call_settles(const struct call *call);
/* events.c: waits for what happens to files. */
bool call_events(struct call *call, struct err *err) MUST;
/* Fills the answer; what fails is said in err and told to the asker. */
bool call_run(struct call *call, struct err *err) MUST;
