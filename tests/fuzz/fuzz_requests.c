/* Fuzz target: every request of every service, unpacked as the server does it, and packed again. */
#include "agent/rpc/message.h"
#include "agent/service/service.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses the method; what was taken must be packed and taken again. */
static void take(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len,
                 int again)
{
    struct message_budget budget;
    struct err err = {0};
    message_budget_init(&budget, 1 << 20);
    ProtobufCMessage *message = message_unpack(&budget, type, bytes, len, &err);
    if (!message) {
        if (!err.code)
            abort();
        return;
    }
    size_t packed_len = 0;
    AUTO(mem) uint8_t *packed = message_pack(message, &packed_len, &err);
    if (packed && again)
        take(type, packed + 5, packed_len - 5, 0);
    protobuf_c_message_free_unpacked(message, &budget.allocator);
    if (budget.left != 1 << 20)
        abort(); /* something was not given back */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rpc_method *methods;
    static size_t count;
    if (!methods)
        methods = service_methods(&count);
    if (size)
        take(methods[data[0] % count].input, data + 1, size - 1, 1);
    return 0;
}
