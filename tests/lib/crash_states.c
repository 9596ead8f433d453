/* A small file system in memory that remembers what was synced and what was not. */
#include "tests/lib/crash_states.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/presence.h"
#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, DEPTH_MAX = 32 };

/* Content at one moment: pages by number (value: address), a missing one is zeros. */
struct content {
    struct presence pages;
    uint64_t size;
};

struct node;
struct entry {
    char *name;
    struct node *node;
};
struct entries {
    struct entry *list;
    size_t count, capacity;
};

/* A change of a folder that no sync has covered: node at name `to`, or nothing at `name`. */
struct change {
    char *name, *to; /* either may be NULL */
    struct node *node;
};

struct node {
    struct node *next;
    bool folder;
    uint64_t id;
    struct content now, synced;
    const struct sys_op **pending; /* writes and cuts since the last sync */
    size_t pending_count, pending_capacity;
    struct entries now_names, synced_names;
    struct change *changes;
    size_t change_count, change_capacity;
};

struct crash_states {
    const struct sys_record *record;
    char *root;
    size_t at;
    uint64_t mark, ids;
    struct node *top, *all;
    struct presence inodes; /* inode -> node */
};

/* ---- content ---- */

static void content_done(struct content *c)
{
    for (size_t i = 0; i < c->pages.capacity; i++)
        if (c->pages.cells[i].key)
            own_free((void *)(uintptr_t)c->pages.cells[i].value);
    presence_done(&c->pages);
    c->size = 0;
}

static uint8_t *page_find(const struct content *c, uint64_t number)
{
    const struct presence_cell *cell = presence_find(&c->pages, number);
    return cell ? (uint8_t *)(uintptr_t)cell->value : NULL;
}

static uint8_t *page_get(struct content *c, uint64_t number, struct err *err)
{
    uint8_t *page = page_find(c, number);
    if (page || !presence_reserve(&c->pages, 1, err) || !(page = own_alloc(PAGE, err)))
        return page;
    presence_put(&c->pages, number)->value = (uintptr_t)page;
    return page;
}

/* The part of a write, or of a cut, that one page sees. */
static bool apply_to_page(struct content *c, const struct sys_op *op, uint64_t number,
                          struct err *err)
{
    uint64_t first = number * PAGE;
    if (op->kind == SYS_OP_TRUNCATE) {
        uint8_t *page = op->offset < first + PAGE ? page_find(c, number) : NULL;
        size_t from = op->offset > first ? (size_t)(op->offset - first) : 0;
        if (page)
            memset(page + from, 0, PAGE - from);
        return true;
    }
    uint64_t from = op->offset > first ? op->offset : first;
    uint64_t end = op->offset + op->len < first + PAGE ? op->offset + op->len : first + PAGE;
    if (from >= end)
        return true;
    uint8_t *page = page_get(c, number, err);
    if (page)
        memcpy(page + (from - first), op->bytes + (from - op->offset), (size_t)(end - from));
    return page;
}

static uint64_t size_after(uint64_t size, const struct sys_op *op)
{
    if (op->kind == SYS_OP_TRUNCATE)
        return op->offset;
    return op->len && op->offset + op->len > size ? op->offset + op->len : size;
}

static bool apply(struct content *c, const struct sys_op *op, struct err *err)
{
    if (op->kind == SYS_OP_TRUNCATE) {
        for (size_t i = 0; i < c->pages.capacity; i++)
            if (c->pages.cells[i].key &&
                !apply_to_page(c, op, c->pages.cells[i].key & PRESENCE_KEY, err))
                return false;
    } else {
        for (uint64_t n = op->offset / PAGE; op->len && n * PAGE < op->offset + op->len; n++)
            if (!apply_to_page(c, op, n, err))
                return false;
    }
    c->size = size_after(c->size, op);
    return true;
}

static bool copy_content(const struct content *from, struct content *to, struct err *err)
{
    to->size = from->size;
    for (size_t i = 0; i < from->pages.capacity; i++) {
        if (!from->pages.cells[i].key)
            continue;
        uint8_t *page = page_get(to, from->pages.cells[i].key & PRESENCE_KEY, err);
        if (!page)
            return false;
        memcpy(page, (void *)(uintptr_t)from->pages.cells[i].value, PAGE);
    }
    return true;
}

