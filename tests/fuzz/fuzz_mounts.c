/* Fuzz target: the agent's mount text, a mount table and an oranfstab. A text that is taken holds
 * no sign that could end a word of a command line. The first byte chooses. */
#include "agent/shim/directnfs.h"
#include "agent/shim/mounttab.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool never(void *arg, const struct mounttab_row *row, const struct mount_place *place)
{
    (void)arg;
    (void)row;
    (void)place;
    return false;
}

static void check_text(const char *text)
{
    struct err err = {0};
    struct mount_place place;
    char source[MOUNT_TEXT_MAX];
    if (!mount_parse(text, &place, &err) || !place.nfs)
        return;
    mount_source(&place, source);
    if (!source[0] || source[0] == '-' || strpbrk(source, " \t\n\r'\"`;&|<>()\\,?*") ||
        strstr(source, "..") || !place.port)
        abort();
}

static void check_table(const char *text)
{
    struct err err = {0};
    struct mount_place place;
    struct mounttab_judged judged;
    AUTO(mounttab) struct mounttab tab = {0};
    if (!mount_parse("nfs:box:/ORCL?port=20490", &place, &err) ||
        !mounttab_parse(&tab, text, strlen(text), &err))
        return;
    const struct mounttab_row *row = mounttab_under(&tab, "/nfs/ORCL");
    mounttab_judge(row, &place, "/nfs/ORCL", never, NULL, &judged);
    if (judged.count > MOUNTTAB_FAULTS_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct directnfs_entry entry;
    if (!size)
        return 0;
    AUTO(mem) char *text = own_strndup((const char *)data + 1, size - 1, &err);
    if (!text)
        return 0;
    if (data[0] % 3 == 0)
        check_text(text);
    else if (data[0] % 3 == 1)
        check_table(text);
    else
        directnfs_find(text, "/nfs/ORCL", &entry);
    return 0;
}
