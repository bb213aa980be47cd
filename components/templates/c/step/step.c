#include <ctype.h>
#include <eyot.h>

/* Whether a row has an empty cell. */
static bool incomplete(const char *row, size_t length) {
    bool empty = true;
    for (size_t i = 0; i <= length; i++) {
        if (i == length || row[i] == ',') {
            if (empty) return true;
            empty = true;
        } else if (!isspace((unsigned char)row[i])) {
            empty = false;
        }
    }
    return false;
}

/* Drops rows with missing cells: moves the others together. Answers how long they are. */
static size_t complete(char *text, uint32_t *dropped) {
    char *kept = text;
    for (char *row = text; *row;) {
        size_t length = strcspn(row, "\n"), whole = length + (row[length] == '\n');
        if (incomplete(row, length)) {
            ++*dropped;
        } else {
            memmove(kept, row, whole);
            kept += whole;
        }
        row += whole;
    }
    return kept - text;
}

bool exports_eyot_component_functions_clean(eyot_artifact file, exports_eyot_component_functions_cleaned_t *cleaned,
                                            component_string_t *error) {
    char *text = eyot_read(file, NULL);
    if (!text) return eyot_fail(error, "the file cannot be read");
    cleaned->dropped = 0;
    size_t length = complete(text, &cleaned->dropped);
    eyot_log_metric("dropped", cleaned->dropped, 0);
    bool written = eyot_write(&cleaned->rows, "text/csv", text, length);
    free(text);
    return written || eyot_fail(error, "the rows cannot be written");
}
