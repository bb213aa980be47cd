#include <eyot.h>
#include <math.h>

bool exports_eyot_component_functions_summarize(component_list_f64_t *values,
                                                exports_eyot_component_functions_summary_t *summary,
                                                component_string_t *error) {
    if (values->len == 0) return eyot_fail(error, "there are no values");
    double sum = 0, squares = 0;
    for (size_t i = 0; i < values->len; i++) sum += values->ptr[i];
    double mean = sum / values->len;
    for (size_t i = 0; i < values->len; i++) squares += (values->ptr[i] - mean) * (values->ptr[i] - mean);
    summary->count = values->len;
    summary->mean = mean;
    summary->deviation = sqrt(squares / values->len);
    component_list_f64_free(values);
    return true;
}
