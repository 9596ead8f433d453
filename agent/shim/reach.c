/* A clone's files on this host: local, mounted by hand, or by the helper. */
#include "agent/shim/reach.h"

#include "agent/shim/mounttab.h"
#include <stdlib.h>
#include <string.h>

static const char *table_of(const struct run *run)
{
    const char *given = run->shim->options->mounts;
    return given ? given : MOUNTTAB_PATH;
}

/* The mount table shows paths without links. */
static void resolve(const char *dir, char ret[PATH_MAX])
{
    if (!realpath(dir, ret))
        IGNORE(!str_copy(ret, PATH_MAX, dir)); /* of the same size */
}

static void on_line(void *arg, const char *line, size_t len)
{
    run_say(arg, "  %.*s", (int)(len < 400 ? len : 400), line);
}

static struct mount_helper helper_of(struct run *run, bool may_stop)
{
    return (struct mount_helper){.program = run->shim->db->mount_helper,
                                 .cancelled = may_stop ? run_is_stopped : NULL,
                                 .line = on_line,
                                 .arg = run};
}

static bool ask_person(struct reach *reach, struct run *run, const char *clone,
                       const struct mount_place *place, struct err *err)
{
    char command[3 * PATH_MAX];
    char dir[PATH_MAX], word[2 * PATH_MAX], dest[2 * PATH_MAX];
    const struct config_database *db = run->shim->db;
    const struct shim_options *options = run->shim->options;
    if (!mount_dir(db->sandbox_mount[0] ? db->sandbox_mount : "/mnt", clone, dir, err) ||
        !mount_command(place, dir, command, err))
        return false;
    if (!mount_quote(dir, word, sizeof word) ||
        !mount_quote(options->dest ? options->dest : "", dest, sizeof dest))
        return err_set(err, ERR_LIMIT, "'%.200s' is too long a path", dir);
    run_say(run, "clone '%s' must be mounted on this host; as root:", clone);
    run_say(run, "  mkdir -p %s && %s", word, command);
    run_say(run, "then, while its lease lasts (an hour; evercopy clone extend):");
    run_say(run, "  evercopy restore %s --clone %s --mounted %s%s%s", db->name, clone, word,
            options->dest ? " --dest " : "", options->dest ? dest : "");
    run_say(run, "keys 'autorestoremountpoint' and 'mounthelper' make it go by itself");
    reach->is_handed = true;
    return err_set(err, ERR_PRECONDITION,
                   "clone '%s' waits to be mounted, then: restore --clone %s --mounted DIR; hint: "
                   "%.300s",
                   clone, clone, command);
}

/* A folder for each clone: two restores never cover one another's files. What somebody else mounted
 * there is never taken away by us. */
static bool plan_helper(struct reach *reach, struct run *run, const char *clone, struct err *err)
{
    char real[PATH_MAX];
    AUTO(mounttab) struct mounttab tab = {0};
    if (!mount_dir(run->shim->db->sandbox_mount, clone, reach->root, err) ||
        !mounttab_load(&tab, table_of(run), err))
        return false;
    resolve(reach->root, real);
    const struct mounttab_row *row = mounttab_under(&tab, real);
    if (row && str_equal(row->dir, real))
        return err_set(err, ERR_PRECONDITION, "'%.200s' is mounted at '%.200s' already",
                       row->source, reach->root);
    IGNORE(!str_copy(reach->mounted, sizeof reach->mounted, reach->root)); /* of the same size */
    return true;
}

bool reach_plan(struct reach *reach, struct run *run, const char *clone, const char *mount,
                struct err *err)
{
    struct mount_place place;
    const struct config_database *db = run->shim->db;
    const char *mounted = run->shim->options->mounted;
    *reach = (struct reach){0};
    if (!mount_parse(mount, &place, err))
        return err_wrap(err, "clone '%s'", clone);
    if (!str_copy(reach->mount, sizeof reach->mount, mount))
        return err_set(err, ERR_LIMIT, "the clone's mount text is too long");
    if (mounted && mounted[0] != '/')
        return err_set(err, ERR_INVALID, "--mounted '%.200s' is no absolute path", mounted);
    const char *root = mounted ? mounted : place.path;
    if (mounted || !place.nfs)
        return str_copy(reach->root, sizeof reach->root, root) ||
               err_set(err, ERR_LIMIT, "'%.200s' is too long a path", root);
    if (!db->sandbox_mount[0] || !db->mount_helper[0])
        return ask_person(reach, run, clone, &place, err);
    return plan_helper(reach, run, clone, err);
}

