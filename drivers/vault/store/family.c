/* A family: opened and recovered, changed commit by commit, its notes and figures. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include <inttypes.h>
#include <string.h>

enum { OPEN_TRIES = 16, NOTE_SUM = 8, HEX_COMMIT = 16, HEX_PACK = 8, HEX_GENERATION = 4 };

/* ---- names ---- */

bool family_hex(const char *text, size_t digits, uint64_t *ret)
{
    uint64_t n = 0;
    if (strlen(text) != digits || digits > 16)
        return false;
    for (; *text; text++) {
        char c = *text;
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return false;
        n = n << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = n;
    return true;
}

void family_folder(uint64_t family, const char *kind, char ret[IO_NAME_MAX])
{
    IGNORE(
        str_format(ret, IO_NAME_MAX, kind ? "f/%016" PRIx64 "/%s" : "f/%016" PRIx64, family, kind));
}

void family_object(uint64_t family, const char *kind, uint64_t number, char ret[IO_NAME_MAX])
{
    IGNORE(str_format(ret, IO_NAME_MAX, "f/%016" PRIx64 "/%s/%016" PRIx64, family, kind, number));
}

struct pack_key family_pack_key(const struct family *family, uint32_t pack, uint16_t generation)
{
    return (struct pack_key){family->id, family->store->seed, pack, generation};
}

/* ---- rows ---- */

struct table *family_table(struct family *family)
{
    pthread_mutex_lock(&family->look);
    struct table *table = table_ref(family->table);
    pthread_mutex_unlock(&family->look);
    return table;
}

/* Takes the rows over. */
static void set_table(struct family *family, struct table *table)
{
    for (size_t i = 0; i < table->pack_count; i++)
        store_reserve_note_pack(family->store, table->packs[i].bytes);
    pthread_mutex_lock(&family->look);
    struct table *before = family->table;
    family->table = table;
    if (table->next_pack > family->next_pack)
        family->next_pack = table->next_pack;
    pthread_mutex_unlock(&family->look);
    table_unref(before);
}

void family_count_bytes(struct family *family, int64_t change)
{
    pthread_mutex_lock(&family->look);
    family->object_bytes += (uint64_t)change;
    pthread_mutex_unlock(&family->look);
}

/* ---- what no row names any more ---- */

static void doom(struct family *family, const struct doomed *doomed)
{
    struct err err = {0};
    if (own_grow((void **)&family->doomed, &family->doomed_capacity, family->doomed_count,
                 sizeof *family->doomed, &err)) /* else swept at the next opening */
        family->doomed[family->doomed_count++] = *doomed;
}

void family_doom(struct family *family, const char *name, uint64_t bytes, uint64_t not_before_us)
{
    struct doomed doomed = {.bytes = bytes, .not_before_us = not_before_us};
    IGNORE(str_copy(doomed.name, sizeof doomed.name, name));
    doom(family, &doomed);
}

void family_doom_unheard(struct family *family, const struct pack_key *key)
{
    struct doomed doomed = {.unheard = true};
    pack_name(key, doomed.name);
    doom(family, &doomed);
}

bool family_is_doomed(const struct family *family, const char *name)
{
    for (size_t i = 0; i < family->doomed_count; i++)
        if (str_equal(family->doomed[i].name, name))
            return true;
    return false;
}

static bool is_gone(struct io *io, const char *name)
{
    struct err missing = {0};
    uint64_t bytes;
    return !io_size(io, name, &bytes, &missing) && missing.code == ERR_NOT_FOUND;
}

/* What is not there is forgotten, what is seen is deleted as others are. */
static void look_for_unheard(struct family *family)
{
    size_t kept = 0;
    for (size_t i = 0; i < family->doomed_count; i++) {
        struct doomed doomed = family->doomed[i];
        struct err missing = {0};
        uint64_t bytes;
        bool there = doomed.unheard && io_size(family->store->io, doomed.name, &bytes, &missing);
        if (doomed.unheard && !there && missing.code == ERR_NOT_FOUND)
            continue;
        doomed.unheard = doomed.unheard && !there;
        family->doomed[kept++] = doomed;
    }
    family->doomed_count = kept;
}

/* A delete that failed may have been done all the same. */
static bool delete_object(struct io *io, const char *name)
{
    struct err err = {0};
    return io_delete(io, name, &err) || err.code == ERR_NOT_FOUND || is_gone(io, name);
}

/* A later owner claims the store before it writes, so what is there while the claim is ours is no
 * pack of its. */
void family_delete_doomed(struct family *family)
{
    size_t kept = 0;
    uint64_t now_us = clock_wall_us();
    struct io *io = family->store->io;
    if (family->doomed_count == 0 || family->fenced)
        return;
    look_for_unheard(family);
    if (!store_is_owner(family->store))
        return;
    for (size_t i = 0; i < family->doomed_count; i++) {
        struct doomed doomed = family->doomed[i];
        if (!doomed.unheard && doomed.not_before_us <= now_us && delete_object(io, doomed.name))
            family_count_bytes(family, -(int64_t)doomed.bytes);
        else
            family->doomed[kept++] = doomed;
    }
    family->doomed_count = kept;
}

static void doom_pack(struct family *family, const struct table_pack *pack)
{
    struct pack_key key = family_pack_key(family, pack->number, pack->generation);
    char name[IO_NAME_MAX];
    pack_name(&key, name);
    family_doom(family, name, pack->bytes, pack->locked_until_us);
    cache_forget(family->store->cache, family->id, pack->number);
}

/* Packs of the rows before that are not in the present ones, or in another generation. */
static void doom_replaced(struct family *family, const struct table *before)
{
    const struct table *now = family->table;
    for (size_t i = 0, k = 0; i < before->pack_count; i++) {
        const struct table_pack *old = &before->packs[i];
        while (k < now->pack_count && now->packs[k].number < old->number)
            k++;
        if (k == now->pack_count || now->packs[k].number != old->number ||
            now->packs[k].generation != old->generation)
            doom_pack(family, old);
    }
}

/* ---- tables: everything up to a commit in one object ---- */

/* What the table before the newest one makes needless goes; two are kept, so that damage to one
 * costs nothing. */
static void forget_commits(struct family *family, uint64_t last)
{
    for (; family->first_commit <= last; family->first_commit++) {
        struct err err = {0};
        char name[IO_NAME_MAX];
        uint64_t bytes = 0;
        family_object(family->id, "commit", family->first_commit, name);
        if (io_size(family->store->io, name, &bytes, &err))
            family_doom(family, name, bytes, 0);
        else if (err.code != ERR_NOT_FOUND)
            return; /* tried again with the next table */
    }
}

static bool write_table(struct family *family, struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    struct err failed = {0};
    char name[IO_NAME_MAX];
    uint64_t number = family->table->number, there = 0;
    family_object(family->id, "table", number, name);
    if (!table_encode(family->table, family->store->seed, &bytes, err))
        return false;
    if (!io_put(family->store->io, name, bytes.data, bytes.len, IO_NEW, &failed) &&
        (!io_size(family->store->io, name, &there, err) || there != bytes.len)) {
        *err = failed;
        return false;
    }
    family_count_bytes(family, (int64_t)bytes.len);
    if (family->tables[1] > 0) {
        uint64_t old_bytes = 0;
        char old[IO_NAME_MAX];
        struct err ignored = {0};
        family_object(family->id, "table", family->tables[1], old);
        if (io_size(family->store->io, old, &old_bytes, &ignored))
            family_doom(family, old, old_bytes, 0);
    }
    family->tables[1] = family->tables[0];
    family->tables[0] = number;
    forget_commits(family, family->tables[1]);
    return true;
}

static void write_table_when_due(struct family *family)
{
    struct err err = {0};
    if (family->table->number >= family->tables[0] + COMMITS_A_TABLE)
        IGNORE(write_table(family, &err)); /* the commits are there: it is due again next time */
}

/* ---- changes ---- */

static bool fence(struct family *family, const struct bytes *theirs, struct err *err)
{
    AUTO(commit) struct commit commit = {0};
    struct err ignored = {0};
    family->fenced = true;
    if (commit_decode(theirs->data, theirs->len, family->store->seed, &commit, &ignored))
        return err_set(err, ERR_FENCED, "the store has another owner (epoch %u; this is %u)",
                       commit.epoch, family->store->epoch);
    return err_set(err, ERR_FENCED, "the store has another owner");
}

/* Commit `number` as it is there. */
static bool read_commit_bytes(struct family *family, uint64_t number, struct bytes *ret,
                              struct err *err)
{
    char name[IO_NAME_MAX];
    family_object(family->id, "commit", number, name);
    ret->data = (uint8_t *)io_get(family->store->io, name, IO_PUT_MAX, &ret->len, err);
    ret->capacity = ret->len;
    return ret->data != NULL;
}

static bool same_bytes(const struct bytes *a, const struct bytes *b)
{
    return a->data && b->data && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

enum outcome { IS_THERE, IS_NOT, IS_OTHERS, IS_UNKNOWN };

/* What became of a put that failed with `failed`. One whose outcome is not known is put once more:
 * that a store shows an object is no promise yet that it keeps it, EXISTS is. */
static enum outcome find_out(struct family *family, uint64_t number, const struct bytes *ours,
                             const struct err *failed, struct bytes *ret_theirs)
{
    struct err err = {0}, again = {0};
    char name[IO_NAME_MAX];
    bool late = failed->code == ERR_UNAVAILABLE || failed->code == ERR_TIMEOUT;
    family_object(family->id, "commit", number, name);
    if (late && !io_put(family->store->io, name, ours->data, ours->len, IO_NEW, &again) &&
        again.code != ERR_EXISTS)
        return IS_UNKNOWN;
    if (read_commit_bytes(family, number, ret_theirs, &err))
        return same_bytes(ret_theirs, ours) ? IS_THERE : IS_OTHERS;
    return err.code == ERR_NOT_FOUND && !late ? IS_NOT : IS_UNKNOWN;
}

static void accept(struct family *family, struct edit *edit, size_t bytes)
{
    AUTO(table) struct table *before = family_table(family);
    family_count_bytes(family, (int64_t)bytes);
    set_table(family, TAKE(edit->next));
    doom_replaced(family, before);
    edit_done(edit);
}

/* Packs that the edit's seal or thinning wrote and that no commit names now. */
static void doom_packs_of(struct family *family, const struct edit *edit)
{
    for (size_t i = 0; i < edit->commit.count; i++)
        for (size_t k = 0; k < edit->commit.changes[i].pack_count; k++)
            doom_pack(family, &edit->commit.changes[i].packs[k]);
}

static bool owner_edit(struct family *family, const struct table *table, struct edit *ret,
                       struct err *err)
{
    struct change change = {.kind = CHANGE_OWNER, .epoch = family->store->epoch};
    memcpy(change.box_id, family->store->box_id, sizeof change.box_id);
    if (!edit_begin(table, ret, err) || !edit_change(ret, &change, err))
        return false;
    ret->commit.epoch = family->store->epoch;
    return true;
}

/* Puts another commit where the unknown one may be: one of the two is there afterwards, for good.
 */
static bool settle(struct family *family, bool *ret_pending_won, struct err *err)
{
    AUTO(edit) struct edit edit = {0};
    AUTO(bytes) struct bytes bytes = {0}, theirs = {0};
    struct err failed = {0};
    char name[IO_NAME_MAX];
    if (!family->pending.next)
        return true;
    uint64_t number = family->pending.next->number;
    family_object(family->id, "commit", number, name);
    if (!owner_edit(family, family->table, &edit, err) ||
        !commit_encode(&edit.commit, family->store->seed, &bytes, err))
        return false;
    if (!store_reserve_put(family->store, name, bytes.data, bytes.len, &failed) &&
        (failed.code != ERR_EXISTS || !read_commit_bytes(family, number, &theirs, err))) {
        *err = failed;
        return err_wrap(err, "what became of commit %" PRIu64 " is not known yet", number);
    }
    struct bytes *ours = &family->pending_bytes;
    if (same_bytes(&theirs, ours)) {
        accept(family, &family->pending, ours->len);
        *ret_pending_won = true;
    } else if (!theirs.data || same_bytes(&theirs, &bytes)) {
        doom_packs_of(family, &family->pending);
        edit_done(&family->pending);
        accept(family, &edit, bytes.len);
    } else {
        edit_done(&family->pending);
        return fence(family, &theirs, err);
    }
    bytes_done(ours);
    family_delete_doomed(family);
    return true;
}

bool family_change_begin(struct family *family, struct err *err)
{
    if (family->store->read_only)
        return err_set(err, ERR_DENIED, "the store is open for reading only");
    pthread_mutex_lock(&family->change);
    bool won = false;
    bool good = family->fenced ? err_set(err, ERR_FENCED, "the store has another owner")
                               : settle(family, &won, err);
    if (!good)
        pthread_mutex_unlock(&family->change);
    return good;
}

void family_change_end(struct family *family) { pthread_mutex_unlock(&family->change); }

/* What drops or thins brings more room than it takes, and an owner comes before both. */
static bool frees(const struct commit *commit)
{
    bool some = false;
    for (size_t i = 0; i < commit->count; i++) {
        uint8_t kind = commit->changes[i].kind;
        some = some || kind == CHANGE_VOLUME_DROPPED || kind == CHANGE_SNAPSHOT_DROPPED ||
               kind == CHANGE_HIDDEN || kind == CHANGE_THINNED || kind == CHANGE_OWNER;
    }
    return some;
}

static bool put_commit(struct family *family, const struct commit *commit, const char *name,
                       const struct bytes *bytes, struct err *err)
{
    struct store *store = family->store;
    return frees(commit) ? store_reserve_put(store, name, bytes->data, bytes->len, err)
                         : io_put(store->io, name, bytes->data, bytes->len, IO_NEW, err);
}

bool family_commit(struct family *family, struct edit *edit, bool *ret_taken, struct err *err)
{
    AUTO(edit) struct edit owned = *edit;
    AUTO(bytes) struct bytes bytes = {0}, theirs = {0};
    struct err failed = {0};
    char name[IO_NAME_MAX];
    *edit = (struct edit){0};
    *ret_taken = false;
    owned.commit.epoch = family->store->epoch;
    if (!edit_end(&owned, err) || !commit_encode(&owned.commit, family->store->seed, &bytes, err))
        return false;
    uint64_t number = owned.next->number;
    family_object(family->id, "commit", number, name);
    enum outcome outcome = IS_THERE;
    if (!put_commit(family, &owned.commit, name, &bytes, &failed))
        outcome = find_out(family, number, &bytes, &failed, &theirs);
    if (outcome == IS_OTHERS)
        return fence(family, &theirs, err);
    if (outcome == IS_NOT) {
        *err = failed;
        return false;
    }
    if (outcome == IS_UNKNOWN) {
        family->pending = owned;
        owned = (struct edit){0};
        family->pending_bytes = bytes;
        bytes = (struct bytes){0};
        struct err unsettled = {0};
        bool won = false;
        IGNORE(settle(family, &won, &unsettled)); /* else the next change finds out */
        *ret_taken = true;
        if (!won)
            *err = family->fenced ? unsettled : failed;
        return won;
    }
    accept(family, &owned, bytes.len);
    write_table_when_due(family);
    family_delete_doomed(family);
    return true;
}

/* ---- opening ---- */

struct found {
    uint64_t tables[2];   /* the newest first */
    uint64_t first, last; /* commits; 0: none */
};

static bool look_around(struct family *family, struct found *ret, struct err *err)
{
    AUTO(io_list) struct io_list tables = {0}, commits = {0};
    char folder[IO_NAME_MAX];
    struct found found = {0};
    uint64_t number;
    family_folder(family->id, "table", folder);
    if (!io_list(family->store->io, folder, &tables, err))
        return false;
    family_folder(family->id, "commit", folder);
    if (!io_list(family->store->io, folder, &commits, err))
        return false;
    for (size_t i = 0; i < tables.count; i++)
        if (family_hex(tables.entries[i].name, HEX_COMMIT, &number)) {
            found.tables[1] = found.tables[0];
            found.tables[0] = number;
        }
    for (size_t i = 0; i < commits.count; i++)
        if (family_hex(commits.entries[i].name, HEX_COMMIT, &number)) {
            found.first = found.first ? found.first : number;
            found.last = number;
        }
    *ret = found;
    return true;
}

/* The newest table that can be read; number 0: none, all commits are read. */
static struct table *read_table(struct family *family, uint64_t number, struct err *err)
{
    if (number == 0)
        return table_new(family->id, err);
    char name[IO_NAME_MAX];
    size_t len = 0;
    family_object(family->id, "table", number, name);
    AUTO(mem) char *data = io_get(family->store->io, name, IO_PUT_MAX, &len, err);
    AUTO(table)
    struct table *table = data ? table_decode(data, len, family->store->seed, err) : NULL;
    if (table && (table->family != family->id || table->number != number)) {
        err_set(err, ERR_CORRUPT, "it is of another family or number");
        return NULL;
    }
    return table ? TAKE(table) : err_null(err, "table '%s'", name);
}

static bool replay_commit(struct family *family, struct table *table, uint64_t number,
                          struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(commit) struct commit commit = {0};
    if (!read_commit_bytes(family, number, &bytes, err) ||
        !commit_decode(bytes.data, bytes.len, family->store->seed, &commit, err))
        return err_wrap(err, "commit %" PRIx64, number);
    if (commit.family != family->id || commit.number != number)
        return err_set(err, ERR_CORRUPT, "commit %" PRIx64 " is of another family or number",
                       number);
    for (size_t i = 0; i < commit.count; i++)
        if (!table_apply(table, &commit.changes[i], NULL, err))
            return err_wrap(err, "commit %" PRIx64, number);
    table->number = number;
    return true;
}

static struct table *replay(struct family *family, const struct found *found, size_t nth,
                            struct err *err)
{
    AUTO(table) struct table *table = read_table(family, found->tables[nth], err);
    if (!table)
        return NULL;
    if (found->last > table->number && found->first > table->number + 1) {
        err_set(err, ERR_CORRUPT, "commit %" PRIx64 " is missing", table->number + 1);
        return NULL;
    }
    while (table->number < found->last)
        if (!replay_commit(family, table, table->number + 1, err))
            return NULL;
    return TAKE(table);
}

/* A family begins with a commit: packs beside none at all have lost their rows, and no sweep may
 * take them for a crash's rest. */
static bool rows_are_lost(struct family *family, const struct found *found, struct err *err)
{
    AUTO(io_list) struct io_list packs = {0};
    char folder[IO_NAME_MAX];
    family_folder(family->id, "pack", folder);
    if (found->tables[0] > 0 || found->last > 0)
        return false;
    if (!io_list(family->store->io, folder, &packs, err))
        return true;
    return packs.count > 0 &&
           !err_set(err, ERR_CORRUPT, "its commits and tables are gone; hint: fsck --repair");
}

/* An owner that was not fenced yet may write a table and remove commits while we read: once more.
 */
static struct table *recover(struct family *family, struct found *ret_found, struct err *err)
{
    struct err failed = {0};
    for (int i = 0; i < OPEN_TRIES; i++) {
        struct found found = {0};
        struct err first = {0}, second = {0};
        if (!look_around(family, &found, err) || rows_are_lost(family, &found, err))
            return NULL;
        struct table *table = replay(family, &found, 0, &first);
        bool damaged = !table && (first.code == ERR_CORRUPT || first.code == ERR_NOT_FOUND);
        if (damaged && found.tables[0] > 0) {
            table = replay(family, &found, 1, &second);
            found.tables[0] = table ? found.tables[1] : found.tables[0];
            found.tables[1] = table ? 0 : found.tables[1];
        }
        *ret_found = found;
        if (table)
            return table;
        failed = first;
        if (first.code != ERR_NOT_FOUND)
            break;
    }
    *err = failed;
    if (err->code == ERR_NOT_FOUND)
        err->code = ERR_CORRUPT;
    return NULL;
}

/* The first commit of an owner: who wrote before us cannot any more. */
static bool take_over(struct family *family, struct err *err)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        AUTO(edit) struct edit edit = {0};
        struct found found = {0};
        struct err failed = {0};
        bool taken = false;
        struct table *table = recover(family, &found, err);
        if (!table)
            return false;
        set_table(family, table);
        family->tables[0] = found.tables[0];
        family->tables[1] = found.tables[1];
        family->first_commit = found.first ? found.first : found.tables[0] + 1;
        if (family->store->read_only)
            return true;
        if (table->epoch > family->store->epoch)
            return err_set(err, ERR_FENCED, "the store has another owner (epoch %u; this is %u)",
                           table->epoch, family->store->epoch);
        if (!owner_edit(family, table, &edit, err))
            return false;
        if (family_commit(family, &edit, &taken, &failed))
            return true;
        /* Somebody wrote a commit first, who is not above us or is: the next look tells. */
        if (failed.code != ERR_FENCED) {
            *err = failed;
            return false;
        }
        family->fenced = false;
    }
    return err_set(err, ERR_BUSY, "another owner goes on writing");
}

