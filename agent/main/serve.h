/* evercopyd serve: the object graph, and the way up and down. */
#pragma once
#include "agent/config/config.h"

/* Runs until SIGTERM or SIGINT; false when it could not start. port_file, if given, is written once
 * calls are answered (tests and wrappers wait for it). */
bool serve_run(const struct config_agent *config, const char *port_file, struct err *err) MUST;