/* The clone of another one under recovery would spoil both: what is mounted must be this one. */
static bool check_shown(const struct reach *reach, struct run *run, bool by_person, struct err *err)
{
    char shown[PATH_MAX];
    char real[PATH_MAX];
    struct mount_place place;
    struct mounttab_judged judged;
    AUTO(mounttab) struct mounttab tab = {0};
    if (!mount_parse(reach->mount, &place, err) || !place.nfs)
        return err->code == ERR_NONE;
    if (!mounttab_load(&tab, table_of(run), err))
        return false;
    resolve(reach->root, real);
    const struct mounttab_row *row = mounttab_under(&tab, real);
    if (!row || !mounttab_is_nfs(row)) {
        if (by_person)
            return err_set(err, ERR_PRECONDITION, "nothing is mounted at '%.200s'", reach->root);
        run_say(run, "'%s' is no mount of the kernel's: the clone is read by Direct NFS alone",
                reach->root);
        return true;
    }
    if (!mounttab_export(row, real, shown, sizeof shown) || !str_equal(shown, place.export_path))
        return err_set(err, ERR_PRECONDITION, "'%.150s' shows '%.150s', the clone is '%.150s'",
                       reach->root, row->source, place.export_path);
    mounttab_judge(row, &place, real, mounttab_is_server, NULL, &judged);
    for (size_t i = 0; i < judged.count; i++)
        run_say(run, "%s of the clone: %s; %s",
                judged.faults[i].is_wrong ? "WARNING: mount" : "mount", judged.faults[i].what,
                judged.faults[i].fix);
    return true;
}

bool reach_enter(struct reach *reach, struct run *run, struct err *err)
{
    struct mount_place place;
    struct mount_helper helper = helper_of(run, true);
    if (!reach->mounted[0])
        return !run->shim->options->mounted || check_shown(reach, run, true, err);
    if (!mount_parse(reach->mount, &place, err))
        return false;
    if (!mount_help(&helper, &place, reach->mounted, err)) {
        if (err->code == ERR_PRECONDITION) /* what is mounted there is somebody else's */
            reach->mounted[0] = '\0';
        return false;
    }
    if (!check_shown(reach, run, false, err))
        return false;
    run_say(run, "mounted at '%s'", reach->mounted);
    return true;
}

static bool is_mount(struct run *run, const char *dir)
{
    char real[PATH_MAX];
    struct err err = {0};
    AUTO(mounttab) struct mounttab tab = {0};
    if (!mounttab_load(&tab, table_of(run), &err))
        return true; /* not known: as if it were */
    resolve(dir, real);
    const struct mounttab_row *row = mounttab_under(&tab, real);
    return row && str_equal(row->dir, real);
}

/* A helper that was stopped half-way, or fails at what is gone already, holds nothing up. */
static bool unmount(struct run *run, const char *dir, struct err *err)
{
    struct mount_helper helper = helper_of(run, false);
    struct err why = {0};
    if (!mount_help_away(&helper, dir, &why)) {
        if (is_mount(run, dir)) {
            *err = why;
            return false;
        }
        run_say(run, "nothing is mounted at '%s' any more (%s)", dir, why.text);
    }
    return true;
}

bool reach_leave(struct reach *reach, struct run *run, struct err *err)
{
    if (!reach->mounted[0])
        return true;
    if (!unmount(run, reach->mounted, err))
        return false;
    reach->mounted[0] = '\0';
    return true;
}

bool reach_sweep(struct run *run, const char *mounted, struct err *err)
{
    const char *above = run->shim->db->sandbox_mount;
    size_t len = strlen(above);
    bool ours = len && strncmp(mounted, above, len) == 0 && mounted[len] == '/' &&
                !strchr(mounted + len + 1, '/') && mounted[len + 1] && mounted[len + 1] != '.';
    if (ours && run->shim->db->mount_helper[0])
        return unmount(run, mounted, err);
    if (is_mount(run, mounted))
        return err_set(err, ERR_PRECONDITION,
                       "what it mounted at '%.200s' is not below 'autorestoremountpoint', or there "
                       "is no 'mounthelper' any more; hint: umount it",
                       mounted);
    return true;
}
