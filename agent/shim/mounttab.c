/* The mount table of this host, and what Oracle needs of a mount. */
#include "agent/shim/mounttab.h"

#include "agent/base/sys.h"
#include <netdb.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { TABLE_MAX = 16 << 20, SIZE_LEAST = 32768, SIZE_GOOD = 1 << 20, TIMEO_TENTHS = 600 };

/* ---- reading ---- */

/* "\040" and its like become the sign they stand for, in place. */
static void decode(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++, to++) {
        bool octal = p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
                     p[3] >= '0' && p[3] <= '7';
        *to = *p;
        if (octal) {
            unsigned char sign =
                (unsigned char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            memcpy(to, &sign, 1);
            p += 3;
        }
    }
    *to = '\0';
}

static bool add_row(struct mounttab *tab, char *line, struct err *err)
{
    char *cursor = line;
    char *parts[4];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!cursor)
            return true;
        parts[i] = str_field(&cursor, ' ');
        decode(parts[i]);
    }
    if (parts[1][0] != '/')
        return true;
    if (!own_grow((void **)&tab->rows, &tab->capacity, tab->count, sizeof *tab->rows, err))
        return false;
    tab->rows[tab->count++] = (struct mounttab_row){parts[0], parts[1], parts[2], parts[3]};
    return true;
}

bool mounttab_parse(struct mounttab *tab, const char *text, size_t len, struct err *err)
{
    mounttab_done(tab);
    tab->text = own_strndup(text, len, err);
    for (char *cursor = tab->text; cursor;)
        if (!add_row(tab, str_field(&cursor, '\n'), err))
            return false;
    return tab->text != NULL;
}

bool mounttab_load(struct mounttab *tab, const char *path, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, TABLE_MAX, &len, err);
    return text && mounttab_parse(tab, text, len, err);
}

void mounttab_done(struct mounttab *tab)
{
    own_free(tab->text);
    own_free(tab->rows);
    *tab = (struct mounttab){0};
}

/* ---- finding ---- */

/* What of dir lies below above, with its '/'; NULL when it lies elsewhere. */
static const char *below(const char *dir, const char *above)
{
    size_t len = strlen(above);
    if (len == 1)
        return dir; /* "/" */
    return strncmp(dir, above, len) == 0 && (!dir[len] || dir[len] == '/') ? dir + len : NULL;
}

const struct mounttab_row *mounttab_under(const struct mounttab *tab, const char *dir)
{
    const struct mounttab_row *best = NULL;
    if (dir[0] != '/')
        return NULL;
    for (size_t i = 0; i < tab->count; i++) {
        const struct mounttab_row *row = &tab->rows[i];
        if (below(dir, row->dir) && !str_equal(row->type, "autofs") &&
            (!best || strlen(row->dir) >= strlen(best->dir)))
            best = row;
    }
    return best;
}

bool mounttab_is_nfs(const struct mounttab_row *row)
{
    return str_equal(row->type, "nfs") || str_equal(row->type, "nfs4");
}

/* The ':' between server and export: an IPv6 server has brackets. */
static const char *export_of(const struct mounttab_row *row)
{
    const char *colon = mounttab_is_nfs(row) ? strstr(row->source, ":/") : NULL;
    return colon ? colon + 1 : NULL;
}

bool mounttab_export(const struct mounttab_row *row, const char *dir, char *ret, size_t size)
{
    const char *top = export_of(row);
    if (!top)
        return false;
    const char *rest = below(dir, row->dir);
    if (!rest)
        return false;
    while (*rest == '/')
        rest++;
    size_t len = strlen(top);
    while (len && top[len - 1] == '/')
        len--;
    return str_format(ret, size, "%.*s%s%s", (int)len, top, *rest || !len ? "/" : "", rest);
}

static bool shows(const struct mounttab_row *row, const char *export_path)
{
    return export_of(row) && str_equal(export_of(row), export_path);
}

/* By the name it was mounted from. */
static bool is_of_host(const struct mounttab_row *row, const struct mount_place *place)
{
    char source[MOUNT_TEXT_MAX];
    mount_source(place, source);
    return strncasecmp(row->source, source, strcspn(source, "/")) == 0;
}

