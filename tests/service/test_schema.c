/* The built-in descriptor set, and the table of methods that must agree with it. */
#include "agent/service/schema.h"
#include "agent/service/service.h"
#include <criterion/criterion.h>
#include <string.h>

static bool file_is(struct schema_span file, const char *name)
{
    /* A FileDescriptorProto begins with its name. */
    size_t len = strlen(name);
    return file.len > len + 2 && file.bytes[0] == 10 && file.bytes[1] == len &&
           memcmp(file.bytes + 2, name, len) == 0;
}

Test(schema, finds_files_by_name)
{
    struct schema_span file;
    cr_assert(schema_file("evercopy/v1/backups.proto", &file));
    cr_assert(file_is(file, "evercopy/v1/backups.proto"));
    cr_assert(!schema_file("evercopy/v1/backup.proto", &file));
    cr_assert(!schema_file("", &file));
}

Test(schema, finds_whatever_has_a_full_name)
{
    static const struct {
        const char *symbol, *file; /* NULL: nothing */
    } cases[] = {
        {"evercopy.v1.Backups", "evercopy/v1/backups.proto"},
        {"evercopy.v1.Backups.UploadLog", "evercopy/v1/backups.proto"},
        {"evercopy.v1.LogId", "evercopy/v1/backups.proto"},
        {"evercopy.v1.Verdict", "evercopy/v1/common.proto"},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
        {"evercopy.v1.Backups.Upload", NULL},
        {"evercopy.v1.Backup", NULL},
        {"evercopy.v1.LogId.thread.x", NULL},
        {"evercopy.v1.", NULL},
        {"evercopy.v1", NULL},
        {"Backups", NULL},
        {".evercopy.v1.Backups", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct schema_span file;
        bool found = schema_file_of(cases[i].symbol, &file);
        cr_expect_eq(found, cases[i].file != NULL, "%s", cases[i].symbol);
        if (found && cases[i].file)
            cr_expect(file_is(file, cases[i].file), "%s", cases[i].symbol);
    }
}

static bool has_row(const struct schema_method *wanted)
{
    size_t count;
    const struct rpc_method *rows = service_methods(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].service, wanted->service) == 0 &&
            strcmp(rows[i].name, wanted->name) == 0)
            return rows[i].roles &&
                   ((rows[i].streams & RPC_CLIENT_STREAM) != 0) == wanted->client_stream &&
                   ((rows[i].streams & RPC_SERVER_STREAM) != 0) == wanted->server_stream;
    return false;
}

Test(schema, every_method_has_a_row_with_its_streams_and_roles)
{
    struct schema_method method;
    size_t count;
    size_t n = 0;
    service_methods(&count);
    for (; schema_method(n, &method); n++)
        cr_expect(has_row(&method), "%s/%s", method.service, method.name);
    cr_assert_eq(n, count);
    cr_assert(schema_has_service("evercopy.v1.Jobs"));
    cr_assert(!schema_has_service("evercopy.v1.Job"));
}
