/* Fuzz target: a connection's bytes, cut into records and read as calls. The first byte says how
 * the stream arrives. */
#include "drivers/vault/nfs/record.h"

#include "agent/base/own.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t sum;

static void read_all(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += bytes[i];
}

/* In memory of its own, so that a byte beyond is seen. */
static void read_call(const uint8_t *record, size_t len)
{
    struct err err = {0};
    struct rpc_call call;
    uint8_t reply[RPC_REFUSAL_MAX];
    size_t reply_len = 0;
    AUTO(mem) uint8_t *copy = own_alloc(len, &err);
    assert(copy);
    memcpy(copy, record, len);
    switch (rpc_parse(copy, len, &call, reply, &reply_len)) {
    case RPC_IS_CALL:
        assert(call.args_len <= len && call.cred.group_count <= RPC_GROUPS_MAX);
        read_all(call.args, call.args_len);
        read_all((const uint8_t *)call.cred.machine, call.cred.machine_len);
        break;
    case RPC_IS_REFUSED:
        assert(reply_len >= 24 && reply_len <= sizeof reply);
        read_all(reply, reply_len);
        break;
    case RPC_IS_NONSENSE:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX = 1 << 16 };
    struct err err = {0};
    struct record record = {0};
    size_t filled = 0;
    if (size < 1 || size > MAX)
        return 0;
    size_t step = data[0] ? data[0] : size;
    AUTO(mem) uint8_t *bytes = own_alloc(size, &err);
    assert(bytes);
    for (size_t fed = 1; fed < size;) {
        size_t n = step < size - fed ? step : size - fed;
        memcpy(bytes + filled, data + fed, n);
        filled += n;
        fed += n;
        for (;;) {
            size_t at = 0;
            size_t len = 0;
            enum record_step got = record_next(&record, bytes, filled, &at, &len);
            if (got == RECORD_LIE)
                return 0;
            if (got == RECORD_MORE)
                break;
            assert(len > 0 && len % 4 == 0 && at + len <= record.begin && record.begin <= filled);
            read_call(bytes + at, len);
        }
        assert(record.need > filled - record.begin && record.need <= RPC_RECORD_MAX + 4 * 1025);
        memmove(bytes, bytes + record.begin, filled - record.begin);
        filled -= record.begin;
        record_moved(&record);
    }
    return 0;
}
