/* NFSv3: what a file system is like and how much room it has: FSSTAT FSINFO PATHCONF. */
#include "drivers/vault/nfs/nfs3_int.h"
#include "drivers/vault/volume/tree.h"

enum nfsstat3 nfs3_fsstat(struct nfs3_call *call)
{
    struct err err = {0};
    struct nfsd_space space = {0};
    const struct export *export = call->of[0];
    if (!export->ops->space(export->tree, &space, &err))
        return nfs3_failed(call, &err);
    call->at = nfs3_put_after(call->at, export, &call->file[0]);
    call->at = nfs3_put_u64(call->at, space.total_bytes);
    call->at = nfs3_put_u64(call->at, space.free_bytes);
    call->at = nfs3_put_u64(call->at, space.free_bytes); /* nobody is kept from the last of it */
    call->at = nfs3_put_u64(call->at, space.total_files);
    call->at = nfs3_put_u64(call->at, space.free_files);
    call->at = nfs3_put_u64(call->at, space.free_files);
    call->at = nfs3_put_u32(call->at, 0); /* it may change at any moment */
    return NFS3_OK;
}

enum nfsstat3 nfs3_fsinfo(struct nfs3_call *call)
{
    enum { LIST_PREFERRED = 64 << 10, US_IN_NS = 1000 };
    const uint32_t sizes[] = {
        RPC_DATA_MAX,   RPC_DATA_MAX, RECORD_BYTES, /* of READ: most, best, multiples of */
        RPC_DATA_MAX,   RPC_DATA_MAX, RECORD_BYTES, /* of WRITE */
        LIST_PREFERRED,
    };
    call->at = nfs3_put_after(call->at, call->of[0], &call->file[0]);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        call->at = nfs3_put_u32(call->at, sizes[i]);
    call->at = nfs3_put_u64(call->at, (uint64_t)1 << FILE_MAX_SHIFT);
    call->at = nfs3_put_u32(call->at, 0);
    call->at = nfs3_put_u32(call->at, US_IN_NS); /* times tell microseconds apart */
    call->at =
        nfs3_put_u32(call->at, FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
    return NFS3_OK;
}

enum nfsstat3 nfs3_pathconf(struct nfs3_call *call)
{
    const uint32_t facts[] = {
        TREE_LINKS_MAX, INODE_NAME_MAX, true, /* longer names are refused, never cut */
        true,                                 /* only root gives files away */
        false,                                /* A and a are two */
        true,                                 /* names stay as they were given */
    };
    call->at = nfs3_put_after(call->at, call->of[0], &call->file[0]);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
        call->at = nfs3_put_u32(call->at, facts[i]);
    return NFS3_OK;
}
