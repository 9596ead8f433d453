/* The tools' verbs: words to calls, findings to lines. */
#include "drivers/vault/tools.h"
#include "agent/base/json.h"
#include "agent/base/sys.h"
#include "drivers/vault/link.h"
#include "drivers/vault/refused.h"
#include "drivers/vault/store/copies.h"
#include "drivers/vault/store/export.h"
#include "drivers/vault/store/figures.h"
#include "drivers/vault/store/fsck.h"
#include "drivers/vault/store/scrub.h"
#include "drivers/vault/store/sync.h"
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

const char tools_usage[] =
    "  evercopy-vaultd scrub [--rate BYTES] [--position FILE]\n"
    "                                             read and compare everything in the store\n"
    "  evercopy-vaultd fsck [--repair] [--rebuild]\n"
    "                                             rows against packs; made again from packs\n"
    "  evercopy-vaultd stat [VOLUME [SNAPSHOT...]]\n"
    "                                             bytes, what deleting these would bring, and\n"
    "                                             what the block check refused in them\n"
    "  evercopy-vaultd export VOLUME SNAPSHOT FOLDER [PATH]\n"
    "                                             its files into an empty folder, verified\n"
    "  evercopy-vaultd sync STORE [SNAPSHOT...] [--volume V] [--prune] [--rate BYTES]\n"
    "                                             copy to a second store; --to-config FILE: that\n"
    "                                             file's [store] instead of STORE\n"
    "  --json          a JSON object a line; exit codes: 0 sound, 1 damage, 2 usage, 3 not done\n";

struct tool {
    const struct tools_options *o;
    const struct args *args;
    const struct config_vault *config;
    tools_open *open;
    FILE *out;
    struct io *io;
    uint64_t rate;
    uint64_t refused; /* records of snapshots that stat looked at */
};

/* ---- stopping ---- */

static volatile sig_atomic_t stopping;

static void on_signal(int signal_no)
{
    (void)signal_no;
    stopping = 1;
}

static bool is_stopping(void *arg)
{
    (void)arg;
    return stopping != 0;
}

/* ---- lines ---- */

