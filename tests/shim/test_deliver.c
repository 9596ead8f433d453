/* What an agent's answer to a verdict means for the spool. */
#include "agent/shim/shim.h"
#include <criterion/criterion.h>

Test(deliver, a_verdict_goes_only_when_it_never_can_be_heard)
{
    for (int code = ERR_NONE + 1; code < ERR_CODE_COUNT; code++) {
        struct err err = {.code = (enum err_code)code};
        bool never = code == ERR_NOT_FOUND || code == ERR_FENCED;
        cr_expect_eq(shim_is_final(&err), never, "%s", err_code_name(err.code));
    }
}
