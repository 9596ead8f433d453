/* A file becomes an object of a store: bench_io STORE FILE; the object goes again. */
#include "agent/base/sys.h"
#include "drivers/vault/io/io.h"
#include <fcntl.h>
#include <stdio.h>

enum { PIECE = 1 << 20 };

static bool copy(struct io *io, int fd, struct err *err)
{
    AUTO(io_writer) struct io_writer *writer = io_create(io, "bench", err);
    AUTO(mem) char *piece = own_alloc(PIECE, err);
    ssize_t n = writer && piece ? 1 : -1;
    for (uint64_t at = 0; n > 0; at += (uint64_t)n) {
        n = sys_pread(fd, piece, PIECE, at, "file", err);
        if (n > 0 && !io_append(writer, piece, (size_t)n, err))
            return false;
    }
    return n == 0 && io_finish(TAKE(writer), err) && io_delete(io, "bench", err);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc != 3)
        return 2;
    AUTO(io) struct io *io = io_open(argv[1], NULL, 0, &err);
    AUTO(fd) int fd = io ? sys_open(argv[2], O_RDONLY, 0, &err) : -1;
    if (fd >= 0 && copy(io, fd, &err))
        return 0;
    fprintf(stderr, "bench_io: %s\n", err.text);
    return 1;
}
