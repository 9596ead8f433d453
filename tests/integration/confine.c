/* Runs a program under an allow list of system calls, as the unit's SystemCallFilter does; any
 * other call ends it with SIGSYS and a line that names its number. confine NUMBER... -- PROGRAM
 * ARG... */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { CALLS_MAX = 1000 };

int main(int argc, char **argv)
{
    static struct sock_filter code[CALLS_MAX * 2 + 4];
    unsigned short n = 0;
    int i = 1;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (; i < argc && i < CALLS_MAX && strcmp(argv[i], "--") != 0; i++) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                 (unsigned)strtoul(argv[i], NULL, 10), 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {.len = n, .filter = code};
    if (i + 1 >= argc || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        fprintf(stderr, "confine: %s\n", strerror(errno));
        return 125;
    }
    execv(argv[i + 1], argv + i + 1);
    return 127;
}
