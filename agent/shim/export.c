/* What an export lets this host do, beside what Oracle needs of it. */
#include "agent/shim/export.h"

#include "agent/base/sys.h"
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 5000, MAPPER_MS = 2000, NAMES_BYTES = 4096 };

/* ---- who asks ---- */

static void add_groups(struct nfs_probe *probe, const gid_t *groups, int count)
{
    for (int i = 0; i < count && probe->group_count < NFS_PROBE_GROUPS_MAX; i++)
        probe->groups[probe->group_count++] = groups[i];
}

static void groups_of_user(struct nfs_probe *probe)
{
    char names[NAMES_BYTES];
    struct passwd user, *found = NULL;
    gid_t groups[NFS_PROBE_GROUPS_MAX];
    int count = NFS_PROBE_GROUPS_MAX;
    if (getpwuid_r(probe->uid, &user, names, sizeof names, &found) != 0 || !found)
        return;
    probe->gid = user.pw_gid;
    bool all = getgrouplist(user.pw_name, user.pw_gid, groups, &count) >= 0;
    add_groups(probe, groups, all ? count : NFS_PROBE_GROUPS_MAX);
}

/* Its processes write as who owns it, whoever starts them. */
static void set_who(const char *oracle_home, struct nfs_probe *probe)
{
    struct err none = {0};
    struct stat oracle = {0};
    char path[PATH_MAX];
    gid_t groups[64];
    probe->uid = geteuid();
    probe->gid = getegid();
    if (probe->uid == 0 && oracle_home[0] &&
        str_format(path, sizeof path, "%s/bin/oracle", oracle_home) &&
        sys_stat(path, &oracle, &none) && oracle.st_uid != 0) {
        probe->uid = oracle.st_uid;
        probe->gid = oracle.st_gid;
        groups_of_user(probe);
        return;
    }
    add_groups(probe, groups, getgroups(sizeof groups / sizeof *groups, groups));
}

/* ---- asking ---- */

static bool needs_mapper(const struct mount_place *place, const struct export_use *use)
{
    bool will_mount = use->by_kernel && !use->is_mounted && place->port == MOUNT_PORT;
    return use->direct_nfs || will_mount;
}

void export_look(const struct mount_place *place, const struct export_use *use,
                 const char *oracle_home, struct export_look *ret)
{
    struct nfs_probe probe = {.host = place->host,
                              .path = place->export_path,
                              .port = (uint16_t)place->port,
                              .is_mounted = use->is_mounted || use->has_entry,
                              .timeout_ms = LOOK_MS};
    set_who(oracle_home, &probe);
    *ret = (struct export_look){.asked = true, .uid = probe.uid};
    nfs_probe(&probe, &ret->found);
    ret->mapper_asked = needs_mapper(place, use) && ret->found.finding != NFS_FOUND_NO_ANSWER &&
                        ret->found.finding != NFS_FOUND_NO_ADDRESS;
    if (ret->mapper_asked)
        ret->mapped = nfs_probe_mapper(place->host, probe.port, MAPPER_MS);
}

/* ---- judging ---- */

static void judge_rights(const struct export_look *look, struct mounttab_fault *f)
{
    const struct nfs_found *found = &look->found;
    bool writes = found->finding == NFS_FOUND_NOT_WRITTEN;
    IGNORE(!str_format(f->what, sizeof f->what, "uid %u may not %s there", look->uid,
                       writes ? "write" : "read"));
    size_t len = strlen(f->what);
    if (found->has_top)
        IGNORE(!str_format(f->what + len, sizeof f->what - len,
                           ": the top folder is uid %u's, mode %04o", found->uid, found->mode));
    unsigned needs = writes ? 0300 : 0500;
    bool would_do = found->has_top &&
                    (found->uid == look->uid ? (found->mode & needs) == needs : look->uid == 0);
    if (would_do)
        IGNORE(!str_format(f->fix, sizeof f->fix,
                           "the server takes uid %u for another: 'squash = %s' in its [export], or "
                           "'anonuid' of who owns the folder",
                           look->uid, look->uid ? "root" : "none"));
    else if (found->has_top && found->uid == 0)
        IGNORE(!str_format(f->fix, sizeof f->fix,
                           "set 'owner = %u' in its [export]: a top folder that is root's still "
                           "becomes that user's",
                           look->uid));
    else
        IGNORE(
            !str_format(f->fix, sizeof f->fix,
                        "let a client that 'squash = none' admits as root give uid %u the folder "
                        "(chown), or its group the right (chmod)",
                        look->uid));
}

