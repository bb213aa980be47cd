/* Reads /in/file, writes /out/rows: the rows without an empty cell. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether a row has an empty cell. */
static bool incomplete(const char *row) {
    bool empty = true;
    for (;; row++) {
        if (*row == ',' || *row == '\n' || *row == 0) {
            if (empty) return true;
            if (*row != ',') return false;
            empty = true;
        } else if (!isspace((unsigned char)*row)) {
            empty = false;
        }
    }
}

int main(void) {
    FILE *in = fopen("/in/file", "r"), *out = fopen("/out/rows", "w");
    if (!in || !out) {
        perror(in ? "/out/rows" : "/in/file");
        return EXIT_FAILURE;
    }
    char *row = NULL;
    size_t room = 0, dropped = 0;
    while (getline(&row, &room, in) >= 0) {
        if (incomplete(row)) {
            dropped++;
        } else {
            fputs(row, out);
        }
    }
    free(row);
    if (ferror(in) || fclose(out) != 0) {
        perror("the rows cannot be written");
        return EXIT_FAILURE;
    }
    printf("%zu rows dropped\n", dropped);
    return EXIT_SUCCESS;
}
