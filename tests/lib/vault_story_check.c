/* Whether a vault is what a story allows at a moment: names of one of two states, each page one
 * that the file had since it was last acknowledged, snapshots byte for byte. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "tests/lib/vault_story.h"
#include <string.h>

struct checking {
    struct story *story;
    struct vault *vault;
    const struct story_state *before, *after; /* after: the same, when nothing is under way */
    const struct story_state *is;             /* the one whose names are there */
    uint64_t sum;
    uint8_t bytes[STORY_BYTES + 1];
};

static void sum_add(struct checking *c, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        c->sum = (c->sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        c->sum ^= c->sum >> 29;
    }
    for (size_t i = len & ~(size_t)7; i < len; i++)
        c->sum = (c->sum ^ at[i]) * UINT64_C(0x100000001b3);
}

/* ---- names ---- */

struct finding {
    const struct story_entry *entries;
    const char *folder; /* "" the root */
    size_t found;
    char strange[300];
};

static const struct story_entry *entry_named(const struct story_entry *entries, const char *path)
{
    for (size_t i = 0; i < STORY_ENTRIES; i++)
        if (entries[i].used && str_equal(entries[i].path, path))
            return &entries[i];
    return NULL;
}

static bool find_entry(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    struct finding *f = arg;
    char path[300];
    (void)cookie;
    IGNORE(str_format(path, sizeof path, "%s%s%s", f->folder, f->folder[0] ? "/" : "", name));
    const struct story_entry *e = entry_named(f->entries, path);
    if (e && e->folder == (file->kind == INODE_DIRECTORY))
        f->found++;
    else
        memcpy(f->strange, path, sizeof path);
    return true;
}

/* Names of one life are one file, and it knows how many they are. */
static bool links_are(struct view *view, const struct story_entry *entries, struct err *err)
{
    for (size_t i = 0; i < STORY_ENTRIES; i++) {
        struct view_file file, other;
        uint32_t names = 0;
        if (!entries[i].used || entries[i].folder)
            continue;
        if (!view_find(view, entries[i].path, &file, err))
            return false;
        for (size_t k = 0; k < STORY_ENTRIES; k++) {
            if (!entries[k].used || entries[k].folder)
                continue;
            bool same = entries[k].life == entries[i].life;
            names += same;
            if (!view_find(view, entries[k].path, &other, err))
                return false;
            if (same != (other.file == file.file))
                return err_set(err, ERR_CORRUPT, "'%s' and '%s' are %s", entries[i].path,
                               entries[k].path, same ? "two files" : "one file");
        }
        if (names != file.links)
            return err_set(err, ERR_CORRUPT, "'%s' has %u names, not %u", entries[i].path,
                           file.links, names);
    }
    return true;
}

/* Exactly these files and folders. */
static bool names_are(struct view *view, const struct story_entry *entries, struct err *err)
{
    struct finding f = {.entries = entries, .folder = ""};
    bool end;
    size_t count = 0;
    if (!view_list(view, VIEW_ROOT, 0, find_entry, &f, &end, err))
        return false;
    for (size_t i = 0; i < STORY_ENTRIES; i++) {
        struct view_file file;
        count += entries[i].used;
        if (!entries[i].used || !entries[i].folder)
            continue;
        f.folder = entries[i].path;
        if (!view_find(view, f.folder, &file, err) ||
            !view_list(view, file.file, 0, find_entry, &f, &end, err))
            return false;
    }
    if (f.strange[0])
        return err_set(err, ERR_CORRUPT, "'%s' is there", f.strange);
    if (f.found != count)
        return err_set(err, ERR_CORRUPT, "%zu of %zu names are there", f.found, count);
    return links_are(view, entries, err);
}

static bool note_is(struct vault *vault, const struct story_volume *v,
                    const struct story_past *past, struct err *err)
{
    struct err none = {0};
    char wanted[16] = "";
    AUTO(mem) char *note = vault_note_get(vault, v->name, past->name, NULL, &none);
    if (past->note)
        IGNORE(str_format(wanted, sizeof wanted, "%u", past->note));
    if (!note && none.code != ERR_NOT_FOUND)
        return err_set(err, none.code, "%s", none.text);
    return str_equal(note ? note : "", wanted) ||
           err_set(err, ERR_CORRUPT, "'%s' is the note of '%s', not '%s'", note ? note : "",
                   past->name, wanted);
}

