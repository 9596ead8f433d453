/* A store's objects in memory: sorted names over shared bytes. */
#include "tests/lib/memory_io.h"

#include "agent/base/clock.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { CALLS_KEPT = 1 << 16 };

/* Bytes that never change once shared. */
struct blob {
    uint32_t refs;
    uint64_t len, capacity;
    uint8_t *bytes;
};

struct object {
    char name[IO_NAME_MAX];
    struct blob *blob;
    uint64_t locked_until_us;
};

struct table {
    struct object *objects; /* by name */
    size_t count, capacity;
};

struct writer {
    struct memory_io *memory;
    char name[IO_NAME_MAX];
    struct blob *blob;
    bool lost;
    struct writer *next;
};

struct change {
    char name[IO_NAME_MAX];
    struct blob *blob; /* NULL: deleted */
};

struct memory_io {
    pthread_mutex_t lock;
    struct table now, begin; /* begin: when keeping of changes began */
    struct writer *writers;
    struct memory_call *calls;
    size_t call_count, call_capacity, op_counts[MEMORY_OPS];
    struct change *changes;
    size_t change_count, change_capacity;
    bool keeps;
    uint64_t limit;
    memory_hook *hook, *answer;
    void *hook_arg, *answer_arg;
};

static struct held {
    pthread_mutex_t *lock;
} hold(struct memory_io *m)
{
    pthread_mutex_lock(&m->lock);
    return (struct held){&m->lock};
}
static void held_done(struct held *held) { pthread_mutex_unlock(held->lock); }
OWN_DEFINE_INPLACE(held, struct held, held_done);

/* ---- blobs and tables ---- */

static struct blob *blob_new(const void *bytes, size_t len, struct err *err)
{
    struct blob *blob = own_alloc(sizeof *blob, err);
    if (!blob)
        return NULL;
    blob->bytes = own_alloc(len, err);
    if (!blob->bytes) {
        own_free(blob);
        return NULL;
    }
    if (len > 0)
        memcpy(blob->bytes, bytes, len);
    blob->refs = 1;
    blob->len = blob->capacity = len;
    return blob;
}

static void blob_unref(struct blob *blob)
{
    if (!blob || --blob->refs > 0)
        return;
    own_free(blob->bytes);
    own_free(blob);
}

static struct blob *blob_ref(struct blob *blob)
{
    if (blob)
        blob->refs++;
    return blob;
}

static bool blob_append(struct blob *blob, const void *bytes, size_t len, struct err *err)
{
    if (blob->capacity - blob->len < len) {
        uint64_t wanted = blob->capacity * 2 + len;
        uint8_t *grown = own_realloc(blob->bytes, wanted, err);
        if (!grown)
            return false;
        blob->bytes = grown;
        blob->capacity = wanted;
    }
    if (len > 0)
        memcpy(blob->bytes + blob->len, bytes, len);
    blob->len += len;
    return true;
}

