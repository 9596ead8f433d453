/* Fuzz target: the URL of an area over NFS. What is accepted holds to what its header says. */
#include "drivers/area/nfs_url.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct nfs_url url;
    struct nfs_url below;
    AUTO(mem) char *text = own_strndup((const char *)data, size, &err);
    if (!text || !nfs_url_parse(text, &url, &err))
        return 0;
    assert(*url.host && url.path[0] == '/' && strlen(url.path) < NFS_PATH_MAX);
    assert(!url.path[1] || area_path_is_valid(url.path + 1));
    assert(url.contexts >= 1 && url.contexts <= NFS_CONTEXTS_MAX && url.timeout_s >= 1);
    assert(!nfs_url_below(&url, "a/b", &below, &err) || strlen(below.path) > strlen(url.path));
    return 0;
}