/* ---- names ---- */

static void entries_done(struct entries *e)
{
    for (size_t i = 0; i < e->count; i++)
        own_free(e->list[i].name);
    own_free(e->list);
    *e = (struct entries){0};
}

static struct entry *entry_find(const struct entries *e, const char *name)
{
    for (size_t i = 0; i < e->count; i++)
        if (str_equal(e->list[i].name, name))
            return &e->list[i];
    return NULL;
}

static bool entry_set(struct entries *e, const char *name, struct node *node, struct err *err)
{
    struct entry *entry = entry_find(e, name);
    if (!entry) {
        if (!own_grow((void **)&e->list, &e->capacity, e->count, sizeof *e->list, err) ||
            !(e->list[e->count].name = own_strdup(name, err)))
            return false;
        entry = &e->list[e->count++];
    }
    entry->node = node;
    return true;
}

static void entry_remove(struct entries *e, const char *name)
{
    struct entry *entry = entry_find(e, name);
    if (!entry)
        return;
    own_free(entry->name);
    *entry = e->list[--e->count];
}

static bool change_entries(struct entries *e, const struct change *c, struct err *err)
{
    if (c->name)
        entry_remove(e, c->name);
    return !c->to || entry_set(e, c->to, c->node, err);
}

static bool copy_entries(const struct entries *from, struct entries *to, struct err *err)
{
    for (size_t i = 0; i < from->count; i++)
        if (!entry_set(to, from->list[i].name, from->list[i].node, err))
            return false;
    return true;
}

/* Now, and remembered until the folder is synced. */
static bool change_folder(struct node *folder, const char *name, const char *to, struct node *node,
                          struct err *err)
{
    struct change change = {.node = node};
    if (!own_grow((void **)&folder->changes, &folder->change_capacity, folder->change_count,
                  sizeof *folder->changes, err) ||
        (name && !(change.name = own_strdup(name, err))) ||
        (to && !(change.to = own_strdup(to, err)))) {
        own_free(change.name);
        return false;
    }
    folder->changes[folder->change_count++] = change;
    return change_entries(&folder->now_names, &change, err);
}

static void forget_changes(struct node *folder)
{
    for (size_t i = 0; i < folder->change_count; i++) {
        own_free(folder->changes[i].name);
        own_free(folder->changes[i].to);
    }
    folder->change_count = 0;
}

static struct node *node_new(struct crash_states *s, bool folder, struct err *err)
{
    struct node *node = own_alloc(sizeof *node, err);
    if (!node)
        return NULL;
    node->folder = folder;
    node->id = ++s->ids;
    node->next = s->all;
    s->all = node;
    return node;
}

/* Below the root, as it is now. NULL: outside, or not there. ret_parent and ret_last also then. */
static struct node *find(struct crash_states *s, const char *path, struct node **ret_parent,
                         char ret_last[NAME_MAX + 1])
{
    size_t len = strlen(s->root);
    *ret_parent = NULL;
    if (!path || strncmp(path, s->root, len) != 0 || (path[len] && path[len] != '/'))
        return NULL;
    struct node *node = s->top;
    for (const char *part = path + len; node && *part;) {
        part += strspn(part, "/");
        size_t part_len = strcspn(part, "/");
        if (!part_len || part_len > NAME_MAX)
            break;
        memcpy(ret_last, part, part_len);
        ret_last[part_len] = '\0';
        *ret_parent = node->folder ? node : NULL;
        const struct entry *entry = entry_find(&node->now_names, ret_last);
        node = entry ? entry->node : NULL;
        part += part_len;
        if (!node && *part)
            *ret_parent = NULL; /* a folder on the way is missing */
    }
    return node;
}

/* ---- one call ---- */

static bool pending_add(struct node *node, const struct sys_op *op, struct err *err)
{
    if (!own_grow((void **)&node->pending, &node->pending_capacity, node->pending_count,
                  sizeof *node->pending, err))
        return false;
    node->pending[node->pending_count++] = op;
    return apply(&node->now, op, err);
}

static bool remember_inode(struct crash_states *s, uint64_t inode, struct node *node,
                           struct err *err)
{
    if (!presence_reserve(&s->inodes, 1, err))
        return false;
    presence_put(&s->inodes, inode & PRESENCE_KEY)->value = (uintptr_t)node;
    return true;
}

