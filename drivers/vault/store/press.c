/* zstd for frames: a few contexts, lent out under a lock. */
#include "drivers/vault/store/press.h"
#include <pthread.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { KEPT = 8 }; /* of each kind; more are made when more threads come, and freed again */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ZSTD_CCtx *in[KEPT];
static ZSTD_DCtx *out[KEPT];
static size_t in_count, out_count;

static ZSTD_CCtx *in_take(struct err *err)
{
    pthread_mutex_lock(&lock);
    ZSTD_CCtx *context = in_count > 0 ? in[--in_count] : NULL;
    pthread_mutex_unlock(&lock);
    if (!context && !(context = ZSTD_createCCtx()))
        err_set(err, ERR_NO_MEMORY, "cannot make a compressor");
    return context;
}

static void in_give(ZSTD_CCtx *context)
{
    pthread_mutex_lock(&lock);
    if (in_count < KEPT) {
        in[in_count++] = context;
        context = NULL;
    }
    pthread_mutex_unlock(&lock);
    ZSTD_freeCCtx(context);
}

bool press_in(const void *raw, size_t len, int level, void *to, size_t max, size_t *ret_len,
              bool *ret_fits, struct err *err)
{
    ZSTD_CCtx *context = in_take(err);
    if (!context)
        return false;
    size_t code = ZSTD_compressCCtx(context, to, max, raw, len, level);
    in_give(context);
    *ret_fits = !ZSTD_isError(code);
    *ret_len = *ret_fits ? code : 0;
    return *ret_fits || ZSTD_getErrorCode(code) == ZSTD_error_dstSize_tooSmall ||
           err_set(err, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(code));
}

bool press_out(const void *stored, size_t len, void *raw, size_t raw_len, bool *ret_good,
               struct err *err)
{
    pthread_mutex_lock(&lock);
    ZSTD_DCtx *context = out_count > 0 ? out[--out_count] : NULL;
    pthread_mutex_unlock(&lock);
    if (!context && !(context = ZSTD_createDCtx()))
        return err_set(err, ERR_NO_MEMORY, "cannot make a decompressor");
    *ret_good = ZSTD_decompressDCtx(context, raw, raw_len, stored, len) == raw_len;
    pthread_mutex_lock(&lock);
    if (out_count < KEPT) {
        out[out_count++] = context;
        context = NULL;
    }
    pthread_mutex_unlock(&lock);
    ZSTD_freeDCtx(context);
    return true;
}

void press_trim(void)
{
    pthread_mutex_lock(&lock);
    while (in_count > 0)
        ZSTD_freeCCtx(in[--in_count]);
    while (out_count > 0)
        ZSTD_freeDCtx(out[--out_count]);
    pthread_mutex_unlock(&lock);
}