struct sentence { /* of each finding; the server's words go behind `what` */
    const char *what, *fix;
};
static const struct sentence sentences[] = {
    [NFS_FOUND_NO_ADDRESS] = {"the server's address is not known here",
                              "name it in DNS or /etc/hosts"},
    [NFS_FOUND_NO_ANSWER] = {"no NFS server answers",
                             "start evercopy-vaultd there, open the port to this host; its port is "
                             "what 'evercopy-vaultd exports' says there"},
    [NFS_FOUND_NO_NFS] = {"what answers at the port is no NFS server",
                          "another program has the port; the vault's is what 'evercopy-vaultd "
                          "exports' says there"},
    [NFS_FOUND_NO_EXPORT] =
        {"the server has no such export",
         "see 'evercopy-vaultd exports' there; the volume, and a 'clients' that "
         "is not 'none' in its [export], make one"},
    [NFS_FOUND_NOT_ADMITTED] = {"the server does not admit this host",
                                "add its address to 'clients' in the [export] there (clones: "
                                "'cloneclients')"},
    [NFS_FOUND_READ_ONLY] = {"the export is read-only", "set 'readonly = false' in its [export]"},
    [NFS_FOUND_UNCLEAR] = {"the export cannot be used", "see the log of evercopy-vaultd there"},
};

/* The kernel asks from such a port; Direct NFS does when it may. */
static void judge_port(const struct export_use *use, struct mounttab_judged *judged)
{
    struct mounttab_fault *f = mounttab_fault_add(judged, !use->by_kernel);
    IGNORE(!str_copy(f->what, sizeof f->what,
                     "the export takes calls from ports below 1024 alone, as root has them"));
    IGNORE(!str_copy(f->fix, sizeof f->fix,
                     use->by_kernel && !use->direct_nfs
                         ? "right for a kernel mount; as root this doctor sees the rest"
                         : "set 'privileged = false' in its [export], or let oradism be root's and "
                           "setuid"));
}

static void judge_found(const struct export_look *look, const struct export_use *use,
                        struct mounttab_judged *judged)
{
    const struct nfs_found *found = &look->found;
    if (found->finding == NFS_FOUND_GOOD)
        return;
    if (found->finding == NFS_FOUND_LOW_PORT) {
        judge_port(use, judged);
        return;
    }
    struct mounttab_fault *f = mounttab_fault_add(judged, true);
    if (found->finding == NFS_FOUND_NOT_READ || found->finding == NFS_FOUND_NOT_WRITTEN) {
        judge_rights(look, f);
        return;
    }
    const struct sentence *sentence = &sentences[found->finding];
    IGNORE(!str_format(f->what, sizeof f->what, "%s%s%.120s", sentence->what,
                       found->why[0] ? ": " : "", found->why));
    IGNORE(!str_copy(f->fix, sizeof f->fix, sentence->fix));
}

static void judge_mapper(const struct export_look *look, const struct export_use *use,
                         struct mounttab_judged *judged)
{
    static const char *const says[] = {
        [NFS_MAPPED_NO_MAPPER] = "no port mapper answers at the server",
        [NFS_MAPPED_NOTHING] = "the server's port mapper does not know its NFS server",
        [NFS_MAPPED_ELSEWHERE] = "the server's port mapper leads to another port",
    };
    if (look->mapped == NFS_MAPPED_GOOD || look->mapped == NFS_MAPPED_UNCLEAR)
        return;
    struct mounttab_fault *f = mounttab_fault_add(judged, !use->by_kernel);
    IGNORE(!str_format(f->what, sizeof f->what, "%s: %s", says[look->mapped],
                       !use->direct_nfs ? "a mount without mountport= finds nothing"
                       : use->by_kernel ? "Direct NFS finds nothing, and silently leaves Oracle's "
                                          "files to the kernel's mount"
                                        : "Direct NFS finds nothing, and there is no mount"));
    IGNORE(!str_format(f->fix, sizeof f->fix,
                       "let rpcbind run there ('evercopy-vaultd exports' says whether it was told)"
                       "%s",
                       use->direct_nfs ? "" : ", or mount with mountport=2049,mountproto=tcp"));
}

void export_judge(const struct export_look *look, const struct export_use *use,
                  struct mounttab_judged *judged)
{
    if (look->asked)
        judge_found(look, use, judged);
    if (look->mapper_asked)
        judge_mapper(look, use, judged);
}
