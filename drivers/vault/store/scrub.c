/* Scrub: packs one after the other, then the maps over them, family by family. */
#include "drivers/vault/store/scrub.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/io/paced.h"
#include "drivers/vault/store/copies.h"
#include "drivers/vault/store/pack_int.h"
#include "drivers/vault/store/states.h"
#include <inttypes.h>
#include <string.h>

enum {
    CACHE_BYTES = 32 << 20,
    DIR_BYTES = 32 << 20,
    CLAIM_BYTES = 40,
    BAD_PACKS_MAX = 65536,
    POSITION_MAX = 1 << 20,
    TRIES = 4,
    FRAMES_NAMED = 8,
};

/* Frames of a pack whose items cannot be read. */
struct lost_frame {
    uint32_t pack, frame;
    uint16_t generation, items;
};
struct scrub {
    const struct scrub_options *options;
    struct io *io; /* paced */
    struct store *store;
    struct family *family; /* now; NULL: its rows cannot be read */
    uint64_t id;
    struct teller teller;
    struct scrub_result result;
    uint64_t from_family; /* where another run ended: before this pack of this family */
    uint32_t from_pack;
    struct lost_frame *lost; /* of this family */
    size_t lost_count, lost_capacity;
    uint32_t *again; /* packs that were damaged before the position */
    size_t again_count, again_capacity;
};

static void tell(struct scrub *s, enum finding_kind kind, const char *object, const char *text)
{
    struct finding finding = {.kind = kind, .family = s->id, .object = object, .text = text};
    teller_tell(&s->teller, &finding);
}

/* Damage, as against what hinders us from going on. */
static bool is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND || err->code == ERR_IO ||
           err->code == ERR_LIMIT || err->code == ERR_UNSUPPORTED;
}

/* ---- the position ---- */

static bool save_position(struct scrub *s, uint32_t pack, struct err *err)
{
    uint8_t id[16];
    char hex[33];
    AUTO(str) struct str text = {0};
    if (!s->options->position)
        return true;
    store_id(s->store, id);
    str_hex(id, sizeof id, hex);
    str_printf(&text, "scrub 1\nstore %s\nfamily %016" PRIx64 "\npack %u\n", hex, s->id, pack);
    uint32_t before = 0;
    for (size_t i = 0; i < s->lost_count && i < BAD_PACKS_MAX; i++) {
        if (i == 0 || s->lost[i].pack != before)
            str_printf(&text, "bad %u\n", s->lost[i].pack);
        before = s->lost[i].pack;
    }
    return str_ok(&text, err) &&
           sys_write_file(s->options->position, text.text, text.len, 0600, err);
}

/* What cannot be understood means from the start. */
static bool load_position(struct scrub *s, struct err *err)
{
    uint8_t id[16];
    char hex[33];
    size_t len = 0;
    uint64_t pack = 0, n = 0;
    struct err missing = {0};
    if (!s->options->position)
        return true;
    AUTO(mem) char *text = sys_read_file(s->options->position, POSITION_MAX, &len, &missing);
    char *cursor = text;
    store_id(s->store, id);
    str_hex(id, sizeof id, hex);
    if (!text || !str_equal(str_field(&cursor, '\n'), "scrub 1") || !cursor)
        return true;
    const char *store = str_field(&cursor, '\n');
    if (!str_starts(store, "store ") || !str_equal(store + 6, hex) || !cursor)
        return true;
    const char *family = str_field(&cursor, '\n');
    if (!str_starts(family, "family ") || !family_hex(family + 7, 16, &n) || !cursor)
        return true;
    const char *at = str_field(&cursor, '\n');
    if (!str_starts(at, "pack ") || !str_to_u64(at + 5, UINT32_MAX, &pack))
        return true;
    s->from_family = n;
    s->from_pack = (uint32_t)pack;
    s->result.resumed = true;
    while (cursor) {
        const char *line = str_field(&cursor, '\n');
        if (!str_starts(line, "bad ") || !str_to_u64(line + 4, UINT32_MAX, &n))
            continue;
        if (!own_grow((void **)&s->again, &s->again_capacity, s->again_count, sizeof *s->again,
                      err))
            return false;
        s->again[s->again_count++] = (uint32_t)n;
    }
    return true;
}

