/* Fuzz target: both configuration files. */
#include "agent/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(config_shim)
    struct config_shim *shim = config_shim_parse((const char *)data, size, "f", &err);
    AUTO(config_agent)
    struct config_agent *agent = config_agent_parse((const char *)data, size, "f", &err);
    return 0;
}
