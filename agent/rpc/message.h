/* Protobuf messages from strangers: unpacked within a byte budget, their strings checked. */
#pragma once
#include "agent/rpc/rpc.h"

/* One per request; start with message_budget_init. The allocator lives inside: do not move it. */
struct message_budget {
    ProtobufCAllocator allocator;
    size_t left;
    bool exceeded, starved;
};
void message_budget_init(struct message_budget *budget, size_t max);
/* Unpacks and checks that every string is UTF-8 without NUL. NULL: LIMIT, NO_MEMORY or INVALID.
 * Freed with protobuf_c_message_free_unpacked(message, &budget->allocator). */
ProtobufCMessage *message_unpack(struct message_budget *budget,
                                 const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                                 size_t len, struct err *err) MUST;
/* As above for replies of our agent: plain heap, freed with allocator NULL. */
ProtobufCMessage *message_unpack_reply(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                                       size_t len, struct err *err) MUST;
/* A whole frame, prefix and message; owned. LIMIT above RPC_MESSAGE_MAX. */
uint8_t *message_pack(const ProtobufCMessage *message, size_t *ret_len, struct err *err) MUST;
/* False for a type that contains itself: unpacking those has no bound on the stack. */
bool message_is_bounded(const ProtobufCMessageDescriptor *type);