/* The first object whose name is not below. */
static size_t table_place(const struct table *t, const char *name)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(t->objects[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct object *table_find(const struct table *t, const char *name)
{
    size_t at = table_place(t, name);
    return at < t->count && strcmp(t->objects[at].name, name) == 0 ? &t->objects[at] : NULL;
}

/* Takes the blob, also on failure. */
static bool table_set(struct table *t, const char *name, struct blob *blob, struct err *err)
{
    struct object *there = table_find(t, name);
    if (there) {
        blob_unref(there->blob);
        there->blob = blob;
        return true;
    }
    if (!own_grow((void **)&t->objects, &t->capacity, t->count, sizeof *t->objects, err)) {
        blob_unref(blob);
        return false;
    }
    size_t at = table_place(t, name);
    memmove(t->objects + at + 1, t->objects + at, (t->count - at) * sizeof *t->objects);
    t->objects[at] = (struct object){.blob = blob};
    snprintf(t->objects[at].name, sizeof t->objects[at].name, "%s", name);
    t->count++;
    return true;
}

static void table_remove(struct table *t, const char *name)
{
    struct object *there = table_find(t, name);
    if (!there)
        return;
    blob_unref(there->blob);
    size_t at = (size_t)(there - t->objects);
    memmove(there, there + 1, (t->count - at - 1) * sizeof *there);
    t->count--;
}

static void table_done(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        blob_unref(t->objects[i].blob);
    own_free(t->objects);
    *t = (struct table){0};
}

static bool table_copy(struct table *to, const struct table *from, struct err *err)
{
    table_done(to);
    for (size_t i = 0; i < from->count; i++)
        if (!table_set(to, from->objects[i].name, blob_ref(from->objects[i].blob), err))
            return false;
    return true;
}

/* ---- what is kept of a call ---- */

/* Its index, SIZE_MAX with the error when the hook refuses it. Takes no lock of the caller's. */
static size_t call_begin(struct memory_io *m, struct memory_call call, const char *name,
                         struct err *err)
{
    snprintf(call.name, sizeof call.name, "%s", name);
    memory_hook *hook;
    void *arg;
    size_t index;
    {
        AUTO(held) struct held held = hold(m);
        m->op_counts[call.op]++;
        index = m->call_count < CALLS_KEPT ? m->call_count : CALLS_KEPT;
        if (index < CALLS_KEPT) {
            if (!own_grow((void **)&m->calls, &m->call_capacity, m->call_count, sizeof *m->calls,
                          err))
                return SIZE_MAX;
            m->calls[m->call_count++] = call;
        }
        hook = m->hook;
        arg = m->hook_arg;
    }
    return hook && !hook(arg, &call, err) ? SIZE_MAX : index;
}

static void call_done(struct memory_io *m, size_t index)
{
    if (index < m->call_count)
        m->calls[index].done = true;
}

static bool keep_change(struct memory_io *m, const char *name, struct blob *blob, struct err *err)
{
    if (!m->keeps)
        return true;
    if (!own_grow((void **)&m->changes, &m->change_capacity, m->change_count, sizeof *m->changes,
                  err))
        return false;
    struct change *change = &m->changes[m->change_count++];
    *change = (struct change){.blob = blob_ref(blob)};
    snprintf(change->name, sizeof change->name, "%s", name);
    return true;
}

static uint64_t bytes_held(const struct memory_io *m)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->now.count; i++)
        bytes += m->now.objects[i].blob->len;
    for (const struct writer *w = m->writers; w; w = w->next)
        bytes += w->blob->len;
    return bytes;
}

static bool fits(const struct memory_io *m, uint64_t more, struct err *err)
{
    return m->limit == UINT64_MAX || bytes_held(m) + more <= m->limit ||
           err_set(err, ERR_NO_SPACE, "the memory store is full");
}

static bool is_locked(const struct object *object)
{
    return object && object->locked_until_us > clock_wall_us();
}

/* ---- the backend ---- */

static bool put(struct memory_io *m, const char *name, const void *bytes, size_t len,
                enum io_put how, struct err *err)
{
    size_t call = call_begin(m, (struct memory_call){.op = MEMORY_PUT, .bytes = len}, name, err);
    if (call == SIZE_MAX)
        return false;
    AUTO(held) struct held held = hold(m);
    struct object *there = table_find(&m->now, name);
    if (there && how == IO_NEW)
        return err_set(err, ERR_EXISTS, "it is there");
    if (is_locked(there))
        return err_set(err, ERR_DENIED, "it is locked");
    if (!fits(m, len, err))
        return false;
    struct blob *blob = blob_new(bytes, len, err);
    if (!blob || !table_set(&m->now, name, blob, err) || !keep_change(m, name, blob, err))
        return false;
    call_done(m, call);
    return true;
}

static bool memory_put(void *state, const char *name, const void *bytes, size_t len,
                       enum io_put how, struct err *err)
{
    struct memory_io *m = state;
    struct memory_call call = {.op = MEMORY_PUT, .bytes = len, .done = true};
    if (!put(m, name, bytes, len, how, err))
        return false;
    snprintf(call.name, sizeof call.name, "%s", name);
    memory_hook *answer;
    void *arg;
    {
        AUTO(held) struct held held = hold(m);
        answer = m->answer;
        arg = m->answer_arg;
    }
    return !answer || answer(arg, &call, err);
}