static bool pasts_are(struct vault *vault, const struct story_volume *v, struct err *err)
{
    size_t count = 0, wanted = 0;
    AUTO(mem)
    struct vault_snapshot_info *list = vault_snapshot_list(vault, v->name, &count, err);
    if (!list)
        return false;
    for (size_t i = 0; i < STORY_PASTS; i++) {
        const struct story_past *past = &v->pasts[i];
        size_t at = 0;
        if (!past->used)
            continue;
        wanted++;
        while (at < count && !str_equal(list[at].name, past->name))
            at++;
        if (at == count)
            return err_set(err, ERR_CORRUPT, "snapshot '%s' is not there", past->name);
        if (past->locked != (list[at].locked_until_boot_ms > 0))
            return err_set(err, ERR_CORRUPT, "snapshot '%s' is locked or not", past->name);
        if (!note_is(vault, v, past, err))
            return false;
    }
    return count == wanted || err_set(err, ERR_CORRUPT, "%zu snapshots, not %zu", count, wanted);
}

static bool volume_is(struct vault *vault, const struct story_volume *v, struct err *err)
{
    AUTO(view) struct view *view = view_open(vault, v->name, NULL, NULL, err);
    return (view && names_are(view, v->entries, err) && pasts_are(vault, v, err)) ||
           err_wrap(err, "'%s'", v->name);
}

static bool volumes_are(struct vault *vault, const struct story_state *state, struct err *err)
{
    size_t count = 0, clones = 0, wanted = 0;
    AUTO(mem) struct vault_volume_info *list = vault_volume_list(vault, &count, err);
    for (size_t i = 0; list && i < count; i++) {
        size_t more = 0;
        own_free(vault_clone_list(vault, list[i].name, &more, err));
        clones += more;
    }
    for (size_t i = 0; list && i < STORY_VOLUMES; i++) {
        wanted += state->volumes[i].used;
        if (state->volumes[i].used && !volume_is(vault, &state->volumes[i], err))
            return false;
    }
    if (!list || err->code != ERR_NONE)
        return false;
    return count + clones == wanted ||
           err_set(err, ERR_CORRUPT, "%zu volumes and %zu clones, not %zu", count, clones, wanted);
}

/* ---- bytes ---- */

/* Images first..last of its life; each page, and the size, of one of them. */
static bool content_is(struct checking *c, struct view *view, const struct story_entry *e,
                       size_t first, size_t last, struct err *err)
{
    const struct story_life *life = &c->story->lives[e->life];
    struct view_file file;
    bool sized = false;
    if (!view_find(view, e->path, &file, err))
        return false;
    ssize_t n = view_read(view, file.file, c->bytes, sizeof c->bytes, 0, err);
    if (n < 0)
        return false;
    size_t size = (size_t)n;
    for (size_t i = first; i <= last; i++)
        sized |= life->images[i].size == size;
    if (!sized || file.size != size)
        return err_set(err, ERR_CORRUPT, "'%s' has %zu bytes (%llu), not %zu", e->path, size,
                       (unsigned long long)file.size, life->images[last].size);
    for (size_t at = 0; at < size; at += STORY_PAGE) {
        size_t len = size - at < STORY_PAGE ? size - at : STORY_PAGE;
        bool same = false;
        for (size_t i = first; !same && i <= last; i++)
            same = memcmp(c->bytes + at, life->images[i].bytes + at, len) == 0;
        if (!same)
            return err_set(err, ERR_CORRUPT,
                           "'%s' of %zu bytes, at %zu: none of its last %zu contents", e->path,
                           size, at, last - first + 1);
    }
    sum_add(c, &size, sizeof size);
    sum_add(c, c->bytes, size);
    return true;
}

static const struct story_entry *entry_of_life(const struct story_volume *v, size_t life)
{
    for (size_t i = 0; v->used && i < STORY_ENTRIES; i++)
        if (v->entries[i].used && !v->entries[i].folder && v->entries[i].life == life)
            return &v->entries[i];
    return NULL;
}

static bool live_is(struct checking *c, size_t volume, struct err *err)
{
    const struct story_volume *v = &c->is->volumes[volume];
    AUTO(view) struct view *view = view_open(c->vault, v->name, NULL, NULL, err);
    if (!view)
        return false;
    for (size_t i = 0; i < STORY_ENTRIES; i++) {
        const struct story_entry *e = &v->entries[i];
        if (!e->used || e->folder)
            continue;
        sum_add(c, e->path, sizeof e->path);
        const struct story_entry *before = entry_of_life(&c->before->volumes[volume], e->life);
        const struct story_entry *after = entry_of_life(&c->after->volumes[volume], e->life);
        size_t first = before ? before->stable : e->stable;
        size_t last = after ? after->now : e->now;
        if (!content_is(c, view, e, first, last, err))
            return false;
    }
    return true;
}

