/* JSON: what is refused, numbers at their limits, and order that stays. */
#include "agent/base/json.h"
#include <criterion/criterion.h>
#include <string.h>

static json_t *parse(const char *text, struct err *err)
{
    return json_parse(text, strlen(text), err);
}

Test(json, refuses_documents_that_are_none)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "{\"a\":1,}",
                                      "[1,]",
                                      "{'a':1}",
                                      "{\"a\":01}",
                                      "{\"a\":NaN}",
                                      "nul",
                                      "{} {}",
                                      "{}x",
                                      "\"text\"",
                                      "7",
                                      "{\"a\":1,\"a\":1}",
                                      "{\"a\":{\"b\":1,\"b\":2}}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":\"\xc0\xaf\"}",
                                      "{\"a\":\"\xed\xa0\x80\"}",
                                      "{\"\xff\":1}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":9223372036854775808}",
                                      "{\"a\":1e999}",
                                      "// remark\n{}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        AUTO(json) json_t *doc = parse(bad[i], &err);
        cr_expect_null(doc, "row %zu", i);
        cr_expect_eq(err.code, ERR_INVALID, "row %zu", i);
        cr_expect_not_null(strstr(err.text, "line "), "%s", err.text);
    }
    struct err err = {0};
    AUTO(json) json_t *cut = json_parse("{}\0{}", 5, &err);
    cr_expect_null(cut, "a NUL does not end it");
}

Test(json, refuses_what_is_too_long_or_too_deep)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_parse("{}", ((size_t)64 << 20) + 1, &err);
    cr_expect_null(doc, "and does not read it");
    cr_expect_eq(err.code, ERR_LIMIT);
    err_clear(&err);
    AUTO(mem) char *deep = own_alloc(100001, &err);
    memset(deep, '[', 100000);
    AUTO(json) json_t *nested = parse(deep, &err);
    cr_expect_null(nested);
    cr_expect_eq(err.code, ERR_INVALID);
}

Test(json, members_have_defaults)
{
    struct err err = {0};
    AUTO(json)
    json_t *doc = parse("{\"t\":\"x\",\"n\":5,\"neg\":-1,\"b\":true,\"f\":false,\"r\":1.5,"
                        "\"max\":9223372036854775807,\"z\":null}",
                        &err);
    cr_assert(doc, "%s", err.text);
    cr_expect_str_eq(json_text(doc, "t"), "x");
    cr_expect_eq(json_u64(doc, "n"), 5);
    cr_expect_eq(json_u64(doc, "max"), INT64_MAX);
    cr_expect(json_flag(doc, "b") && !json_flag(doc, "f"));
    static const char *const others[] = {"neg", "r", "z", "absent"};
    for (size_t i = 0; i < 4; i++) {
        cr_expect_str_eq(json_text(doc, others[i]), "");
        cr_expect_eq(json_u64(doc, others[i]), 0);
        cr_expect_not(json_flag(doc, others[i]));
    }
    cr_expect_not(json_flag(doc, "n"), "a number is no flag");
    cr_expect_eq(json_u64(NULL, "n"), 0);
    cr_expect_str_eq(json_text(NULL, "n"), "");
}

Test(json, numbers_come_back_or_are_refused)
{
    static const uint64_t good[] = {0, 1, UINT32_MAX, 1ull << 53, (1ull << 53) + 1, INT64_MAX};
    static const uint64_t bad[] = {(uint64_t)INT64_MAX + 1, UINT64_MAX};
    struct err err = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        AUTO(json) json_t *doc = json_object();
        cr_assert(json_put_u64(doc, "n", good[i], &err));
        AUTO(mem) char *text = json_format(doc, &err);
        AUTO(json) json_t *back = parse(text, &err);
        cr_expect_eq(json_u64(back, "n"), good[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        AUTO(json) json_t *doc = json_object();
        err_clear(&err);
        cr_expect_not(json_put_u64(doc, "n", bad[i], &err), "not written as a negative number");
        cr_expect_eq(err.code, ERR_INVALID);
        cr_expect_eq(json_object_size(doc), 0);
    }
}

Test(json, text_must_be_utf8)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    cr_expect(json_put_text(doc, "a", "gr\xc3\xbc\xc3\x9f", &err));
    cr_expect(json_put_text(doc, "q", "\"\\\n\x01", &err));
    cr_expect_not(json_put_text(doc, "b", "\xff", &err));
    cr_expect_eq(err.code, ERR_INVALID);
    cr_expect_not(json_put(doc, "c", NULL, &err));
    cr_expect_not(json_add(doc, json_true(), &err), "no array");
    AUTO(mem) char *text = json_format(doc, &err);
    AUTO(json) json_t *back = parse(text, &err);
    cr_assert(back);
    cr_expect(json_equal(doc, back));
}

Test(json, keeps_the_order_of_insertion)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    json_t *list = json_array();
    cr_assert(json_put_text(doc, "z", "1", &err) && json_put_flag(doc, "a", true, &err) &&
              json_put_u64(doc, "m", 2, &err) && json_put(doc, "l", list, &err) &&
              json_add(list, json_integer(3), &err) && json_put_text(doc, "z", "0", &err));
    AUTO(mem) char *text = json_format(doc, &err);
    cr_expect_str_eq(text, "{\"z\":\"0\",\"a\":true,\"m\":2,\"l\":[3]}");
    AUTO(mem) char *pretty = json_format_pretty(doc, &err);
    cr_expect_str_eq(pretty, "{\n  \"z\": \"0\",\n  \"a\": true,\n  \"m\": 2,\n  \"l\": [\n    3\n"
                             "  ]\n}\n");
}

Test(json, pretty_without_memory_says_so)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    own_fault(1);
    AUTO(mem) char *text = json_format_pretty(doc, &err);
    own_fault(0);
    cr_expect_null(text);
    cr_expect_eq(err.code, ERR_NO_MEMORY);
}
