/* Making a story and doing its steps; what each makes of the volumes. */
#include "tests/lib/vault_story.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <string.h>

static const char *const kind_names[STORY_KINDS] = {
    "volume",      "create", "mkdir",    "write", "commit", "resize",  "remove",
    "rename",      "link",   "snapshot", "drop",  "clone",  "compose", "drop clone",
    "drop volume", "note",   "lock",     "swap",  "seal",   "thin",    "reopen",
};
const char *story_kind_name(enum story_kind kind) { return kind_names[kind]; }

static size_t below(struct story *s, size_t n) { return (size_t)rnd_below(&s->rnd, n); }

/* ---- images ---- */

static struct story_image *image_add(struct story *s, size_t life, const struct story_image *from,
                                     struct err *err)
{
    struct story_life *l = &s->lives[life];
    struct story_image image = {.size = from ? from->size : 0};
    if (!own_grow((void **)&l->images, &l->capacity, l->count, sizeof *l->images, err))
        return NULL;
    image.bytes = own_alloc(STORY_BYTES, err);
    if (!image.bytes)
        return NULL;
    if (from)
        memcpy(image.bytes, from->bytes, STORY_BYTES);
    l->images[l->count] = image;
    return &l->images[l->count++];
}

/* A new life that begins with that content. */
static bool life_begin(struct story *s, const struct story_image *from, struct story_entry *entry,
                       struct err *err)
{
    struct story_image copy = from ? *from : (struct story_image){0};
    if (!own_grow((void **)&s->lives, &s->life_capacity, s->life_count, sizeof *s->lives, err))
        return false;
    s->lives[s->life_count] = (struct story_life){0};
    entry->life = s->life_count++;
    entry->stable = entry->now = 0;
    return image_add(s, entry->life, from ? &copy : NULL, err);
}

static const struct story_image *image_of(const struct story *s, const struct story_entry *e)
{
    return &s->lives[e->life].images[e->now];
}

/* The next image of a file, to be changed. */
static struct story_image *image_next(struct story *s, struct story_entry *e, struct err *err)
{
    struct story_image now = *image_of(s, e);
    struct story_image *next = image_add(s, e->life, &now, err);
    e->now = s->lives[e->life].count - 1;
    return next;
}

static void fill(struct story *s, uint8_t *to, size_t size)
{
    size_t kind = below(s, 5);
    memset(to, kind == 0 ? 0 : (int)below(s, 255) + 1, size);
    for (size_t i = 0; kind >= 2 && i + 8 <= size; i += 8) {
        uint64_t word = rnd_next(&s->rnd);
        memcpy(to + i, &word, 8);
    }
    if (kind == 1 && size > 100) {
        memset(to, 0, size);
        memset(to + below(s, size - 40), 7, 30);
    }
}

/* ---- what a step does to the model ---- */

static bool is_file(const struct story_entry *e) { return e->used && !e->folder; }

/* The other names of the file tell the same. */
static void tell_names(struct story_entry *entries, const struct story_entry *e)
{
    for (size_t i = 0; i < STORY_ENTRIES; i++)
        if (is_file(&entries[i]) && entries[i].life == e->life) {
            entries[i].stable = e->stable;
            entries[i].now = e->now;
        }
}

static void settle(struct story_entry *entries)
{
    for (size_t i = 0; i < STORY_ENTRIES; i++)
        entries[i].stable = entries[i].now;
}

static struct story_entry *entry_at(struct story_entry *entries, const char *path)
{
    for (size_t i = 0; i < STORY_ENTRIES; i++)
        if (entries[i].used && str_equal(entries[i].path, path))
            return &entries[i];
    return NULL;
}

static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && path[len] == '/';
}

static bool apply_write(struct story *s, const struct story_op *op, struct story_entry *e,
                        struct err *err)
{
    struct story_image *image = image_next(s, e, err);
    if (!image)
        return false;
    if (op->kind == STORY_RESIZE) {
        if (op->size < image->size)
            memset(image->bytes + op->size, 0, STORY_BYTES - op->size);
        image->size = op->size;
    } else {
        fill(s, image->bytes + op->offset, op->size);
        if (image->size < op->offset + op->size)
            image->size = op->offset + op->size;
    }
    if (op->kind == STORY_RESIZE || op->stable)
        e->stable = e->now;
    return true;
}

