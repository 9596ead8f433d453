/* MOUNT version 3 (RFC 1813, appendix I): paths to handles, and the list of who has mounted what.
 *
 * "/NAME" is a volume, "/LANDING/CLONE" a clone; folders below either may be mounted, "." and ".."
 * and symbolic links on the way may not. A client that may use some export is told what there is
 * not (NOENT); to any other everything is ACCES, so that nobody learns names by trying. */
#pragma once
#include "drivers/vault/nfs/exports.h"

struct nfsd_program mount3_program(struct exports *exports); /* borrowed; 100005 */
