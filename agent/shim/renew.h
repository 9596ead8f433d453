/* Renewing this host's certificate: the new key never leaves it. */
#pragma once
#include "agent/shim/shim.h"

/* Less than a third of its life is left. */
bool renew_is_due(const struct shim *shim, bool *ret_due, struct err *err) MUST;
/* Asks, tries the new pair, and only then puts it in place of the old one, which stays as *.old.
 * Whatever fails, the pair that works stays in use. */
bool renew_now(struct shim *shim, char ret_until[32], struct err *err) MUST;
