/* The deny list: certificates that count no more, though they have not expired. */
#pragma once
#include "agent/auth/list.h"
#include "agent/rpc/rpc.h"

struct deny;
/* Reads <pki>/deny.list. A list that is broken, or missing beside a register, is an error with
 * file:line: never "everything allowed". */
struct deny *deny_open(const char *pki, struct err *err) MUST;
void deny_close(struct deny *deny);
OWN_DEFINE(deny, struct deny, deny_close);
/* UNAUTHENTICATED with date and reason for a certificate that is listed. */
bool deny_check(const struct deny *deny, const struct rpc_peer *peer, struct err *err) MUST;
/* Reads the file again if it is another than before (one look at its state). False when it is
 * broken now: told once for each such file, and the list before stays. */
bool deny_refresh(struct deny *deny, bool *ret_changed, struct err *err) MUST;

/* Changes of the file, in turn with other programs. `what` is a name of the register (all its
 * certificates), a serial number or a fingerprint; certificates renewed from a denied one are
 * denied with it. */
bool deny_add(const char *pki, const char *what, const char *reason, size_t *ret_count,
              struct err *err) MUST;
bool deny_remove(const char *pki, const char *what, size_t *ret_count, struct err *err) MUST;
/* An empty list where there is none; with a register there must be one ever after. */
bool deny_begin(const char *pki, struct err *err) MUST;

enum { DENY_FIELDS = 5 }; /* when, kind, value, name, reason */
bool deny_read(const char *pki, struct list *ret, struct err *err) MUST;
