/* Names: renames, links, folders read while they change, files unlinked while open, and a model of
 * a folder under requests that a server may see twice. */
#include "tests/kernel/guest/prove.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void enter(const char *folder, const char *name)
{
    CALL(chdir(folder));
    CALL(mkdir(name, 0755));
    CALL(chdir(name));
}

static void leave(const char *name)
{
    CALL(chdir(".."));
    CALL(rmdir(name));
}

static void touch(const char *path)
{
    int fd = (int)CALL(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
    CALL(close(fd));
}

static void remove_if_there(const char *name)
{
    if (unlink(name) != 0 && errno != ENOENT)
        wrong("unlink %s: %s", name, strerror(errno));
}

/* FOLDER: creation, renames over files and folders, symlinks, refusals. */
void verb_names(int argc, char **argv)
{
    static const char weird[] = "a b\n\xff\xc3\x28'\"%00";
    char text[300], longest[256];
    struct stat st, st2;
    (void)argc;
    enter(argv[0], "names");
    put_file("one", "1");
    put_file("two", "2");
    CALL(stat("one", &st));
    CALL(rename("one", "two")); /* over */
    REFUSED(stat("one", &st2), ENOENT);
    CALL(stat("two", &st2));
    TRUE(st.st_ino == st2.st_ino && has_text("two", "1"));
    REFUSED(open("two", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
    REFUSED(mkdir("two", 0755), EEXIST);
    REFUSED(rmdir("two"), ENOTDIR);
    REFUSED(open("two/below", O_RDONLY), ENOTDIR);
    CALL(mkdir("d", 0755));
    CALL(mkdir("e", 0755));
    CALL(rename("two", "d/deep"));
    REFUSED(rmdir("d"), ENOTEMPTY);
    CALL(rename("d", "e")); /* over an empty folder */
    TRUE(has_text("e/deep", "1"));
    CALL(mkdir("d", 0755));
    REFUSED(rename("d", "e"), ENOTEMPTY);
    REFUSED(rename("e/deep", "d"), EISDIR);
    REFUSED(rename("d", "e/deep"), ENOTDIR);
    REFUSED(rename("e", "e/below"), EINVAL);
    CALL(symlink("e/deep", "l"));
    CALL(symlink("/not/here \xfe", "m"));
    TRUE(has_text("l", "1"));
    long len = CALL(readlink("m", text, sizeof text));
    TRUE(len == 11 && memcmp(text, "/not/here \xfe", 11) == 0);
    REFUSED(symlink("x", "l"), EEXIST);
    CALL(lstat("l", &st));
    TRUE(S_ISLNK(st.st_mode) && st.st_size == 6);
    CALL(rename("l", "l2"));
    put_file(weird, "w");
    TRUE(has_text(weird, "w"));
    memset(longest, 'n', 255);
    longest[255] = '\0';
    put_file(longest, "long");
    TRUE(has_text(longest, "long"));
    CALL(unlink(longest));
    CALL(unlink(weird));
    CALL(unlink("l2"));
    CALL(unlink("m"));
    CALL(unlink("e/deep"));
    CALL(rmdir("e"));
    CALL(rmdir("d"));
    leave("names");
}

/* FOLDER: hard links. */
void verb_links(int argc, char **argv)
{
    struct stat st;
    (void)argc;
    enter(argv[0], "links");
    put_file("a", "shared");
    CALL(link("a", "b"));
    CALL(stat("a", &st));
    TRUE(st.st_nlink == 2);
    REFUSED(link("a", "b"), EEXIST);
    int fd = (int)CALL(open("b", O_WRONLY));
    write_all(fd, "S", 1, 0);
    CALL(close(fd));
    TRUE(has_text("a", "Shared"));
    CALL(unlink("a"));
    TRUE(has_text("b", "Shared"));
    CALL(stat("b", &st));
    TRUE(st.st_nlink == 1);
    CALL(mkdir("d", 0755));
    REFUSED(link("d", "d2"), EPERM);
    CALL(rmdir("d"));
    CALL(unlink("b"));
    leave("links");
}

/* FOLDER: what is unlinked or replaced while it is open stays readable and writable. */
void verb_open_files(int argc, char **argv)
{
    char text[16];
    struct stat st;
    (void)argc;
    enter(argv[0], "open-files");
    put_file("gone", "still");
    put_file("old", "older");
    put_file("new", "newer");
    int gone = (int)CALL(open("gone", O_RDWR));
    int old = (int)CALL(open("old", O_RDWR));
    CALL(unlink("gone"));
    CALL(rename("new", "old"));
    REFUSED(open("gone", O_RDONLY), ENOENT);
    forget_caches();
    TRUE(read_all(gone, text, sizeof text, 0) == 5 && memcmp(text, "still", 5) == 0);
    TRUE(read_all(old, text, sizeof text, 0) == 5 && memcmp(text, "older", 5) == 0);
    write_all(gone, " here", 5, 5);
    CALL(fsync(gone));
    forget_caches();
    TRUE(read_all(gone, text, sizeof text, 0) == 10 && memcmp(text, "still here", 10) == 0);
    CALL(fstat(gone, &st));
    TRUE(st.st_size == 10);
    CALL(close(gone));
    CALL(close(old));
    TRUE(has_text("old", "newer"));
    CALL(unlink("old"));
    leave("open-files"); /* nothing of the two is left: the folder is empty */
}

/* Eight processes, each with every eighth number below count: most of the time is the network's. */
static void in_parallel(void (*work)(unsigned number), unsigned count)
{
    enum { PROCESSES = 8 };
    int status = 0;
    fflush(stdout);
    for (unsigned part = 0; part < PROCESSES; part++) {
        pid_t pid = (pid_t)CALL(fork());
        for (unsigned n = part; pid == 0 && n < count; n += PROCESSES)
            work(n);
        if (pid == 0)
            exit(0);
    }
    while (wait(&status) > 0)
        if (status != 0)
            exit(1); /* it has said what is wrong */
}

static void entry_name(char name[64], unsigned number)
{
    snprintf(name, 64, "entry-%u-with-a-name-of-some-length", number);
}

static void entry_make(unsigned number)
{
    char name[64];
    entry_name(name, number);
    touch(name);
}

static void entry_remove(unsigned number)
{
    char name[64];
    entry_name(name, number);
    remove_if_there(name);
    snprintf(name, sizeof name, "new-%u", number);
    remove_if_there(name);
}

/* Behind the reader, ahead of it and anew: entries of odd numbers go, others come. */
static void entry_change(unsigned change, unsigned count)
{
    char name[64];
    entry_name(name, (change * 7 % (count / 2)) * 2 + 1);
    remove_if_there(name);
    snprintf(name, sizeof name, "new-%u", change);
    touch(name);
}

/* FOLDER COUNT: a folder read with names coming and going; who stays all the time is seen once. */
void verb_big_folder(int argc, char **argv)
{
    unsigned count = (unsigned)strtoul(argv[1], NULL, 10), seen_count = 0, changes = 0;
    uint8_t *seen = calloc(count, 1);
    struct dirent *e;
    (void)argc;
    enter(argv[0], "big");
    in_parallel(entry_make, count);
    forget_caches();
    DIR *dir = opendir(".");
    TRUE(dir && seen);
    while ((e = readdir(dir))) {
        unsigned n;
        if (sscanf(e->d_name, "entry-%u-", &n) != 1 || n >= count)
            continue;
        if (seen[n]++)
            wrong("entry %u came twice", n);
        if (++seen_count % 16 == 0)
            entry_change(changes++, count);
    }
    CALL(closedir(dir));
    for (unsigned i = 0; i < count; i += 2)
        if (!seen[i])
            wrong("entry %u of %u was not seen, of %u that were", i, count, seen_count);
    in_parallel(entry_remove, count);
    free(seen);
    leave("big");
}

static void small_put(unsigned number)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "d%u/f%u", number / 50, number);
    snprintf(text, sizeof text, "this is file %u", number);
    put_file(path, text);
}

static void small_check(unsigned number)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "d%u/f%u", number / 50, number);
    snprintf(text, sizeof text, "this is file %u", number);
    if (!has_text(path, text))
        wrong("file %u has another text", number);
    CALL(unlink(path));
}

