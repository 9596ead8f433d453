/* Protobuf messages from strangers. */
#include "agent/rpc/message.h"

#include "agent/base/str.h"
#include "agent/rpc/frame.h"
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32 };

/* In front of each block, so that a string's true length is known afterwards: protobuf-c copies it
 * with its NULs and forgets the length. */
struct block {
    size_t size;
    max_align_t bytes[];
};

static struct block *block_of(const void *p)
{
    return (struct block *)((char *)(uintptr_t)p - offsetof(struct block, bytes));
}

static void *budget_alloc(void *arg, size_t size)
{
    struct message_budget *budget = arg;
    size_t cost = size + sizeof(struct block);
    if (cost < size || cost > budget->left) {
        budget->exceeded = true;
        return NULL;
    }
    struct err err = {0};
    struct block *block = own_alloc(cost, &err);
    budget->starved |= !block;
    if (!block)
        return NULL;
    block->size = size;
    budget->left -= cost;
    return block->bytes;
}

static void budget_free(void *arg, void *p)
{
    struct message_budget *budget = arg;
    if (!p)
        return;
    struct block *block = block_of(p);
    budget->left += block->size + sizeof *block;
    own_free(block);
}

void message_budget_init(struct message_budget *budget, size_t max)
{
    *budget = (struct message_budget){
        .allocator = {.alloc = budget_alloc, .free = budget_free, .allocator_data = budget},
        .left = max,
    };
}

/* What the walk over a message carries along. */
struct check {
    bool sized; /* blocks are ours, so that lengths are known */
    struct err *err;
};

static bool check_message(const struct check *check, const ProtobufCMessage *message);

static bool check_string(const struct check *check, const ProtobufCFieldDescriptor *field,
                         const char *text)
{
    /* Absent strings point to a constant, not to a block of ours. */
    if (!text || text == protobuf_c_empty_string || text == field->default_value)
        return true;
    size_t len = check->sized ? block_of(text)->size - 1 : strlen(text);
    if (str_is_utf8(text, len))
        return true;
    return err_set(check->err, ERR_INVALID, "field '%s' is not UTF-8 text without NUL",
                   field->name);
}

static bool check_value(const struct check *check, const ProtobufCFieldDescriptor *field,
                        const void *value)
{
    void *pointer = *(void *const *)value;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return check_string(check, field, pointer);
    return !pointer || check_message(check, pointer);
}

static bool check_field(const struct check *check, const ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message;
    const void *member = base + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)(base + field->quantifier_offset);
        const char *items = *(char *const *)member;
        for (size_t i = 0; i < count; i++)
            if (!check_value(check, field, items + i * sizeof(void *)))
                return false;
        return true;
    }
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
        *(const uint32_t *)(base + field->quantifier_offset) != field->id)
        return true;
    return check_value(check, field, member);
}

static bool check_message(const struct check *check, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        bool points =
            field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (points && !check_field(check, message, field))
            return false;
    }
    return true;
}

ProtobufCMessage *message_unpack(struct message_budget *budget,
                                 const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                                 size_t len, struct err *err)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &budget->allocator, len, bytes);
    if (!message) {
        if (budget->exceeded)
            err_set(err, ERR_LIMIT, "request needs more memory than one request may take");
        else if (budget->starved)
            err_set(err, ERR_NO_MEMORY, "no memory for the request");
        else
            err_set(err, ERR_INVALID, "request is not a '%s'", type->name);
        return NULL;
    }
    struct check check = {.sized = true, .err = err};
    if (check_message(&check, message))
        return message;
    protobuf_c_message_free_unpacked(message, &budget->allocator);
    return NULL;
}

ProtobufCMessage *message_unpack_reply(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                                       size_t len, struct err *err)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, len, bytes);
    struct check check = {.sized = false, .err = err};
    if (!message) {
        err_set(err, ERR_INTERNAL, "reply is not a '%s'; hint: compare the versions", type->name);
        return NULL;
    }
    if (check_message(&check, message))
        return message;
    protobuf_c_message_free_unpacked(message, NULL);
    return NULL;
}

uint8_t *message_pack(const ProtobufCMessage *message, size_t *ret_len, struct err *err)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len > RPC_MESSAGE_MAX) {
        err_set(err, ERR_LIMIT, "message of %zu bytes is larger than the limit of %d", len,
                RPC_MESSAGE_MAX);
        return NULL;
    }
    uint8_t *frame = own_alloc(FRAME_PREFIX + len, err);
    if (!frame)
        return NULL;
    frame_write_prefix(frame, len);
    protobuf_c_message_pack(message, frame + FRAME_PREFIX);
    *ret_len = FRAME_PREFIX + len;
    return frame;
}

static bool is_bounded(const ProtobufCMessageDescriptor *type, int depth)
{
    if (depth > DEPTH_MAX)
        return false;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE &&
            !is_bounded(type->fields[i].descriptor, depth + 1))
            return false;
    return true;
}

bool message_is_bounded(const ProtobufCMessageDescriptor *type) { return is_bounded(type, 0); }