/* Names that are no UTF-8 are shown with their odd bytes replaced. */
static void clean(char *to, size_t size, const char *from)
{
    IGNORE(str_copy(to, size, from)); /* a line may be cut */
    if (!str_is_utf8(to, strlen(to)))
        for (char *c = to; *c; c++)
            if (*c & 0x80)
                *c = '?';
    for (char *c = to; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

static void print_json(FILE *out, json_t *object)
{
    struct err err = {0};
    AUTO(mem) char *text = json_format(object, &err);
    if (text)
        fprintf(out, "%s\n", text);
}

static void put(json_t *object, const char *key, const char *text)
{
    struct err err = {0};
    char shown[600];
    if (!text || !*text)
        return;
    clean(shown, sizeof shown, text);
    IGNORE(json_put_text(object, key, shown, &err)); /* a line without it is better than none */
}

static void put_number(json_t *object, const char *key, uint64_t n)
{
    struct err err = {0};
    IGNORE(json_put_u64(object, key, n <= INT64_MAX ? n : INT64_MAX, &err));
}

static void finding_json(FILE *out, const struct finding *f)
{
    AUTO(json) json_t *object = json_object();
    if (!object)
        return;
    put(object, "finding", finding_word(f->kind));
    put(object, "object", f->object);
    put(object, "volume", f->volume);
    put(object, "snapshot", f->snapshot);
    put(object, "path", f->path);
    if (f->count > 0) {
        put_number(object, "offset", f->first << 13);
        put_number(object, "bytes", f->count << 13);
    }
    put(object, "text", f->text);
    print_json(out, object);
}

static void finding_line(FILE *out, const struct finding *f)
{
    char shown[600];
    fprintf(out, "%s", finding_word(f->kind));
    const struct {
        const char *name, *text;
    } words[] = {
        {"object", f->object}, {"volume", f->volume}, {"snapshot", f->snapshot}, {"path", f->path}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].text && *words[i].text) {
            clean(shown, sizeof shown, words[i].text);
            fprintf(out, " %s='%s'", words[i].name, shown);
        }
    if (f->count > 0)
        fprintf(out, " offset=%" PRIu64 " bytes=%" PRIu64, f->first << 13, f->count << 13);
    clean(shown, sizeof shown, f->text ? f->text : "");
    fprintf(out, ": %s\n", shown);
}

static void on_finding(void *arg, const struct finding *finding)
{
    const struct tool *t = arg;
    if (t->o->json)
        finding_json(t->out, finding);
    else
        finding_line(t->out, finding);
    fflush(t->out);
}

/* A last line of figures: pairs of name and number. */
struct figure {
    const char *name;
    uint64_t n;
};
static void figures_line(const struct tool *t, const char *verb, const char *volume,
                         const char *snapshot, const struct figure *figures, size_t count)
{
    if (t->o->json) {
        AUTO(json) json_t *object = json_object();
        put(object, "result", verb);
        put(object, "volume", volume);
        put(object, "snapshot", snapshot);
        for (size_t i = 0; i < count; i++)
            put_number(object, figures[i].name, figures[i].n);
        print_json(t->out, object);
        return;
    }
    fprintf(t->out, "%s", verb);
    if (volume)
        fprintf(t->out, " volume='%s'", volume);
    if (snapshot)
        fprintf(t->out, " snapshot='%s'", snapshot);
    for (size_t i = 0; i < count; i++)
        fprintf(t->out, " %s=%" PRIu64, figures[i].name, figures[i].n);
    fputc('\n', t->out);
}
#define FIGURES(t, verb, volume, snapshot, ...)                                                    \
    figures_line(t, verb, volume, snapshot, (struct figure[]){__VA_ARGS__},                        \
                 sizeof((struct figure[]){__VA_ARGS__}) / sizeof(struct figure))

/* ---- scrub ---- */

static bool run_scrub(struct tool *t, uint64_t *ret_damages, struct err *err)
{
    struct scrub_options options = {.bytes_per_s = t->rate,
                                    .position = t->o->position,
                                    .stop = is_stopping,
                                    .found = on_finding,
                                    .arg = t};
    struct scrub_result r = {0};
    bool done = scrub_store(t->io, &options, &r, err);
    *ret_damages = r.damages;
    FIGURES(t, "scrub", NULL, NULL, {"objects", r.objects}, {"bytes", r.bytes},
            {"records", r.records}, {"states", r.states}, {"damages", r.damages},
            {"resumed", r.resumed}, {"done", done});
    return done;
}

/* ---- fsck ---- */

/* Nobody serves the box while rows are written; a box that is not there serves nothing. */
static bool lock_box(const struct tool *t, int *ret_fd, struct err *err)
{
    AUTO(mem) char *path = own_printf(err, "%s/lock", t->config->box);
    struct err missing = {0};
    bool locked = false;
    if (!path)
        return false;
    *ret_fd = sys_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0, &missing);
    if (*ret_fd < 0) {
        if (missing.code == ERR_NOT_FOUND)
            return true;
        *err = missing;
        return false;
    }
    return sys_try_lock(*ret_fd, &locked, path, err) &&
           (locked ||
            err_set(err, ERR_BUSY, "evercopy-vaultd serves box '%s'; hint: stop it before a repair",
                    t->config->box));
}

static bool run_fsck(struct tool *t, uint64_t *ret_damages, struct err *err)
{
    AUTO(fd) int lock = -1;
    struct fsck_options options = {.rebuild = t->o->rebuild,
                                   .repair = t->o->repair,
                                   .box_id = "evercopy-fsck",
                                   .stop = is_stopping,
                                   .found = on_finding,
                                   .arg = t};
    struct fsck_result r = {0};
    if (t->o->repair && !lock_box(t, &lock, err))
        return false;
    bool done = fsck_store(t->io, &options, &r, err);
    *ret_damages = r.damages;
    FIGURES(t, "fsck", NULL, NULL, {"families", r.families}, {"volumes", r.volumes},
            {"snapshots", r.snapshots}, {"packs", r.packs}, {"leaked_items", r.leaked_items},
            {"missing_items", r.missing_items}, {"rebuilt", r.rebuilt}, {"repaired", r.repaired},
            {"damages", r.damages}, {"done", done});
    return done;
}

