/* Tells the port mapper of this host, where one runs, where MOUNT and NFS are: Direct NFS asks it.
 */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

struct rpcbind;
enum { RPCBIND_FOUR = 1, RPCBIND_SIX = 2 };
/* On a thread of its own: registers (100003 v3 and 100005 v3, TCP, for the families that are
 * listened to: RPCBIND_FOUR | RPCBIND_SIX), again when the port mapper was started anew; a host
 * without one is no error, but a warning when it is expected. What another living server has
 * registered stays; what a dead one left is replaced, or, when
 * another user ran it and we are not root, told. Needs no rights but the mapper's local socket. */
struct rpcbind *rpcbind_start(uint16_t port, unsigned families, bool expected, struct err *err)
    MUST;
/* Unregisters what is ours. NULL is fine. */
void rpcbind_stop(struct rpcbind *rpcbind);
OWN_DEFINE(rpcbind, struct rpcbind, rpcbind_stop);
enum { RPCBIND_SAYS = 160 };
/* Whether clients find us there, and "registered", "no port mapper", or what is wrong. */
bool rpcbind_says(struct rpcbind *rpcbind, char ret[RPCBIND_SAYS]);
