/* Figures of an ingest that finds nothing changed, beside reading and XXH3 of the same bytes:
 *   bench_ingest DIR MIB    DIR is empty; medians of five, as "name value" lines */
#include "agent/base/sys.h"
#include "drivers/vault/ingest/ingest.h"
#include "drivers/vault/store/fingerprint.h"
#include "tests/bench/vault_bench.h"
#include <fcntl.h>

enum { FILES = 4, ROUNDS = 5, FINGERPRINTED = 1 << 20 };

struct figures {
    double wall[ROUNDS], cpu[ROUNDS];
};

static bool make_source(const char *folder, uint64_t bytes, struct err *err)
{
    static uint8_t piece[PIECE];
    uint64_t state = 88172645463325252;
    for (int i = 0; i < FILES; i++) {
        char path[300];
        str_format(path, sizeof path, "%s/data%d", folder, i);
        AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600, err);
        for (uint64_t at = 0; fd >= 0 && at < bytes / FILES; at += sizeof piece) {
            fill_random(piece, sizeof piece, &state);
            if (!sys_pwrite(fd, piece, sizeof piece, at, path, err))
                return false;
        }
        if (fd < 0)
            return false;
    }
    return true;
}

static bool read_and_hash(struct area *area, struct err *err)
{
    static uint8_t piece[FINGERPRINTED], secret[FINGERPRINT_SECRET_BYTES];
    struct fingerprint print;
    AUTO(area_list) struct area_list list = {0};
    if (!area_list(area, FILES, &list, err))
        return false;
    for (size_t i = 0; i < list.count; i++) {
        AUTO(area_handle) struct area_handle *file = area_file_open(area, list.files[i].path, err);
        uint64_t at = 0;
        for (ssize_t n = 1; file && n > 0; at += (uint64_t)n) {
            n = area_file_read(file, piece, sizeof piece, at, err);
            if (n < 0)
                return false;
            fingerprint_of(secret, piece, (size_t)n, &print);
        }
        if (!file)
            return false;
    }
    return true;
}

static bool ingest(struct vault *vault, struct area *area, const char *name, const char *folder,
                   uint64_t *ret_written, struct err *err)
{
    AUTO(ingest_report) struct ingest_report *report = own_alloc(sizeof *report, err);
    struct ingest_one one = {"V", area, report};
    struct ingest_options options = {.folder = folder};
    if (!report || !vault_ingest(vault, &one, 1, name, &options, err))
        return false;
    *ret_written = report->records_written + report->records_compared;
    return true;
}

static bool rounds(struct vault *vault, struct area *area, const char *folder, struct figures *ours,
                   struct figures *peer, struct err *err)
{
    uint64_t written = 0;
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        str_format(name, sizeof name, "n%d", i);
        double begun = now_ms(), cpu = cpu_s();
        if (!ingest(vault, area, name, folder, &written, err))
            return false;
        ours->wall[i] = now_ms() - begun;
        ours->cpu[i] = (cpu_s() - cpu) * 1e3;
        if (written)
            return err_set(err, ERR_INTERNAL, "%llu records were not recognised",
                           (unsigned long long)written);
        begun = now_ms(), cpu = cpu_s();
        if (!read_and_hash(area, err))
            return false;
        peer->wall[i] = now_ms() - begun;
        peer->cpu[i] = (cpu_s() - cpu) * 1e3;
    }
    return true;
}

static bool run(const char *dir, uint64_t mib, struct err *err)
{
    char source[300], box[300], store[300], prints[320];
    struct figures ours, peer;
    uint64_t written = 0;
    struct vault_options options = {.frozen_bytes = (uint64_t)16 << 30};
    str_format(source, sizeof source, "%s/source", dir);
    str_format(box, sizeof box, "%s/box", dir);
    str_format(store, sizeof store, "%s/store", dir);
    str_format(prints, sizeof prints, "%s/ingest", box);
    if (!sys_mkdir(source, 0700, err) || !sys_mkdir(store, 0700, err) ||
        !make_source(source, mib << 20, err))
        return false;
    AUTO(io) struct io *io = io_open(store, NULL, 0, err);
    AUTO(vault) struct vault *vault = io ? vault_open(box, io, &options, err) : NULL;
    AUTO(area) struct area *area = vault ? area_open_path(source, err) : NULL;
    if (!area || !vault_volume_create(vault, "V", err))
        return false;
    double begun = now_ms();
    if (!ingest(vault, area, "first", prints, &written, err))
        return false;
    printf("first_ms %.0f\n", now_ms() - begun);
    /* The first snapshot is sealed before anything is measured: that is another thread's work. */
    if (!vault_seal(vault, "V", err) || !rounds(vault, area, prints, &ours, &peer, err))
        return false;
    printf("scan_ms %.1f\nscan_cpu_ms %.1f\n", rank_of(ours.wall, ROUNDS, 0.5),
           rank_of(ours.cpu, ROUNDS, 0.5));
    printf("hash_ms %.1f\nhash_cpu_ms %.1f\n", rank_of(peer.wall, ROUNDS, 0.5),
           rank_of(peer.cpu, ROUNDS, 0.5));
    return true;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc == 3 && run(argv[1], strtoull(argv[2], NULL, 10), &err))
        return 0;
    fprintf(stderr, "bench_ingest: %s\n", argc == 3 ? err.text : "DIR MIB");
    return 1;
}
