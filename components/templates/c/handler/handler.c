#include <eyot.h>
#include <math.h>

static const eyot_spec inputs[] = {{"x", EYOT_ML_TYPES_DTYPE_FP32, 1, {-1}}};
static const eyot_spec outputs[] = {{"y", EYOT_ML_TYPES_DTYPE_FP32, 1, {-1}}};

/* Standardises a column: mean 0, standard deviation 1. */
static bool predict(const eyot_tensor *in, eyot_tensor *out, eyot_error *error) {
    const float *x = eyot_data(&in[0]);
    size_t count = eyot_count(&in[0]);
    if (count == 0) return eyot_invalid(error, "x has no element");

    double mean = 0, squares = 0;
    for (size_t i = 0; i < count; i++) mean += x[i] / count;
    for (size_t i = 0; i < count; i++) squares += (x[i] - mean) * (x[i] - mean);
    double deviation = sqrt(squares / count);

    float *y = eyot_floats(&out[0], "y", count);
    for (size_t i = 0; i < count; i++) y[i] = (x[i] - mean) / (deviation > 0 ? deviation : 1);
    return true;
}

EYOT_EXPORT_HANDLER(inputs, outputs, predict)