const struct mounttab_row *mounttab_of_export(
    const struct mounttab *tab, const struct mount_place *place,
    bool (*is_server)(void *arg, const struct mounttab_row *row, const struct mount_place *place),
    void *arg)
{
    const struct mounttab_row *last = NULL;
    size_t count = 0;
    for (size_t i = tab->count; i-- > 0;) {
        const struct mounttab_row *row = &tab->rows[i];
        if (!shows(row, place->export_path))
            continue;
        if (is_of_host(row, place))
            return row;
        last = last ? last : row;
        count++;
    }
    for (size_t i = tab->count; count > 1 && i-- > 0;)
        if (shows(&tab->rows[i], place->export_path) && is_server(arg, &tab->rows[i], place))
            return &tab->rows[i];
    return last;
}

bool mounttab_option(const struct mounttab_row *row, const char *key, char ret[80])
{
    size_t key_len = strlen(key);
    for (const char *p = row->options; *p; p += strspn(p, ",")) {
        size_t len = strcspn(p, ",");
        bool has_value = len > key_len && p[key_len] == '=';
        if (strncmp(p, key, key_len) == 0 && (has_value || len == key_len)) {
            size_t skip = has_value ? key_len + 1 : len;
            IGNORE(!str_format(ret, 80, "%.*s", (int)(len - skip), p + skip)); /* cut is fine */
            return true;
        }
        p += len;
    }
    return false;
}

/* ---- judging ---- */

struct judging {
    const struct mounttab_row *row;
    struct mounttab_judged *ret;
};

struct mounttab_fault *mounttab_fault_add(struct mounttab_judged *ret, bool is_wrong)
{
    struct mounttab_fault *f =
        &ret->faults[ret->count < MOUNTTAB_FAULTS_MAX ? ret->count++ : ret->count - 1];
    *f = (struct mounttab_fault){.is_wrong = is_wrong};
    return f;
}

static void say(struct mounttab_judged *ret, bool is_wrong, const char *what, const char *fix)
{
    struct mounttab_fault *f = mounttab_fault_add(ret, is_wrong);
    IGNORE(!str_copy(f->what, sizeof f->what, what)); /* our own texts fit */
    IGNORE(!str_copy(f->fix, sizeof f->fix, fix));
}

static bool has(const struct judging *j, const char *key)
{
    char value[80];
    return mounttab_option(j->row, key, value);
}

static uint64_t number(const struct judging *j, const char *key, uint64_t otherwise)
{
    char value[80];
    uint64_t n = otherwise;
    if (mounttab_option(j->row, key, value))
        IGNORE(!str_to_u64(value, UINT64_MAX, &n)); /* what is no number is as if it were absent */
    return n;
}

static void judge_version(const struct judging *j)
{
    char version[80] = "";
    bool told = mounttab_option(j->row, "vers", version);
    if (str_equal(j->row->type, "nfs4") || (told && version[0] == '4'))
        say(j->ret, true, "it is mounted with NFS version 4", "mount it with vers=3");
    else if (told && !str_equal(version, "3"))
        say(j->ret, true, "it is mounted with NFS version 2", "mount it with vers=3");
    if (mounttab_option(j->row, "proto", version) && str_starts(version, "udp"))
        say(j->ret, true, "it is mounted over UDP: blocks may be put together wrongly",
            "mount it with tcp");
}

static void judge_hardness(const struct judging *j)
{
    if (has(j, "soft") || has(j, "softerr") || has(j, "softreval"))
        say(j->ret, true,
            "it is a soft mount: a slow server becomes a failed write (ORA-27054, lost blocks)",
            "mount it with hard");
    uint64_t timeo = number(j, "timeo", TIMEO_TENTHS);
    if (timeo < TIMEO_TENTHS)
        say(j->ret, false, "its timeo is below 600: requests are repeated while the server works",
            "mount it with timeo=600");
}

static void judge_size(const struct judging *j, const char *key)
{
    uint64_t size = number(j, key, 0);
    char fix[40];
    if (size >= SIZE_GOOD)
        return;
    IGNORE(!str_format(fix, sizeof fix, "mount it with %s=1048576", key));
    struct mounttab_fault *f = mounttab_fault_add(j->ret, size < SIZE_LEAST);
    if (size)
        IGNORE(!str_format(f->what, sizeof f->what, "its %s is %llu%s", key,
                           (unsigned long long)size,
                           size < SIZE_LEAST ? ", Oracle needs 32768 at least (ORA-27054)"
                                             : ": more requests than needed"));
    else
        IGNORE(!str_format(f->what, sizeof f->what, "its %s is not told (ORA-27054)", key));
    IGNORE(!str_copy(f->fix, sizeof f->fix, fix));
}

