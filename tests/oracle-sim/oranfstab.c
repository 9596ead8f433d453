/* H/dbs/oranfstab in Oracle's syntax, and H/dbs/sim.nfs for what that syntax has no word for. */
#include "dnfs.h"
#include "sim.h"

static struct dnfs_server servers[DNFS_SERVERS];
static struct dnfs_mount mounts[DNFS_MOUNTS];
static int server_count, mount_count;

/* Attributes that Oracle documents and that mean nothing here; all take one value. */
static const char *const passed_over[] = {"local",     "mnt_timeout", "management",
                                          "community", "security",    "security_default"};

struct reader {
    char *at;
    int line, ended; /* ended: lines that the last word ended */
    struct dnfs_server *server;
    char export[DNFS_TEXT];
};

static const char *next_word(struct reader *r)
{
    char *from;

    r->line += r->ended;
    r->ended = 0;
    for (;;) {
        while (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n')
            r->line += *r->at++ == '\n';
        if (*r->at != '#')
            break;
        r->at += strcspn(r->at, "\n");
    }
    from = r->at;
    r->at += strcspn(r->at, " \t\r\n");
    if (r->at == from)
        return NULL;
    if (*r->at) {
        r->ended = *r->at == '\n';
        *r->at++ = 0;
    }
    return from;
}

static void nonsense(const struct reader *r, const char *what)
{
    die("oranfstab line %d: %s", r->line, what);
}

static void take_mount(struct reader *r, const char *where)
{
    struct dnfs_mount *m = &mounts[mount_count];
    size_t len;

    if (!r->export[0])
        nonsense(r, "'mount:' without an 'export:' before it");
    if (mount_count == DNFS_MOUNTS)
        nonsense(r, "too many mounts");
    mount_count++;
    m->server = r->server;
    copy_text(m->export, sizeof m->export, r->export);
    copy_text(m->mount, sizeof m->mount, where);
    len = strlen(m->mount);
    while (len > 1 && m->mount[len - 1] == '/')
        m->mount[--len] = 0;
    r->export[0] = 0;
}

static void take_server(struct reader *r, const char *name)
{
    if (server_count == DNFS_SERVERS)
        nonsense(r, "too many servers");
    r->server = &servers[server_count++];
    r->server->patience_s = DNFS_PATIENCE_S;
    copy_text(r->server->name, sizeof r->server->name, name);
}

static void attribute(struct reader *r, const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof passed_over / sizeof *passed_over; i++)
        if (same(key, passed_over[i]))
            return;
    if (same(key, "server")) {
        take_server(r, value);
    } else if (!r->server) {
        nonsense(r, "an attribute before the first 'server:'");
    } else if (same(key, "path")) {
        if (r->server->paths == DNFS_PATHS)
            nonsense(r, "more than four paths");
        copy_text(r->server->path[r->server->paths++], DNFS_NAME, value);
    } else if (same(key, "export")) {
        copy_text(r->export, sizeof r->export, value);
    } else if (same(key, "mount")) {
        take_mount(r, value);
    } else if (same(key, "nfs_version")) {
        if (!same(value, "nfsv3"))
            nonsense(r, "only nfs_version: nfsv3 is simulated");
    } else {
        nonsense(r, "unknown attribute");
    }
}

static void read_table(char *text)
{
    struct reader r = {.at = text, .line = 1};
    const char *word, *value;

    while ((word = next_word(&r))) {
        char key[64], *colon;

        copy_text(key, sizeof key, word);
        colon = strchr(key, ':');
        if (!colon && same(key, "dontroute"))
            continue;
        if (!colon)
            nonsense(&r, "not an attribute");
        *colon = 0;
        value = strchr(word, ':') + 1;
        if (!*value && !(value = next_word(&r)))
            nonsense(&r, "an attribute without a value");
        attribute(&r, key, value);
    }
}

/* "SERVER NFSPORT MOUNTPORT [SECONDS]" a line: ports, and for how long its hard mounts wait. */
static void read_ports(const char *text)
{
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        char name[DNFS_NAME];
        int nfs = 0, mount = 0, seconds = DNFS_PATIENCE_S;

        if (sscanf(p, "%255s %d %d %d", name, &nfs, &mount, &seconds) < 3)
            continue;
        for (int i = 0; i < server_count; i++)
            if (same(servers[i].name, name)) {
                servers[i].nfs_port = nfs;
                servers[i].mount_port = mount;
                servers[i].patience_s = seconds;
            }
    }
}

void oranfstab_load(const char *home)
{
    static char loaded[PATH_LEN];
    char path[PATH_LEN], *data;

    if (strcmp(loaded, home) == 0)
        return;
    if (loaded[0])
        die("two Oracle homes in one process");
    copy_text(loaded, sizeof loaded, home);
    format_text(path, sizeof path, "%.900s/dbs/oranfstab", home);
    data = read_all(path, NULL);
    if (data)
        read_table(data);
    free(data);
    for (int i = 0; i < server_count; i++)
        if (!servers[i].paths)
            copy_text(servers[i].path[servers[i].paths++], DNFS_NAME, servers[i].name);
    format_text(path, sizeof path, "%.900s/dbs/sim.nfs", home);
    data = read_all(path, NULL);
    if (data)
        read_ports(data);
    free(data);
}

struct dnfs_mount *oranfstab_find(const char *path, const char **ret_rest)
{
    struct dnfs_mount *best = NULL;
    size_t longest = 0;

    for (int i = 0; i < mount_count; i++) {
        size_t len = strlen(mounts[i].mount);

        if (len <= longest || strncmp(path, mounts[i].mount, len) != 0 ||
            (path[len] && path[len] != '/'))
            continue;
        best = &mounts[i];
        longest = len;
    }
    if (best)
        *ret_rest = path + longest;
    return best;
}

struct dnfs_mount *oranfstab_nth(int n) { return n < mount_count ? &mounts[n] : NULL; }
