/* evercopy doctor: mounts and exports as they should be, beside what they are. */
#include "agent/shim/doctor.h"

#include "agent/shim/oratab.h"
#include "agent/shim/shim.h"
#include "agent/shim/words.h"
#include "evercopy/v1/databases.pb-c.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void doctor_done(struct doctor *doctor)
{
    mounttab_done(&doctor->tab);
    own_free(doctor->places);
    *doctor = (struct doctor){0};
}

/* ---- judging ---- */

/* Direct NFS reads oranfstab before the mount table: an entry that leads elsewhere wins. */
static void judge_direct(struct doctor_place *p)
{
    if (p->entry.found && !str_equal(p->entry.export_path, p->place.export_path)) {
        struct mounttab_fault *f = mounttab_fault_add(&p->judged, true);
        IGNORE(!str_format(f->what, sizeof f->what, "oranfstab has export '%.80s' there",
                           p->entry.export_path));
        IGNORE(!str_format(f->fix, sizeof f->fix, "correct %.150s as below", p->entry.file));
    }
    if (!p->entry.found && !p->by_kernel && p->is_needed) {
        struct mounttab_fault *f = mounttab_fault_add(&p->judged, true);
        IGNORE(!str_copy(f->what, sizeof f->what,
                         "oranfstab has no entry for it, and it is not mounted"));
        IGNORE(!str_copy(f->fix, sizeof f->fix, "add the entry below"));
    }
}

void doctor_judge(const struct doctor *doctor, struct doctor_place *p)
{
    char real[PATH_MAX];
    if (!realpath(p->dir, real))
        IGNORE(!str_copy(real, sizeof real, p->dir)); /* of the same size */
    const struct mounttab_row *row =
        p->clone[0] && p->known && p->place.nfs
            ? mounttab_of_export(&doctor->tab, &p->place, mounttab_is_server, NULL)
            : mounttab_under(&doctor->tab, real);
    p->judged = (struct mounttab_judged){0};
    p->row = row && mounttab_is_nfs(row) ? row : NULL;
    if (p->row && p->clone[0])
        IGNORE(!str_copy(p->dir, sizeof p->dir, p->row->dir)); /* cut: longer than any path */
    if (!p->known)
        return;
    if (p->row || (p->is_needed && p->by_kernel))
        mounttab_judge(p->row, &p->place, p->clone[0] ? p->dir : real, mounttab_is_server, NULL,
                       &p->judged);
    if (p->place.nfs)
        judge_direct(p);
}

static const struct export_look *known_look(const struct doctor *doctor,
                                            const struct doctor_place *p)
{
    for (const struct doctor_place *other = doctor->places; other < p; other++) {
        enum nfs_finding finding = other->look.found.finding;
        bool mute = finding == NFS_FOUND_NO_ADDRESS || finding == NFS_FOUND_NO_ANSWER;
        if (other->look.asked && mute && other->place.port == p->place.port &&
            str_equal(other->place.host, p->place.host))
            return &other->look;
    }
    return NULL;
}

void doctor_look(const struct doctor *doctor, struct doctor_place *p)
{
    const struct export_use use = {.by_kernel = p->by_kernel,
                                   .direct_nfs = p->direct_nfs,
                                   .is_mounted = p->row != NULL,
                                   .has_entry = p->entry.found};
    if (!p->known || !p->place.nfs || !(p->is_needed || p->row || p->entry.found))
        return;
    const struct export_look *mute = known_look(doctor, p);
    if (mute)
        p->look = *mute;
    else
        export_look(&p->place, &use, p->home, &p->look);
    export_judge(&p->look, &use, &p->judged);
}

static struct doctor_place *add_place(struct doctor *doctor, struct err *err)
{
    if (!own_grow((void **)&doctor->places, &doctor->capacity, doctor->count,
                  sizeof *doctor->places, err))
        return NULL;
    struct doctor_place *place = &doctor->places[doctor->count++];
    *place = (struct doctor_place){.database = "", .clone = "", .trouble = ""};
    return place;
}