/* ---- small objects ---- */

static void count(struct scrub *s, uint64_t bytes)
{
    s->result.objects++;
    s->result.bytes += bytes;
}

/* What is gone by now went by its owner's hand. */
static bool told_or_gone(struct scrub *s, const char *name, const struct err *failed,
                         struct err *err)
{
    if (failed->code == ERR_NOT_FOUND)
        return true;
    if (!is_damage(failed)) {
        *err = *failed;
        return false;
    }
    tell(s, FINDING_DAMAGE, name, failed->text);
    return true;
}

static bool check_claim(const struct scrub *s, uint64_t epoch, const void *data, size_t len,
                        struct err *err)
{
    struct cursor c = cursor_over(data, len);
    const uint8_t *magic = cursor_take(&c, 8);
    bool good = magic && memcmp(magic, "ECOWNER1", 8) == 0 && cursor_u32(&c) == VAULT_VERSION &&
                cursor_u32(&c) == epoch && cursor_take(&c, 16) &&
                cursor_u64(&c) == format_sum(store_seed(s->store), data, CLAIM_BYTES - 8) &&
                !c.bad && len == CLAIM_BYTES;
    return good || err_set(err, ERR_CORRUPT, "the claim of an owner is damaged");
}

static bool check_commit(const struct scrub *s, uint64_t number, const void *data, size_t len,
                         struct err *err)
{
    AUTO(commit) struct commit commit = {0};
    return commit_decode(data, len, store_seed(s->store), &commit, err) &&
           ((commit.family == s->id && commit.number == number) ||
            err_set(err, ERR_CORRUPT, "the commit is of another family or number"));
}

static bool check_table(const struct scrub *s, uint64_t number, const void *data, size_t len,
                        struct err *err)
{
    AUTO(table) struct table *table = table_decode(data, len, store_seed(s->store), err);
    return table && ((table->family == s->id && table->number == number) ||
                     err_set(err, ERR_CORRUPT, "the table is of another family or number"));
}

typedef bool check_object(const struct scrub *s, uint64_t number, const void *data, size_t len,
                          struct err *err);

static bool check_note(const struct scrub *s, uint64_t number, const void *data, size_t len,
                       struct err *err)
{
    return family_note_check(s->store, s->id, number, data, len, err);
}

static bool check_copies(const struct scrub *s, uint64_t number, const void *data, size_t len,
                         struct err *err)
{
    AUTO(copies_of) struct copies_of copies = {0};
    (void)number;
    return copies_decode(data, len, s->id, store_seed(s->store), &copies, err);
}

/* digits 0: any name. */
static bool check_folder(struct scrub *s, const char *folder, size_t digits, check_object *check,
                         struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    if (!io_list(s->io, folder, &list, err))
        return false;
    for (size_t i = 0; i < list.count; i++) {
        struct err failed = {0};
        uint64_t number;
        size_t len = 0;
        char name[IO_NAME_MAX];
        IGNORE(str_format(name, sizeof name, "%s/%s", folder, list.entries[i].name));
        number = 0;
        if (digits > 0 && !family_hex(list.entries[i].name, digits, &number)) {
            tell(s, FINDING_STRAY, name, "no object of a store is named so");
            continue;
        }
        AUTO(mem) char *data = io_get(s->io, name, IO_PUT_MAX, &len, &failed);
        count(s, len);
        if ((!data || !check(s, number, data, len, &failed)) &&
            !told_or_gone(s, name, &failed, err))
            return false;
    }
    return true;
}

static bool check_small(struct scrub *s, struct err *err)
{
    char commits[IO_NAME_MAX], tables[IO_NAME_MAX], notes[IO_NAME_MAX], copies[IO_NAME_MAX];
    family_folder(s->id, "commit", commits);
    family_folder(s->id, "table", tables);
    family_folder(s->id, "note", notes);
    family_folder(s->id, "copy", copies);
    return check_folder(s, commits, 16, check_commit, err) &&
           check_folder(s, tables, 16, check_table, err) &&
           check_folder(s, notes, 16, check_note, err) &&
           check_folder(s, copies, 0, check_copies, err);
}

/* ---- packs ---- */

