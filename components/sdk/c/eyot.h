/*
 * Handlers, functions and steps for Eyot in C, on top of the bindings that `eyot build` makes of
 * component.wit (component.h). Errors are printf formats. What a helper allocates, the bindings free
 * once it has gone out; what comes in is freed by whoever took it.
 */
#ifndef EYOT_H
#define EYOT_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "component.h"

/* A text of its own, as printf makes it. */
static inline void eyot_vtext(component_string_t *into, const char *format, va_list values) {
    va_list again;
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    into->len = length < 0 ? 0 : (size_t)length;
    into->ptr = malloc(into->len + 1);
    vsnprintf((char *)into->ptr, into->len + 1, format, values);
}

/* Says why a function failed: `return eyot_fail(error, "row %d has no label", row);` */
static inline bool eyot_fail(component_string_t *error, const char *format, ...) {
    va_list values;
    va_start(values, format);
    eyot_vtext(error, format, values);
    va_end(values);
    return false;
}

/* A text for a call into the host: nothing is copied, and nothing is to be freed. */
static inline component_string_t eyot_borrowed(const char *text) {
    component_string_t string = {(uint8_t *)text, strlen(text)};
    return string;
}

#if defined(EYOT_HANDLER) || defined(EYOT_MODELS)

typedef eyot_ml_types_tensor_t eyot_tensor;
typedef eyot_ml_types_error_t eyot_error;

#define EYOT_RANK 8

/* What is known of a tensor: { "x", EYOT_ML_TYPES_DTYPE_FP32, 2, {-1, 4} }. */
typedef struct {
    const char *name;
    eyot_ml_types_dtype_t dtype;
    size_t rank;
    int64_t shape[EYOT_RANK];
} eyot_spec;

/* The caller's data do not fit: over HTTP a 400 with this text. */
static inline bool eyot_invalid(eyot_error *error, const char *format, ...) {
    va_list values;
    va_start(values, format);
    error->tag = EYOT_ML_TYPES_ERROR_INVALID_INPUT;
    eyot_vtext(&error->val.invalid_input, format, values);
    va_end(values);
    return false;
}

/* How many elements a tensor has. */
static inline size_t eyot_count(const eyot_tensor *tensor) {
    size_t count = 1;
    for (size_t dim = 0; dim < tensor->shape.len; dim++) count *= (size_t)tensor->shape.ptr[dim];
    return count;
}

/* The elements, which lie as C has them: `const float *x = eyot_data(tensor);` */
static inline void *eyot_data(const eyot_tensor *tensor) {
    return tensor->data.ptr;
}

/* Makes a tensor with room for `bytes` bytes of elements; answers the room. */
static inline void *eyot_make(eyot_tensor *tensor, const char *name, eyot_ml_types_dtype_t dtype,
                              size_t rank, const uint64_t *shape, size_t bytes) {
    component_string_dup(&tensor->name, name);
    tensor->dtype = dtype;
    tensor->shape.len = rank;
    tensor->shape.ptr = malloc(rank * sizeof *shape + 1);
    if (rank) memcpy(tensor->shape.ptr, shape, rank * sizeof *shape);
    tensor->data.len = bytes;
    tensor->data.ptr = malloc(bytes + 1);
    return tensor->data.ptr;
}

/* A vector of floats, the most frequent tensor; answers its elements, to be filled in. */
static inline float *eyot_floats(eyot_tensor *tensor, const char *name, size_t count) {
    uint64_t shape = count;
    return eyot_make(tensor, name, EYOT_ML_TYPES_DTYPE_FP32, 1, &shape, count * sizeof(float));
}

#endif

#ifdef EYOT_HANDLER