static bool is_listed(const struct doctor *doctor, const char *export_path)
{
    for (size_t i = 0; i < doctor->count; i++)
        if (doctor->places[i].known && str_equal(doctor->places[i].place.export_path, export_path))
            return true;
    return false;
}

static bool add_gone(struct doctor *doctor, size_t live, const struct mounttab_row *row,
                     const char *name, struct err *err)
{
    struct doctor_place *p = add_place(doctor, err);
    if (!p)
        return false;
    p->database = doctor->places[live].database;
    p->clone = name;
    p->gone = true;
    p->row = row;
    p->place = doctor->places[live].place;
    IGNORE(!str_copy(p->dir, sizeof p->dir, row->dir)); /* cut: longer than any path */
    struct mounttab_fault *f = mounttab_fault_add(&p->judged, true);
    IGNORE(!str_copy(f->what, sizeof f->what,
                     "the clone is no more: whatever is read there fails (stale file handle)"));
    char word[180];
    IGNORE(!str_format(f->fix, sizeof f->fix, "umount %.180s",
                       mount_quote(row->dir, word, sizeof word) ? word : row->dir));
    return true;
}

bool doctor_find_gone(struct doctor *doctor, struct err *err)
{
    size_t listed = doctor->count;
    for (size_t live = 0; live < listed; live++) {
        struct mount_place place = doctor->places[live].place;
        size_t len = strlen(place.export_path);
        if (!doctor->places[live].known || !place.nfs || doctor->places[live].clone[0])
            continue;
        for (size_t i = 0; i < doctor->tab.count; i++) {
            const struct mounttab_row *row = &doctor->tab.rows[i];
            char shown[PATH_MAX], source[MOUNT_TEXT_MAX];
            mount_source(&place, source);
            bool ours = mounttab_is_nfs(row) &&
                        mounttab_export(row, row->dir, shown, sizeof shown) &&
                        (strncasecmp(row->source, source, strcspn(source, "/")) == 0 ||
                         mounttab_is_server(NULL, row, &place));
            /* The name's text stays: it is the table's own. */
            if (ours && strncmp(shown, place.export_path, len) == 0 && shown[len] == '/' &&
                !strchr(shown + len + 1, '/') && !is_listed(doctor, shown) &&
                !add_gone(doctor, live, row, strrchr(row->source, '/') + 1, err))
                return false;
        }
    }
    return true;
}

const char *doctor_verdict(const struct doctor *doctor)
{
    const char *verdict = "ok";
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_place *p = &doctor->places[i];
        if (p->trouble[0] && p->is_needed)
            return "failed";
        for (size_t k = 0; k < p->judged.count; k++) {
            if (p->judged.faults[k].is_wrong)
                return "failed";
            verdict = "warning";
        }
    }
    return verdict;
}

/* ---- words ---- */

static void render_lines(const struct doctor_place *p, struct str *out)
{
    char line[3 * PATH_MAX];
    struct err none = {0};
    if (p->clone[0] ? mount_command(&p->place, p->dir, line, &none)
                    : mount_fstab(&p->place, p->dir, line, &none))
        str_printf(out, "  %s %s\n", p->clone[0] ? "as root:" : "fstab:  ", line);
    AUTO(str) struct str entry = {0};
    mount_oranfstab(&p->place, p->dir, &entry);
    if (!str_ok(&entry, &none))
        return;
    str_append(out, "  oranfstab:\n");
    for (char *cursor = entry.text; cursor;) {
        const char *one = str_field(&cursor, '\n');
        if (*one)
            str_printf(out, "    %s\n", one);
    }
}

