/* Attributes, who may do what, and handles of what is no more. */
#include "tests/kernel/guest/prove.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* FOLDER: modes, owners, times, sizes and what changes them. */
void verb_attributes(int argc, char **argv)
{
    struct timespec times[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456000},
                                {.tv_sec = 1234567890, .tv_nsec = 654321000}};
    struct stat st, st2;
    struct statvfs space;
    (void)argc;
    CALL(chdir(argv[0]));
    put_file("attributes", "0123456789");
    CALL(chmod("attributes", 0640));
    CALL(chown("attributes", 1521, 1522));
    CALL(utimensat(AT_FDCWD, "attributes", times, 0));
    forget_caches();
    CALL(stat("attributes", &st));
    TRUE((st.st_mode & 07777) == 0640 && st.st_uid == 1521 && st.st_gid == 1522);
    TRUE(st.st_atim.tv_sec == 1000000000 && st.st_atim.tv_nsec == 123456000);
    TRUE(st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 654321000);
    TRUE(st.st_size == 10 && st.st_nlink == 1);
    CALL(chmod("attributes", 0600));
    CALL(stat("attributes", &st2));
    TRUE(st2.st_mtim.tv_sec == 1234567890);
    TRUE(st2.st_ctim.tv_sec > st.st_ctim.tv_sec || st2.st_ctim.tv_nsec > st.st_ctim.tv_nsec);
    CALL(truncate("attributes", 4));
    CALL(stat("attributes", &st));
    TRUE(st.st_size == 4 && st.st_mtim.tv_sec > 1234567890);
    CALL(utimensat(AT_FDCWD, "attributes", NULL, 0)); /* the server's time */
    CALL(mkdir("folder", 0755));
    CALL(stat("folder", &st));
    put_file("folder/a", "a");
    CALL(stat("folder", &st2));
    TRUE(st2.st_mtim.tv_sec > st.st_mtim.tv_sec || st2.st_mtim.tv_nsec > st.st_mtim.tv_nsec);
    CALL(statvfs(".", &space));
    TRUE(space.f_blocks > 0 && space.f_bavail > 0 && space.f_bavail <= space.f_blocks);
    CALL(unlink("folder/a"));
    CALL(rmdir("folder"));
    CALL(unlink("attributes"));
}

static void as_another(void)
{
    struct stat st;
    CALL(setgid(1600));
    CALL(setuid(1600));
    REFUSED(open("denied/secret", O_RDONLY), EACCES);
    REFUSED(open("denied/secret", O_WRONLY), EACCES);
    REFUSED(truncate("denied/secret", 0), EACCES);
    REFUSED(open("denied/new", O_WRONLY | O_CREAT, 0644), EACCES);
    REFUSED(unlink("denied/secret"), EACCES);
    REFUSED(rename("denied/secret", "denied/moved"), EACCES);
    REFUSED(mkdir("denied/d", 0755), EACCES);
    REFUSED(chmod("denied/secret", 0666), EPERM);
    REFUSED(chown("denied/secret", 1600, 1600), EPERM);
    REFUSED(utimensat(AT_FDCWD, "denied/secret", (struct timespec[2]){{1, 0}, {1, 0}}, 0), EPERM);
    REFUSED(access("denied/secret", R_OK), EACCES);
    CALL(access("denied/readable", R_OK));
    REFUSED(access("denied/readable", W_OK), EACCES);
    TRUE(has_text("denied/readable", "all"));
    REFUSED(stat("denied/closed/below", &st), EACCES);
}

/* FOLDER: what root made is not another user's, and its own folder is. */
void verb_denied(int argc, char **argv)
{
    int status = 0;
    (void)argc;
    CALL(chdir(argv[0]));
    CALL(mkdir("denied", 0755));
    put_file("denied/secret", "secret");
    CALL(chmod("denied/secret", 0600));
    put_file("denied/readable", "all");
    CALL(mkdir("denied/closed", 0700));
    put_file("denied/closed/below", "below");
    fflush(stdout);
    pid_t pid = (pid_t)CALL(fork());
    if (pid == 0) {
        as_another();
        exit(0);
    }
    CALL(waitpid(pid, &status, 0));
    if (status != 0)
        exit(1); /* it has said why */
    TRUE(has_text("denied/secret", "secret"));
    CALL(unlink("denied/closed/below"));
    CALL(rmdir("denied/closed"));
    CALL(unlink("denied/secret"));
    CALL(unlink("denied/readable"));
    CALL(rmdir("denied"));
}

/* PATH: a file, held open while the export below it is dropped and made anew by the caller of this
 * program, who says so by a line: nothing of the old one may be served. */
void verb_stale(int argc, char **argv)
{
    char text[512];
    struct stat st;
    (void)argc;
    int fd = (int)CALL(open(argv[0], O_RDWR));
    progress();
    TRUE(fgets(text, sizeof text, stdin) != NULL);
    forget_caches();
    REFUSED(pread(fd, text, sizeof text, 0), ESTALE);
    REFUSED(fstat(fd, &st), ESTALE);
    REFUSED(open(argv[0], O_RDONLY), ESTALE);
}
