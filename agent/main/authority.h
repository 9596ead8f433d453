/* evercopyd's commands around certificates and the audit; each change is a pair of audit lines. */
#pragma once
#include "agent/auth/ca.h"

struct authority {
    const char *pki, *state;
    bool json;
};
bool authority_init(const struct authority *a, const struct ca_request *server, struct err *err)
    MUST;
bool authority_enroll(const struct authority *a, const struct ca_request *request, const char *out,
                      struct err *err) MUST;
bool authority_renew_server(const struct authority *a, const struct ca_request *server,
                            struct err *err) MUST;
bool authority_deny(const struct authority *a, const char *what, const char *reason,
                    struct err *err) MUST;
bool authority_allow(const struct authority *a, const char *what, struct err *err) MUST;
bool authority_list(const struct authority *a, struct err *err) MUST;
/* An empty deny list in place of one that is missing. */
bool authority_begin_list(const struct authority *a, struct err *err) MUST;
/* file NULL: all of them. *ret_sound false: said where and why on stdout. */
bool authority_verify(const struct authority *a, const char *file, bool *ret_sound, struct err *err)
    MUST;
bool authority_show(const struct authority *a, const char *database, const char *since,
                    struct err *err) MUST;
