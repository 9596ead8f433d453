/* Errors: cut texts, context in front, and what each code becomes on the wire and at exit. */
#include "agent/base/err.h"
#include "agent/base/str.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { TEXT_MAX = sizeof((struct err){0}.text) - 1 };

static void fill(char *to, size_t len)
{
    memset(to, 'x', len);
    to[len] = '\0';
}

Test(err, set_returns_false_and_keeps_code_and_text)
{
    struct err err = {0};
    cr_expect_not(err_set(&err, ERR_BUSY, "volume '%s' is held by %d", "v1", 7));
    cr_expect_eq(err.code, ERR_BUSY);
    cr_expect_str_eq(err.text, "volume 'v1' is held by 7");
    err_clear(&err);
    cr_expect_eq(err.code, ERR_NONE);
    cr_expect_str_eq(err.text, "");
}

Test(err, a_text_that_just_fits_is_whole_and_one_more_is_cut_with_dots)
{
    char text[2000];
    for (size_t len = TEXT_MAX - 4; len < TEXT_MAX + 6; len++) {
        struct err err = {0};
        fill(text, len);
        err_set(&err, ERR_IO, "%s", text);
        if (len <= TEXT_MAX) {
            cr_expect_str_eq(err.text, text, "%zu signs", len);
        } else {
            cr_expect_eq(strlen(err.text), TEXT_MAX);
            cr_expect(str_ends(err.text, "x..."));
        }
    }
}

