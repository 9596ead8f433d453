/* What must be true of a vault at rest, whatever happened to it: what lives in the store is what
 * somebody can reach, and neither store nor box holds anything else. */
#pragma once
#include "drivers/vault/volume/vault.h"

/* Nobody else may use the vault meanwhile. False with CORRUPT and the reason. */
bool vault_fsck(struct vault *vault, struct err *err) MUST;