static bool lose(struct scrub *s, const struct pack_key *key, uint32_t frame, uint16_t items,
                 struct err *err)
{
    if (!own_grow((void **)&s->lost, &s->lost_capacity, s->lost_count, sizeof *s->lost, err))
        return false;
    s->lost[s->lost_count++] = (struct lost_frame){key->pack, frame, key->generation, items};
    return true;
}

/* Forgets what was lost of a pack: it is looked at again. */
static void find_again(struct scrub *s, uint32_t pack)
{
    while (s->lost_count > 0 && s->lost[s->lost_count - 1].pack == pack)
        s->lost_count--;
}

struct pack_report {
    uint32_t frames, lost; /* frames with live items, and of them those that are not whole */
    uint32_t named[FRAMES_NAMED];
    bool whole; /* the directory agrees */
    struct err err;
};

/* live NULL: nobody knows what should be there; gaps between frames are what is lost. */
static bool compare_pack(struct scrub *s, const struct pack_key *key, const struct masks *live,
                         const struct pack_dir *dir, struct pack_report *ret, struct err *err)
{
    uint32_t frames = live ? masks_frames(live) : dir ? pack_dir_frames(dir) : 0;
    for (uint32_t i = 0; i < frames; i++) {
        struct pack_row row = {0};
        uint16_t wanted = live ? masks_get(live, i) : 0;
        uint16_t present = dir && pack_dir_row(dir, i, &row) ? row.present : 0;
        if (wanted)
            ret->frames++;
        if (!(wanted & ~present))
            continue;
        if (ret->lost < FRAMES_NAMED)
            ret->named[ret->lost] = i;
        ret->lost++;
        if (!lose(s, key, i, wanted & (uint16_t)~present, err))
            return false;
    }
    return true;
}

/* A directory that did not agree: damage, or what hindered us? */
static bool directory_is_damaged(struct scrub *s, const struct pack_key *key, uint64_t bytes,
                                 struct pack_report *report, struct err *err)
{
    struct err failed = {0};
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(s->io, key, bytes, &failed);
    if (!dir && !is_damage(&failed)) {
        *err = failed;
        return false;
    }
    report->err = failed;
    return true;
}

static bool read_pack(struct scrub *s, const struct pack_key *key, uint64_t bytes,
                      const struct masks *live, struct pack_report *ret, struct err *err)
{
    struct err failed = {0};
    uint64_t there = 0;
    char name[IO_NAME_MAX];
    *ret = (struct pack_report){0};
    pack_name(key, name);
    AUTO(pack_dir) struct pack_dir *dir = NULL;
    if (!io_size(s->io, name, &there, &failed) ||
        !(dir = pack_dir_scan(s->io, key, there, &ret->whole, &failed))) {
        if (!is_damage(&failed)) {
            *err = failed;
            return false;
        }
        ret->err = failed;
    }
    if (dir && there != bytes) {
        ret->whole = false;
        err_set(&ret->err, ERR_CORRUPT, "it has %" PRIu64 " bytes and not %" PRIu64, there, bytes);
    }
    if (dir && !ret->whole && !ret->err.code && !directory_is_damaged(s, key, there, ret, err))
        return false;
    return compare_pack(s, key, live, dir, ret, err);
}

static void tell_pack(struct scrub *s, const struct pack_key *key, const struct pack_report *report)
{
    char name[IO_NAME_MAX];
    AUTO(str) struct str text = {0};
    pack_name(key, name);
    if (report->lost == 0)
        str_printf(&text, "all frames are whole, but not what else it holds (fsck --repair writes "
                          "it anew)");
    else
        str_printf(&text, "%u of %u frames with live items are damaged:", report->lost,
                   report->frames);
    for (uint32_t i = 0; i < report->lost && i < FRAMES_NAMED; i++)
        str_printf(&text, " %u", report->named[i]);
    if (report->lost > FRAMES_NAMED)
        str_append(&text, " ...");
    if (report->err.code)
        str_printf(&text, "; %s", report->err.text);
    tell(s, FINDING_DAMAGE, name, text.text ? text.text : "it is damaged");
}

/* Other rows: they may have been changed since. */
static bool refresh(struct scrub *s, struct err *err)
{
    family_close(TAKE(s->family));
    s->family = family_open(s->store, s->id, false, err);
    return s->family != NULL;
}