/* ---- families by their landing volume ---- */

typedef bool each_volume(struct tool *t, struct family *family, const struct volume_row *row,
                         struct err *err);

static bool each_landing(struct tool *t, const char *name, each_volume *fn, bool *ret_found,
                         struct err *err)
{
    static const uint8_t nobody[16];
    struct store_options reading = {.threads = 1, .read_only = true};
    size_t count = 0;
    AUTO(store) struct store *store = store_open(t->io, nobody, &reading, err);
    AUTO(mem) uint64_t *ids = store ? store_families(store, &count, err) : NULL;
    *ret_found = false;
    for (size_t i = 0; ids && i < count; i++) {
        size_t rows_count = 0;
        AUTO(family) struct family *family = family_open(store, ids[i], false, err);
        AUTO(mem)
        struct volume_row *rows = family ? family_volumes(family, &rows_count, err) : NULL;
        if (!rows)
            return false;
        for (size_t k = 0; k < rows_count; k++) {
            if (rows[k].clone || (name && !str_equal(rows[k].name, name)))
                continue;
            *ret_found = true;
            if (!fn(t, family, &rows[k], err))
                return err_wrap(err, "volume '%s'", rows[k].name);
        }
    }
    return ids != NULL;
}

static bool missing_volume(const char *name, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "the store has no volume '%.100s'", name);
}

/* The newest sealed snapshot of that name. */
static const struct snapshot_row *by_name(const struct snapshot_row *rows, size_t count,
                                          const char *name)
{
    for (size_t i = count; i-- > 0;)
        if (!rows[i].hidden && str_equal(rows[i].name, name))
            return &rows[i];
    return NULL;
}

/* ---- stat ---- */

static bool is_copied(const struct copied *copies, size_t count, const struct snapshot_row *row)
{
    for (size_t i = 0; i < count; i++)
        if (copies[i].volume == row->volume && copies[i].sequence == row->sequence)
            return true;
    return false;
}

static bool stat_snapshots(struct tool *t, struct family *family, const struct volume_row *volume,
                           uint64_t *ret_logical, struct err *err)
{
    size_t count = 0, copy_count = 0;
    AUTO(mem) struct snapshot_row *rows = family_snapshots(family, volume->id, &count, err);
    AUTO(mem) struct copied *copies = rows ? family_copies(family, &copy_count, err) : NULL;
    if (!copies)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t now = 0, later = 0, refused = 0;
        if (rows[i].hidden)
            continue;
        if (!family_reclaimable(family, volume->id, &rows[i].sequence, 1, &now, &later, err) ||
            !refused_count(family, &rows[i], &refused, err))
            return false;
        *ret_logical += rows[i].logical_bytes;
        t->refused += refused;
        FIGURES(t, "snapshot", volume->name, rows[i].name, {"logical_bytes", rows[i].logical_bytes},
                {"unique_bytes", now + later}, {"clones", rows[i].pins},
                {"locked_ms", rows[i].lock_remaining_ms},
                {"copied", is_copied(copies, copy_count, &rows[i])}, {"refused", refused});
    }
    return true;
}

static bool stat_volume(struct tool *t, struct family *family, const struct volume_row *volume,
                        struct err *err)
{
    struct family_stat stat;
    uint64_t head = 0, snapshots = 0;
    if (!family_stat(family, &stat, err) ||
        !figures_logical(family, &volume->table, volume->slots, &head, err) ||
        !stat_snapshots(t, family, volume, &snapshots, err))
        return false;
    uint64_t logical = head + snapshots;
    FIGURES(t, "volume", volume->name, NULL, {"logical_bytes", logical}, {"head_bytes", head},
            {"stored_bytes", stat.stored_bytes},
            {"ratio_percent", stat.stored_bytes ? logical * 100 / stat.stored_bytes : 0},
            {"packs", stat.pack_count}, {"live_items", stat.live_items},
            {"dead_items", stat.dead_items}, {"dead_bytes", stat.dead_bytes});
    return true;
}

