/* The one door to privileged tests: namespaces of their own, scratch file systems, no traces. */
#include "tests/lib/privileged.h"

#include "agent/base/exec.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { XFS_MIN_MB = 300, LOOP_TRIES = 50 };

static char base[64];
static bool has_mounts, has_network;

const char *privileged_dir(void) { return base; }

void privileged_skipped(const char *suite, const char *name, const struct err *why)
{
    fprintf(stderr, "SKIPPED %s/%s: %s\n", suite, name, why->text);
}

/* Waits outside the namespace until nobody holds the pipe any more, then removes the mount point.
 */
static void janitor(int pipe_fd)
{
    char byte;
    setsid();
    if (dup2(pipe_fd, 0) < 0)
        _exit(1);
    close_range(1, ~0U, 0);
    while (read(0, &byte, 1) < 0 && errno == EINTR)
        continue;
    IGNORE(rmdir(base)); /* nobody is left to be told */
    _exit(0);
}

static bool start_janitor(struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_errno(err, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        janitor(ends[0]);
    }
    close(ends[0]); /* ends[1] stays open for the life of this process and its forks */
    return pid > 0 || err_errno(err, errno, "fork");
}

static bool own_mounts(struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    if (!str_format(base, sizeof base, "%s/evercopy-mounts-XXXXXX", tmp ? tmp : "/tmp"))
        return err_set(err, ERR_INVALID, "TMPDIR is too long");
    if (!mkdtemp(base))
        return err_errno(err, errno, "create '%s'", base);
    if (!start_janitor(err))
        return false;
    if (unshare(CLONE_NEWNS) != 0)
        return err_errno(err, errno, "mounts of our own");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("evercopy-mounts", base, "tmpfs", 0, "mode=0755") != 0)
        return err_errno(err, errno, "mount in '%s'", base);
    return true;
}

static bool own_network(struct err *err)
{
    if (unshare(CLONE_NEWNET) != 0)
        return err_errno(err, errno, "network of our own");
    AUTO(fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo"};
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo) != 0)
        return err_errno(err, errno, "look at lo");
    lo.ifr_flags |= IFF_UP | IFF_RUNNING;
    return ioctl(fd, SIOCSIFFLAGS, &lo) == 0 || err_errno(err, errno, "start lo");
}

bool privileged_enter(bool network, struct err *err)
{
    if (geteuid() != 0)
        return err_set(err, ERR_DENIED, "needs root");
    if (!has_mounts && !own_mounts(err))
        return false;
    has_mounts = true;
    if (network && !has_network && !own_network(err))
        return false;
    has_network |= network;
    return true;
}

/* ---- scratch file systems ---- */

static void keep_line(void *arg, const char *line, size_t len)
{
    struct str *output = arg;
    str_append_n(output, line, len);
    str_append(output, " ");
}

static bool make_fs(const char *fs, const char *image, struct err *err)
{
    char program[64];
    str_format(program, sizeof program, "/usr/sbin/mkfs.%s", fs);
    if (access(program, X_OK) != 0)
        str_format(program, sizeof program, "/sbin/mkfs.%s", fs);
    if (access(program, X_OK) != 0)
        return err_set(err, ERR_UNSUPPORTED, "no program mkfs.%s", fs);
    const char *const quiet[] = {program, "-q", image, NULL};
    const char *const xfs[] = {program, "-q", "-m", "reflink=1", image, NULL};
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    AUTO(str) struct str output = {0};
    struct exec exec = {.argv = str_equal(fs, "xfs") ? xfs : quiet,
                        .envp = env,
                        .deadline_ms = 60000,
                        .line = keep_line,
                        .arg = &output};
    struct exec_result result = {0};
    if (!exec_run(&exec, &result, err))
        return false;
    return result.exit_code == 0 ||
           err_set(err, ERR_EXTERNAL, "%s: %s", program, output.text ? output.text : "failed");
}

/* The free device's node; where /dev is not kept up by the kernel we make our own. */
static int open_loop(long number, char *path, size_t size, struct err *err)
{
    str_format(path, size, "/dev/loop%ld", number);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        str_format(path, size, "%s/loop%ld", base, number);
        IGNORE(mknod(path, S_IFBLK | 0600, makedev(7, (unsigned)number))); /* open reports */
        fd = open(path, O_RDWR | O_CLOEXEC);
    }
    if (fd < 0)
        err_errno(err, errno, "open '%s'", path);
    return fd;
}

/* A loop device over image that frees itself when its last user goes. */
static int attach(int image, char *path, size_t size, struct err *err)
{
    AUTO(fd) int control = sys_open("/dev/loop-control", O_RDWR, 0, err);
    for (int i = 0; control >= 0 && i < LOOP_TRIES; i++) {
        long number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0) {
            err_errno(err, errno, "find a loop device");
            return -1;
        }
        int fd = open_loop(number, path, size, err);
        if (fd < 0)
            return -1;
        struct loop_config config = {.fd = (uint32_t)image, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
            return fd;
        int why = errno;
        close(fd);
        if (why != EBUSY) {
            err_errno(err, why, "attach '%s'", path);
            return -1;
        }
    }
    if (control >= 0)
        err_set(err, ERR_BUSY, "no free loop device");
    return -1;
}

static bool mount_image(const char *fs, const char *image, unsigned size_mb, const char *at,
                        struct err *err)
{
    AUTO(fd) int fd = sys_open(image, O_RDWR | O_CREAT | O_EXCL, 0600, err);
    if (fd < 0)
        return false;
    if (ftruncate(fd, (off_t)size_mb << 20) != 0)
        return err_errno(err, errno, "size '%s'", image);
    bool made = make_fs(fs, image, err);
    char device[96];
    AUTO(fd) int loop = made ? attach(fd, device, sizeof device, err) : -1;
    IGNORE(unlink(image)); /* the loop device holds it now */
    if (loop < 0)
        return false;
    return mount(device, at, fs, 0, NULL) == 0 || err_errno(err, errno, "mount %s at '%s'", fs, at);
}

bool scratch_mount(struct scratch *scratch, const char *fs, unsigned size_mb, struct err *err)
{
    static unsigned number;
    *scratch = (struct scratch){0};
    if (!privileged_enter(false, err))
        return false;
    char at[sizeof scratch->mount];
    char image[sizeof at + 8];
    str_format(at, sizeof at, "%s/%s-%u", base, fs, ++number);
    str_format(image, sizeof image, "%s.image", at);
    if (!sys_mkdir(at, 0755, err))
        return false;
    if (str_equal(fs, "tmpfs")) {
        char options[32];
        str_format(options, sizeof options, "size=%um", size_mb);
        if (mount("scratch", at, fs, 0, options) != 0)
            return err_errno(err, errno, "mount tmpfs");
    } else if (!mount_image(fs, image, size_mb, at, err)) {
        return false;
    }
    str_copy(scratch->mount, sizeof scratch->mount, at);
    return true;
}

void scratch_done(struct scratch *scratch)
{
    if (!*scratch->mount)
        return;
    IGNORE(umount2(scratch->mount, MNT_DETACH)); /* the namespace's end would do it too */
    IGNORE(rmdir(scratch->mount));
    *scratch = (struct scratch){0};
}

bool xfs_sandbox(struct scratch *scratch, struct err *err)
{
    return scratch_mount(scratch, "xfs", XFS_MIN_MB, err);
}
