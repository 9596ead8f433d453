/* A store's objects in memory: the reference reading of io/io.h. It keeps what was called, can wait
 * or fail where a test says so, and can be taken back to any moment of its life. Thread-safe. */
#pragma once
#include "drivers/vault/io/io.h"

struct memory_io;
/* can: IO_IS_REMOTE or 0; it can always lock and tells its space. The io owns it: the
 * objects live until io_close. */
struct io *memory_io_open(uint32_t can, struct memory_io **ret_memory, struct err *err) MUST;

enum memory_op {
    MEMORY_PUT,
    MEMORY_CREATE,
    MEMORY_APPEND,
    MEMORY_FINISH,
    MEMORY_READ,
    MEMORY_SIZE,
    MEMORY_DELETE,
    MEMORY_LIST,
    MEMORY_LOCK,
    MEMORY_OPS
};
struct memory_call {
    enum memory_op op;
    char name[IO_NAME_MAX];
    uint64_t offset, bytes; /* read: asked for */
    bool done;              /* it succeeded */
};
size_t memory_io_calls(struct memory_io *memory); /* so far; the first 65,536 are kept */
/* 0-based; false beyond the last. */
bool memory_io_call(struct memory_io *memory, size_t index, struct memory_call *ret);
size_t memory_io_count(struct memory_io *memory, enum memory_op op); /* calls of one kind */

/* Called before each call takes place, without any lock held: waiting there holds the caller up,
 * false fails the call with its error. NULL: none. */
typedef bool memory_hook(void *arg, const struct memory_call *call, struct err *err);
void memory_io_hook(struct memory_io *memory, memory_hook *hook, void *arg);
/* Called after each put that took place: false answers it with that error all the same, as a line
 * does that was cut behind it. NULL: none. */
void memory_io_answer(struct memory_io *memory, memory_hook *hook, void *arg);

/* Objects hold at most this much together (unfinished writes included); UINT64_MAX at first. */
void memory_io_limit(struct memory_io *memory, uint64_t bytes);
uint64_t memory_io_bytes(struct memory_io *memory);
size_t memory_io_objects(struct memory_io *memory);
/* The name of the index-th object in byte order; false beyond the last. */
bool memory_io_name(struct memory_io *memory, size_t index, char ret[IO_NAME_MAX]);
/* The object's bytes become these, whoever owns them; a name that is not there is made. Not a call,
 * not a change of memory_io_changes. */
bool memory_io_set(struct memory_io *memory, const char *name, const void *bytes, size_t len,
                   struct err *err) MUST;
/* One bit of one byte turns. False when there is no such byte. */
bool memory_io_flip(struct memory_io *memory, const char *name, uint64_t offset, uint8_t mask);
/* What is unfinished is lost, as when its writer died. */
void memory_io_forget_writers(struct memory_io *memory);

/* What became visible or went (put, finish, delete), since memory_io_keep_changes. */
void memory_io_keep_changes(struct memory_io *memory);
size_t memory_io_changes(struct memory_io *memory);
/* A new io with the objects of that moment: those when keeping began and the first `changes`. */
struct io *memory_io_after(struct memory_io *memory, size_t changes, struct memory_io **ret_memory,
                           struct err *err) MUST;