static bool past_is(struct checking *c, const struct story_volume *v, const struct story_past *past,
                    struct err *err)
{
    AUTO(view) struct view *view = view_open(c->vault, v->name, past->name, NULL, err);
    if (!view || !names_are(view, past->entries, err))
        return false;
    sum_add(c, past->name, sizeof past->name);
    for (size_t i = 0; i < STORY_ENTRIES; i++) {
        const struct story_entry *e = &past->entries[i];
        if (e->used && !e->folder && !content_is(c, view, e, e->now, e->now, err))
            return false;
    }
    return true;
}

/* What a sealed snapshot's identity is never changes. */
static bool identities_stay(struct checking *c, const struct story_volume *v, struct err *err)
{
    size_t count = 0;
    struct story *s = c->story;
    AUTO(mem)
    struct vault_snapshot_info *list = vault_snapshot_list(c->vault, v->name, &count, err);
    for (size_t i = 0; list && i < count; i++) {
        size_t at = 0;
        if (!list[i].sealed)
            continue;
        while (at < s->seen_count && !(str_equal(s->seen[at].volume, v->name) &&
                                       str_equal(s->seen[at].name, list[i].name)))
            at++;
        if (at == s->seen_count) {
            struct story_seen seen = {.identity = list[i].identity};
            IGNORE(str_copy(seen.volume, sizeof seen.volume, v->name));
            IGNORE(str_copy(seen.name, sizeof seen.name, list[i].name));
            if (!own_grow((void **)&s->seen, &s->seen_capacity, s->seen_count, sizeof *s->seen,
                          err))
                return false;
            s->seen[s->seen_count++] = seen;
        }
        if (!hash_equal(&s->seen[at].identity, &list[i].identity))
            return err_set(err, ERR_CORRUPT, "snapshot '%s' has another identity", list[i].name);
    }
    return list;
}

static bool contents_are(struct checking *c, struct err *err)
{
    for (size_t i = 0; i < STORY_VOLUMES; i++) {
        const struct story_volume *v = &c->is->volumes[i];
        if (!v->used)
            continue;
        if (!live_is(c, i, err) || !identities_stay(c, v, err))
            return err_wrap(err, "live area of '%s'", v->name);
        for (size_t k = 0; k < STORY_PASTS; k++)
            if (v->pasts[k].used && !past_is(c, v, &v->pasts[k], err))
                return err_wrap(err, "snapshot '%s' of '%s'", v->pasts[k].name, v->name);
    }
    return true;
}

bool story_check(struct story *story, struct vault *vault, size_t done, bool under_way,
                 uint64_t *ret_sum, struct err *err)
{
    under_way = under_way && done < story->op_count;
    AUTO(mem) struct checking *c = own_alloc(sizeof *c, err);
    if (!c)
        return false;
    c->story = story;
    c->vault = vault;
    c->is = c->before = &story->states[done];
    c->after = &story->states[done + under_way];
    struct err neither = {0};
    bool ok = volumes_are(vault, c->is, &neither);
    if (!ok && under_way) {
        c->is = c->after;
        ok = volumes_are(vault, c->is, err) || err_wrap(err, "neither (%.200s) nor", neither.text);
    } else if (!ok) {
        *err = neither;
    }
    ok = ok && contents_are(c, err);
    *ret_sum = c->sum;
    story->is = done + (c->is != c->before);
    return ok || err_wrap(err, "after step %zu%s%s", done, under_way ? ", in the midst of " : "",
                          under_way ? story_kind_name(story->ops[done].kind) : "");
}

/* ---- going on ---- */

struct growing {
    struct view *view;
    uint64_t folders[4];
    size_t count;
    struct err *err;
};

