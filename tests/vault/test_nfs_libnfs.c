/* Clients nobody here wrote: libnfs and its utilities. */
#include "tests/vault/nfs_world.h"

#include "agent/base/exec.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

#include <nfsc/libnfs.h>

TestSuite(nfs_libnfs);

struct heard {
    char text[8192];
    size_t len;
};

static void hear(void *arg, const char *line, size_t len)
{
    struct heard *heard = arg;
    if (heard->len + len + 2 > sizeof heard->text)
        return;
    memcpy(heard->text + heard->len, line, len);
    heard->len += len;
    heard->text[heard->len++] = '\n';
}

static int run(struct heard *heard, const char *program, const char *first, const char *second)
{
    const char *argv[] = {program, first, second, NULL};
    const char *envp[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};
    struct exec exec = {.argv = argv,
                        .envp = envp,
                        .deadline_ms = 60000,
                        .grace_ms = 1000,
                        .line = hear,
                        .arg = heard};
    struct exec_result result;
    struct err err = {0};
    *heard = (struct heard){0};
    cr_assert(exec_run(&exec, &result, &err), "%s", err.text);
    return result.timed_out || result.signal_no ? -1 : result.exit_code;
}

static void url_of(const struct nfs_world *n, const char *path, char ret[300])
{
    str_format(ret, 300, "nfs://127.0.0.1/v%s?version=3&nfsport=%u&mountport=%u", path, n->port,
               n->port);
}

Test(nfs_libnfs, utilities_copy_list_and_show_files)
{
    enum { SIZE = 3000000 };
    if (access("/usr/bin/nfs-ls", X_OK) != 0) {
        printf("SKIPPED nfs_libnfs utilities: libnfs-utils is not here\n");
        return;
    }
    struct nfs_world n;
    struct heard heard;
    char from[128], back[128], to[300], root[300];
    nfs_world_begin(&n);
    str_format(from, sizeof from, "%s/from", n.w.box);
    str_format(back, sizeof back, "%s/back", n.w.box);
    url_of(&n, "/copied.dbf", to);
    url_of(&n, "", root);
    AUTO(mem) char *bytes = own_alloc(SIZE, &n.w.err);
    clock_random(bytes, SIZE);
    world_ok(&n.w, sys_write_file(from, bytes, SIZE, 0600, &n.w.err));
    cr_assert_eq(run(&heard, "/usr/bin/nfs-cp", from, to), 0, "%s", heard.text);
    cr_assert_eq(run(&heard, "/usr/bin/nfs-ls", root, NULL), 0, "%s", heard.text);
    cr_assert(strstr(heard.text, "3000000 copied.dbf"), "%s", heard.text);
    cr_assert_eq(run(&heard, "/usr/bin/nfs-cp", to, back), 0, "%s", heard.text);
    size_t len = 0;
    AUTO(mem) char *again = sys_read_file(back, SIZE + 1, &len, &n.w.err);
    cr_assert(again && len == SIZE && memcmp(again, bytes, SIZE) == 0);
    world_ok(&n.w, sys_write_file(from, "one\ntwo\n", 8, 0600, &n.w.err));
    url_of(&n, "/a small one", to);
    cr_assert_eq(run(&heard, "/usr/bin/nfs-cp", from, to), 0, "%s", heard.text);
    cr_assert_eq(run(&heard, "/usr/bin/nfs-cat", to, NULL), 0, "%s", heard.text);
    cr_assert_str_eq(heard.text, "one\ntwo\n");
    nfs_world_end(&n);
}

static struct nfs_context *mounted(const struct nfs_world *n)
{
    struct nfs_context *nfs = nfs_init_context();
    char url[300];
    url_of(n, "/", url);
    struct nfs_url *parsed = nfs_parse_url_dir(nfs, url);
    cr_assert(parsed, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_mount(nfs, parsed->server, parsed->path), 0, "%s", nfs_get_error(nfs));
    nfs_destroy_url(parsed);
    return nfs;
}

