/* Mount texts, what is typed for them, and the helper that mounts. */
#include "agent/shim/mount.h"

#include "agent/base/exec.h"
#include <string.h>

enum {
    HELP_MS = 120000,
    GRACE_MS = 5000,
    HELP_OUTPUT_MAX = 64 << 10,
    HELP_REFUSED = 2,
    SAID_MAX = 200
};

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define SIX_SIGNS "0123456789abcdefABCDEF:."

/* ---- texts ---- */

static bool parse_path(const char *path, struct mount_place *ret, struct err *err)
{
    if (path[0] != '/' || strstr(path, "/../") || str_ends(path, "/..") ||
        strpbrk(path, "\n\r\t'\"\\;") || !str_copy(ret->path, sizeof ret->path, path))
        return err_set(err, ERR_INVALID, "'%.200s' is no folder to mount", path);
    return true;
}

/* Up to the ':' before the export. */
static const char *parse_host(const char *text, struct mount_place *ret)
{
    bool six = *text == '[';
    const char *host = text + six;
    size_t len = six ? strspn(host, SIX_SIGNS) : strspn(host, LETTERS ".-");
    const char *end = host + len;
    if (!len || len >= sizeof ret->host || *host == '-' || (six && *end != ']') || end[six] != ':')
        return NULL;
    memcpy(ret->host, host, len);
    ret->host[len] = '\0';
    return end + six + 1;
}

/* '/' and names as volumes and clones have them, none of which begins with a dot. */
static bool parse_export(const char *text, size_t len, struct mount_place *ret)
{
    if (len < 2 || text[0] != '/' ||
        !str_format(ret->export_path, sizeof ret->export_path, "%.*s", (int)len, text))
        return false;
    for (const char *at = ret->export_path; *at;) {
        size_t name = strspn(at + 1, LETTERS "$#_.-");
        if (*at != '/' || !name || at[1] == '.' || at[1] == '-')
            return false;
        at += 1 + name;
    }
    return !strstr(ret->export_path, "..");
}

static bool parse_port(const char *text, unsigned *ret)
{
    uint64_t port = MOUNT_PORT;
    bool ok = !*text || (str_starts(text, "?port=") &&
                         str_to_u64(text + strlen("?port="), UINT16_MAX, &port) && port);
    *ret = (unsigned)port;
    return ok;
}

bool mount_parse(const char *text, struct mount_place *ret, struct err *err)
{
    struct mount_place place = {0};
    if (str_starts(text, "path:")) {
        if (!parse_path(text + strlen("path:"), &place, err))
            return false;
    } else if (str_starts(text, "nfs:")) {
        const char *path = parse_host(text + strlen("nfs:"), &place);
        size_t len = path ? strcspn(path, "?") : 0;
        place.nfs = true;
        if (!path || !parse_export(path, len, &place) || !parse_port(path + len, &place.port))
            return err_set(err, ERR_INVALID, "the agent's mount text '%.200s' is not one", text);
    } else {
        return err_set(err, ERR_UNSUPPORTED,
                       "no host can mount '%.120s'; hint: does its storage serve NFS? (an [export] "
                       "in evercopy-vaultd.conf)",
                       text);
    }
    *ret = place;
    return true;
}

void mount_source(const struct mount_place *place, char ret[MOUNT_TEXT_MAX])
{
    bool six = strchr(place->host, ':') != NULL;
    IGNORE(!str_format(ret, MOUNT_TEXT_MAX, six ? "[%s]:%s" : "%s:%s", place->host,
                       place->export_path)); /* the parts are shorter */
}

void mount_options(const struct mount_place *place, bool background, char ret[MOUNT_TEXT_MAX])
{
    char ports[80] = "";
    if (place->port != MOUNT_PORT)
        IGNORE(!str_format(ports, sizeof ports, ",port=%u,mountport=%u,mountproto=tcp", place->port,
                           place->port));
    IGNORE(!str_format(ret, MOUNT_TEXT_MAX,
                       "rw%s,hard,nointr,rsize=1048576,wsize=1048576,tcp,vers=3,timeo=600,"
                       "actimeo=0,nolock%s",
                       background ? ",bg" : "", ports));
}

bool mount_dir(const char *above, const char *clone, char ret[PATH_MAX], struct err *err)
{
    bool good = clone[0] && clone[0] != '.' && clone[0] != '-' && !strstr(clone, "..") &&
                strspn(clone, LETTERS "$#_.-") == strlen(clone);
    if (!good)
        return err_set(err, ERR_INVALID, "'%.80s' is no name of a clone", clone);
    return str_format(ret, PATH_MAX, "%s/%s", above, clone) ||
           err_set(err, ERR_LIMIT, "'%.200s' is too long a path", above);
}

bool mount_quote(const char *word, char *ret, size_t size)
{
    AUTO(str) struct str out = {0};
    struct err none = {0};
    if (word[0] && strspn(word, LETTERS "/:.,=_@%+-") == strlen(word))
        return str_copy(ret, size, word);
    str_append(&out, "'");
    for (const char *p = word; *p; p++) {
        if (*p == '\'')
            str_append(&out, "'\\''");
        else
            str_append_n(&out, p, 1);
    }
    str_append(&out, "'");
    ret[0] = '\0';
    return str_ok(&out, &none) && str_copy(ret, size, out.text);
}