static inline void eyot_specs(eyot_ml_types_list_tensor_spec_t *into, const eyot_spec *specs, size_t count) {
    into->len = count;
    into->ptr = calloc(count + 1, sizeof *into->ptr);
    for (size_t index = 0; index < count; index++) {
        eyot_ml_types_tensor_spec_t *spec = &into->ptr[index];
        component_string_dup(&spec->name, specs[index].name);
        spec->dtype = specs[index].dtype;
        spec->shape.len = specs[index].rank;
        spec->shape.ptr = malloc(sizeof specs[index].shape);
        memcpy(spec->shape.ptr, specs[index].shape, sizeof specs[index].shape);
    }
}

/*
 * Exports a handler: two arrays of eyot_spec, and
 *
 *     bool predict(const eyot_tensor *inputs, eyot_tensor *outputs, eyot_error *error)
 *
 * which makes every output, or says why not and returns false.
 */
#define EYOT_EXPORT_HANDLER(inputs, outputs, predict)                                              \
    void exports_eyot_ml_handler_describe(exports_eyot_ml_handler_signature_t *signature) {        \
        eyot_specs(&signature->inputs, inputs, sizeof inputs / sizeof *inputs);                    \
        eyot_specs(&signature->outputs, outputs, sizeof outputs / sizeof *outputs);                \
    }                                                                                              \
    bool exports_eyot_ml_handler_predict(exports_eyot_ml_handler_list_tensor_t *taken,             \
                                         exports_eyot_ml_handler_list_tensor_t *given,             \
                                         exports_eyot_ml_handler_error_t *error) {                 \
        given->len = sizeof outputs / sizeof *outputs;                                             \
        given->ptr = calloc(given->len, sizeof *given->ptr);                                       \
        bool done = predict(taken->ptr, given->ptr, error);                                        \
        exports_eyot_ml_handler_list_tensor_free(taken);                                           \
        if (!done) free(given->ptr);                                                               \
        return done;                                                                               \
    }

#endif

#ifdef EYOT_ARTIFACTS

typedef eyot_ml_artifacts_own_artifact_t eyot_artifact;

/* All of an artifact, with a zero behind it; NULL where it cannot be read. Free it. */
static inline char *eyot_read(eyot_artifact artifact, size_t *length) {
    eyot_ml_artifacts_borrow_artifact_t handle = eyot_ml_artifacts_borrow_artifact(artifact);
    size_t size = (size_t)eyot_ml_artifacts_method_artifact_size(handle), offset = 0;
    char *bytes = malloc(size + 1);
    while (bytes && offset < size) {
        component_list_u8_t chunk;
        eyot_ml_artifacts_error_t error;
        if (!eyot_ml_artifacts_method_artifact_read(handle, offset, 1 << 20, &chunk, &error) || chunk.len == 0) {
            free(bytes);
            return NULL;
        }
        memcpy(bytes + offset, chunk.ptr, chunk.len);
        offset += chunk.len;
        component_list_u8_free(&chunk);
    }
    if (bytes) bytes[size] = 0;
    if (length) *length = size;
    return bytes;
}

/* Writes a new artifact; false where the host does not take it. */
static inline bool eyot_write(eyot_artifact *artifact, const char *media_type, const void *bytes, size_t length) {
    component_string_t type = eyot_borrowed(media_type);
    eyot_ml_artifacts_own_writer_t writer = eyot_ml_artifacts_constructor_writer(&type);
    component_list_u8_t chunk = {(uint8_t *)bytes, length};
    eyot_ml_artifacts_error_t error;
    return eyot_ml_artifacts_method_writer_write(eyot_ml_artifacts_borrow_writer(writer), &chunk, &error) &&
           eyot_ml_artifacts_static_writer_finish(writer, artifact, &error);
}

#endif

#ifdef EYOT_TRACKING

/* Records one point of a metric; `step` counts whatever you count, such as epochs. */
static inline void eyot_log_metric(const char *key, double value, int64_t step) {
    component_string_t name = eyot_borrowed(key);
    eyot_ml_tracking_log_metric(&name, value, step);
}

#endif

#endif
