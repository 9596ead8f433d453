/* The descriptor set: as much of its wire format as finding things in it takes. */
#include "agent/service/schema.h"

#include "agent/base/str.h"
#include <assert.h>
#include <string.h>

/* google/protobuf/descriptor.proto */
enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    SERVICE_METHOD = 2,
    METHOD_INPUT = 2,
    METHOD_OUTPUT = 3,
    METHOD_CLIENT_STREAM = 5,
    METHOD_SERVER_STREAM = 6,
    ANY_NAME = 1,
};

struct field {
    uint64_t number, value;
    struct schema_span bytes; /* of a length-delimited one */
};

/* The set is ours: anything odd about it is a mistake of the build. */
static uint64_t read_varint(struct schema_span *at)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        assert(at->len);
        uint8_t byte = *at->bytes++;
        at->len--;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    assert(!"a varint of more than ten bytes");
    return 0;
}

static bool next_field(struct schema_span *at, struct field *ret)
{
    if (!at->len)
        return false;
    uint64_t tag = read_varint(at);
    uint64_t value = read_varint(at);
    *ret = (struct field){.number = tag >> 3, .value = value};
    if ((tag & 7) == 0)
        return true;
    assert((tag & 7) == 2 && value <= at->len);
    ret->bytes = (struct schema_span){at->bytes, value};
    at->bytes += value;
    at->len -= value;
    return true;
}

/* The nth (from 0) field of that number. */
static bool find_field(struct schema_span in, uint64_t number, size_t n, struct field *ret)
{
    struct field field;
    while (next_field(&in, &field))
        if (field.number == number && n-- == 0) {
            *ret = field;
            return true;
        }
    return false;
}

static struct schema_span text_of(struct schema_span in, uint64_t number)
{
    struct field field = {0};
    IGNORE(!find_field(in, number, 0, &field)); /* absent: empty */
    return field.bytes;
}

bool schema_is(struct schema_span text, const char *expected)
{
    return text.len == strlen(expected) && memcmp(text.bytes, expected, text.len) == 0;
}

static bool nth_file(size_t n, struct schema_span *ret)
{
    struct field field;
    if (!find_field((struct schema_span){schema_bytes, schema_size}, SET_FILE, n, &field))
        return false;
    *ret = field.bytes;
    return true;
}

bool schema_file(const char *name, struct schema_span *ret_file)
{
    for (size_t i = 0; nth_file(i, ret_file); i++)
        if (schema_is(text_of(*ret_file, FILE_NAME), name))
            return true;
    return false;
}

/* Takes "name" or "name." off the front; *rest is "" for the former. */
static bool take_name(struct schema_span name, const char **rest)
{
    const char *text = *rest;
    if (strlen(text) < name.len || memcmp(text, name.bytes, name.len) != 0)
        return false;
    if (text[name.len] && text[name.len] != '.')
        return false;
    *rest = text + name.len + (text[name.len] == '.');
    return name.len > 0;
}

/* Whether one of the things numbered so, inside `in`, carries the name; what lies behind the name
 * is looked for in its own parts. */
static bool has_symbol(struct schema_span in, uint64_t number, const char *symbol)
{
    struct field thing;
    for (size_t i = 0; find_field(in, number, i, &thing); i++) {
        const char *rest = symbol;
        if (!take_name(text_of(thing.bytes, ANY_NAME), &rest))
            continue;
        if (!*rest)
            return true;
        struct field method;
        for (size_t k = 0;
             number == FILE_SERVICE && find_field(thing.bytes, SERVICE_METHOD, k, &method); k++)
            if (schema_is(text_of(method.bytes, ANY_NAME), rest))
                return true;
    }
    return false;
}

static bool defines(struct schema_span file, const char *symbol)
{
    const char *rest = symbol;
    if (!take_name(text_of(file, FILE_PACKAGE), &rest) || !*rest)
        return false;
    if (has_symbol(file, FILE_MESSAGE, rest) || has_symbol(file, FILE_ENUM, rest) ||
        has_symbol(file, FILE_SERVICE, rest))
        return true;
    struct field message;
    for (size_t i = 0; find_field(file, FILE_MESSAGE, i, &message); i++) {
        const char *inner = rest;
        if (take_name(text_of(message.bytes, ANY_NAME), &inner) && *inner &&
            (has_symbol(message.bytes, MESSAGE_NESTED, inner) ||
             has_symbol(message.bytes, MESSAGE_ENUM, inner)))
            return true;
    }
    return false;
}

bool schema_file_of(const char *symbol, struct schema_span *ret_file)
{
    for (size_t i = 0; nth_file(i, ret_file); i++)
        if (defines(*ret_file, symbol))
            return true;
    return false;
}

static void copy(char *to, size_t size, struct schema_span text)
{
    bool fits = str_format(to, size, "%.*s", (int)text.len, (const char *)text.bytes);
    assert(fits);
    IGNORE(fits);
}

static bool flag(struct schema_span in, uint64_t number)
{
    struct field field;
    return find_field(in, number, 0, &field) && field.value;
}

/* Types are written with a leading dot. */
static struct schema_span type_of(struct schema_span method, uint64_t number)
{
    struct schema_span name = text_of(method, number);
    assert(name.len > 1 && name.bytes[0] == '.');
    return (struct schema_span){name.bytes + 1, name.len - 1};
}

static void read_method(struct schema_span file, struct schema_span service,
                        struct schema_span method, struct schema_method *ret)
{
    struct schema_span package = text_of(file, FILE_PACKAGE);
    struct schema_span name = text_of(service, ANY_NAME);
    bool fits = str_format(ret->service, sizeof ret->service, "%.*s.%.*s", (int)package.len,
                           (const char *)package.bytes, (int)name.len, (const char *)name.bytes);
    assert(fits);
    IGNORE(fits);
    copy(ret->name, sizeof ret->name, text_of(method, ANY_NAME));
    copy(ret->input, sizeof ret->input, type_of(method, METHOD_INPUT));
    copy(ret->output, sizeof ret->output, type_of(method, METHOD_OUTPUT));
    ret->client_stream = flag(method, METHOD_CLIENT_STREAM);
    ret->server_stream = flag(method, METHOD_SERVER_STREAM);
}

bool schema_method(size_t n, struct schema_method *ret_method)
{
    struct schema_span file;
    struct field service;
    struct field method;
    for (size_t i = 0; nth_file(i, &file); i++)
        for (size_t k = 0; find_field(file, FILE_SERVICE, k, &service); k++)
            for (size_t m = 0; find_field(service.bytes, SERVICE_METHOD, m, &method); m++)
                if (n-- == 0) {
                    read_method(file, service.bytes, method.bytes, ret_method);
                    return true;
                }
    return false;
}

bool schema_has_service(const char *name)
{
    struct schema_method method;
    for (size_t i = 0; schema_method(i, &method); i++)
        if (str_equal(method.service, name))
            return true;
    return false;
}
