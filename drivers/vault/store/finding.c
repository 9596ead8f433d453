/* Words for findings. */
#include "drivers/vault/store/finding.h"

static const struct {
    const char *word;
    bool damage;
} kinds[FINDING_KINDS] = {
    [FINDING_DAMAGE] = {"damage", true},      [FINDING_MISSING] = {"missing", true},
    [FINDING_LEAKED] = {"leaked", false},     [FINDING_BACK] = {"back", false},
    [FINDING_LOST] = {"lost", false},         [FINDING_STRAY] = {"stray", false},
    [FINDING_REPAIRED] = {"repaired", false}, [FINDING_CLOSED] = {"closed", true},
    [FINDING_REFUSED] = {"refused", true},
};

const char *finding_word(enum finding_kind kind) { return kinds[kind].word; }

bool finding_is_damage(enum finding_kind kind) { return kinds[kind].damage; }
