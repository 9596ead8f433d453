/* URLs of areas over NFS, and the guard in front of libnfs's decoders. */
#include "drivers/area/nfs_guard.h"
#include "drivers/area/nfs_url.h"

#include "agent/base/str.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(nfs_url, says_where_and_who)
{
    struct err err = {0};
    struct nfs_url url;
    cr_assert(nfs_url_parse("nfs://filer-1.example.com/vol/ev%20er?version=3&nfsport=20491"
                            "&mountport=20492&uid=54321&gid=0&contexts=4&timeout=5",
                            &url, &err),
              "%s", err.text);
    cr_expect_str_eq(url.host, "filer-1.example.com");
    cr_expect_str_eq(url.path, "/vol/ev er");
    cr_expect(url.nfs_port == 20491 && url.mount_port == 20492 && url.uid == 54321 && url.gid == 0);
    cr_expect(url.contexts == 4 && url.timeout_s == 5);
    cr_assert(nfs_url_parse("nfs://[fe80::1%eth0]/a/", &url, &err), "%s", err.text);
    cr_expect_str_eq(url.host, "fe80::1%eth0");
    cr_expect_str_eq(url.path, "/a");
    cr_expect(url.nfs_port == 0 && url.mount_port == 0 && url.uid == geteuid());
    cr_expect(url.contexts == 2 && url.timeout_s == 60);
    struct nfs_url below;
    cr_assert(nfs_url_below(&url, "b/c", &below, &err));
    cr_expect_str_eq(below.path, "/a/b/c");
    cr_assert(nfs_url_parse("nfs://h/", &url, &err) && nfs_url_below(&url, "b", &below, &err));
    cr_expect_str_eq(below.path, "/b");
    cr_expect_not(nfs_url_below(&url, "../b", &below, &err));
}

Test(nfs_url, refuses_what_cannot_be_meant_and_says_why)
{
    static const struct {
        const char *url, *says;
    } rows[] = {
        {NULL, "begin"},
        {"", "begin"},
        {"http://h/x", "begin"},
        {"nfs:///x", "missing"},
        {"nfs://h", "absolute"},
        {"nfs://h?uid=0", "absolute"},
        {"nfs://h/a/../b", "absolute"},
        {"nfs://h/a//b", "absolute"},
        {"nfs://h/./b", "absolute"},
        {"nfs://h/%2e%2e/b", "absolute"},
        {"nfs://h/a%00b", "'%'"},
        {"nfs://h/a%zz", "'%'"},
        {"nfs://h/a%4", "'%'"},
        {"nfs://u:geheim@h/a", "password"},
        {"nfs://h:2049/a", "nfsport="},
        {"nfs://h h/a", "sign"},
        {"nfs://h\n/a", "sign"},
        {"nfs://h/a?version=4", "version"},
        {"nfs://h/a?nfsport=0", "nfsport"},
        {"nfs://h/a?nfsport=65536", "nfsport"},
        {"nfs://h/a?uid=-1", "uid"},
        {"nfs://h/a?contexts=9", "contexts"},
        {"nfs://h/a?timeout", "'='"},
        {"nfs://h/a?nfsprt=1", "did you mean 'nfsport'"},
        {"nfs://h/a?readahead=1", "unknown key"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        struct nfs_url url;
        cr_expect_not(nfs_url_parse(rows[i].url, &url, &err), "'%s' was taken", rows[i].url);
        cr_expect_eq(err.code, ERR_CONFIG, "'%s'", rows[i].url);
        cr_expect(strstr(err.text, rows[i].says), "'%s': %s", rows[i].url, err.text);
    }
    char longest[NFS_PATH_MAX + 40] = "nfs://h/";
    memset(longest + 8, 'p', NFS_PATH_MAX);
    struct err err = {0};
    struct nfs_url url;
    cr_expect_not(nfs_url_parse(longest, &url, &err));
    longest[8 + NFS_PATH_MAX - 2] = '\0';
    cr_expect(nfs_url_parse(longest, &url, &err), "%s", err.text);
}

Test(nfs_guard, lets_through_what_the_protocol_allows_and_nothing_else)
{
    static const struct {
        const char *shape, *bytes;
        size_t len;
        bool ok;
    } rows[] = {
        {"u", "\0\0\0\5", 4, true},
        {"u", "\0\0\0", 3, false},
        {"u", "\0\0\0\5\0\0\0\0", 8, false},
        {"", "", 0, true},
        {"?u", "\0\0\0\0", 4, true},
        {"?u", "\0\0\0\1\0\0\0\7", 8, true},
        {"?u", "\0\0\0\1", 4, false},
        {"?u", "\0\0\0\2\0\0\0\7", 8, false},
        {"F", "\0\0\0\3abc\0", 8, true},
        {"F", "\0\0\0\3abc", 7, false}, /* its padding is missing */
        {"F", "\0\0\0\0", 4, false},
        {"F", "\0\0\0\5abcd", 8, false},
        {"F", "\xff\xff\xff\xf0", 4, false},
        {"F", "\x80\0\0\4abcd", 8, false},
        {"N", "\0\0\0\4abcd", 8, true},
        {"N", "\0\0\0\3a/c\0", 8, false},
        {"N", "\0\0\0\3a\0c\0", 8, false},
        {"?W8", "\0\0\0\1sizesizemodified.changed12345678", 36, true},
        {"?W8", "\0\0\0\1sizesizemodified.changed1234567", 35, false},
        {"?W8", "\0\0\0\00012345678", 12, true},
        {"V", "\0\0\0\1\0\0\0\1", 8, true},
        {"V", "\x40\0\0\1\0\0\0\1", 8, false},
        {"*(u)b", "\0\0\0\0\0\0\0\1", 8, true},
        {"*(u)b", "\0\0\0\1\0\0\0\7\0\0\0\1\0\0\0\7\0\0\0\0\0\0\0\0", 24, true},
        {"*(u)b", "\0\0\0\1\0\0\0\7\0\0\0\1\0\0\0\7", 16, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        uint8_t *exact = malloc(rows[i].len); /* so that one byte too far is seen */
        memcpy(exact, rows[i].bytes, rows[i].len);
        cr_expect_eq(nfs_guard(rows[i].shape, exact, rows[i].len, &err), rows[i].ok,
                     "row %zu, shape %s: %s", i, rows[i].shape, err.text);
        free(exact);
    }
}