static void *memory_create(void *state, const char *name, struct err *err)
{
    struct memory_io *m = state;
    size_t call = call_begin(m, (struct memory_call){.op = MEMORY_CREATE}, name, err);
    if (call == SIZE_MAX)
        return NULL;
    AUTO(held) struct held held = hold(m);
    AUTO(mem) struct writer *w = own_alloc(sizeof *w, err);
    if (!w || !(w->blob = blob_new("", 0, err)))
        return NULL;
    w->memory = m;
    snprintf(w->name, sizeof w->name, "%s", name);
    w->next = m->writers;
    m->writers = w;
    call_done(m, call);
    return TAKE(w);
}

static bool memory_append(void *writer, const void *bytes, size_t len, struct err *err)
{
    struct writer *w = writer;
    struct memory_io *m = w->memory;
    struct memory_call begun = {.op = MEMORY_APPEND, .offset = w->blob->len, .bytes = len};
    size_t call = call_begin(m, begun, w->name, err);
    if (call == SIZE_MAX)
        return false;
    AUTO(held) struct held held = hold(m);
    if (w->lost)
        return err_set(err, ERR_IO, "what was written is gone");
    if (!fits(m, len, err) || !blob_append(w->blob, bytes, len, err))
        return false;
    call_done(m, call);
    return true;
}

static void writer_free(struct writer *w)
{
    for (struct writer **p = &w->memory->writers; *p; p = &(*p)->next)
        if (*p == w) {
            *p = w->next;
            break;
        }
    blob_unref(w->blob);
    own_free(w);
}

static bool memory_finish(void *writer, struct err *err)
{
    struct writer *w = writer;
    struct memory_io *m = w->memory;
    struct memory_call begun = {.op = MEMORY_FINISH, .bytes = w->blob->len};
    size_t call = call_begin(m, begun, w->name, err);
    AUTO(held) struct held held = hold(m);
    bool done = call != SIZE_MAX;
    if (done && w->lost)
        done = err_set(err, ERR_IO, "what was written is gone");
    if (done && table_find(&m->now, w->name))
        done = err_set(err, ERR_EXISTS, "it is there");
    done = done && table_set(&m->now, w->name, blob_ref(w->blob), err) &&
           keep_change(m, w->name, w->blob, err);
    if (done)
        call_done(m, call);
    writer_free(w);
    return done;
}

static void memory_abandon(void *writer)
{
    struct writer *w = writer;
    AUTO(held) struct held held = hold(w->memory);
    writer_free(w);
}

static ssize_t memory_read(void *state, const char *name, void *to, size_t size, uint64_t offset,
                           struct err *err)
{
    struct memory_io *m = state;
    struct memory_call begun = {.op = MEMORY_READ, .offset = offset, .bytes = size};
    size_t call = call_begin(m, begun, name, err);
    if (call == SIZE_MAX)
        return -1;
    struct blob *blob;
    {
        AUTO(held) struct held held = hold(m);
        struct object *there = table_find(&m->now, name);
        if (!there) {
            err_set(err, ERR_NOT_FOUND, "there is none");
            return -1;
        }
        blob = blob_ref(there->blob);
        call_done(m, call);
    }
    /* Copied without the lock, so that readers run beside each other as on a real store. */
    uint64_t left = offset < blob->len ? blob->len - offset : 0;
    size_t len = size < left ? size : (size_t)left;
    if (len > 0)
        memcpy(to, blob->bytes + offset, len);
    AUTO(held) struct held held = hold(m);
    blob_unref(blob);
    return (ssize_t)len;
}

static bool memory_size(void *state, const char *name, uint64_t *ret_bytes, struct err *err)
{
    struct memory_io *m = state;
    size_t call = call_begin(m, (struct memory_call){.op = MEMORY_SIZE}, name, err);
    if (call == SIZE_MAX)
        return false;
    AUTO(held) struct held held = hold(m);
    struct object *there = table_find(&m->now, name);
    if (!there)
        return err_set(err, ERR_NOT_FOUND, "there is none");
    *ret_bytes = there->blob->len;
    call_done(m, call);
    return true;
}

static bool memory_remove(void *state, const char *name, struct err *err)
{
    struct memory_io *m = state;
    size_t call = call_begin(m, (struct memory_call){.op = MEMORY_DELETE}, name, err);
    if (call == SIZE_MAX)
        return false;
    AUTO(held) struct held held = hold(m);
    struct object *there = table_find(&m->now, name);
    if (!there)
        return err_set(err, ERR_NOT_FOUND, "there is none");
    if (is_locked(there))
        return err_set(err, ERR_DENIED, "it is locked");
    table_remove(&m->now, name);
    call_done(m, call);
    return keep_change(m, name, NULL, err);
}