static void apply_rename(struct story_volume *v, const struct story_op *op)
{
    struct story_entry *e = &v->entries[op->entry];
    struct story_entry *there = entry_at(v->entries, op->path);
    char from[24];
    if (there && there != e)
        there->used = false;
    IGNORE(str_copy(from, sizeof from, e->path));
    for (size_t i = 0; i < STORY_ENTRIES; i++) {
        struct story_entry *child = &v->entries[i];
        char path[24];
        if (!child->used || !is_below(child->path, from))
            continue;
        IGNORE(str_format(path, sizeof path, "%s%s", op->path, child->path + strlen(from)));
        memcpy(child->path, path, sizeof path);
    }
    memcpy(e->path, op->path, sizeof e->path);
}

static bool apply_clone(struct story *s, struct story_state *st, const struct story_op *op,
                        struct err *err)
{
    struct story_volume *v = &st->volumes[op->volume], *c = &st->volumes[op->clone];
    *c = (struct story_volume){
        .used = true, .clone = true, .landing = v->landing, .parent = op->volume};
    memcpy(c->last, op->name, sizeof c->last);
    IGNORE(str_format(c->name, sizeof c->name, "%s/%s", st->volumes[v->landing].name, op->name));
    for (size_t i = 0; op->kind == STORY_CLONE && i < STORY_ENTRIES; i++) {
        const struct story_entry *from = v->pasts[op->past].entries;
        size_t first = 0;
        c->entries[i] = from[i];
        while (first < i && !(is_file(&from[first]) && from[first].life == from[i].life))
            first++;
        if (is_file(&from[i]) && first < i) {
            c->entries[i].life = c->entries[first].life;
            c->entries[i].stable = c->entries[i].now = 0;
        } else if (is_file(&from[i]) &&
                   !life_begin(s, image_of(s, &from[i]), &c->entries[i], err)) {
            return false;
        }
    }
    size_t count = 0;
    for (size_t i = 0; i < op->part_count; i++) {
        const struct story_part *part = &op->parts[i];
        struct story_entry *from =
            part->live ? &v->entries[part->entry] : &v->pasts[part->past].entries[part->entry];
        struct story_entry *to = &c->entries[count++];
        if (part->live)
            settle(v->entries);
        *to = (struct story_entry){.used = true};
        memcpy(to->path, part->to, sizeof to->path);
        if (!life_begin(s, image_of(s, from), to, err))
            return false;
        if (is_below(to->path, "d0") && !entry_at(c->entries, "d0")) {
            c->entries[count] = (struct story_entry){.used = true, .folder = true};
            IGNORE(str_copy(c->entries[count++].path, sizeof c->entries[0].path, "d0"));
        }
    }
    return true;
}

static void apply_snapshot(struct story_state *st, const struct story_op *op)
{
    for (size_t i = 0; i < STORY_VOLUMES; i++) {
        struct story_volume *v = &st->volumes[i];
        if (!(op->members & 1u << i))
            continue;
        settle(v->entries);
        size_t at = 0;
        while (v->pasts[at].used)
            at++;
        v->pasts[at] = (struct story_past){.used = true};
        memcpy(v->pasts[at].name, op->name, sizeof op->name);
        memcpy(v->pasts[at].entries, v->entries, sizeof v->entries);
    }
}

