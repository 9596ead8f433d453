/* Keys that keep what they have computed: mbedTLS works out the multiples of a curve's base point
 * anew for each copy of a key, and copies an EC key for each use. */
#include "agent/net/tls_int.h"

#include "agent/net/crypto_int.h"
#include <mbedtls/ecdsa.h>

/* Any multiple of the base point fills the table; from then on threads only read it. */
static int fill_table(mbedtls_ecp_group *group)
{
    mbedtls_ecp_point point;
    mbedtls_mpi two;
    mbedtls_ecp_point_init(&point);
    mbedtls_mpi_init(&two);
    int rc = mbedtls_mpi_lset(&two, 2);
    if (rc == 0)
        rc = mbedtls_ecp_mul(group, &point, &two, &group->G, crypto_random, NULL);
    mbedtls_mpi_free(&two);
    mbedtls_ecp_point_free(&point);
    return rc;
}

int tls_key_prepare(mbedtls_pk_context *key)
{
    if (mbedtls_pk_get_type(key) != MBEDTLS_PK_ECKEY)
        return 0;
    mbedtls_pk_context kept;
    mbedtls_pk_init(&kept);
    /* Of this type a key is used as it is, without a copy. */
    int rc = mbedtls_pk_setup(&kept, mbedtls_pk_info_from_type(MBEDTLS_PK_ECDSA));
    if (rc == 0)
        rc = mbedtls_ecdsa_from_keypair(mbedtls_pk_ec(kept), mbedtls_pk_ec(*key));
    if (rc == 0)
        rc = fill_table(&mbedtls_pk_ec(kept)->grp);
    if (rc != 0) {
        mbedtls_pk_free(&kept);
        return rc;
    }
    mbedtls_pk_free(key);
    *key = kept;
    return 0;
}
