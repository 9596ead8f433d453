/* Fuzz target: the lists beside the authority's key, as a stranger might have left them. What is
 * accepted has all its fields; a deny list that is accepted can be asked. */
#include "agent/auth/deny.h"
#include "agent/auth/issued.h"
#include "agent/base/sys.h"
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void remove_dir(void)
{
    struct err err = {0};
    IGNORE(!sys_remove_tree(dir, &err)); /* a temporary folder */
}

static const char *make_dir(void)
{
    if (dir[0])
        return dir;
    IGNORE(!str_copy(dir, sizeof dir, "/tmp/evercopy-lists-XXXXXX"));
    assert(mkdtemp(dir));
    atexit(remove_dir);
    return dir;
}

static void look(const struct list *list, size_t fields)
{
    for (size_t i = 0; i < list->count; i++)
        for (size_t f = 0; f < fields; f++)
            assert(list->rows[i].fields[f][0] && !strpbrk(list->rows[i].fields[f], "\t\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"deny.list", "issued.list"};
    struct err err = {0};
    char path[128];
    for (size_t i = 0; i < 2; i++) {
        IGNORE(!str_format(path, sizeof path, "%s/%s", make_dir(), names[i]));
        AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, &err);
        assert(fd >= 0 && sys_write(fd, data, size, path, &err));
    }
    AUTO(list) struct list denied = {0};
    AUTO(list) struct list issued = {0};
    struct rpc_peer peer = {.serial = "756e5d01569a20766832b0d0e2e3fd01", .cn = "h1"};
    if (deny_read(dir, &denied, &err)) {
        look(&denied, DENY_FIELDS);
        AUTO(deny) struct deny *deny = deny_open(dir, &err);
        IGNORE(deny && !deny_check(deny, &peer, &err)); /* either answer, no crash */
    }
    if (issued_read(dir, &issued, &err))
        look(&issued, ISSUED_FIELDS);
    return 0;
}