/* ---- what a crash left ---- */

bool family_parse_pack(const char *name, uint64_t *ret_pack, uint64_t *ret_generation)
{
    char number[HEX_PACK + 1];
    if (strlen(name) != HEX_PACK + 1 + HEX_GENERATION || name[HEX_PACK] != '-')
        return false;
    memcpy(number, name, HEX_PACK);
    number[HEX_PACK] = 0;
    return family_hex(number, HEX_PACK, ret_pack) &&
           family_hex(name + HEX_PACK + 1, HEX_GENERATION, ret_generation);
}

static void sweep_packs(struct family *family, const struct io_list *packs, const char *folder)
{
    for (size_t i = 0; i < packs->count; i++) {
        uint64_t number, generation;
        char name[IO_NAME_MAX];
        if (!family_parse_pack(packs->entries[i].name, &number, &generation))
            continue;
        const struct table_pack *row = table_pack(family->table, (uint32_t)number);
        if (number >= family->next_pack && number < UINT32_MAX)
            family->next_pack = (uint32_t)number + 1; /* a number is used once */
        if (row && row->generation == generation)
            continue;
        IGNORE(str_format(name, sizeof name, "%s/%s", folder, packs->entries[i].name));
        family_doom(family, name, packs->entries[i].bytes, 0);
    }
}