/* The set that was named: what deleting all of it would bring. */
static bool stat_set(struct tool *t, struct family *family, const struct volume_row *volume,
                     struct err *err)
{
    uint64_t sequences[ARGS_WORDS_MAX], now = 0, later = 0;
    size_t count = 0, rows_count = 0;
    AUTO(mem) struct snapshot_row *rows = family_snapshots(family, volume->id, &rows_count, err);
    if (!rows)
        return false;
    for (size_t i = 2; i < t->args->word_count; i++) {
        const struct snapshot_row *row = by_name(rows, rows_count, t->args->words[i]);
        uint64_t stored = 0, refused = 0;
        if (!row)
            return err_set(err, ERR_NOT_FOUND, "there is no sealed snapshot '%.100s'",
                           t->args->words[i]);
        if (!figures_stored(family, &row->table, &stored, err) ||
            !refused_count(family, row, &refused, err) ||
            !refused_tell(family, volume->name, row, on_finding, t, err))
            return false;
        t->refused += refused;
        FIGURES(t, "snapshot", volume->name, row->name, {"logical_bytes", row->logical_bytes},
                {"stored_bytes", stored},
                {"ratio_percent", stored ? row->logical_bytes * 100 / stored : 0},
                {"refused", refused});
        sequences[count++] = row->sequence;
    }
    if (!family_reclaimable(family, volume->id, sequences, count, &now, &later, err))
        return false;
    FIGURES(t, "reclaimable", volume->name, NULL, {"now_bytes", now}, {"later_bytes", later});
    return true;
}

/* What the serving vault says of its box; nobody serves: nothing. Returns how many are closed. */
static uint64_t tell_closed(struct tool *t, const char *name)
{
    struct err away = {0};
    uint64_t count = 0;
    size_t i;
    json_t *row;
    AUTO(message) struct message answer = {0};
    AUTO(links) struct links *links = links_new(t->config->socket, NULL, NULL, NULL, &away);
    json_t *head = links ? links_ask("volume.list", &away) : NULL;
    if (!head || !links_call(links, head, NULL, 0, &answer, &away))
        return 0;
    json_array_foreach (json_object_get(answer.head, "volumes"), i, row) {
        char *volume = NULL, *why = NULL;
        if (wire_get_name(row, "name", &volume, &away) &&
            wire_get_name(row, "closed", &why, &away) && volume && why &&
            (!name || str_equal(name, volume))) {
            struct finding f = {.kind = FINDING_CLOSED, .volume = volume, .text = why};
            on_finding(t, &f);
            count++;
        }
        own_free(volume);
        own_free(why);
    }
    return count;
}

static bool run_stat(struct tool *t, uint64_t *ret_damages, struct err *err)
{
    const char *name = t->args->word_count > 1 ? t->args->words[1] : NULL;
    bool found = false;
    *ret_damages = tell_closed(t, name);
    uint64_t reserve = 0;
    bool done =
        each_landing(t, name, t->args->word_count > 2 ? stat_set : stat_volume, &found, err) &&
        (found || !name || missing_volume(name, err)) && store_reserve(t->io, &reserve, err);
    *ret_damages += t->refused;
    if (done && !name) /* of no volume: what is kept for deleting on a full store */
        FIGURES(t, "store", NULL, NULL, {"reserve_bytes", reserve});
    return done;
}

/* ---- export ---- */

static bool export_volume(struct tool *t, struct family *family, const struct volume_row *volume,
                          struct err *err)
{
    const char *const *words = t->args->words;
    struct export_options options = {.under = t->args->word_count > 4 ? words[4] : NULL,
                                     .stop = is_stopping};
    struct export_result r = {0};
    size_t count = 0;
    AUTO(mem) struct snapshot_row *rows = family_snapshots(family, volume->id, &count, err);
    const struct snapshot_row *row = rows ? by_name(rows, count, words[2]) : NULL;
    if (!row)
        return rows &&
               err_set(err, ERR_NOT_FOUND, "there is no sealed snapshot '%.100s'", words[2]);
    if (!export_state(family, row, words[3], &options, &r, err))
        return err_wrap(err, "snapshot '%s'", row->name);
    FIGURES(t, "export", volume->name, row->name, {"files", r.files}, {"folders", r.folders},
            {"bytes", r.bytes});
    return true;
}

