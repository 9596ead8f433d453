/* The verb `exports`: asks the running vault, prints for who has to mount. */
#pragma once
#include "agent/base/err.h"
#include <stdio.h>

bool exports_verb(const char *socket, bool json, FILE *out, struct err *err) MUST;
