/* SELECT over Oracle's view names, answered by SQLite. */
#pragma once
#include "sim.h"

/* Prepares a query; on refusal returns NULL with Oracle's error. "at" is the column to mark. */
sqlite3_stmt *sql_query(struct sim *s, const char *sql, struct ora *e);
/* A value as SQL*Plus shows it: marked dates become text in the session's format. */
void sql_show(const char *value, char *out, size_t n);
/* An identifier's name as Oracle prints it (# instead of our stand-in). */
void sql_title(const char *name, char *out, size_t n);
