/* Fuzz target: the configuration files; what is read as the vault's follows on another reading. */
#include "agent/config/config.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char running[] = "[vault]\nbox=/b\n[store]\nurl=/s\nregion=r\n"
                                  "[export]\nclients=::/0\n[export A]\nsquash=all\n";
    struct err err = {0};
    AUTO(config_changes) struct config_changes changes = {0};
    AUTO(config_shim)
    struct config_shim *shim = config_shim_parse((const char *)data, size, "f", &err);
    AUTO(config_agent)
    struct config_agent *agent = config_agent_parse((const char *)data, size, "f", &err);
    AUTO(config_vault)
    struct config_vault *vault = config_vault_parse((const char *)data, size, "f", &err);
    if (!vault)
        return 0;
    AUTO(config_vault)
    struct config_vault *now = config_vault_parse(running, sizeof running - 1, "f", &err);
    assert(now && config_vault_succeed(vault, now, &changes, &err));
    assert(strcmp(vault->box, "/b") == 0 && vault->option_count == 1);
    assert(config_vault_export(vault, "A")->squash);
    return 0;
}
