/* What takes no changes: volumes that were found damaged when the box was opened, and such whose
 * disk failed since. */
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

bool is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_UNSUPPORTED;
}

bool closed_add(struct vault *vault, const struct closed *what, const char *why, struct err *err)
{
    struct closed closed = *what;
    IGNORE(str_copy(closed.why, sizeof closed.why, why)); /* before what may move it */
    if (!own_grow((void **)&vault->closed, &vault->closed_capacity, vault->closed_count,
                  sizeof *vault->closed, err))
        return false;
    if (!closed.name[0])
        IGNORE(
            str_format(closed.name, sizeof closed.name, "%016llx", (unsigned long long)closed.id));
    vault->closed[vault->closed_count++] = closed;
    return true;
}

void closed_name(struct vault *vault, uint64_t id, const char *name)
{
    char unknown[20];
    IGNORE(str_format(unknown, sizeof unknown, "%016llx", (unsigned long long)id));
    for (size_t i = 0; i < vault->closed_count; i++)
        if (vault->closed[i].id == id && str_equal(vault->closed[i].name, unknown))
            IGNORE(str_copy(vault->closed[i].name, sizeof vault->closed[i].name, name));
}

void journal_leave(struct volume *v)
{
    struct err ignored = {0};
    if (v->journal && v->replayed && v->replayed->clean)
        IGNORE(journal_close(TAKE(v->journal), &ignored)); /* else it is as after a crash */
}

static void let_go(struct volume *v)
{
    for (size_t i = 0; i < v->slot_count; i++)
        v->vault->frozen_bytes -= v->slots[i]->bytes;
    journal_leave(v);
    volume_free(v);
}

static bool shut_one(struct vault *vault, struct volume *v, const struct err *why, struct err *err)
{
    const struct record *facts = v->replayed ? &v->replayed->facts_record : NULL;
    struct closed what = {.id = v->id, .family_id = v->family_id, .created_us = v->created_us};
    IGNORE(str_copy(what.name, sizeof what.name,
                    v->name[0] || !facts ? v->name : facts->name)); /* both are of that size */
    /* A clone is named by its path, so that nobody takes it for a landing volume of that name. */
    if (v->clone && v->landing && v->landing != v) {
        char path[sizeof what.name];
        if (str_format(path, sizeof path, "%s/%s", v->landing->name, what.name))
            IGNORE(str_copy(what.name, sizeof what.name, path));
    }
    if (!closed_add(vault, &what, why->text, err))
        return false;
    vault_delist(vault, v);
    let_go(v);
    return true;
}

bool family_shut(struct vault *vault, uint64_t family, const struct err *why, struct err *err)
{
    for (int clones = 1; clones >= 0; clones--)
        for (size_t i = vault->volume_count; i-- > 0;) {
            struct volume *v = vault->volumes[i];
            if (v->family_id == family && (v->id != family) == (clones == 1) &&
                !shut_one(vault, v, why, err))
                return false;
        }
    struct closed whole = {.id = family, .family_id = family};
    if (!closed_by_id(vault, family) && !closed_add(vault, &whole, why->text, err))
        return false;
    log_error("a volume is damaged and stays closed, with its clones. hint: evercopy-vaultd fsck "
              "volume=%s error=%s",
              closed_by_id(vault, family)->name, why->text);
    return true;
}

const struct closed *closed_by_id(const struct vault *vault, uint64_t id)
{
    for (size_t i = 0; i < vault->closed_count; i++)
        if (vault->closed[i].id == id)
            return &vault->closed[i];
    return NULL;
}

const struct closed *closed_of_family(const struct vault *vault, uint64_t family)
{
    for (size_t i = 0; i < vault->closed_count; i++)
        if (vault->closed[i].family_id == family)
            return &vault->closed[i];
    return NULL;
}

const struct closed *closed_by_name(const struct vault *vault, const char *name, size_t len)
{
    for (size_t i = 0; i < vault->closed_count; i++)
        if (strncmp(vault->closed[i].name, name, len) == 0 && !vault->closed[i].name[len])
            return &vault->closed[i];
    return NULL;
}

void closed_show(const struct closed *closed, struct vault_volume_info *ret)
{
    *ret = (struct vault_volume_info){.id = closed->id,
                                      .created_us = closed->created_us,
                                      .logical_bytes = UINT64_MAX,
                                      .stored_bytes = UINT64_MAX,
                                      .unsealed_bytes = UINT64_MAX,
                                      .damaged = true};
    IGNORE(str_copy(ret->name, sizeof ret->name, closed->name));
    IGNORE(str_copy(ret->closed, sizeof ret->closed, closed->why));
}

void volume_tell_closed(struct volume *v, char ret[400])
{
    struct layer *layers[8]; /* of more, the newest say it */
    struct err why = {0};
    size_t count = 0;
    pthread_mutex_lock(&v->vault->lock);
    reserve_tell(v->vault, ret);
    for (size_t i = v->slot_count; i-- > 0 && count < sizeof layers / sizeof layers[0];)
        if (!v->slots[i]->committed)
            layers[count++] = layer_ref(v->slots[i]->layer);
    pthread_mutex_unlock(&v->vault->lock);
    bool well = journal_is_well(v->journal, &why);
    while (count-- > 0) {
        well = well && layer_is_well(layers[count], &why);
        layer_unref(layers[count]);
    }
    if (!well)
        IGNORE(str_copy(ret, 400, why.text));
}