static void sweep_tables(struct family *family, const struct io_list *tables, const char *folder)
{
    for (size_t i = 0; i < tables->count; i++) {
        uint64_t number;
        char name[IO_NAME_MAX];
        if (!family_hex(tables->entries[i].name, HEX_COMMIT, &number) ||
            number == family->tables[0] || number == family->tables[1])
            continue;
        IGNORE(str_format(name, sizeof name, "%s/%s", folder, tables->entries[i].name));
        family_doom(family, name, tables->entries[i].bytes, 0);
    }
}

/* Counts all objects; deletes those that no row names. */
static bool sweep(struct family *family, struct err *err)
{
    static const char *const kinds[] = {"pack", "table", "commit", "note", "copy"};
    uint64_t bytes = 0;
    uint32_t swept = 0;
    char folder[IO_NAME_MAX];
    family_folder(family->id, NULL, folder);
    if (!family->store->read_only && !io_sweep(family->store->io, folder, &swept, err))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        AUTO(io_list) struct io_list list = {0};
        family_folder(family->id, kinds[i], folder);
        if (!io_list(family->store->io, folder, &list, err))
            return false;
        for (size_t k = 0; k < list.count; k++)
            bytes += list.entries[k].bytes;
        if (i == 0 && !family->store->read_only)
            sweep_packs(family, &list, folder);
        if (i == 1 && !family->store->read_only)
            sweep_tables(family, &list, folder);
    }
    family->object_bytes = bytes;
    family_delete_doomed(family);
    return true;
}

