/* Test hook: notes each call through agent/base/sys that changes files, in the order they took
 * effect, so that tests can make what a crash between two of them could leave. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

enum sys_op_kind {
    SYS_OP_OPEN, /* for writing: made when it was not there; `truncates` */
    SYS_OP_WRITE,
    SYS_OP_TRUNCATE, /* to `offset` */
    SYS_OP_SYNC,
    SYS_OP_RENAME,
    SYS_OP_LINK,
    SYS_OP_UNLINK,
    SYS_OP_RMDIR,
    SYS_OP_MKDIR,
    SYS_OP_MARK, /* of the test, `offset` */
};
struct sys_op {
    enum sys_op_kind kind;
    bool folder, truncates;
    char *path, *to; /* absolute, as they were at the time */
    uint64_t inode;  /* of what a descriptor stood for */
    uint64_t offset;
    size_t len;
    uint8_t *bytes;
};
struct sys_record {
    struct sys_op *ops;
    size_t count, capacity;
    bool incomplete; /* memory ran out */
};
/* While it is on, noted calls of all threads come one after the other. */
void sys_record_begin(void);
/* What was noted, owned; off again. */
struct sys_record sys_record_end(void);
void sys_record_done(struct sys_record *record);
OWN_DEFINE_INPLACE(sys_record, struct sys_record, sys_record_done);
/* An event of the test itself ("n is acknowledged"), among the calls. */
void sys_record_mark(uint64_t value);

/* For sys.c: begin says whether notes are wanted and then holds the others back until end. */
bool sys_note_begin(void);
void sys_note_end(void);
void sys_note_open(int fd, int flags);
void sys_note_write(int fd, const void *bytes, size_t len, uint64_t offset);
void sys_note_fd(enum sys_op_kind kind, int fd, uint64_t size); /* truncate, sync */
void sys_note_path(enum sys_op_kind kind, int dir, const char *path);
void sys_note_paths(enum sys_op_kind kind, int dir, const char *from, const char *to);
