/* URLs of areas that are read over NFS. */
#include "drivers/area/nfs_url.h"

#include "agent/base/str.h"
#include <string.h>
#include <unistd.h>

enum { URL_MAX = 4096, TIMEOUT_MAX_S = 3600 };

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool take_path(const char *from, size_t len, struct nfs_url *url, struct err *err)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = from[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_digit(from[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(from[i + 2]) : -1;
            if (low < 0 || high * 16 + low == 0)
                return err_set(err, ERR_CONFIG,
                               "'%%' is not followed by two digits that mean a "
                               "sign");
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (used + 1 >= sizeof url->path)
            return err_set(err, ERR_CONFIG, "the path is longer than %d bytes", NFS_PATH_MAX - 1);
        url->path[used++] = c;
    }
    while (used > 1 && url->path[used - 1] == '/')
        used--;
    url->path[used] = '\0';
    return (used == 1 && *url->path == '/') ||
           (*url->path == '/' && area_path_is_valid(url->path + 1)) ||
           err_set(err, ERR_CONFIG, "'%.100s' is no absolute path without '.', '..' and '//'",
                   url->path);
}

static bool host_sign_ok(char c, bool bracketed)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || (bracketed && (c == ':' || c == '%'));
}

static bool take_host(const char *from, size_t len, struct nfs_url *url, struct err *err)
{
    bool bracketed = len > 2 && from[0] == '[' && from[len - 1] == ']';
    if (bracketed) {
        from++;
        len -= 2;
    }
    if (!bracketed && memchr(from, '@', len))
        return err_set(err, ERR_CONFIG,
                       "NFS knows no user or password in a URL; "
                       "hint: uid= and gid= say who asks");
    if (!bracketed && memchr(from, ':', len))
        return err_set(err, ERR_CONFIG,
                       "a port is not given behind the host; "
                       "hint: nfsport= and mountport=");
    for (size_t i = 0; i < len; i++)
        if (!host_sign_ok(from[i], bracketed))
            return err_set(err, ERR_CONFIG, "the host's name has a sign that names do not have");
    if (len == 0 || len >= sizeof url->host)
        return err_set(err, ERR_CONFIG, "the host's name is %s", len ? "too long" : "missing");
    memcpy(url->host, from, len);
    url->host[len] = '\0';
    return true;
}

static bool take_key(char *pair, struct nfs_url *url, struct err *err)
{
    static const char *const known[] = {"version", "nfsport",  "mountport", "uid",
                                        "gid",     "contexts", "timeout"};
    static const uint64_t max[] = {
        3, UINT16_MAX, UINT16_MAX, UINT32_MAX - 1, UINT32_MAX - 1, NFS_CONTEXTS_MAX, TIMEOUT_MAX_S};
    static const uint64_t min[] = {3, 1, 1, 0, 0, 1, 1};
    enum { KEYS = sizeof known / sizeof *known };
    uint64_t value[KEYS] = {0};
    char *equals = strchr(pair, '=');
    if (!equals)
        return err_set(err, ERR_CONFIG, "'%.60s' lacks '=' and a number", pair);
    *equals = '\0';
    size_t i = 0;
    while (i < KEYS && !str_equal(pair, known[i]))
        i++;
    if (i == KEYS) {
        const char *nearest = str_nearest(pair, known, KEYS);
        return err_set(err, ERR_CONFIG, "unknown key '%.60s'%s%s%s", pair,
                       nearest ? "; hint: did you mean '" : "", nearest ? nearest : "",
                       nearest ? "'?" : "");
    }
    if (!str_to_u64(equals + 1, max[i], &value[i]) || value[i] < min[i])
        return err_set(err, ERR_CONFIG, "%s is a number of %llu to %llu, not '%.60s'", known[i],
                       (unsigned long long)min[i], (unsigned long long)max[i], equals + 1);
    switch (i) {
    case 1:
        url->nfs_port = (uint16_t)value[i];
        break;
    case 2:
        url->mount_port = (uint16_t)value[i];
        break;
    case 3:
        url->uid = (uint32_t)value[i];
        break;
    case 4:
        url->gid = (uint32_t)value[i];
        break;
    case 5:
        url->contexts = (unsigned)value[i];
        break;
    case 6:
        url->timeout_s = (unsigned)value[i];
        break;
    default: /* version: only 3 passed */
        break;
    }
    return true;
}

static bool parse(const char *text, struct nfs_url *url, struct err *err)
{
    if (!text || !str_starts(text, "nfs://"))
        return err_set(err, ERR_CONFIG, "it does not begin with 'nfs://'");
    const char *host = text + strlen("nfs://");
    if (strlen(host) >= URL_MAX)
        return err_set(err, ERR_CONFIG, "it is longer than %d bytes", URL_MAX);
    size_t host_len = strcspn(host, "/?");
    const char *path = host + host_len;
    size_t path_len = strcspn(path, "?");
    if (!take_host(host, host_len, url, err) || !take_path(path, path_len, url, err))
        return false;
    if (!path[path_len])
        return true;
    AUTO(mem) char *query = own_strdup(path + path_len + 1, err);
    if (!query)
        return false;
    for (char *cursor = query, *pair; (pair = str_field(&cursor, '&'));)
        if (*pair && !take_key(pair, url, err))
            return false;
    return true;
}

bool nfs_url_parse(const char *text, struct nfs_url *ret_url, struct err *err)
{
    struct nfs_url url = {.uid = geteuid(), .gid = getegid(), .contexts = 2, .timeout_s = 60};
    if (!parse(text, &url, err))
        return err_wrap(err, "URL '%.150s'", text ? text : "");
    *ret_url = url;
    return true;
}

bool nfs_url_below(const struct nfs_url *url, const char *path, struct nfs_url *ret_url,
                   struct err *err)
{
    struct nfs_url below = *url;
    bool is_root = str_equal(url->path, "/");
    if (!area_path_is_valid(path))
        return err_set(err, ERR_INVALID, "'%.100s' is no relative path", path ? path : "");
    if (!str_format(below.path, sizeof below.path, "%s/%s", is_root ? "" : url->path, path))
        return err_set(err, ERR_LIMIT, "the path below '%.100s' is longer than %d bytes", url->path,
                       NFS_PATH_MAX - 1);
    *ret_url = below;
    return true;
}