bool family_is_there(struct store *store, uint64_t id, bool *ret_there, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    char folder[IO_NAME_MAX];
    family_folder(id, NULL, folder);
    if (!io_list(store->io, folder, &list, err))
        return false;
    *ret_there = list.count > 0;
    return true;
}

struct family *family_open(struct store *store, uint64_t id, bool create, struct err *err)
{
    bool there = false;
    if (!family_is_there(store, id, &there, err))
        return NULL;
    if (!there && (!create || store->read_only)) {
        err_set(err, ERR_NOT_FOUND, "the store has no family %016" PRIx64, id);
        return NULL;
    }
    AUTO(family) struct family *family = own_alloc(sizeof *family, err);
    if (!family)
        return NULL;
    family->source.family = family;
    family->store = store;
    family->id = id;
    pthread_mutex_init(&family->change, NULL);
    pthread_mutex_init(&family->look, NULL);
    if (!(family->table = table_new(id, err)) || !take_over(family, err) || !sweep(family, err))
        return err_null(err, "open family %016" PRIx64, id);
    /* One that a crash left before its first volume was made is as good as none. */
    if (create && there && (family->table->volume_count > 0 || family->table->pack_count > 0)) {
        err_set(err, ERR_EXISTS, "family %016" PRIx64 " is there already", id);
        return NULL;
    }
    return TAKE(family);
}

