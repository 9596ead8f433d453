/* Fuzz target: a fact sheet; what is read can be written and read again. */
#include "agent/oracle/facts.h"
#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(facts) struct facts *facts = facts_from_json((const char *)data, size, &err);
    AUTO(mem) char *text = facts ? facts_to_json(facts, &err) : NULL;
    AUTO(facts) struct facts *again = text ? facts_from_json(text, strlen(text), &err) : NULL;
    assert(!facts || again);
    return 0;
}