static bool memory_list(void *state, const char *folder, struct io_list *ret_list, struct err *err)
{
    struct memory_io *m = state;
    size_t call = call_begin(m, (struct memory_call){.op = MEMORY_LIST}, folder, err);
    if (call == SIZE_MAX)
        return false;
    AUTO(held) struct held held = hold(m);
    size_t len = strlen(folder);
    char last[IO_NAME_MAX] = "";
    for (size_t i = 0; i < m->now.count; i++) {
        const struct object *object = &m->now.objects[i];
        const char *rest = object->name;
        if (len > 0) {
            if (strncmp(rest, folder, len) != 0 || rest[len] != '/')
                continue;
            rest += len + 1;
        }
        const char *slash = strchr(rest, '/');
        char part[IO_NAME_MAX];
        snprintf(part, sizeof part, "%.*s", slash ? (int)(slash - rest) : (int)strlen(rest), rest);
        if (slash && strcmp(part, last) == 0)
            continue;
        snprintf(last, sizeof last, "%s", slash ? part : "");
        if (!io_list_add(ret_list, part, slash ? 0 : object->blob->len, slash != NULL, err))
            return false;
    }
    call_done(m, call);
    return true;
}

static bool memory_lock(void *state, const char *name, uint64_t until_us, struct err *err)
{
    struct memory_io *m = state;
    size_t call = call_begin(m, (struct memory_call){.op = MEMORY_LOCK}, name, err);
    if (call == SIZE_MAX)
        return false;
    AUTO(held) struct held held = hold(m);
    struct object *there = table_find(&m->now, name);
    if (!there)
        return err_set(err, ERR_NOT_FOUND, "there is none");
    if (until_us > there->locked_until_us)
        there->locked_until_us = until_us;
    call_done(m, call);
    return true;
}

static bool memory_space(void *state, uint64_t *ret_total, uint64_t *ret_free, struct err *err)
{
    (void)err;
    struct memory_io *m = state;
    AUTO(held) struct held held = hold(m);
    uint64_t bytes = bytes_held(m);
    *ret_total = m->limit;
    *ret_free = m->limit == UINT64_MAX ? UINT64_MAX : m->limit > bytes ? m->limit - bytes : 0;
    return true;
}

static bool memory_sweep(void *state, const char *folder, uint32_t *ret_swept, struct err *err)
{
    (void)state, (void)folder, (void)err;
    *ret_swept = 0; /* a writer's bytes go with it */
    return true;
}

static void memory_close(void *state)
{
    struct memory_io *m = state;
    while (m->writers)
        writer_free(m->writers);
    table_done(&m->now);
    table_done(&m->begin);
    for (size_t i = 0; i < m->change_count; i++)
        blob_unref(m->changes[i].blob);
    own_free(m->changes);
    own_free(m->calls);
    pthread_mutex_destroy(&m->lock);
    own_free(m);
}

static const struct io_backend backend = {
    .name = "memory",
    .put = memory_put,
    .create = memory_create,
    .append = memory_append,
    .finish = memory_finish,
    .abandon = memory_abandon,
    .read = memory_read,
    .size = memory_size,
    .remove = memory_remove,
    .list = memory_list,
    .lock = memory_lock,
    .space = memory_space,
    .sweep = memory_sweep,
    .close = memory_close,
};

/* ---- for tests ---- */

struct io *memory_io_open(uint32_t can, struct memory_io **ret_memory, struct err *err)
{
    struct memory_io *m = own_alloc(sizeof *m, err);
    if (!m)
        return NULL;
    pthread_mutex_init(&m->lock, NULL);
    m->limit = UINT64_MAX;
    struct io *io = io_new(&backend, can | IO_CAN_LOCK | IO_CAN_SPACE, m, "memory", err);
    if (io && ret_memory)
        *ret_memory = m;
    return io;
}

size_t memory_io_calls(struct memory_io *m)
{
    AUTO(held) struct held held = hold(m);
    return m->call_count;
}