static bool scrub_pack(struct scrub *s, uint32_t number, struct err *err)
{
    for (int i = 0; i < TRIES; i++) {
        AUTO(table) struct table *table = family_table(s->family);
        const struct table_pack *row = table_pack(table, number);
        struct pack_report report;
        if (!row)
            return true;
        struct pack_key key = family_pack_key(s->family, number, row->generation);
        find_again(s, number);
        if (!read_pack(s, &key, row->bytes, row->live, &report, err))
            return false;
        if (report.whole && report.lost == 0) {
            count(s, row->bytes);
            return true;
        }
        if (!refresh(s, err))
            return false;
        AUTO(table) struct table *after = family_table(s->family);
        const struct table_pack *now = table_pack(after, number);
        if (now && now->generation == row->generation) {
            count(s, row->bytes);
            tell_pack(s, &key, &report);
            return true;
        }
    }
    return true; /* thinned over and over: somebody reads it all the time */
}

static bool scrub_packs(struct scrub *s, struct err *err)
{
    AUTO(table) struct table *table = family_table(s->family);
    uint32_t from = s->id == s->from_family ? s->from_pack : 0;
    for (size_t i = 0; from > 0 && i < s->again_count; i++)
        if (s->again[i] < from && !scrub_pack(s, s->again[i], err))
            return false;
    for (size_t i = 0; i < table->pack_count; i++) {
        uint32_t number = table->packs[i].number;
        if (number >= from && (!save_position(s, number, err) || !scrub_pack(s, number, err)))
            return false;
    }
    return save_position(s, UINT32_MAX, err);
}

/* Objects of packs: those no row names are told; without rows all are looked at. */
static bool list_packs(struct scrub *s, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    AUTO(table) struct table *table = s->family ? family_table(s->family) : NULL;
    char folder[IO_NAME_MAX], name[IO_NAME_MAX];
    family_folder(s->id, "pack", folder);
    if (!io_list(s->io, folder, &list, err))
        return false;
    for (size_t i = 0; i < list.count; i++) {
        uint64_t number, generation;
        struct pack_report report;
        IGNORE(str_format(name, sizeof name, "%s/%s", folder, list.entries[i].name));
        bool ours = family_parse_pack(list.entries[i].name, &number, &generation);
        const struct table_pack *row = ours && table ? table_pack(table, (uint32_t)number) : NULL;
        if (row && row->generation == generation)
            continue;
        if (!ours || table) {
            tell(s, FINDING_STRAY, name,
                 ours ? "no row names it: a crash's rest, or being written"
                      : "no object of a store is named so");
            continue;
        }
        struct pack_key key = {s->id, store_seed(s->store), (uint32_t)number, (uint16_t)generation};
        if (!read_pack(s, &key, list.entries[i].bytes, NULL, &report, err))
            return false;
        count(s, list.entries[i].bytes);
        if (!report.whole)
            tell_pack(s, &key, &report);
    }
    return true;
}

/* ---- maps ---- */

static bool tell_missing(struct scrub *s, const struct survey *survey)
{
    const struct table *table = survey_table(survey);
    char name[IO_NAME_MAX], text[128];
    for (size_t i = 0; i < table->pack_count; i++) {
        const struct table_pack *pack = &table->packs[i];
        const uint16_t *marked = survey_marked(survey, i);
        uint64_t items = 0;
        for (uint32_t f = 0; f < masks_frames(pack->live); f++)
            items += (unsigned)__builtin_popcount(marked[f] & (unsigned)~masks_get(pack->live, f) &
                                                  0xffffU);
        if (items == 0)
            continue;
        struct pack_key key = family_pack_key(s->family, pack->number, pack->generation);
        pack_name(&key, name);
        IGNORE(str_format(text, sizeof text,
                          "%" PRIu64 " items are needed and the rows have them as deleted", items));
        tell(s, FINDING_MISSING, name, text);
    }
    return true;
}

static bool load_lost(const struct scrub *s, struct survey *survey, struct err *err)
{
    const struct table *table = survey_table(survey);
    for (size_t i = 0; i < s->lost_count; i++) {
        const struct lost_frame *lost = &s->lost[i];
        const struct table_pack *pack = table_pack(table, lost->pack);
        if (pack && pack->generation == lost->generation &&
            !survey_bad(survey, lost->pack, lost->frame, lost->items, err))
            return false;
    }
    return true;
}