static bool step_open(struct crash_states *s, const struct sys_op *op, struct err *err)
{
    static const struct sys_op empty = {.kind = SYS_OP_TRUNCATE};
    struct node *parent;
    char last[NAME_MAX + 1];
    struct node *node = find(s, op->path, &parent, last);
    if (!node && !parent)
        return true; /* elsewhere */
    if (!node &&
        (!(node = node_new(s, op->folder, err)) || !change_folder(parent, NULL, last, node, err)))
        return false;
    return remember_inode(s, op->inode, node, err) &&
           (!op->truncates || !node->now.size || pending_add(node, &empty, err));
}

static struct node *node_of(struct crash_states *s, const struct sys_op *op)
{
    struct node *parent;
    char last[NAME_MAX + 1];
    const struct presence_cell *cell = presence_find(&s->inodes, op->inode & PRESENCE_KEY);
    if (cell && !op->folder)
        return (struct node *)(uintptr_t)cell->value;
    return find(s, op->path, &parent, last);
}

static bool step_sync(struct node *node, struct err *err)
{
    if (node->folder) {
        entries_done(&node->synced_names);
        forget_changes(node);
        return copy_entries(&node->now_names, &node->synced_names, err);
    }
    for (size_t i = 0; i < node->pending_count; i++)
        if (!apply(&node->synced, node->pending[i], err))
            return false;
    node->pending_count = 0;
    return true;
}

static bool step_names(struct crash_states *s, const struct sys_op *op, struct err *err)
{
    struct node *parent;
    struct node *to_parent;
    char last[NAME_MAX + 1];
    char to_last[NAME_MAX + 1];
    struct node *node = find(s, op->path, &parent, last);
    if (op->kind == SYS_OP_MKDIR) {
        if (node || !parent)
            return true;
        node = node_new(s, true, err);
        return node && change_folder(parent, NULL, last, node, err);
    }
    if (!node || !parent)
        return true;
    if (op->kind == SYS_OP_UNLINK || op->kind == SYS_OP_RMDIR)
        return change_folder(parent, last, NULL, NULL, err);
    find(s, op->to, &to_parent, to_last);
    bool moves = op->kind == SYS_OP_RENAME;
    if (to_parent == parent)
        return change_folder(parent, moves ? last : NULL, to_last, node, err);
    return (!to_parent || change_folder(to_parent, NULL, to_last, node, err)) &&
           (!moves || change_folder(parent, last, NULL, NULL, err));
}

bool crash_states_next(struct crash_states *s, struct err *err)
{
    if (s->at >= s->record->count)
        return false;
    const struct sys_op *op = &s->record->ops[s->at++];
    struct node *node;
    switch (op->kind) {
    case SYS_OP_MARK:
        s->mark = op->offset;
        return true;
    case SYS_OP_OPEN:
        return step_open(s, op, err);
    case SYS_OP_WRITE:
    case SYS_OP_TRUNCATE:
        node = node_of(s, op);
        return !node || pending_add(node, op, err);
    case SYS_OP_SYNC:
        node = node_of(s, op);
        return !node || step_sync(node, err);
    default:
        return step_names(s, op, err);
    }
}

size_t crash_states_calls(const struct crash_states *s) { return s->at; }

uint64_t crash_states_mark(const struct crash_states *s) { return s->mark; }

/* ---- opening ---- */

static bool load_file(struct node *node, const char *path, struct err *err)
{
    size_t len;
    AUTO(mem) char *bytes = sys_read_file(path, SIZE_MAX / 2, &len, err);
    struct sys_op all = {.kind = SYS_OP_WRITE, .bytes = (uint8_t *)bytes};
    if (!bytes)
        return false;
    all.len = len;
    return apply(&node->now, &all, err) && apply(&node->synced, &all, err);
}

static bool load_folder(struct crash_states *s, struct node *folder, const char *path, int depth,
                        struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (depth > DEPTH_MAX || !sys_list(path, &names, err))
        return depth <= DEPTH_MAX;
    for (size_t i = 0; i < names.count; i++) {
        struct stat st;
        AUTO(mem) char *below = own_printf(err, "%s/%s", path, names.names[i]);
        if (!below || !sys_lstat(below, &st, err))
            return false;
        struct node *node = node_new(s, S_ISDIR(st.st_mode), err);
        if (!node || !entry_set(&folder->now_names, names.names[i], node, err) ||
            !entry_set(&folder->synced_names, names.names[i], node, err) ||
            !(node->folder ? load_folder(s, node, below, depth + 1, err)
                           : load_file(node, below, err)))
            return false;
    }
    return true;
}