/* Behind its end a file is zeros, whatever was there before the crash. */
static bool grow(struct view *view, uint64_t file, struct err *err)
{
    uint8_t bytes[2 * RECORD_BYTES], wanted[64];
    struct view_file now;
    if (!view_stat(view, file, 0, &now, err))
        return false;
    struct view_attributes size = {.set_size = true, .size = now.size + sizeof bytes};
    if (!view_set(view, NULL, file, &size, &now, NULL, err) ||
        view_read(view, file, bytes, sizeof bytes, now.size - sizeof bytes, err) !=
            (ssize_t)sizeof bytes)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        if (bytes[i])
            return err_set(err, ERR_CORRUPT, "byte %zu behind the end of file %llu shows", i,
                           (unsigned long long)file);
    memset(wanted, 'w', sizeof wanted);
    return view_write(view, file, wanted, sizeof wanted, now.size - 100, true, NULL, err) &&
           view_read(view, file, bytes, sizeof wanted, now.size - 100, err) ==
               (ssize_t)sizeof wanted &&
           (memcmp(bytes, wanted, sizeof wanted) == 0 ||
            err_set(err, ERR_CORRUPT, "what is written is not what is read"));
}

static bool grow_entry(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    struct growing *g = arg;
    (void)cookie;
    (void)name;
    if (file->kind == INODE_DIRECTORY && g->count < 4)
        g->folders[g->count++] = file->file;
    return file->kind == INODE_DIRECTORY || grow(g->view, file->file, g->err);
}

static bool grow_all(struct vault *vault, const char *name, struct err *err)
{
    AUTO(view) struct view *view = view_open(vault, name, NULL, NULL, err);
    struct growing g = {.view = view, .folders = {VIEW_ROOT}, .count = 1, .err = err};
    bool end;
    for (size_t i = 0; view && err->code == ERR_NONE && i < g.count; i++)
        IGNORE(view_list(view, g.folders[i], 0, grow_entry, &g, &end, err));
    return view && err->code == ERR_NONE;
}

static bool drop_snapshots(struct vault *vault, const char *name, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_snapshot_info *list = vault_snapshot_list(vault, name, &count, err);
    for (size_t i = 0; list && i < count; i++)
        if (!vault_snapshot_drop(vault, name, list[i].name, err))
            return false;
    return list;
}

static bool use(struct vault *vault, const char *name, struct err *err)
{
    return grow_all(vault, name, err) && vault_snapshot_create(vault, &name, 1, "on", err) &&
           vault_seal(vault, name, err);
}

/* Clones of clones go before what they stand on: as long as one more goes, once more. */
static bool drop_clones(struct vault *vault, const char *landing, struct err *err)
{
    for (bool more = true; more;) {
        size_t count = 0;
        AUTO(mem) struct vault_volume_info *list = vault_clone_list(vault, landing, &count, err);
        if (!list || count == 0)
            return list;
        more = false;
        for (size_t i = count; i-- > 0;) {
            char name[300];
            struct err why = {0};
            IGNORE(str_format(name, sizeof name, "%s/%s", landing, list[i].name));
            if (!drop_snapshots(vault, name, err))
                return false;
            if (vault_clone_drop(vault, landing, list[i].name, &why))
                more = true;
            else if (why.code != ERR_PRECONDITION)
                return err_set(err, why.code, "%s", why.text);
        }
    }
    return err_set(err, ERR_CORRUPT, "clones of '%s' stay", landing);
}

static bool use_all(struct vault *vault, const char *landing, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *list = vault_clone_list(vault, landing, &count, err);
    for (size_t i = 0; list && i < count; i++) {
        char name[300];
        IGNORE(str_format(name, sizeof name, "%s/%s", landing, list[i].name));
        if (!use(vault, name, err))
            return err_wrap(err, "'%s'", name);
    }
    return list && use(vault, landing, err);
}

bool story_goes_on(struct vault *vault, struct err *err)
{
    size_t count = 0, left = 0;
    AUTO(mem) struct vault_volume_info *list = vault_volume_list(vault, &count, err);
    clock_test_shift(2 * 3600000); /* locks are over */
    bool ok = list;
    for (size_t i = 0; ok && i < count; i++) {
        uint64_t freed;
        ok = use_all(vault, list[i].name, err) && vault_thin(vault, list[i].name, &freed, err) &&
             drop_clones(vault, list[i].name, err) && drop_snapshots(vault, list[i].name, err) &&
             vault_volume_drop(vault, list[i].name, err);
        ok = ok || err_wrap(err, "going on, '%s'", list[i].name);
    }
    clock_test_shift(0);
    own_free(ok ? vault_volume_list(vault, &left, err) : NULL);
    return ok && (left == 0 || err_set(err, ERR_CORRUPT, "%zu volumes stay", left));
}