struct family *family_bare(struct store *store, uint64_t id, struct table *table, struct err *err)
{
    struct family *family = own_alloc(sizeof *family, err);
    if (!family) {
        table_unref(table);
        return NULL;
    }
    family->source.family = family;
    family->store = store;
    family->id = id;
    family->table = table;
    family->next_pack = table->next_pack;
    pthread_mutex_init(&family->change, NULL);
    pthread_mutex_init(&family->look, NULL);
    return family;
}

void family_close(struct family *family)
{
    if (!family)
        return;
    cache_forget_family(family->store->cache, family->id);
    edit_done(&family->pending);
    bytes_done(&family->pending_bytes);
    table_unref(family->table);
    own_free(family->doomed);
    own_free(family->sealing);
    pthread_mutex_destroy(&family->change);
    pthread_mutex_destroy(&family->look);
    own_free(family);
}

uint64_t family_id(const struct family *family) { return family->id; }

/* ---- rows for callers ---- */

struct volume_row *family_volumes(struct family *family, size_t *ret_count, struct err *err)
{
    AUTO(table) struct table *table = family_table(family);
    struct volume_row *rows = own_alloc((table->volume_count + 1) * sizeof *rows, err);
    for (size_t i = 0; rows && i < table->volume_count; i++)
        rows[i] = table->volumes[i].row;
    if (rows)
        *ret_count = table->volume_count;
    return rows;
}

