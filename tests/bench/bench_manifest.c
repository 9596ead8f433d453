/* How long a survey of many files takes: bench_manifest TREE [ROUNDS]; prints the median and count.
 */
#include "agent/engine/survey.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS_MAX = 99 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds; negative when the survey failed. Every file must be known for what it is. */
static double survey(const char *tree, size_t *ret_count)
{
    struct err err = {0};
    struct survey_options options = {0};
    AUTO(area) struct area *area = area_open_path(tree, &err);
    double start = now();
    AUTO(manifest) struct manifest *m = area ? survey_area(area, &options, &err) : NULL;
    double spent = now() - start;
    if (!m) {
        fprintf(stderr, "bench_manifest: %s\n", err.text);
        return -1;
    }
    *ret_count = m->count;
    for (size_t i = 0; i < m->count; i++)
        if (m->entries[i].kind == FILE_UNKNOWN) {
            fprintf(stderr, "bench_manifest: '%s' is of no known kind\n", m->entries[i].path);
            return -1;
        }
    return spent;
}

int main(int argc, char **argv)
{
    double spent[ROUNDS_MAX];
    size_t count = 0;
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5;
    if (argc < 2 || rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_manifest TREE [ROUNDS]\n");
        return 2;
    }
    for (int i = -1; i < rounds; i++) { /* the first one warms up */
        double s = survey(argv[1], &count);
        if (s < 0)
            return 1;
        if (i >= 0)
            spent[i] = s;
    }
    qsort(spent, (size_t)rounds, sizeof *spent, compare);
    printf("manifest_s %.3f\nmanifest_files %zu\n", spent[rounds / 2], count);
    return 0;
}
