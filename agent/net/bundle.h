/* A certificate and its key on disk, replaced together: what a crash leaves is one pair or the
 * other, never half of each. */
#pragma once
#include "agent/base/own.h"

/* Holds the pair for one program that renews it, waiting for another that does; what a killed one
 * left half written is removed. -1; closing releases. */
int bundle_lock(const char *cert_path, const char *key_path, struct err *err) MUST;
/* Writes <cert>.next and <key>.next (0600), beside the ones in use. */
bool bundle_stage(const char *cert_path, const char *key_path, const char *cert, const char *key,
                  struct err *err) MUST;
/* What is staged takes the place; the pair before stays as <cert>.old and <key>.old. */
bool bundle_swap(const char *cert_path, const char *key_path, struct err *err) MUST;
/* Ends a swap that a crash interrupted. Cheap when there is none; call before using the pair. */
bool bundle_settle(const char *cert_path, const char *key_path, struct err *err) MUST;
