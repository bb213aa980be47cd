/*
 * Makes a long series of sensor readings short: /in/readings holds lines TIME,VALUE with times in seconds,
 * /out/buckets gets one line START,COUNT,MIN,MEAN,MAX for every --width seconds. Memory stays the same
 * however long the series is.
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double start, low, high, sum;
    unsigned long count;
} bucket;

static int fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return EXIT_FAILURE;
}

static void put(FILE *out, const bucket *full) {
    if (full->count == 0) return;
    fprintf(out, "%.17g,%lu,%.9g,%.9g,%.9g\n", full->start, full->count, full->low, full->sum / full->count, full->high);
}

static void add(bucket *into, double value) {
    into->low = into->count ? fmin(into->low, value) : value;
    into->high = into->count ? fmax(into->high, value) : value;
    into->sum += value;
    into->count++;
}

/* The value of an option; NULL where it is not given. */
static const char *option(int argc, char **argv, const char *name) {
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    }
    return NULL;
}

/* Reads TIME,VALUE; false for a line that is neither, such as a heading. */
static bool reading(char *line, double *time, double *value) {
    char *comma, *end;
    *time = strtod(line, &comma);
    if (comma == line || *comma != ',') return false;
    *value = strtod(comma + 1, &end);
    return end != comma + 1 && strspn(end, "\r\n \t") == strlen(end) && isfinite(*time) && isfinite(*value);
}

int main(int argc, char **argv) {
    const char *given = option(argc, argv, "--width");
    double width = given ? strtod(given, NULL) : 60;
    if (!(width > 0)) return fail("--width", "must be a number of seconds above 0");
    FILE *in = fopen("/in/readings", "r");
    if (!in) return fail("/in/readings", strerror(errno));
    FILE *out = fopen("/out/buckets", "w");
    if (!out) return fail("/out/buckets", strerror(errno));

    fputs("start,count,min,mean,max\n", out);
    bucket open = {0};
    char *line = NULL;
    size_t room = 0;
    unsigned long skipped = 0, buckets = 0;
    double time, value;
    while (getline(&line, &room, in) >= 0) {
        if (!reading(line, &time, &value)) {
            skipped++;
            continue;
        }
        double start = floor(time / width) * width;
        if (open.count && start < open.start) return fail("/in/readings", "times go backwards");
        if (!open.count || start > open.start) {
            put(out, &open);
            buckets++;
            open = (bucket){.start = start};
        }
        add(&open, value);
    }
    put(out, &open);
    free(line);
    if (ferror(in)) return fail("/in/readings", "cannot be read to its end");
    if (fclose(out) != 0) return fail("/out/buckets", strerror(errno));
    printf("%lu buckets, %lu lines skipped\n", buckets, skipped);
    return EXIT_SUCCESS;
}