bool memory_io_call(struct memory_io *m, size_t index, struct memory_call *ret)
{
    AUTO(held) struct held held = hold(m);
    if (index >= m->call_count)
        return false;
    *ret = m->calls[index];
    return true;
}

size_t memory_io_count(struct memory_io *m, enum memory_op op)
{
    AUTO(held) struct held held = hold(m);
    return m->op_counts[op];
}

void memory_io_hook(struct memory_io *m, memory_hook *hook, void *arg)
{
    AUTO(held) struct held held = hold(m);
    m->hook = hook;
    m->hook_arg = arg;
}

void memory_io_answer(struct memory_io *m, memory_hook *hook, void *arg)
{
    AUTO(held) struct held held = hold(m);
    m->answer = hook;
    m->answer_arg = arg;
}

void memory_io_limit(struct memory_io *m, uint64_t bytes)
{
    AUTO(held) struct held held = hold(m);
    m->limit = bytes;
}

uint64_t memory_io_bytes(struct memory_io *m)
{
    AUTO(held) struct held held = hold(m);
    return bytes_held(m);
}

size_t memory_io_objects(struct memory_io *m)
{
    AUTO(held) struct held held = hold(m);
    return m->now.count;
}

bool memory_io_name(struct memory_io *m, size_t index, char ret[IO_NAME_MAX])
{
    AUTO(held) struct held held = hold(m);
    if (index >= m->now.count)
        return false;
    snprintf(ret, IO_NAME_MAX, "%s", m->now.objects[index].name);
    return true;
}

bool memory_io_set(struct memory_io *m, const char *name, const void *bytes, size_t len,
                   struct err *err)
{
    AUTO(held) struct held held = hold(m);
    struct blob *blob = blob_new(bytes, len, err);
    return blob && table_set(&m->now, name, blob, err);
}

bool memory_io_flip(struct memory_io *m, const char *name, uint64_t offset, uint8_t mask)
{
    AUTO(held) struct held held = hold(m);
    struct object *there = table_find(&m->now, name);
    if (!there || offset >= there->blob->len)
        return false;
    if (there->blob->refs > 1) {
        struct err err = {0};
        struct blob *own = blob_new(there->blob->bytes, there->blob->len, &err);
        if (!own)
            return false;
        blob_unref(there->blob);
        there->blob = own;
    }
    there->blob->bytes[offset] ^= mask;
    return true;
}

void memory_io_forget_writers(struct memory_io *m)
{
    AUTO(held) struct held held = hold(m);
    for (struct writer *w = m->writers; w; w = w->next)
        w->lost = true;
}

void memory_io_keep_changes(struct memory_io *m)
{
    AUTO(held) struct held held = hold(m);
    struct err err = {0};
    for (size_t i = 0; i < m->change_count; i++)
        blob_unref(m->changes[i].blob);
    m->change_count = 0;
    m->keeps = table_copy(&m->begin, &m->now, &err);
}

size_t memory_io_changes(struct memory_io *m)
{
    AUTO(held) struct held held = hold(m);
    return m->change_count;
}

struct io *memory_io_after(struct memory_io *m, size_t changes, struct memory_io **ret_memory,
                           struct err *err)
{
    struct memory_io *made = NULL;
    AUTO(io) struct io *io = memory_io_open(0, &made, err);
    if (!io)
        return NULL;
    AUTO(held) struct held held = hold(m);
    if (!m->keeps || changes > m->change_count) {
        err_set(err, ERR_INVALID, "%zu changes were not kept", changes);
        return NULL;
    }
    /* Bytes are copied: the counts of shared ones belong to one lock. */
    struct table then = {0};
    bool done = table_copy(&then, &m->begin, err);
    for (size_t i = 0; done && i < changes; i++) {
        if (m->changes[i].blob)
            done = table_set(&then, m->changes[i].name, blob_ref(m->changes[i].blob), err);
        else
            table_remove(&then, m->changes[i].name);
    }
    for (size_t i = 0; done && i < then.count; i++)
        done = memory_io_set(made, then.objects[i].name, then.objects[i].blob->bytes,
                             then.objects[i].blob->len, err);
    table_done(&then);
    if (!done)
        return NULL;
    if (ret_memory)
        *ret_memory = made;
    return TAKE(io);
}