uint64_t family_lock_left(const struct table_lock *lock)
{
    char boot_id[40];
    clock_boot_id(boot_id);
    if (lock->remaining_ms == 0 || strcmp(boot_id, lock->boot_id) != 0)
        return lock->remaining_ms;
    uint64_t now_ms = clock_boot_ms();
    return lock->boot_ms > now_ms ? lock->boot_ms - now_ms : 0;
}

struct snapshot_row *family_snapshots(struct family *family, uint64_t volume, size_t *ret_count,
                                      struct err *err)
{
    AUTO(table) struct table *table = family_table(family);
    size_t count = 0;
    const struct table_snapshot *first = table_next(table, volume, 0);
    const struct table_snapshot *end = table->snapshots + table->snapshot_count;
    while (first && first + count < end && first[count].row.volume == volume)
        count++;
    struct snapshot_row *rows = own_alloc((count + 1) * sizeof *rows, err);
    for (size_t i = 0; rows && i < count; i++) {
        rows[i] = first[i].row;
        rows[i].pins = first[i].pins;
        rows[i].lock_remaining_ms = family_lock_left(&first[i].lock);
    }
    if (rows)
        *ret_count = count;
    return rows;
}

struct bad_record *family_bad_records(struct family *family, uint64_t volume, uint64_t sequence,
                                      size_t *ret_count, struct err *err)
{
    AUTO(table) struct table *table = family_table(family);
    const struct table_snapshot *row = table_snapshot(table, volume, sequence);
    if (!row) {
        err_set(err, ERR_NOT_FOUND, "there is no such snapshot");
        return NULL;
    }
    size_t count = row->bad ? row->bad->count : 0;
    struct bad_record *records = own_alloc((count + 1) * sizeof *records, err);
    if (records && count > 0)
        memcpy(records, row->bad->records, count * sizeof *records);
    if (records)
        *ret_count = count;
    return records;
}