static bool apply_names(struct story *s, struct story_state *st, const struct story_op *op,
                        struct err *err)
{
    struct story_volume *v = &st->volumes[op->volume];
    struct story_entry *e = &v->entries[op->entry];
    switch (op->kind) {
    case STORY_VOLUME:
        *v = (struct story_volume){.used = true, .landing = op->volume, .parent = op->volume};
        memcpy(v->name, op->name, sizeof op->name);
        return true;
    case STORY_CREATE:
    case STORY_MKDIR:
        *e = (struct story_entry){.used = true, .folder = op->kind == STORY_MKDIR};
        memcpy(e->path, op->path, sizeof e->path);
        return e->folder || life_begin(s, NULL, e, err);
    case STORY_LINK:
        v->entries[op->clone] = *e;
        memcpy(v->entries[op->clone].path, op->path, sizeof e->path);
        return true;
    case STORY_REMOVE:
        e->used = false;
        return true;
    default:
        apply_rename(v, op);
        return true;
    }
}

static bool apply(struct story *s, struct story_state *st, const struct story_op *op,
                  struct err *err)
{
    struct story_volume *v = &st->volumes[op->volume];
    switch (op->kind) {
    case STORY_WRITE:
    case STORY_RESIZE:
        if (!apply_write(s, op, &v->entries[op->entry], err))
            return false;
        tell_names(v->entries, &v->entries[op->entry]);
        return true;
    case STORY_COMMIT:
        v->entries[op->entry].stable = v->entries[op->entry].now;
        tell_names(v->entries, &v->entries[op->entry]);
        return true;
    case STORY_SNAPSHOT:
        apply_snapshot(st, op);
        return true;
    case STORY_DROP:
        v->pasts[op->past].used = false;
        return true;
    case STORY_CLONE:
    case STORY_COMPOSE:
        return apply_clone(s, st, op, err);
    case STORY_CLONE_DROP:
    case STORY_VOLUME_DROP:
        v->used = false;
        return true;
    case STORY_NOTE:
        v->pasts[op->past].note = op->number;
        return true;
    case STORY_LOCK:
        v->pasts[op->past].locked = true;
        return true;
    case STORY_SWAP:
        settle(v->entries);
        return true;
    case STORY_REOPEN:
        for (size_t i = 0; i < STORY_VOLUMES; i++)
            settle(st->volumes[i].entries);
        return true;
    case STORY_SEAL:
    case STORY_THIN:
        return true;
    default:
        return apply_names(s, st, op, err);
    }
}

/* ---- choosing steps ---- */

static struct story_volume *any_volume(struct story *s, struct story_state *st, size_t *ret)
{
    size_t from = below(s, STORY_VOLUMES);
    for (size_t i = 0; i < STORY_VOLUMES; i++)
        if (st->volumes[ *ret = (from + i) % STORY_VOLUMES].used)
            return &st->volumes[*ret];
    return NULL;
}

static bool any_entry(struct story *s, const struct story_entry *entries, bool file, size_t *ret)
{
    size_t from = below(s, STORY_ENTRIES);
    for (size_t i = 0; i < STORY_ENTRIES; i++) {
        *ret = (from + i) % STORY_ENTRIES;
        if (entries[*ret].used && !(file && entries[*ret].folder))
            return true;
    }
    return false;
}

static bool any_past(struct story *s, const struct story_volume *v, size_t *ret)
{
    size_t from = below(s, STORY_PASTS);
    for (size_t i = 0; i < STORY_PASTS; i++)
        if (v->pasts[ *ret = (from + i) % STORY_PASTS].used)
            return true;
    return false;
}

static bool is_empty_folder(struct story_volume *v, const struct story_entry *e)
{
    for (size_t i = 0; i < STORY_ENTRIES; i++)
        if (v->entries[i].used && is_below(v->entries[i].path, e->path))
            return false;
    return true;
}

static void some_path(struct story *s, struct story_volume *v, char ret[24])
{
    static const char *const folders[] = {"d0", "d1"};
    const char *folder = folders[below(s, 2)];
    if (rnd_chance(&s->rnd, 50) && entry_at(v->entries, folder))
        IGNORE(str_format(ret, 24, "%s/f%zu", folder, below(s, 4)));
    else
        IGNORE(str_format(ret, 24, "f%zu", below(s, 4)));
}