/* FOLDER COUNT: small files in folders of fifty, read back with nothing cached. */
void verb_small_files(int argc, char **argv)
{
    unsigned count = (unsigned)strtoul(argv[1], NULL, 10);
    char path[64];
    (void)argc;
    enter(argv[0], "small");
    for (unsigned i = 0; i < count; i += 50) {
        snprintf(path, sizeof path, "d%u", i / 50);
        CALL(mkdir(path, 0755));
    }
    in_parallel(small_put, count);
    forget_caches();
    in_parallel(small_check, count);
    for (unsigned i = 0; i < count; i += 50) {
        snprintf(path, sizeof path, "d%u", i / 50);
        CALL(rmdir(path));
    }
    leave("small");
}

/* ---- a folder under requests that may be sent twice ---- */

enum { NAMES = 24 };
enum what { NOTHING, FILE_THERE, FOLDER_THERE, SYMLINK_THERE };

static void make(const char *name, enum what what)
{
    if (what == FILE_THERE)
        touch(name);
    else if (what == FOLDER_THERE)
        CALL(mkdir(name, 0755));
    else
        CALL(symlink("somewhere", name));
}

static bool may_replace(enum what from, enum what to)
{
    return to == NOTHING || (from == FOLDER_THERE) == (to == FOLDER_THERE);
}

