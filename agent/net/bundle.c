/* A certificate and its key on disk, replaced together. */
#include "agent/net/bundle.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/x509.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { CERT_FILE_MAX = 64 << 10, LOCK_TRIES = 20 };

struct paths {
    char cert_next[PATH_MAX], key_next[PATH_MAX], cert_old[PATH_MAX], key_old[PATH_MAX];
};

static bool name_paths(struct paths *p, const char *cert, const char *key, struct err *err)
{
    return (str_format(p->cert_next, PATH_MAX, "%s.next", cert) &&
            str_format(p->key_next, PATH_MAX, "%s.next", key) &&
            str_format(p->cert_old, PATH_MAX, "%s.old", cert) &&
            str_format(p->key_old, PATH_MAX, "%s.old", key)) ||
           err_set(err, ERR_INVALID, "path is too long: '%.80s...'", cert);
}

/* Beside path: what a program that is dead left of its name. */
static void sweep(const char *path)
{
    char dir[PATH_MAX];
    char name[PATH_MAX];
    struct err none = {0};
    const char *slash = strrchr(path, '/');
    int len = slash == path ? 1 : slash ? (int)(slash - path) : 1;
    if (str_format(dir, sizeof dir, "%.*s", len, slash ? path : ".") &&
        str_format(name, sizeof name, "%s.", slash ? slash + 1 : path))
        IGNORE(!sys_sweep_written(dir, name, &none)); /* it is in nobody's way */
}

/* The certificate is the last of the pair to be replaced; whoever waited then holds an old file. */
int bundle_lock(const char *cert_path, const char *key_path, struct err *err)
{
    struct stat held;
    struct stat now;
    for (int left = LOCK_TRIES; left > 0; left--) {
        AUTO(fd) int fd = sys_open(cert_path, O_RDONLY | O_CLOEXEC, 0, err);
        if (fd < 0 || !sys_lock(fd, cert_path, err) || !sys_fstat(fd, &held, cert_path, err) ||
            !sys_stat(cert_path, &now, err))
            return -1;
        if (held.st_ino != now.st_ino)
            continue;
        sweep(cert_path);
        sweep(key_path);
        int ret = fd;
        fd = -1;
        return ret;
    }
    err_set(err, ERR_BUSY, "'%s' is renewed by others again and again", cert_path);
    return -1;
}

bool bundle_stage(const char *cert_path, const char *key_path, const char *cert, const char *key,
                  struct err *err)
{
    struct paths p;
    if (!x509_belong(cert, key))
        return err_set(err, ERR_CORRUPT, "the new certificate is not for the new key");
    return name_paths(&p, cert_path, key_path, err) &&
           sys_write_file(p.key_next, key, strlen(key), 0600, err) &&
           sys_write_file(p.cert_next, cert, strlen(cert), 0644, err);
}

static bool keep_old(const struct paths *p, const char *cert_path, const char *key_path,
                     struct err *err)
{
    size_t len;
    AUTO(mem) char *cert = sys_read_file(cert_path, CERT_FILE_MAX, &len, err);
    AUTO(x509_key) char *key = cert ? x509_read_key(key_path, err) : NULL;
    return key && sys_write_file(p->key_old, key, strlen(key), 0600, err) &&
           sys_write_file(p->cert_old, cert, strlen(cert), 0644, err);
}

/* The key goes first: settle tells from a key that fits only the staged certificate. */
bool bundle_swap(const char *cert_path, const char *key_path, struct err *err)
{
    struct paths p;
    return name_paths(&p, cert_path, key_path, err) && keep_old(&p, cert_path, key_path, err) &&
           sys_rename(p.key_next, key_path, err) && sys_rename(p.cert_next, cert_path, err);
}

bool bundle_settle(const char *cert_path, const char *key_path, struct err *err)
{
    struct paths p;
    size_t len;
    struct err none = {0};
    if (!name_paths(&p, cert_path, key_path, err))
        return false;
    if (access(p.cert_next, F_OK) != 0)
        return true;
    AUTO(mem) char *cert = sys_read_file(cert_path, CERT_FILE_MAX, &len, &none);
    AUTO(mem) char *next = sys_read_file(p.cert_next, CERT_FILE_MAX, &len, &none);
    AUTO(x509_key) char *key = x509_read_key(key_path, &none);
    if (!key || !next || (cert && x509_belong(cert, key)) || !x509_belong(next, key))
        return true;
    return sys_rename(p.cert_next, cert_path, err) || err_wrap(err, "end a renewal");
}