static void render_state(const struct doctor_place *p, struct str *out)
{
    if (p->trouble[0])
        str_printf(out, "  not known where it is: %s\n", p->trouble);
    else if (p->row)
        str_printf(out, "  mounted: %s at %s (%s)\n", p->row->source, p->row->dir, p->row->options);
    else if (p->known && !p->place.nfs)
        str_printf(out, "  a folder of the agent's host: %s\n", p->place.path);
    else if (!p->is_needed)
        str_append(out, "  not mounted on this host\n");
    if (p->direct_nfs)
        str_printf(out, "  Direct NFS is on%s%s\n", p->entry.found ? ", entry in " : "",
                   p->entry.found ? p->entry.file : "");
}

void doctor_render(const struct doctor *doctor, struct str *out)
{
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_place *p = &doctor->places[i];
        str_printf(out, "%s%s %s%s%s", i ? "\n" : "", p->database, p->clone[0] ? "clone " : "area",
                   p->clone, p->dir[0] ? " at " : "");
        words_append_line(out, p->dir);
        str_append(out, "\n");
        render_state(p, out);
        for (size_t k = 0; k < p->judged.count; k++) {
            str_append(out, p->judged.faults[k].is_wrong ? "  WRONG " : "  note  ");
            words_append_line(out, p->judged.faults[k].what);
            str_append(out, ": ");
            words_append_line(out, p->judged.faults[k].fix);
            str_append(out, "\n");
        }
        if (p->known && p->place.nfs && !p->gone)
            render_lines(p, out);
    }
    if (!doctor->count)
        str_append(out, "no databases\n");
}

static bool fault_json(json_t *list, const struct mounttab_fault *f, struct err *err)
{
    json_t *to = json_object();
    return json_add(list, to, err) && json_put_flag(to, "wrong", f->is_wrong, err) &&
           words_put_bytes(to, "what", f->what, strlen(f->what), err) &&
           words_put_bytes(to, "fix", f->fix, strlen(f->fix), err);
}

static bool lines_json(json_t *to, const struct doctor_place *p, struct err *err)
{
    char command[3 * PATH_MAX] = "", fstab[3 * PATH_MAX] = "";
    struct err none = {0};
    AUTO(str) struct str entry = {0};
    bool nfs = p->known && p->place.nfs && !p->gone;
    if (nfs)
        mount_oranfstab(&p->place, p->dir, &entry);
    if (nfs && (!mount_command(&p->place, p->dir, command, &none) ||
                !mount_fstab(&p->place, p->dir, fstab, &none)))
        command[0] = fstab[0] = '\0';
    const char *text = entry.text ? entry.text : "";
    return words_put_bytes(to, "mount_command", command, strlen(command), err) &&
           words_put_bytes(to, "fstab", fstab, strlen(fstab), err) &&
           json_put_text(to, "oranfstab", text, err);
}

static bool place_json(const void *item, json_t *to, struct err *err)
{
    const struct doctor_place *p = item;
    const char *shown = p->row ? p->row->source : "";
    const char *options = p->row ? p->row->options : "";
    json_t *faults = json_array();
    bool nfs = p->known && p->place.nfs;
    bool ok = json_put(to, "faults", faults, err) &&
              json_put_text(to, "database", p->database, err) &&
              words_put_bytes(to, "clone", p->clone, strlen(p->clone), err) &&
              json_put_text(to, "server", nfs ? p->place.host : "", err) &&
              json_put_text(to, "export", nfs ? p->place.export_path : "", err) &&
              json_put_u64(to, "port", nfs ? p->place.port : 0, err) &&
              words_put_bytes(to, "dir", p->dir, strlen(p->dir), err) &&
              words_put_bytes(to, "mounted", shown, strlen(shown), err) &&
              words_put_bytes(to, "options", options, strlen(options), err) &&
              json_put_flag(to, "direct_nfs", p->direct_nfs, err) &&
              words_put_bytes(to, "trouble", p->trouble, strlen(p->trouble), err) &&
              lines_json(to, p, err);
    for (size_t i = 0; ok && i < p->judged.count; i++)
        ok = fault_json(faults, &p->judged.faults[i], err);
    return ok;
}

