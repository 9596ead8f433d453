/* Fuzz target: the guard of NFS replies. The first byte chooses the shape; what passes is decoded
 * by libnfs, as the reader does it. The rest is also walked as MOUNT's list of exports. */
#include "drivers/area/nfs_guard.h"
#include "drivers/area/nfs_probe.h"

#include "agent/base/own.h"
#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *shape;
        zdrproc_t decode;
    } rows[] = {
        {"FV", (zdrproc_t)zdr_mountres3},
        {"A", (zdrproc_t)zdr_GETATTR3res},
        {"F?A?A", (zdrproc_t)zdr_LOOKUP3res},
        {"?Auuuuuuuh8u", (zdrproc_t)zdr_FSINFO3res},
        {"?A8*(hNh?A?F)b", (zdrproc_t)zdr_READDIRPLUS3res},
        {"?F?A?W?A", (zdrproc_t)zdr_CREATE3res},
        {"?W?Auu8", (zdrproc_t)zdr_WRITE3res},
        {"?W?A8", (zdrproc_t)zdr_COMMIT3res},
        {"?W?A?W?A", (zdrproc_t)zdr_RENAME3res},
        {"?A?W?A", (zdrproc_t)zdr_LINK3res},
        {"?Ahhhhhhu", (zdrproc_t)zdr_FSSTAT3res},
        {"?Au", (zdrproc_t)zdr_ACCESS3res},
    };
    enum { MAX = 72 << 10, BEHIND = 64 };
    struct err err = {0};
    if (size < 1 || size > MAX)
        return 0;
    IGNORE(nfs_probe_lists(data + 1, size - 1, "/A"));
    size_t row = data[0] % (sizeof rows / sizeof *rows);
    if (!nfs_guard(rows[row].shape, data + 1, size - 1, &err))
        return 0;
    AUTO(mem) uint8_t *bytes = own_alloc(4 + size - 1 + BEHIND, &err);
    assert(bytes);
    memcpy(bytes + 4, data + 1, size - 1); /* status 0 in front */
    ZDR zdr = {0};
    union {
        mountres3 mount;
        GETATTR3res getattr;
        LOOKUP3res lookup;
        FSINFO3res fsinfo;
        READDIRPLUS3res list;
        CREATE3res create;
        WRITE3res write;
        COMMIT3res commit;
        RENAME3res rename;
        LINK3res link;
        FSSTAT3res space;
    } result;
    memset(&result, 0, sizeof result);
    libnfs_zdrmem_create(&zdr, (caddr_t)bytes, (uint32_t)(size + 3), ZDR_DECODE);
    assert(rows[row].decode(&zdr, &result));
    assert(libnfs_zdr_getpos(&zdr) == size + 3);
    if (rows[row].decode == (zdrproc_t)zdr_READDIRPLUS3res) {
        entryplus3 e;
        for (const void *at = result.list.READDIRPLUS3res_u.resok.reply.entries; at;
             at = e.nextentry) {
            memcpy(&e, at, sizeof e);
            assert(strlen(e.name) >= 1 && strlen(e.name) <= 255 && !strchr(e.name, '/'));
        }
    }
    libnfs_zdr_destroy(&zdr);
    return 0;
}