/* Whether the rows are still those of `number`: the newer ones are taken. */
static bool rows_are(struct scrub *s, uint64_t number, bool *ret_same, struct err *err)
{
    AUTO(family) struct family *now = family_open(s->store, s->id, false, err);
    if (!now)
        return false;
    AUTO(table) struct table *table = family_table(now);
    *ret_same = table->number == number;
    if (!*ret_same) {
        family_close(s->family);
        s->family = TAKE(now);
    }
    return true;
}

static bool scrub_maps(struct scrub *s, struct err *err)
{
    bool same = false;
    for (int i = 0; i < TRIES; i++) {
        struct states_result states = {0};
        AUTO(survey) struct survey *survey = survey_new(s->family, err);
        if (!survey || !load_lost(s, survey, err) ||
            !states_check(survey, s->family, NULL, &states, err))
            return false;
        /* What is damaged may have been deleted meanwhile. */
        if (states.damaged > 0 && i < TRIES - 1) {
            if (!rows_are(s, survey_table(survey)->number, &same, err))
                return false;
            if (!same)
                continue;
        }
        s->result.states += states.states;
        s->result.records += survey_records(survey);
        return (states.damaged == 0 || states_check(survey, s->family, &s->teller, &states, err)) &&
               survey_mark_rows(survey, err) && tell_missing(s, survey);
    }
    return true;
}

/* ---- families ---- */

static bool scrub_family(struct scrub *s, uint64_t id, struct err *err)
{
    struct err failed = {0};
    char name[IO_NAME_MAX];
    s->id = id;
    s->lost_count = 0;
    cache_drop(s->store->cache);
    s->family = family_open(s->store, id, false, &failed);
    if (!s->family) {
        if (failed.code == ERR_NOT_FOUND)
            return true;
        if (!is_damage(&failed)) {
            *err = failed;
            return false;
        }
        family_folder(id, NULL, name);
        tell(s, FINDING_DAMAGE, name, failed.text);
    }
    bool done = check_small(s, err) && list_packs(s, err) &&
                (!s->family || (scrub_packs(s, err) && scrub_maps(s, err)));
    family_close(TAKE(s->family));
    return done;
}

static bool scrub_all(struct scrub *s, struct err *err)
{
    size_t count_of = 0;
    if (!load_position(s, err) || !check_folder(s, "owner", 8, check_claim, err))
        return false;
    AUTO(mem) uint64_t *ids = store_families(s->store, &count_of, err);
    for (size_t i = 0; ids && i < count_of; i++)
        if (ids[i] >= s->from_family && !scrub_family(s, ids[i], err))
            return false;
    return ids != NULL;
}

static struct io *paced(struct io *io, const struct scrub_options *options, struct err *err)
{
    struct paced_options paced_options = {options->bytes_per_s, options->stop, options->arg};
    return paced_open(io, &paced_options, err);
}

bool scrub_store(struct io *io, const struct scrub_options *options, struct scrub_result *ret,
                 struct err *err)
{
    static const uint8_t nobody[16];
    struct store_options store_options = {
        .cache_bytes = CACHE_BYTES, .dir_bytes = DIR_BYTES, .threads = 1, .read_only = true};
    struct err failed = {0};
    struct scrub s = {.options = options, .teller = {.fn = options->found, .arg = options->arg}};
    AUTO(io) struct io *slow = paced(io, options, err);
    if (!slow)
        return false;
    s.io = slow;
    AUTO(store) struct store *store = store_open(slow, nobody, &store_options, &failed);
    s.store = store;
    bool done = store && scrub_all(&s, err);
    if (!store && is_damage(&failed)) {
        tell(&s, FINDING_DAMAGE, "evercopy-store", failed.text);
        done = true;
    } else if (!store) {
        *err = failed;
    }
    if (store && done && options->position) {
        struct err gone = {0};
        IGNORE(sys_unlink(options->position, &gone)); /* the next run begins at the start */
    }
    own_free(s.lost);
    own_free(s.again);
    s.result.findings = s.teller.findings;
    s.result.damages = s.teller.damages;
    *ret = s.result;
    return done;
}
