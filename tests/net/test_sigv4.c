/* Signatures as Amazon's manual reckons them ("Signature calculations: authorization header"). */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/sigv4.h"
#include "tests/lib/engine_drive.h"
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

static struct sigv4 *open_with(const char *dir, const char *keys, unsigned mode, struct err *err)
{
    char path[256];
    str_format(path, sizeof path, "%s/keys", dir);
    cr_assert(sys_write_file(path, keys, strlen(keys), mode, err), "%s", err->text);
    return sigv4_open(path, "us-east-1", "s3", err);
}

Test(sigv4, signs_as_the_manual_does)
{
    static const struct sigv4_field range[] = {{"range", "bytes=0-9"}};
    static const struct sigv4_field put[] = {{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
                                             {"date", "Fri, 24 May 2013 00:00:00 GMT"}};
    static const struct {
        const char *method, *path, *query, *body, *signature;
        const struct sigv4_field *fields;
        size_t count;
    } cases[] = {
        {"GET", "/test.txt", "", "",
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", range, 1},
        {"PUT", "/test%24file.text", "", "Welcome to Amazon S3.",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd", put, 2},
        {"GET", "/", "lifecycle=", "",
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", NULL, 0},
        {"GET", "/", "max-keys=2&prefix=J", "",
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", NULL, 0},
    };
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    uint64_t then;
    cr_assert(clock_parse("2013-05-24T00:00:00Z", &then));
    AUTO(sigv4)
    struct sigv4 *signer = open_with(
        dir, "AKIAIOSFODNN7EXAMPLE\nwJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n", 0600, &err);
    cr_assert(signer, "%s", err.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AUTO(sigv4_signed) struct sigv4_signed out = {0};
        struct sigv4_request request = {.method = cases[i].method,
                                        .host = "examplebucket.s3.amazonaws.com",
                                        .path = cases[i].path,
                                        .query = cases[i].query,
                                        .fields = cases[i].fields,
                                        .field_count = cases[i].count,
                                        .body = cases[i].body,
                                        .body_len = strlen(cases[i].body),
                                        .wall_us = then};
        cr_assert(sigv4_sign(signer, &request, &out, &err), "%s", err.text);
        cr_expect(str_ends(out.authorization, cases[i].signature), "case %zu: %s", i,
                  out.authorization);
    }
}

Test(sigv4, refuses_key_files_that_are_none_or_are_open_to_others)
{
    static const struct {
        const char *text;
        unsigned mode;
    } cases[] = {{"AK\nSK\n", 0644}, {"AK\nSK\n", 0640}, {"AK\n", 0600},      {"", 0600},
                 {"\nSK\n", 0600},   {"A K\nSK", 0600},  {"AK\nS\tK\n", 0600}};
    AUTO(drive_dir) char *dir = drive_dir();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        cr_expect(!open_with(dir, cases[i].text, cases[i].mode, &err), "case %zu", i);
        cr_expect(err.code == ERR_CONFIG && !strstr(err.text, "SK"), "%s", err.text);
    }
    struct err err = {0};
    AUTO(sigv4) struct sigv4 *signer = open_with(dir, "AK\r\nSK\r\n", 0600, &err);
    cr_expect(signer, "lines may end as elsewhere: %s", err.text);
}