bool family_stat(struct family *family, struct family_stat *ret, struct err *err)
{
    (void)err;
    AUTO(table) struct table *table = family_table(family);
    struct family_stat stat = {.pack_count = table->pack_count};
    for (size_t i = 0; i < table->pack_count; i++) {
        const struct table_pack *pack = &table->packs[i];
        uint64_t live = masks_items(pack->live), dead = pack->items - live;
        stat.frame_count += masks_frames(pack->live);
        stat.live_items += live;
        stat.dead_items += dead;
        stat.dead_bytes +=
            pack->items ? (uint64_t)((double)pack->bytes * (double)dead / (double)pack->items) : 0;
    }
    pthread_mutex_lock(&family->look);
    stat.stored_bytes = family->object_bytes;
    pthread_mutex_unlock(&family->look);
    *ret = stat;
    return true;
}

/* ---- notes ---- */

/* A note is its text and a sum that knows whose it is. */
static uint64_t note_sum(uint64_t seed, uint64_t family, uint64_t id, const void *text, size_t len)
{
    uint8_t whose[16];
    for (size_t i = 0; i < 8; i++) {
        whose[i] = (uint8_t)(family >> (8 * i));
        whose[8 + i] = (uint8_t)(id >> (8 * i));
    }
    struct format_piece pieces[] = {{whose, sizeof whose}, {text, len}};
    return format_sum_of(seed, pieces, 2);
}