static bool choose_create(struct story *s, struct story_volume *v, struct story_op *op)
{
    for (op->entry = 0; op->entry < STORY_ENTRIES; op->entry++)
        if (!v->entries[op->entry].used)
            break;
    if (op->kind == STORY_MKDIR)
        IGNORE(str_format(op->path, sizeof op->path, "d%zu", below(s, 2)));
    else
        some_path(s, v, op->path);
    return op->entry < STORY_ENTRIES && !entry_at(v->entries, op->path);
}

static bool choose_rename(struct story *s, struct story_volume *v, struct story_op *op)
{
    if (!any_entry(s, v->entries, false, &op->entry))
        return false;
    struct story_entry *e = &v->entries[op->entry];
    if (e->folder)
        IGNORE(str_format(op->path, sizeof op->path, "d%zu", below(s, 2)));
    else
        some_path(s, v, op->path);
    struct story_entry *there = entry_at(v->entries, op->path);
    if (there && is_file(e) && is_file(there) && there->life == e->life)
        return false; /* nothing happens then */
    return there != e && (!there || (there->folder == e->folder &&
                                     (!there->folder || is_empty_folder(v, there))));
}

static bool choose_link(struct story *s, struct story_volume *v, struct story_op *op)
{
    for (op->clone = 0; op->clone < STORY_ENTRIES; op->clone++)
        if (!v->entries[op->clone].used)
            break;
    some_path(s, v, op->path);
    return op->clone < STORY_ENTRIES && any_entry(s, v->entries, true, &op->entry) &&
           !entry_at(v->entries, op->path);
}

static bool choose_write(struct story *s, struct story_volume *v, struct story_op *op)
{
    if (!any_entry(s, v->entries, true, &op->entry))
        return false;
    op->size = 1 + below(s, rnd_chance(&s->rnd, 50) ? 700 : 3 * RECORD_BYTES);
    op->offset = below(s, STORY_BYTES - op->size);
    if (rnd_chance(&s->rnd, 40))
        op->offset &= ~(uint64_t)(RECORD_BYTES - 1);
    op->stable = rnd_chance(&s->rnd, 35);
    if (op->kind == STORY_RESIZE)
        op->size = below(s, STORY_BYTES);
    if (op->kind == STORY_RESIZE && rnd_chance(&s->rnd, 30))
        op->size &= ~(uint64_t)(RECORD_BYTES - 1);
    return true;
}

static bool choose_snapshot(struct story *s, struct story_state *st, struct story_op *op)
{
    bool many = rnd_chance(&s->rnd, 40);
    for (size_t i = 0; i < STORY_VOLUMES; i++) {
        const struct story_volume *v = &st->volumes[i];
        bool room = false;
        for (size_t k = 0; k < STORY_PASTS; k++)
            room |= !v->pasts[k].used;
        if (v->used && room && (many ? rnd_chance(&s->rnd, 60) : i == op->volume))
            op->members |= 1u << i;
    }
    IGNORE(str_format(op->name, sizeof op->name, "s%u", s->names++));
    return op->members;
}

static bool choose_clone(struct story *s, struct story_state *st, struct story_op *op)
{
    struct story_volume *v = &st->volumes[op->volume];
    for (op->clone = STORY_LANDINGS; op->clone < STORY_VOLUMES; op->clone++)
        if (!st->volumes[op->clone].used)
            break;
    if (op->clone == STORY_VOLUMES)
        return false;
    IGNORE(str_format(op->name, sizeof op->name, "c%u", s->names++));
    if (op->kind == STORY_CLONE)
        return any_past(s, v, &op->past);
    for (size_t i = 0; i < 4; i++) {
        struct story_part *part = &op->parts[op->part_count];
        part->live = rnd_chance(&s->rnd, 30) || !any_past(s, v, &part->past);
        if (!any_entry(s, part->live ? v->entries : v->pasts[part->past].entries, true,
                       &part->entry))
            continue;
        IGNORE(str_format(part->to, sizeof part->to, "%sg%zu", i % 2 ? "d0/" : "", i));
        op->part_count++;
    }
    return op->part_count;
}

