/* What the audit's writer and its verifier share: one line, the head, the names of files. */
#pragma once
#include "agent/auth/audit.h"
#include "agent/base/str.h"
#include <limits.h>

#define AUDIT_ZERO_HASH "0000000000000000000000000000000000000000000000000000000000000000"
#define AUDIT_KIND_ALARM "alarm"

struct audit_link {
    uint64_t number;
    char prev[AUDIT_HASH_HEX], hash[AUDIT_HASH_HEX];
};
/* Appends the whole line with its end; link has number and prev, and gets hash. */
void audit_line_add(struct str *to, const char *body, const char *boot, struct audit_link *link);
/* A line without its end: its own hash must be right. CORRUPT with the reason. */
bool audit_line_check(const char *line, size_t len, struct audit_link *ret, struct err *err) MUST;

/* The last line that counts, kept beside the file. */
struct audit_head {
    uint64_t count; /* 0: none was ever written */
    char hash[AUDIT_HASH_HEX];
};
enum { AUDIT_SLOT_BYTES = 512 };
void audit_head_format(const struct audit_head *head, char ret[AUDIT_SLOT_BYTES]);
/* The better of both slots; NOT_FOUND when the file is empty, CORRUPT when no slot is whole. */
bool audit_head_read(int fd, struct audit_head *ret, struct err *err) MUST;

bool audit_path(char ret[PATH_MAX], const char *dir, const char *name, struct err *err) MUST;
/* "audit.000000000042.log", by the first number in it. */
void audit_file_name(uint64_t first, char ret[40]);
/* Names of all files in order, audit.log last if it is there. */
struct sys_names;
bool audit_files(const char *dir, struct sys_names *ret_names, struct err *err) MUST;