Test(nfs_libnfs, works_on_files_as_on_local_ones)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    struct nfs_context *nfs = mounted(&n);
    struct nfsfh *file = NULL;
    struct nfs_stat_64 st;
    char bytes[100];
    cr_assert_eq(nfs_get_readmax(nfs), 1 << 20);
    cr_assert_eq(nfs_get_writemax(nfs), 1 << 20);
    cr_assert_eq(nfs_mkdir2(nfs, "/d", 0750), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_creat(nfs, "/d/f", 0640, &file), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_pwrite(nfs, file, 10000, 5, "hello"), 5, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_fsync(nfs, file), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_fstat64(nfs, file, &st), 0);
    cr_assert(st.nfs_size == 10005 && (st.nfs_mode & 07777) == 0640 && st.nfs_nlink == 1);
    cr_assert_eq(nfs_ftruncate(nfs, file, 10003), 0);
    cr_assert_eq(nfs_pread(nfs, file, 9999, sizeof bytes, bytes), 4);
    cr_assert(memcmp(bytes, "\0hel", 4) == 0);
    cr_assert_eq(nfs_close(nfs, file), 0);
    cr_assert_eq(nfs_link(nfs, "/d/f", "/g"), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_stat64(nfs, "/g", &st), 0);
    cr_assert(st.nfs_nlink == 2 && st.nfs_size == 10003);
    cr_assert_eq(nfs_symlink(nfs, "d/f", "/l"), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_readlink(nfs, "/l", bytes, sizeof bytes), 0);
    cr_assert_str_eq(bytes, "d/f");
    cr_assert_eq(nfs_open2(nfs, "/l", O_RDONLY, 0, &file), 0, "%s",
                 nfs_get_error(nfs)); /* follows */
    cr_assert_eq(nfs_close(nfs, file), 0);
    cr_assert_eq(nfs_rename(nfs, "/d/f", "/h"), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_rmdir(nfs, "/d"), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_unlink(nfs, "/g"), 0, "%s", nfs_get_error(nfs));
    cr_assert_eq(nfs_chmod(nfs, "/h", 0600), 0);
    cr_assert_eq(nfs_chown(nfs, "/h", 7, 8), 0);
    struct timeval times[2] = {{1000, 1}, {2000, 2}};
    cr_assert_eq(nfs_utimes(nfs, "/h", times), 0);
    cr_assert_eq(nfs_stat64(nfs, "/h", &st), 0);
    cr_assert(st.nfs_uid == 7 && st.nfs_gid == 8 && st.nfs_nlink == 1 && st.nfs_mtime == 2000);
    struct statvfs space;
    cr_assert_eq(nfs_statvfs(nfs, "/", &space), 0, "%s", nfs_get_error(nfs));
    cr_assert(space.f_blocks > 0 && space.f_bavail <= space.f_blocks);
    cr_assert_eq(nfs_unlink(nfs, "/missing"), -ENOENT);
    cr_assert_eq(nfs_access(nfs, "/h", R_OK | W_OK), 0);
    nfs_destroy_context(nfs);
    nfs_world_end(&n);
}

Test(nfs_libnfs, lists_a_folder_of_many_files)
{
    enum { FILES = 2000 };
    struct nfs_world n;
    nfs_world_begin(&n);
    {
        AUTO(view) struct view *view = world_view(&n.w, "v", NULL, NULL);
        for (int i = 0; i < FILES; i++) {
            char name[32];
            str_format(name, sizeof name, "o1_mf_users_%05d_.dbf", i);
            world_file(&n.w, view, name);
        }
    }
    struct nfs_context *nfs = mounted(&n);
    struct nfsdir *dir = NULL;
    static bool seen[FILES];
    int count = 0;
    cr_assert_eq(nfs_opendir(nfs, "/", &dir), 0, "%s", nfs_get_error(nfs));
    for (struct nfsdirent *e; (e = nfs_readdir(nfs, dir));) {
        int i = -1;
        if (sscanf(e->name, "o1_mf_users_%d_.dbf", &i) != 1)
            continue;
        cr_assert(i >= 0 && i < FILES && !seen[i]);
        seen[i] = true;
        count++;
    }
    cr_assert_eq(count, FILES);
    nfs_closedir(nfs, dir);
    nfs_destroy_context(nfs);
    nfs_world_end(&n);
}
