/* Who asks, after squashing, and what a file's mode lets them do. */
#include "drivers/vault/nfs/permit.h"

enum { STICKY = 01000 };

static uint32_t group_of(const struct export_rule *rule, uint32_t gid)
{
    return gid == 0 && rule->squash == EXPORT_SQUASH_ROOT ? rule->anon_gid : gid;
}

struct who permit_who(const struct export_rule *rule, const struct rpc_cred *cred)
{
    struct who who = {.uid = rule->anon_uid, .gid = rule->anon_gid};
    if (!cred->known || rule->squash == EXPORT_SQUASH_ALL)
        return who;
    bool squashed = cred->uid == 0 && rule->squash == EXPORT_SQUASH_ROOT;
    who.uid = squashed ? rule->anon_uid : cred->uid;
    who.gid = group_of(rule, cred->gid);
    for (uint32_t i = 0; i < cred->group_count && i < RPC_GROUPS_MAX; i++)
        who.groups[who.group_count++] = group_of(rule, cred->groups[i]);
    who.root = cred->uid == 0 && !squashed;
    return who;
}

static bool is_in_group(const struct who *who, uint32_t gid)
{
    bool in = who->gid == gid;
    for (uint32_t i = 0; i < who->group_count; i++)
        in |= who->groups[i] == gid;
    return in;
}

/* The three bits that hold for them: only one class counts, as everywhere. */
static unsigned bits_of(const struct who *who, const struct view_file *file)
{
    if (who->uid == file->uid)
        return file->mode >> 6 & 7;
    return (is_in_group(who, file->gid) ? file->mode >> 3 : file->mode) & 7;
}

bool permit_mode(const struct who *who, const struct view_file *file, unsigned wanted)
{
    if (!who->root)
        return (wanted & ~bits_of(who, file)) == 0;
    return !(wanted & MAY_EXECUTE) || file->kind == INODE_DIRECTORY || (file->mode & 0111);
}

bool permit_data(const struct who *who, const struct view_file *file, unsigned wanted)
{
    /* Who may run a program reads it: the client's kernel does so to run it. */
    bool runs = wanted == MAY_READ && permit_mode(who, file, MAY_EXECUTE);
    return who->uid == file->uid || runs || permit_mode(who, file, wanted);
}

bool permit_remove(const struct who *who, const struct view_file *folder,
                   const struct view_file *entry)
{
    return who->root || !(folder->mode & STICKY) || who->uid == entry->uid ||
           who->uid == folder->uid;
}
