/* Fuzz target: gRPC frames in pieces, then what they hold as a message, then the small codes. */
#include "agent/rpc/frame.h"
#include "agent/rpc/message.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void unpack(const struct frame_reader *reader)
{
    struct message_budget budget;
    struct err err = {0};
    message_budget_init(&budget, 1 << 20);
    ProtobufCMessage *message = message_unpack(
        &budget, &evercopy__v1__take_snapshot_reply__descriptor, reader->bytes, reader->len, &err);
    if (message)
        protobuf_c_message_free_unpacked(message, &budget.allocator);
}

static void decode(const uint8_t *data, size_t size)
{
    char text[512];
    uint8_t bytes[512];
    uint64_t ms;
    size_t len = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, len);
    text[len] = '\0';
    IGNORE(frame_parse_timeout(text, &ms)); /* only crashes matter here */
    IGNORE(frame_base64_decode(text, bytes, &len));
    frame_percent_decode((char *)bytes, sizeof bytes, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(frame_reader) struct frame_reader reader = {0};
    struct err err = {0};
    size_t piece = size ? data[0] * 3 + 1 : 1;
    for (size_t at = 1; at < size; at += piece) {
        const uint8_t *p = data + at;
        size_t len = piece < size - at ? piece : size - at;
        while (len) {
            enum frame_event event = frame_read(&reader, &p, &len, 1 << 16, &err);
            if (event == FRAME_FAILED)
                return 0;
            if (event == FRAME_MESSAGE)
                unpack(&reader);
        }
    }
    if (size)
        decode(data, size);
    return 0;
}