static bool may_go(const struct story_state *st, size_t volume)
{
    const struct story_volume *v = &st->volumes[volume];
    for (size_t i = 0; i < STORY_PASTS; i++)
        if (v->pasts[i].used)
            return false;
    for (size_t i = 0; i < STORY_VOLUMES; i++)
        if (i != volume && st->volumes[i].used &&
            (st->volumes[i].parent == volume || st->volumes[i].landing == volume))
            return false;
    return true;
}

static bool choose_past(struct story *s, struct story_volume *v, struct story_op *op)
{
    if (!any_past(s, v, &op->past))
        return false;
    op->number = op->kind == STORY_NOTE ? 1 + s->names++ : 0;
    return op->kind != STORY_DROP || !v->pasts[op->past].locked;
}

/* False: not now. */
static bool choose(struct story *s, struct story_state *st, struct story_op *op)
{
    struct story_volume *v = any_volume(s, st, &op->volume);
    if (op->kind == STORY_VOLUME) {
        for (op->volume = 0; op->volume < STORY_LANDINGS; op->volume++)
            if (!st->volumes[op->volume].used)
                break;
        IGNORE(str_format(op->name, sizeof op->name, "v%u", s->names++));
        return op->volume < STORY_LANDINGS;
    }
    if (!v)
        return false;
    switch (op->kind) {
    case STORY_CREATE:
    case STORY_MKDIR:
        return choose_create(s, v, op);
    case STORY_RENAME:
        return choose_rename(s, v, op);
    case STORY_LINK:
        return choose_link(s, v, op);
    case STORY_REMOVE:
        return any_entry(s, v->entries, false, &op->entry) &&
               is_empty_folder(v, &v->entries[op->entry]);
    case STORY_WRITE:
    case STORY_RESIZE:
    case STORY_COMMIT:
        return choose_write(s, v, op);
    case STORY_SNAPSHOT:
        return choose_snapshot(s, st, op);
    case STORY_CLONE:
    case STORY_COMPOSE:
        return choose_clone(s, st, op);
    case STORY_DROP:
    case STORY_NOTE:
    case STORY_LOCK:
        return choose_past(s, v, op);
    case STORY_CLONE_DROP:
    case STORY_VOLUME_DROP:
        return v->clone == (op->kind == STORY_CLONE_DROP) && may_go(st, op->volume);
    default:
        return true;
    }
}

static enum story_kind some_kind(struct story *s)
{
    static const unsigned weights[STORY_KINDS] = {
        [STORY_VOLUME] = 2,     [STORY_CREATE] = 10,     [STORY_MKDIR] = 3,  [STORY_WRITE] = 30,
        [STORY_COMMIT] = 5,     [STORY_RESIZE] = 5,      [STORY_REMOVE] = 3, [STORY_RENAME] = 5,
        [STORY_SNAPSHOT] = 9,   [STORY_DROP] = 6,        [STORY_CLONE] = 5,  [STORY_COMPOSE] = 4,
        [STORY_CLONE_DROP] = 4, [STORY_VOLUME_DROP] = 2, [STORY_NOTE] = 2,   [STORY_LOCK] = 1,
        [STORY_LINK] = 4,       [STORY_SWAP] = 4,        [STORY_SEAL] = 9,   [STORY_THIN] = 3,
        [STORY_REOPEN] = 2,
    };
    unsigned total = 0;
    for (size_t i = 0; i < STORY_KINDS; i++)
        total += weights[i];
    size_t at = below(s, total);
    enum story_kind kind = 0;
    while (at >= weights[kind])
        at -= weights[kind++];
    return kind;
}

static bool make_op(struct story *s, size_t n, struct err *err)
{
    static const enum story_kind first[] = {STORY_VOLUME, STORY_VOLUME, STORY_CREATE,
                                            STORY_WRITE,  STORY_CREATE, STORY_WRITE};
    struct story_op *op = &s->ops[n];
    do {
        bool given = n < sizeof first / sizeof first[0];
        *op = (struct story_op){.kind = given ? first[n] : some_kind(s)};
    } while (!choose(s, &s->states[n], op));
    s->states[n + 1] = s->states[n];
    return apply(s, &s->states[n + 1], op, err);
}

