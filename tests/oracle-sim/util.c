/* Small helpers: whole files, folders, bounded text. */
#include "sim.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fputs("oracle-sim: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(70);
}

bool ora_add(struct ora *e, const char *fmt, ...)
{
    va_list ap;

    if (!e || e->lines >= ORA_LINES)
        return false;
    va_start(ap, fmt);
    vsnprintf(e->line[e->lines++], ORA_TEXT, fmt, ap);
    va_end(ap);
    return false;
}

bool ora_io(struct ora *e, const char *what, const char *path, int error)
{
    if (strcmp(what, "create") == 0) {
        ora_add(e, "ORA-19504: failed to create file \"%s\"", path);
        if (disk_remote(path)) {
            ora_add(e, "ORA-17502: ksfdcre:4 Failed to create file %s", path);
            return ora_add(e, "ORA-17500: ODM err:%s", strerror(error));
        }
        ora_add(e, error == EEXIST ? "ORA-27038: created file already exists"
                                   : "ORA-27040: file create error, unable to create file");
    } else if (strcmp(what, "open") == 0) {
        ora_add(e, "ORA-19505: failed to identify file \"%s\"", path);
        ora_add(e, "ORA-27037: unable to obtain file status");
    } else {
        ora_add(e, "ORA-19502: write error on file \"%s\"", path);
        ora_add(e, "ORA-27072: File I/O error");
    }
    ora_add(e, "Linux-x86_64 Error: %d: %s", error, strerror(error));
    return ora_add(e, "Additional information: 1");
}

char *read_all(const char *path, size_t *n)
{
    int fd = disk_open(path, O_RDONLY, 0);
    struct disk_stat st;
    char *data;
    ssize_t got;
    size_t done = 0;

    if (fd < 0 || disk_stat(path, &st) < 0 || !st.file || st.size > 1u << 30) {
        if (fd >= 0)
            disk_close(fd);
        return NULL;
    }
    data = calloc(1, (size_t)st.size + 1);
    while (data && done < (size_t)st.size &&
           (got = disk_pread(fd, data + done, (size_t)st.size - done, (off_t)done)) > 0)
        done += (size_t)got;
    disk_close(fd);
    if (n)
        *n = done;
    return data;
}

char *read_stream(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *data = calloc(1, 4097);
    ssize_t got = fd >= 0 && data ? read(fd, data, 4096) : -1;

    if (fd >= 0)
        close(fd);
    if (got >= 0)
        return data;
    free(data);
    return NULL;
}

bool write_all(const char *path, const void *data, size_t n)
{
    int fd = disk_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    size_t done = 0;
    ssize_t put = 1;

    if (fd < 0)
        return false;
    while (done < n && put > 0) {
        put = disk_pwrite(fd, (const char *)data + done, n - done, (off_t)done);
        done += put > 0 ? (size_t)put : 0;
    }
    if (done != n)
        disk_abandon(fd);
    return done == n && disk_close(fd) == 0;
}

bool mkdirs(const char *path)
{
    char p[PATH_LEN];

    copy_text(p, sizeof p, path);
    for (char *c = p + 1; *c; c++) {
        if (*c != '/')
            continue;
        *c = 0;
        if (disk_mkdir(p, 0750) < 0 && errno != EEXIST)
            return false;
        *c = '/';
    }
    return disk_mkdir(p, 0750) == 0 || errno == EEXIST;
}

bool mkdirs_for(const char *file)
{
    char p[PATH_LEN], *slash;

    copy_text(p, sizeof p, file);
    slash = strrchr(p, '/');
    if (!slash || slash == p)
        return true;
    *slash = 0;
    return mkdirs(p);
}

void copy_text(char *out, size_t n, const char *in)
{
    size_t len = in ? strlen(in) : 0;

    if (!n)
        return;
    if (len >= n)
        len = n - 1;
    if (len)
        memmove(out, in, len);
    out[len] = 0;
}

void format_text(char *out, size_t n, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(out, n, fmt, ap);
    va_end(ap);
}

void upper(char *s)
{
    for (; *s; s++)
        *s = (char)toupper((unsigned char)*s);
}

void lower(char *s)
{
    for (; *s; s++)
        *s = (char)tolower((unsigned char)*s);
}

bool same(const char *a, const char *b) { return strcasecmp(a, b) == 0; }

bool starts(const char *s, const char *prefix)
{
    return strncasecmp(s, prefix, strlen(prefix)) == 0;
}