bool family_note_check(const struct store *store, uint64_t family, uint64_t id, const void *data,
                       size_t len, struct err *err)
{
    size_t text = len < NOTE_SUM ? 0 : len - NOTE_SUM;
    struct cursor sum = cursor_over((const uint8_t *)data + text, len - text);
    bool good = cursor_u64(&sum) == note_sum(store->seed, family, id, data, text) && !sum.bad;
    return good || err_set(err, ERR_CORRUPT, "note %016" PRIx64 " is damaged", id);
}

bool family_note_put(struct family *family, uint64_t id, const char *text, struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL;
    struct err missing = {0};
    char name[IO_NAME_MAX];
    uint64_t before = 0;
    size_t len = text ? strlen(text) : 0;
    if (len > NOTE_MAX)
        return err_set(err, ERR_LIMIT, "a note of %zu bytes", len);
    if ((text && !store_reserve_again(family->store, err)) || !family_change_begin(family, err))
        return false;
    locked = family;
    family_object(family->id, "note", id, name);
    bool there = io_size(family->store->io, name, &before, &missing);
    if (!there && missing.code != ERR_NOT_FOUND) {
        *err = missing;
        return false;
    }
    if (!text && !there)
        return true;
    AUTO(bytes) struct bytes note = {0};
    if (text && (!bytes_add(&note, text, len, err) ||
                 !bytes_u64(&note, note_sum(family->store->seed, family->id, id, text, len), err)))
        return false;
    len = note.len;
    bool done = text ? io_put(family->store->io, name, note.data, len, IO_REPLACE, err)
                     : io_delete(family->store->io, name, err);
    uint64_t after = 0;
    struct err gone = {0};
    if (!done) /* what is there now is what counts */
        len = io_size(family->store->io, name, &after, &gone) ? after
              : gone.code == ERR_NOT_FOUND                    ? 0
                                                              : before;
    family_count_bytes(family, (int64_t)len - (int64_t)before);
    return done;
}

char *family_note_get(struct family *family, uint64_t id, struct err *err)
{
    char name[IO_NAME_MAX];
    size_t len = 0;
    family_object(family->id, "note", id, name);
    AUTO(mem) char *note = io_get(family->store->io, name, NOTE_MAX + NOTE_SUM, &len, err);
    if (!note)
        return NULL;
    if (!family_note_check(family->store, family->id, id, note, len, err))
        return NULL;
    note[len - NOTE_SUM] = 0;
    return TAKE(note);
}