Test(err, a_cut_never_leaves_half_a_sign)
{
    static const char *const signs[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x92\xbe"};
    for (size_t s = 0; s < 3; s++)
        for (size_t shift = 0; shift < 5; shift++) {
            char text[2000];
            struct err err = {0};
            fill(text, shift);
            while (strlen(text) < 1000)
                memcpy(text + strlen(text), signs[s], strlen(signs[s]) + 1);
            err_set(&err, ERR_IO, "%s", text);
            cr_expect(str_is_utf8(err.text, strlen(err.text)), "sign %zu shift %zu", s, shift);
            cr_expect(str_ends(err.text, "..."));
            cr_expect_geq(strlen(err.text), TEXT_MAX - 4);
            err_wrap(&err, "%.*s", (int)shift, "xxxxx");
            cr_expect(str_is_utf8(err.text, strlen(err.text)), "wrapped %zu, %zu", s, shift);
        }
}

Test(err, whatever_stands_in_a_name_the_text_fits_json_and_the_wire)
{
    struct err err = {0};
    err_set(&err, ERR_IO, "read '%s'", "a\xff\xc3z");
    cr_expect_str_eq(err.text, "read 'a??z'");
    err_wrap(&err, "in '%s'", "b\xed\xa0\x80");
    cr_expect_str_eq(err.text, "in 'b??"
                               "?': read 'a??z'");
    err_errno(&err, ENOENT, "open '%s'", "\xfe");
    cr_expect(strstr(err.text, "open '?'"), "%s", err.text);
    err_set(&err, ERR_IO, "read '%s'", "gr\xc3\xbc\xc3\x9f");
    cr_expect_str_eq(err.text, "read 'gr\xc3\xbc\xc3\x9f'");
}

Test(err, wrap_puts_the_outermost_context_first)
{
    struct err err = {0};
    err_set(&err, ERR_NO_SPACE, "no space left");
    cr_expect_not(err_wrap(&err, "write '%s'", "f"));
    cr_expect_null(err_null(&err, "snapshot %d", 3));
    cr_expect_str_eq(err.text, "snapshot 3: write 'f': no space left");
    cr_expect_eq(err.code, ERR_NO_SPACE);
}

Test(err, wrapping_without_end_keeps_the_newest_context_and_stays_inside)
{
    struct err err = {0};
    char long_text[1500];
    fill(long_text, sizeof long_text - 1);
    err_set(&err, ERR_IO, "root");
    for (int i = 0; i < 200; i++)
        err_wrap(&err, "layer %d", i);
    cr_expect(str_starts(err.text, "layer 199: layer 198: "));
    cr_expect(str_ends(err.text, "..."));
    cr_expect_eq(strlen(err.text), TEXT_MAX);
    err_wrap(&err, "%s", long_text);
    cr_expect_eq(strlen(err.text), TEXT_MAX);
    cr_expect(str_ends(err.text, "x..."));
}

Test(err, errno_gives_reason_and_code)
{
    static const struct {
        int value;
        enum err_code code;
    } table[] = {
        {ENOENT, ERR_NOT_FOUND},
        {EEXIST, ERR_EXISTS},
        {ENOTEMPTY, ERR_EXISTS},
        {EACCES, ERR_DENIED},
        {EPERM, ERR_DENIED},
        {EROFS, ERR_DENIED},
        {ENOSPC, ERR_NO_SPACE},
        {EDQUOT, ERR_NO_SPACE},
        {ENOMEM, ERR_NO_MEMORY},
        {ETIMEDOUT, ERR_TIMEOUT},
        {EPIPE, ERR_UNAVAILABLE},
        {ECONNRESET, ERR_UNAVAILABLE},
        {ENOSYS, ERR_UNSUPPORTED},
        {EINVAL, ERR_INVALID},
        {EIO, ERR_IO},
        {ECONNREFUSED, ERR_UNAVAILABLE},
        {EOPNOTSUPP, ERR_UNSUPPORTED},
        {0, ERR_IO},
        {100000, ERR_IO},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err err = {0};
        cr_expect_not(err_errno(&err, table[i].value, "open '%s'", "f"));
        cr_expect_eq(err.code, table[i].code, "errno %d", table[i].value);
        cr_expect(str_starts(err.text, "open 'f': "), "%s", err.text);
        cr_expect_gt(strlen(err.text), strlen("open 'f': "));
    }
}

Test(err, errno_after_a_long_text_stays_inside)
{
    char text[1500];
    for (size_t len = TEXT_MAX - 40; len < TEXT_MAX + 5; len++) {
        struct err err = {0};
        fill(text, len);
        err_errno(&err, ENOENT, "%s", text);
        cr_expect_leq(strlen(err.text), TEXT_MAX);
        cr_expect_eq(err.code, ERR_NOT_FOUND);
        cr_expect(str_ends(err.text, "...") || str_ends(err.text, "directory"), "%zu", len);
    }
}

Test(err, every_code_has_its_columns)
{
    for (int i = 1; i < ERR_CODE_COUNT; i++) {
        enum err_code code = (enum err_code)i;
        int status = err_grpc_status(code);
        cr_expect(status > 0 && status <= 16, "%s", err_code_name(code));
        cr_expect(err_exit_code(code) >= 160 && err_exit_code(code) <= 164);
        cr_expect_gt(strlen(err_code_text(code)), 3);
        cr_expect_eq(err_from_name(err_code_name(code)), code);
        cr_expect_eq(err_grpc_status(err_from_grpc(status)), status);
        cr_expect_leq((int)err_from_grpc(status), i, "the first of the table");
        for (int j = 1; j < i; j++)
            cr_expect_str_neq(err_code_name(code), err_code_name((enum err_code)j));
    }
    cr_expect_eq(err_exit_code(ERR_NONE), 0);
    cr_expect_eq(err_grpc_status(ERR_NONE), 0);
}

Test(err, every_status_of_the_wire_comes_back_or_reads_as_internal)
{
    cr_expect_eq(err_from_grpc(0), ERR_NONE);
    for (int status = 1; status <= 16; status++)
        if (status == 11) /* OUT_OF_RANGE: nobody here says it */
            cr_expect_eq(err_from_grpc(status), ERR_INTERNAL);
        else
            cr_expect_eq(err_grpc_status(err_from_grpc(status)), status);
    cr_expect_eq(err_from_grpc(17), ERR_INTERNAL);
    cr_expect_eq(err_from_grpc(-1), ERR_INTERNAL);
}

Test(err, codes_out_of_range_read_as_internal)
{
    static const int strange[] = {-1, ERR_CODE_COUNT, 9999};
    for (size_t i = 0; i < 3; i++) {
        cr_expect_str_eq(err_code_name((enum err_code)strange[i]), "INTERNAL");
        cr_expect_eq(err_exit_code((enum err_code)strange[i]), err_exit_code(ERR_INTERNAL));
        cr_expect_not(err_is_transient((enum err_code)strange[i]));
    }
    cr_expect_eq(err_from_name("NO_SUCH_CODE"), ERR_INTERNAL);
    cr_expect_eq(err_from_name("busy"), ERR_INTERNAL);
    cr_expect_eq(err_from_name(NULL), ERR_INTERNAL);
}

Test(err, only_what_may_pass_by_itself_is_transient)
{
    static const enum err_code transient[] = {ERR_BUSY, ERR_NO_MEMORY, ERR_TIMEOUT,
                                              ERR_UNAVAILABLE};
    int count = 0;
    for (int i = 0; i < ERR_CODE_COUNT; i++)
        count += err_is_transient((enum err_code)i);
    for (size_t i = 0; i < 4; i++)
        cr_expect(err_is_transient(transient[i]));
    cr_expect_eq(count, 4);
}