struct story *story_new(struct rnd rnd, size_t op_count, struct err *err)
{
    AUTO(story) struct story *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    s->rnd = rnd;
    s->ops = own_alloc((op_count + 1) * sizeof *s->ops, err);
    s->states = own_alloc((op_count + 1) * sizeof *s->states, err);
    for (size_t n = 0; s->ops && s->states && n < op_count; n++, s->op_count++)
        if (!make_op(s, n, err))
            return NULL;
    return s->op_count == op_count ? TAKE(s) : NULL;
}

void story_free(struct story *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->life_count; i++) {
        for (size_t k = 0; k < s->lives[i].count; k++)
            own_free(s->lives[i].images[k].bytes);
        own_free(s->lives[i].images);
    }
    own_free(s->lives);
    own_free(s->ops);
    own_free(s->states);
    own_free(s->seen);
    own_free(s);
}

/* ---- doing ---- */

/* The folder a path lies in, and its last part. */
static bool folder_of(struct view *view, const char *path, uint64_t *ret_folder,
                      const char **ret_name, struct err *err)
{
    const char *slash = strchr(path, '/');
    char folder[24];
    struct view_file file = {.file = VIEW_ROOT};
    *ret_name = slash ? slash + 1 : path;
    if (slash && (!str_format(folder, sizeof folder, "%.*s", (int)(slash - path), path) ||
                  !view_find(view, folder, &file, err)))
        return false;
    *ret_folder = file.file;
    return true;
}

static bool do_names(const struct story *s, struct view *view, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_entry *e = &s->states[n].volumes[op->volume].entries[op->entry];
    uint64_t folder, to;
    const char *name, *to_name;
    struct view_file file;
    if (op->kind == STORY_CREATE || op->kind == STORY_MKDIR)
        return folder_of(view, op->path, &folder, &name, err) &&
               view_create(view, NULL, folder, name,
                           op->kind == STORY_MKDIR ? INODE_DIRECTORY : INODE_FILE, NULL, NULL,
                           &file, NULL, err);
    if (!folder_of(view, e->path, &folder, &name, err))
        return false;
    if (op->kind == STORY_REMOVE)
        return view_remove(view, NULL, folder, name, e->folder, NULL, err);
    if (!folder_of(view, op->path, &to, &to_name, err))
        return false;
    if (op->kind == STORY_LINK)
        return view_find(view, e->path, &file, err) &&
               view_link(view, NULL, file.file, to, to_name, &file, NULL, err);
    return view_rename(view, NULL, folder, name, to, to_name, NULL, NULL, err);
}

static bool do_file(const struct story *s, struct vault *vault, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_entry *e = &s->states[n + 1].volumes[op->volume].entries[op->entry];
    AUTO(view)
    struct view *view = view_open(vault, s->states[n].volumes[op->volume].name, NULL, NULL, err);
    struct view_attributes size = {.set_size = true, .size = op->size};
    struct view_file file;
    if (!view)
        return false;
    if (op->kind != STORY_WRITE && op->kind != STORY_COMMIT && op->kind != STORY_RESIZE)
        return do_names(s, view, n, err);
    if (!view_find(view, e->path, &file, err))
        return false;
    if (op->kind == STORY_COMMIT)
        return view_commit(view, file.file, NULL, err);
    if (op->kind == STORY_RESIZE)
        return view_set(view, NULL, file.file, &size, &file, NULL, err);
    return view_write(view, file.file, image_of(s, e)->bytes + op->offset, op->size, op->offset,
                      op->stable, NULL, err);
}

static bool do_snapshot(const struct story *s, struct vault *vault, size_t n, struct err *err)
{
    const char *names[STORY_VOLUMES];
    size_t count = 0;
    for (size_t i = 0; i < STORY_VOLUMES; i++)
        if (s->ops[n].members & 1u << i)
            names[count++] = s->states[n].volumes[i].name;
    return vault_snapshot_create(vault, names, count, s->ops[n].name, err);
}