static void change(enum what model[NAMES], uint64_t *random)
{
    char name[16], other[16];
    size_t n = any_below(random, NAMES), m = any_below(random, NAMES);
    snprintf(name, sizeof name, "n%zu", n);
    snprintf(other, sizeof other, "n%zu", m);
    if (model[n] == NOTHING) {
        enum what what = (enum what)(FILE_THERE + any_below(random, 3));
        make(name, what);
        model[n] = what;
    } else if (n != m && may_replace(model[n], model[m]) && any_below(random, 2)) {
        CALL(rename(name, other));
        model[m] = model[n];
        model[n] = NOTHING;
    } else {
        CALL(model[n] == FOLDER_THERE ? rmdir(name) : unlink(name));
        model[n] = NOTHING;
    }
}

static void compare(const enum what model[NAMES])
{
    for (size_t i = 0; i < NAMES; i++) {
        char name[16];
        struct stat st;
        snprintf(name, sizeof name, "n%zu", i);
        if (model[i] == NOTHING) {
            REFUSED(lstat(name, &st), ENOENT);
            continue;
        }
        CALL(lstat(name, &st));
        TRUE(model[i] == (S_ISREG(st.st_mode)   ? FILE_THERE
                          : S_ISDIR(st.st_mode) ? FOLDER_THERE
                                                : SYMLINK_THERE));
    }
}

/* FOLDER SEED STOP: until STOP exists; no request may fail, none may be done twice. */
void verb_replay(int argc, char **argv)
{
    uint64_t random = strtoull(argv[1], NULL, 10);
    enum what model[NAMES] = {NOTHING};
    unsigned rounds = 0;
    (void)argc;
    enter(argv[0], "replay");
    for (; !told_to_stop(argv[2]); rounds++) {
        change(model, &random);
        if (rounds % 16 == 0) {
            compare(model);
            progress();
        }
    }
    compare(model);
    for (size_t i = 0; i < NAMES; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%zu", i);
        if (model[i] != NOTHING)
            CALL(model[i] == FOLDER_THERE ? rmdir(name) : unlink(name));
    }
    leave("replay");
    printf("%u changes\n", rounds);
}