static void judge_caching(const struct judging *j)
{
    static const char *const keys[] = {"acregmin", "acregmax", "acdirmin", "acdirmax"};
    bool none = has(j, "noac") || (has(j, "actimeo") && number(j, "actimeo", 1) == 0);
    bool each = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        each = each && has(j, keys[i]) && number(j, keys[i], 1) == 0;
    if (!none && !each)
        say(j->ret, false,
            "attributes are cached (no actimeo=0): another host's change of size is seen late",
            "mount it with actimeo=0");
}

/* Linux tells local_lock of every mount: none, flock, posix or all. Oracle's locks are POSIX ones.
 */
static bool has_local_locks(const struct judging *j)
{
    char local[80] = "";
    return has(j, "nolock") || (mounttab_option(j->row, "local_lock", local) &&
                                (str_equal(local, "all") || str_equal(local, "posix")));
}

static void judge_rest(const struct judging *j, const struct mount_place *place)
{
    if (has(j, "ro"))
        say(j->ret, true, "it is mounted read-only", "mount it with rw");
    if (!has_local_locks(j)) /* what the agent exports has no lock manager, others may */
        say(j->ret, place->nfs,
            "locks go over the network: a server without a lock manager refuses them",
            "mount it with nolock");
    if (has(j, "sync"))
        say(j->ret, false, "it is mounted with sync: every write waits for the disk",
            "mount it without sync");
}

static void judge_place(const struct judging *j, const struct mount_place *place, const char *dir,
                        bool (*is_server)(void *arg, const struct mounttab_row *row,
                                          const struct mount_place *place),
                        void *arg)
{
    char shown[PATH_MAX];
    char source[MOUNT_TEXT_MAX];
    mount_source(place, source);
    bool same = is_of_host(j->row, place);
    if (!mounttab_export(j->row, dir, shown, sizeof shown))
        shown[0] = '\0';
    if (!str_equal(shown, place->export_path)) {
        struct mounttab_fault *f = mounttab_fault_add(j->ret, true);
        IGNORE(!str_format(f->what, sizeof f->what, "it shows export '%.80s', not '%.80s'", shown,
                           place->export_path));
        IGNORE(!str_format(f->fix, sizeof f->fix, "mount %.160s there", source));
    }
    if (!same && !is_server(arg, j->row, place)) {
        struct mounttab_fault *f = mounttab_fault_add(j->ret, true);
        IGNORE(!str_format(f->what, sizeof f->what, "it is mounted from another server, '%.*s'",
                           (int)strcspn(j->row->source, "/"), j->row->source));
        IGNORE(!str_format(f->fix, sizeof f->fix,
                           "mount %.120s, or tell the agent that name (option nfshost)", source));
    }
    uint64_t port = number(j, "port", 0);
    if (port && port != place->port) {
        struct mounttab_fault *f = mounttab_fault_add(j->ret, true);
        IGNORE(!str_format(f->what, sizeof f->what, "it is mounted at port %llu, NFS answers at %u",
                           (unsigned long long)port, place->port));
        IGNORE(!str_format(f->fix, sizeof f->fix, "mount it with port=%u,mountport=%u", place->port,
                           place->port));
    }
}

void mounttab_judge(const struct mounttab_row *row, const struct mount_place *place,
                    const char *dir,
                    bool (*is_server)(void *arg, const struct mounttab_row *row,
                                      const struct mount_place *place),
                    void *arg, struct mounttab_judged *ret)
{
    struct judging j = {row, ret};
    *ret = (struct mounttab_judged){0};
    if (!row || !mounttab_is_nfs(row)) {
        if (place->nfs)
            say(ret, true, "it is not mounted on this host", "mount it by the line above");
        return;
    }
    if (place->nfs)
        judge_place(&j, place, dir, is_server, arg);
    judge_version(&j);
    judge_hardness(&j);
    judge_size(&j, "rsize");
    judge_size(&j, "wsize");
    judge_caching(&j);
    judge_rest(&j, place);
}

bool mounttab_is_server(void *arg, const struct mounttab_row *row, const struct mount_place *place)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    char told[80], address[80];
    bool same = false;
    (void)arg;
    if (!mounttab_option(row, "addr", told) || getaddrinfo(place->host, NULL, &hints, &all) != 0)
        return false;
    for (const struct addrinfo *a = all; a && !same; a = a->ai_next)
        same = getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof address, NULL, 0,
                           NI_NUMERICHOST) == 0 &&
               str_equal(address, told);
    freeaddrinfo(all);
    return same;
}