static bool run_export(struct tool *t, uint64_t *ret_damages, struct err *err)
{
    bool found = false;
    *ret_damages = 0;
    return each_landing(t, t->args->words[1], export_volume, &found, err) &&
           (found || missing_volume(t->args->words[1], err));
}

/* ---- sync ---- */

static bool run_sync(struct tool *t, uint64_t *ret_damages, struct err *err)
{
    size_t first = t->o->to_config ? 1 : 2;
    struct sync_options options = {.volume = t->o->volume,
                                   .snapshots = (const char *const *)t->args->words + first,
                                   .snapshot_count = t->args->word_count - first,
                                   .prune = t->o->prune,
                                   .bytes_per_s = t->rate,
                                   .box_id = "evercopy-sync",
                                   .stop = is_stopping,
                                   .found = on_finding,
                                   .arg = t};
    struct sync_result r = {0};
    AUTO(config_vault)
    struct config_vault *far = t->o->to_config ? config_vault_load(t->o->to_config, err) : NULL;
    if (t->o->to_config && !far)
        return false;
    AUTO(io) struct io *to = far ? t->open(far, err) : io_open(t->args->words[1], NULL, 0, err);
    if (!to)
        return false;
    bool done = sync_store(t->io, to, &options, &r, err);
    *ret_damages = r.damages;
    FIGURES(t, "sync", NULL, NULL, {"snapshots", r.snapshots}, {"copied", r.copied},
            {"packs_sent", r.packs_sent}, {"bytes_sent", r.bytes_sent},
            {"packs_there", r.packs_there}, {"pruned", r.pruned}, {"damages", r.damages},
            {"done", done});
    return done;
}

/* ---- the verbs ---- */

static const struct verb {
    const char *name;
    size_t words_min, words_max; /* with its own */
    bool (*run)(struct tool *t, uint64_t *ret_damages, struct err *err);
} verbs[] = {
    {"scrub", 1, 1, run_scrub},
    {"fsck", 1, 1, run_fsck},
    {"stat", 1, ARGS_WORDS_MAX, run_stat},
    {"export", 4, 5, run_export},
    {"sync", 1, ARGS_WORDS_MAX, run_sync},
};

static const struct verb *verb_of(const char *word)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (str_equal(verbs[i].name, word))
            return &verbs[i];
    return NULL;
}

bool tools_is_verb(const char *word) { return verb_of(word) != NULL; }

static bool check_words(struct tool *t, const struct verb *verb, struct err *err)
{
    size_t min = verb->words_min;
    if (verb->run == run_sync && !t->o->to_config)
        min = 2;
    if (t->args->word_count < min || t->args->word_count > verb->words_max)
        return err_set(err, ERR_INVALID, "'%s' takes other words; hint: --help", verb->name);
    if (t->o->rate && !str_to_u64(t->o->rate, UINT64_MAX, &t->rate))
        return err_set(err, ERR_INVALID, "--rate '%.40s' is no number of bytes a second",
                       t->o->rate);
    return true;
}

static int fail(FILE *errors, int code, const struct err *err)
{
    fprintf(errors, "evercopy-vaultd: %s\n", err->text);
    return code;
}

int tools_main(const struct tools_options *options, const struct args *args, tools_open *open,
               FILE *out, FILE *errors)
{
    struct err err = {0};
    uint64_t damages = 0;
    struct tool t = {.o = options, .args = args, .open = open, .out = out};
    const struct verb *verb = verb_of(args->words[0]);
    if (!verb || !check_words(&t, verb, &err))
        return fail(errors, TOOLS_USAGE, &err);
    AUTO(config_vault) struct config_vault *config = config_vault_load(options->config, &err);
    if (!config)
        return fail(errors, TOOLS_USAGE, &err);
    t.config = config;
    AUTO(io) struct io *io = open(config, &err);
    if (!io)
        return fail(errors, TOOLS_FAILED, &err);
    t.io = io;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    bool done = verb->run(&t, &damages, &err);
    fflush(out);
    if (!done)
        return fail(errors, err.code == ERR_CORRUPT ? TOOLS_DAMAGE : TOOLS_FAILED, &err);
    return damages > 0 ? TOOLS_DAMAGE : TOOLS_SOUND;
}
