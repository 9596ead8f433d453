/* Which volumes are exported by which rule: the configuration and the vault, as exports.h asks. */
#pragma once
#include "agent/config/config.h"
#include "drivers/vault/nfs/exports.h"

struct exported;
/* vault is borrowed; rules are read from config before it returns. CONFIG with file and line. */
struct exported *exported_new(struct vault *vault, const struct config_vault *config,
                              struct err *err) MUST;
void exported_free(struct exported *exported);
OWN_DEFINE(exported, struct exported, exported_free);
struct exports_options exported_options(struct exported *exported);
/* From now on these rules; all or none. exports_reload comes after. */
bool exported_use(struct exported *exported, const struct config_vault *config, struct err *err)
    MUST;
/* Whether exported_use would take them. */
bool exported_check(const struct config_vault *config, struct err *err) MUST;
/* The number of a volume ("NAME") or clone ("LANDING/CLONE"), and the other way round. */
bool exported_id(struct exported *exported, const char *name, uint64_t *ret_id, struct err *err)
    MUST;
/* Who owns the top folder of that export by the rules; 0: root. */
void exported_owner(struct exported *exported, const char *path, uint32_t *ret_uid,
                    uint32_t *ret_gid);
/* A volume has gone, or was to go and stays: what was listed before counts no more. */
void exported_changed(struct exported *exported);