static bool too_long(const char *dir, struct err *err)
{
    return err_set(err, ERR_LIMIT, "'%.200s' is too long a path", dir);
}

bool mount_command(const struct mount_place *place, const char *dir, char ret[3 * PATH_MAX],
                   struct err *err)
{
    char source[MOUNT_TEXT_MAX], options[MOUNT_TEXT_MAX];
    char from[2 * PATH_MAX], at[2 * PATH_MAX];
    mount_source(place, source);
    mount_options(place, false, options);
    bool ok = mount_quote(place->nfs ? source : place->path, from, sizeof from) &&
              mount_quote(dir, at, sizeof at);
    if (ok && place->nfs)
        ok = str_format(ret, (size_t)3 * PATH_MAX, "mount -t nfs -o %s %s %s", options, from, at);
    else if (ok)
        ok = str_format(ret, (size_t)3 * PATH_MAX, "mount --bind %s %s", from, at);
    return ok || too_long(dir, err);
}

/* As fstab(5) and the kernel's own table write what would end a field. */
static void append_field(const char *text, struct str *out)
{
    for (const char *p = text; *p; p++) {
        if (strchr(" \t\n\\", *p))
            str_printf(out, "\\%03o", (unsigned)*p);
        else
            str_append_n(out, p, 1);
    }
}

bool mount_fstab(const struct mount_place *place, const char *dir, char ret[3 * PATH_MAX],
                 struct err *err)
{
    char source[MOUNT_TEXT_MAX], options[MOUNT_TEXT_MAX];
    AUTO(str) struct str at = {0};
    mount_source(place, source);
    mount_options(place, true, options);
    append_field(dir, &at);
    return str_ok(&at, err) &&
           (str_format(ret, (size_t)3 * PATH_MAX, "%s %s nfs %s 0 0", source, at.text, options) ||
            too_long(dir, err));
}

void mount_oranfstab(const struct mount_place *place, const char *dir, struct str *ret)
{
    str_printf(ret, "server: %s\npath: %s\nnfs_version: nfsv3\nexport: %s mount: %s\n", place->host,
               place->host, place->export_path, dir);
}

/* ---- the helper ---- */

struct heard {
    const struct mount_helper *helper;
    char said[SAID_MAX]; /* its last line */
};

static void on_line(void *arg, const char *line, size_t len)
{
    struct heard *heard = arg;
    IGNORE(!str_format(heard->said, sizeof heard->said, "%.*s",
                       (int)(len < SAID_MAX ? len : SAID_MAX), line)); /* cut is fine */
    if (heard->helper->line)
        heard->helper->line(heard->helper->arg, line, len);
}

static bool on_cancelled(void *arg)
{
    const struct mount_helper *helper = ((struct heard *)arg)->helper;
    return helper->cancelled && helper->cancelled(helper->arg);
}

static bool run_helper(const struct mount_helper *helper, const char *const *argv, struct err *err)
{
    static const char *const envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct heard heard = {.helper = helper};
    struct exec_result result = {0};
    struct exec exec = {.argv = argv,
                        .envp = envp,
                        .deadline_ms = HELP_MS,
                        .grace_ms = GRACE_MS,
                        .output_max = HELP_OUTPUT_MAX,
                        .line = on_line,
                        .cancelled = on_cancelled,
                        .arg = &heard};
    if (!exec_run(&exec, &result, err))
        return err_wrap(err, "mount helper");
    const char *left =
        result.left ? "; it runs as another user, cannot be ended from here, and is left" : "";
    if (result.cancelled)
        return err_set(err, ERR_CANCELLED, "stopped while '%s' was at work%s", argv[0], left);
    if (result.timed_out)
        return err_set(err, ERR_TIMEOUT, "'%s %s' took more than %d s%s", argv[0], argv[1],
                       HELP_MS / 1000, left);
    if (!result.signal_no && !result.flooded && result.exit_code == 0)
        return true;
    bool refused = !result.signal_no && !result.flooded && result.exit_code == HELP_REFUSED;
    return err_set(err, refused ? ERR_PRECONDITION : ERR_EXTERNAL, "'%s %s' %s: %s", argv[0],
                   argv[1], refused ? "refused" : "failed",
                   heard.said[0] ? heard.said : "it gave no reason");
}

bool mount_help(const struct mount_helper *helper, const struct mount_place *place, const char *dir,
                struct err *err)
{
    char source[MOUNT_TEXT_MAX], options[MOUNT_TEXT_MAX];
    mount_source(place, source);
    mount_options(place, false, options);
    return run_helper(
        helper, (const char *const[]){helper->program, "mount", source, dir, options, NULL}, err);
}

bool mount_help_away(const struct mount_helper *helper, const char *dir, struct err *err)
{
    return run_helper(helper, (const char *const[]){helper->program, "umount", dir, NULL}, err);
}
