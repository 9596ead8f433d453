/* The backends that io_open knows by the beginning of a url; io.c has the table. */
#pragma once
#include "drivers/vault/io/io.h"

struct io *io_posix_open(const char *url, const struct io_option *options, size_t count,
                         struct err *err) MUST;
struct io *io_s3_open(const char *url, const struct io_option *options, size_t count,
                      struct err *err) MUST;
struct io *io_nfs_open(const char *url, const struct io_option *options, size_t count,
                       struct err *err) MUST;