static bool do_compose(const struct story *s, struct vault *vault, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_volume *v = &s->states[n].volumes[op->volume];
    struct vault_part parts[4];
    for (size_t i = 0; i < op->part_count; i++) {
        const struct story_part *part = &op->parts[i];
        const struct story_past *past = part->live ? NULL : &v->pasts[part->past];
        parts[i] = (struct vault_part){.snapshot = past ? past->name : NULL,
                                       .path = past ? past->entries[part->entry].path
                                                    : v->entries[part->entry].path,
                                       .to = part->to};
    }
    return vault_clone_create(vault, v->name, op->name, NULL, parts, op->part_count, err);
}

bool story_do(struct story *s, struct vault *vault, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_volume *v = &s->states[n].volumes[op->volume];
    const char *past = v->pasts[op->past].name;
    char note[16];
    uint64_t freed;
    switch (op->kind) {
    case STORY_VOLUME:
        return vault_volume_create(vault, op->name, err);
    case STORY_SNAPSHOT:
        return do_snapshot(s, vault, n, err);
    case STORY_DROP:
        return vault_snapshot_drop(vault, v->name, past, err);
    case STORY_CLONE:
        return vault_clone_create(vault, v->name, op->name, past, NULL, 0, err);
    case STORY_COMPOSE:
        return do_compose(s, vault, n, err);
    case STORY_CLONE_DROP:
        return vault_clone_drop(vault, s->states[n].volumes[v->landing].name, v->last, err);
    case STORY_VOLUME_DROP:
        return vault_volume_drop(vault, v->name, err);
    case STORY_NOTE:
        IGNORE(str_format(note, sizeof note, "%u", op->number));
        return vault_note_put(vault, v->name, past, NULL, note, err);
    case STORY_LOCK:
        return vault_snapshot_lock(vault, v->name, past, clock_boot_ms() + 3600000, err);
    case STORY_SWAP:
        return vault_swap(vault, v->name, NULL, err);
    case STORY_SEAL:
        return vault_seal(vault, v->name, err);
    case STORY_THIN:
        return vault_thin(vault, v->name, &freed, err);
    case STORY_REOPEN:
        return true;
    default:
        return do_file(s, vault, n, err);
    }
}

static bool send_again(const struct story *s, struct view *view, const struct story_entry *e,
                       struct err *err)
{
    const struct story_image *image = image_of(s, e);
    struct view_attributes size = {.set_size = true, .size = image->size};
    struct view_file file;
    return view_find(view, e->path, &file, err) &&
           view_set(view, NULL, file.file, &size, &file, NULL, err) &&
           (image->size == 0 ||
            view_write(view, file.file, image->bytes, image->size, 0, true, NULL, err));
}

bool story_send_again(struct story *s, struct vault *vault, size_t n, struct err *err)
{
    for (size_t i = 0; i < STORY_VOLUMES; i++) {
        const struct story_volume *v = &s->states[n].volumes[i];
        if (!v->used)
            continue;
        AUTO(view) struct view *view = view_open(vault, v->name, NULL, NULL, err);
        if (!view)
            return false;
        for (size_t k = 0; k < STORY_ENTRIES; k++)
            if (v->entries[k].used && !v->entries[k].folder &&
                !send_again(s, view, &v->entries[k], err))
                return err_wrap(err, "sending '%s' again", v->entries[k].path);
    }
    return true;
}

bool story_was_done(const struct story *s, size_t n, const struct err *err)
{
    switch (s->ops[n].kind) {
    case STORY_VOLUME:
    case STORY_CREATE:
    case STORY_MKDIR:
    case STORY_LINK:
    case STORY_SNAPSHOT:
    case STORY_CLONE:
    case STORY_COMPOSE:
        return err->code == ERR_EXISTS;
    case STORY_REMOVE:
    case STORY_RENAME:
    case STORY_DROP:
    case STORY_CLONE_DROP:
    case STORY_VOLUME_DROP:
        return err->code == ERR_NOT_FOUND;
    default:
        return false;
    }
}
