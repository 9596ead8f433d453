/* What the wire looks like, by its own description: the descriptor set of proto/, built in. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Generated from all of proto/ by the Makefile; a google.protobuf.FileDescriptorSet. */
extern const unsigned char schema_bytes[];
extern const size_t schema_size;

/* A piece of the set; not terminated. */
struct schema_span {
    const uint8_t *bytes;
    size_t len;
};
bool schema_is(struct schema_span text, const char *expected);

/* The FileDescriptorProto of that name; of the file that defines a message, enum, service or method
 * by its full name. False when there is none. */
bool schema_file(const char *name, struct schema_span *ret_file);
bool schema_file_of(const char *symbol, struct schema_span *ret_file);

struct schema_method {
    char service[64], name[64];   /* "evercopy.v1.Backups", "GetLease" */
    char input[128], output[128]; /* full names of the messages */
    bool client_stream, server_stream;
};
/* The nth method of all services, in the order of the files. False behind the last. */
bool schema_method(size_t n, struct schema_method *ret_method);
bool schema_has_service(const char *name);
