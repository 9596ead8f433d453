/* Whose file is it: may it be run with the agent's rights? */
#pragma once
#include "agent/base/own.h"

enum { TRUST_LINKS_MAX = 40 };

/* True when only root or this process's own user can change what this absolute path leads to: the
 * file, each directory on the way, and on the way of each link it goes through. Sticky directories
 * of these two pass, as nobody else can replace an entry there that is not his. DENIED says which
 * part is to blame; directory: the end must be one, else a plain file that may be executed. */
bool trust_check(const char *path, bool directory, struct err *err) MUST;