static json_t *doctor_json(const struct doctor *doctor, struct err *err)
{
    AUTO(mem) const void **items = own_alloc(sizeof *items * (doctor->count + 1), err);
    if (!items)
        return NULL;
    for (size_t i = 0; i < doctor->count; i++)
        items[i] = &doctor->places[i];
    AUTO(json)
    json_t *doc = words_list("places", doctor->count, (void *const *)items, place_json, err);
    return doc && json_put_text(doc, "verdict", doctor_verdict(doctor), err) ? TAKE(doc) : NULL;
}

/* ---- the verb ---- */

/* What this host's configuration says of it; a database it does not name is shown only. */
static void place_here(const struct shim *shim, struct doctor_place *p)
{
    struct err none = {0};
    struct oratab_home home = {0};
    const struct config_database *db = config_shim_find(shim->config, p->database, &none);
    const char *above = db && db->sandbox_mount[0] ? db->sandbox_mount : "/mnt";
    if (p->clone[0])
        p->known = mount_dir(above, p->clone, p->dir, &none) && p->known;
    else if (db)
        IGNORE(!str_copy(p->dir, sizeof p->dir, db->area));
    p->by_kernel = !db || db->area_mounted;
    p->is_needed = db && !p->clone[0] && db->area[0];
    const char *oratab = shim->options->oratab ? shim->options->oratab : ORATAB_PATH;
    if (!db || !oratab_resolve(shim->config, db, oratab, &home, &none))
        return;
    IGNORE(!str_copy(p->home, sizeof p->home, home.home)); /* of the same size */
    p->direct_nfs = directnfs_is_on(home.home);
    if (p->dir[0])
        directnfs_look(home.home, p->dir, &p->entry);
}

static bool examine(struct shim *shim, struct doctor *doctor,
                    const Evercopy__V1__ListMountsReply *reply, struct err *err)
{
    const char *path = shim->options->mounts ? shim->options->mounts : MOUNTTAB_PATH;
    if (!mounttab_load(&doctor->tab, path, err))
        return false;
    for (size_t i = 0; i < reply->n_mounts; i++) {
        const Evercopy__V1__Mount *from = reply->mounts[i];
        struct err why = {0};
        struct doctor_place *p = add_place(doctor, err);
        if (!p)
            return false;
        p->database = from->db_unique_name;
        p->clone = from->clone;
        p->trouble = from->trouble;
        p->known = from->mount[0] && mount_parse(from->mount, &p->place, &why);
        if (from->mount[0] && !p->known)
            p->trouble = "the storage serves no NFS (an [export] in evercopy-vaultd.conf), or what "
                         "it says is none";
        place_here(shim, p);
        doctor_judge(doctor, p);
        doctor_look(doctor, p);
    }
    return doctor_find_gone(doctor, err);
}

int verb_doctor(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    AUTO(doctor) struct doctor doctor = {0};
    AUTO(str) struct str text = {0};
    struct err err = {0};
    Evercopy__V1__ListMountsRequest request = EVERCOPY__V1__LIST_MOUNTS_REQUEST__INIT;
    request.db_unique_name = (char *)(db ? db : "");
    AUTO(reply) ProtobufCMessage *message = NULL;
    if (shim_open(&shim, options, db, &err))
        message = shim_call(&shim, "Databases", "ListMounts", &request.base,
                            &evercopy__v1__list_mounts_reply__descriptor, SHIM_CALL_MS, &err);
    if (!message || !examine(&shim, &doctor, (const void *)message, &err))
        return shim_report(&shim, db, "doctor", &err);
    if (!options->json)
        doctor_render(&doctor, &text);
    if (!(options->json ? shim_print_json(doctor_json(&doctor, &err), &err)
                        : shim_print_text(&text, &err)))
        return shim_report(&shim, db, "print", &err);
    const char *verdict = doctor_verdict(&doctor);
    bool bad = str_equal(verdict, "failed") || (options->strict && str_equal(verdict, "warning"));
    return bad ? verdict_exit(VERDICT_FAILED, options->strict) : 0;
}