struct crash_states *crash_states_open(const struct sys_record *record, const char *root,
                                       const char *start, struct err *err)
{
    AUTO(crash_states) struct crash_states *s = own_alloc(sizeof *s, err);
    char real[PATH_MAX];
    if (record->incomplete) {
        err_set(err, ERR_NO_MEMORY, "the record is not complete");
        return NULL;
    }
    if (!s || !realpath(root, real) || !(s->root = own_strdup(real, err)) ||
        !(s->top = node_new(s, true, err)) || (start && !load_folder(s, s->top, start, 0, err)))
        return err_null(err, "crash states of '%s'", root);
    s->record = record;
    return TAKE(s);
}

void crash_states_free(struct crash_states *s)
{
    if (!s)
        return;
    for (struct node *node = s->all, *next; node; node = next) {
        next = node->next;
        content_done(&node->now);
        content_done(&node->synced);
        entries_done(&node->now_names);
        entries_done(&node->synced_names);
        forget_changes(node);
        own_free(node->changes);
        own_free(node->pending);
        own_free(node);
    }
    presence_done(&s->inodes);
    own_free(s->root);
    own_free(s);
}

/* ---- making a state ---- */

struct making {
    enum crash_mode mode;
    uint64_t seed;
};

/* A number that only depends on seed, node and place: the same state each time. */
static uint64_t draw(const struct making *m, const struct node *node, uint64_t place)
{
    uint64_t x = m->seed * UINT64_C(0x9e3779b97f4a7c15) + node->id * UINT64_C(0xd1342543de82ef95) +
                 place * UINT64_C(0xaef17502108ef2d9) + 1;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Of `count` changes in order, how many reached the disk: none, all, or some. */
static size_t survive(const struct making *m, const struct node *node, uint64_t place, size_t count)
{
    uint64_t n = draw(m, node, place);
    return n % 3 == 0 ? 0 : n % 3 == 1 ? count : (size_t)(n / 3 % (count + 1));
}

static bool mix_page(const struct making *m, const struct node *node, struct content *c,
                     uint64_t number, struct err *err)
{
    size_t some = survive(m, node, number, node->pending_count);
    for (size_t i = 0; i < some; i++)
        if (!apply_to_page(c, node->pending[i], number, err))
            return false;
    return true;
}

/* Each page by itself, the size by itself; what lies behind the size is gone. */
static bool mix_content(const struct making *m, const struct node *node, struct content *c,
                        struct err *err)
{
    struct presence touched = {0};
    bool ok = copy_content(&node->synced, c, err);
    for (size_t i = 0; ok && i < node->pending_count; i++) {
        const struct sys_op *op = node->pending[i];
        for (uint64_t n = op->offset / PAGE; ok && n * PAGE < op->offset + op->len; n++)
            if (!presence_find(&touched, n))
                ok = presence_reserve(&touched, 1, err) && presence_put(&touched, n) &&
                     mix_page(m, node, c, n, err);
    }
    for (size_t i = 0; ok && i < node->synced.pages.capacity; i++) {
        uint64_t n = node->synced.pages.cells[i].key & PRESENCE_KEY;
        if (node->synced.pages.cells[i].key && !presence_find(&touched, n))
            ok = mix_page(m, node, c, n, err);
    }
    presence_done(&touched);
    size_t some = survive(m, node, UINT64_MAX, node->pending_count);
    for (size_t i = 0; i < some; i++)
        c->size = size_after(c->size, node->pending[i]);
    return ok;
}

/* Names: each change by itself, but of renames none without those before it. */
static bool mix_names(const struct making *m, const struct node *node, struct entries *e,
                      struct err *err)
{
    size_t renames = survive(m, node, UINT64_MAX - 1, node->change_count);
    if (!copy_entries(&node->synced_names, e, err))
        return false;
    for (size_t i = 0; i < node->change_count; i++) {
        const struct change *change = &node->changes[i];
        bool rename = change->name && change->to;
        if (rename ? i < renames : draw(m, node, UINT64_MAX - 2 - i) % 2 || i < renames / 2)
            if (!change_entries(e, change, err))
                return false;
    }
    return true;
}

static bool write_content(const struct content *c, const char *path, struct err *err)
{
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
    if (fd < 0 || (c->size && !sys_truncate(fd, c->size, path, err)))
        return false;
    for (size_t i = 0; i < c->pages.capacity; i++) {
        const struct presence_cell *cell = &c->pages.cells[i];
        uint64_t from = (cell->key & PRESENCE_KEY) * PAGE;
        if (!cell->key || from >= c->size)
            continue;
        size_t len = c->size - from < PAGE ? (size_t)(c->size - from) : PAGE;
        if (!sys_pwrite(fd, (void *)(uintptr_t)cell->value, len, from, path, err))
            return false;
    }
    return true;
}

static bool make_file(const struct making *m, const struct node *node, const char *path,
                      struct err *err)
{
    if (m->mode == CRASH_AS_ISSUED)
        return write_content(&node->now, path, err);
    if (m->mode == CRASH_AS_SYNCED || !node->pending_count)
        return write_content(&node->synced, path, err);
    struct content mixed = {0};
    bool ok = mix_content(m, node, &mixed, err) && write_content(&mixed, path, err);
    content_done(&mixed);
    return ok;
}

static bool make_folder(const struct making *m, const struct node *node, const char *path,
                        int depth, struct err *err)
{
    struct entries mixed = {0};
    const struct entries *e = m->mode == CRASH_AS_ISSUED ? &node->now_names : &node->synced_names;
    bool ok = depth <= DEPTH_MAX && sys_mkdir(path, 0700, err);
    if (m->mode == CRASH_MIXED) {
        ok = ok && mix_names(m, node, &mixed, err);
        e = &mixed;
    }
    for (size_t i = 0; ok && i < e->count; i++) {
        AUTO(mem) char *below = own_printf(err, "%s/%s", path, e->list[i].name);
        ok = below &&
             (e->list[i].node->folder ? make_folder(m, e->list[i].node, below, depth + 1, err)
                                      : make_file(m, e->list[i].node, below, err));
    }
    entries_done(&mixed);
    return ok;
}

bool crash_states_make(struct crash_states *s, enum crash_mode mode, uint64_t seed, const char *to,
                       struct err *err)
{
    struct making m = {.mode = mode, .seed = seed * UINT64_C(1000003) + s->at};
    return (sys_remove_tree(to, err) && make_folder(&m, s->top, to, 0, err)) ||
           err_wrap(err, "make the state after call %zu", s->at);
}

/* ---- all of it ---- */

static bool check_state(const struct crash_plan *plan, struct crash_states *s, enum crash_mode mode,
                        uint64_t seed, struct err *err)
{
    static const char *const modes[] = {"as issued", "as synced", "mixed"};
    return (crash_states_make(s, mode, seed, plan->scratch, err) &&
            plan->check(plan->arg, plan->scratch, s->mark, err)) ||
           err_wrap(err, "after call %zu of %zu, %s, seed %llu", s->at, s->record->count,
                    modes[mode], (unsigned long long)seed);
}

bool crash_states_each(const struct crash_plan *plan, uint64_t *ret_states, struct err *err)
{
    AUTO(crash_states)
    struct crash_states *s = crash_states_open(plan->record, plan->root, plan->start, err);
    size_t step = plan->step ? plan->step : 1;
    uint64_t states = 0;
    if (!s)
        return false;
    for (bool more = true; more;) {
        if ((s->at % step == 0 && s->at >= plan->from) || s->at == s->record->count) {
            if (!check_state(plan, s, CRASH_AS_ISSUED, 0, err) ||
                !check_state(plan, s, CRASH_AS_SYNCED, 0, err))
                return false;
            for (unsigned i = 0; i < plan->seeds; i++)
                if (!check_state(plan, s, CRASH_MIXED, plan->seed + i, err))
                    return false;
            states += 2 + plan->seeds;
        }
        more = crash_states_next(s, err);
        if (!more && err->code)
            return false;
    }
    *ret_states = states;
    return true;
}
