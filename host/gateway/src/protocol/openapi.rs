//! An OpenAPI document for a deployment, made from its signature, and a request that can be pasted.

use eyot_core::Result;
use eyot_nn::{DataType, ModelSignature, TensorSpec};
use serde_json::{Value, json};

use crate::serving::endpoint::DeploymentEntry;

/// The document of a version, or of whatever serves.
pub(crate) fn document(endpoint: &DeploymentEntry, version: Option<&str>, origin: &str) -> Result<Value> {
    let live = endpoint.shown(version)?;
    let signature = live.predictor()?.signature();
    let name = endpoint.name.as_str();
    let base = path(name, version);
    let example = RequestExample::of(signature);
    let mut request = json!({ "schema": { "$ref": "#/components/schemas/Request" } });
    if let RequestExample::Json(body) = &example {
        request["example"] = body.clone();
    }
    let error = |text: &str| json!({ "description": text, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } });
    let infer = json!({
        "operationId": "infer",
        "summary": format!("Predicts with {name}"),
        "description": "The Open Inference Protocol, version 2. Tensors may also be binary, behind the JSON, whose length is then in Inference-Header-Content-Length.",
        "parameters": [{
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "How many bytes of the body are JSON, when binary tensors follow",
            "schema": { "type": "integer", "minimum": 0 }
        }],
        "requestBody": { "required": true, "content": {
            "application/json": request,
            "application/octet-stream": { "schema": { "type": "string", "format": "binary" } }
        } },
        "responses": {
            "200": {
                "description": "The prediction",
                "headers": { "Eyot-Prediction-Id": { "description": "Names the prediction in the server's logs", "schema": { "type": "string" } } },
                "content": {
                    "application/json": { "schema": { "$ref": "#/components/schemas/Response" } },
                    "application/octet-stream": { "schema": { "type": "string", "format": "binary" } }
                }
            },
            "400": error("The request is wrong; the message names input and element"),
            "404": error("There is no such model or version"),
            "413": error("The body is larger than the server takes"),
            "429": error("Too many requests wait already; see Retry-After"),
            "503": error("The model cannot answer now; see Retry-After"),
            "504": error("The model did not answer in time")
        }
    });
    let metadata = json!({ "operationId": "metadata", "summary": "Inputs and outputs", "responses": {
        "200": { "description": "The model's metadata", "content": { "application/json": { "schema": { "type": "object" } } } },
        "404": error("There is no such model or version")
    } });
    let ready = json!({ "operationId": "ready", "summary": "Whether it answers", "responses": {
        "200": { "description": "It answers" },
        "404": error("There is no such model or version")
    } });
    Ok(json!({
        "openapi": "3.1.0",
        "info": { "title": name, "version": live.version },
        "servers": [{ "url": origin }],
        "paths": {
            format!("{base}/infer"): { "post": infer },
            base.clone(): { "get": metadata },
            format!("{base}/ready"): { "get": ready }
        },
        "components": { "schemas": {
            "Request": request_schema(signature),
            "Response": response_schema(signature),
            "Error": { "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } }
        } }
    }))
}

/// The path of a model, or of a version of it.
pub(crate) fn path(name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("/v2/models/{name}/versions/{version}"),
        None => format!("/v2/models/{name}"),
    }
}

fn request_schema(signature: &ModelSignature) -> Value {
    let names: Vec<&str> = signature.outputs.iter().map(|spec| spec.name.as_str()).collect();
    json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": { "type": "string", "description": "Comes back in the answer" },
            "parameters": { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } },
            "inputs": tensors(signature.all_inputs(), signature.inputs.len()),
            "outputs": { "type": "array", "description": "Which outputs to answer; all without it", "items": {
                "type": "object",
                "required": ["name"],
                "properties": { "name": { "enum": names }, "parameters": { "type": "object" } }
            } }
        }
    })
}

fn response_schema(signature: &ModelSignature) -> Value {
    json!({
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": { "type": "string" },
            "model_version": { "type": "string" },
            "id": { "type": "string" },
            "outputs": tensors(signature.outputs.iter(), 1)
        }
    })
}

fn tensors<'a>(specs: impl Iterator<Item = &'a TensorSpec>, at_least: usize) -> Value {
    let items: Vec<Value> = specs.map(tensor).collect();
    let most = items.len();
    json!({ "type": "array", "items": { "oneOf": items }, "minItems": at_least, "maxItems": most })
}

fn tensor(spec: &TensorSpec) -> Value {
    let dim = |dim: &i64| match u64::try_from(*dim) {
        Ok(dim) => json!({ "const": dim }),
        Err(_) => json!({ "type": "integer", "minimum": 0 }),
    };
    let dims: Vec<Value> = spec.shape.iter().map(dim).collect();
    let shape = match spec.any_shape {
        true => json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } }),
        false => {
            json!({ "type": "array", "prefixItems": dims, "minItems": dims.len(), "maxItems": dims.len() })
        }
    };
    let mut schema = json!({
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": { "const": spec.name },
            "datatype": { "const": spec.dtype.as_str() },
            "shape": shape,
            "parameters": { "type": "object", "properties": { "binary_data_size": { "type": "integer", "minimum": 0 } } },
            "data": {
                "type": "array",
                "description": "Row-major, flat or nested",
                "items": { "anyOf": [element(spec.dtype), { "type": "array" }] }
            }
        }
    });
    if let Some(default) = spec.default_value().filter(|_| spec.is_optional()) {
        schema["description"] = json!(format!("May be left out: {default} stands there then"));
    }
    schema
}

fn element(dtype: DataType) -> Value {
    match dtype {
        DataType::Bool => json!({ "type": "boolean" }),
        DataType::Bytes => json!({ "type": "string" }),
        DataType::F16 | DataType::BF16 | DataType::F32 | DataType::F64 => json!({ "type": "number" }),
        DataType::U8 | DataType::U16 | DataType::U32 | DataType::U64 => {
            json!({ "type": "integer", "minimum": 0 })
        }
        _ => json!({ "type": "integer" }),
    }
}

/// Elements that still make a request somebody wants to see.
const MAX_READABLE_ELEMENTS: usize = 256;

/// A request that works: every open dimension is 1, every element zero or empty.
pub(crate) enum RequestExample {
    Json(Value),
    /// Too long to be shown: JSON, and how many zero bytes follow.
    Binary(Value, usize),
    /// Larger than any machine takes.
    None,
}

impl RequestExample {
    pub(crate) fn of(signature: &ModelSignature) -> Self {
        let mut total = 0_usize;
        let mut inputs = Vec::new();
        for spec in &signature.inputs {
            let shape: Vec<usize> = spec.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
            let count = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
            let Some(all) =
                count.and_then(|count| count.checked_mul(8)).and_then(|bytes| total.checked_add(bytes))
            else {
                return Self::None;
            };
            total = all;
            inputs.push((spec, shape, count.unwrap_or_default()));
        }
        let readable = total / 8 <= MAX_READABLE_ELEMENTS;
        let mut zeros = 0;
        let inputs = inputs.into_iter().map(|(spec, shape, count)| {
            let mut input = json!({ "name": spec.name, "shape": shape, "datatype": spec.dtype.as_str() });
            if readable {
                input["data"] = Value::Array(vec![zero(spec.dtype); count]);
            } else {
                // An empty BYTES element is its length alone.
                let size = count * spec.dtype.size().unwrap_or(4);
                zeros += size;
                input["parameters"] = json!({ "binary_data_size": size });
            }
            input
        });
        let body = json!({ "inputs": inputs.collect::<Vec<_>>() });
        if readable { Self::Json(body) } else { Self::Binary(body, zeros) }
    }

    /// A command for a shell that sends it.
    pub(crate) fn command(&self, url: &str) -> Option<String> {
        // Names of tensors may hold anything; a quote ends no quotation.
        let quoted = |text: &Value| text.to_string().replace('\'', r"'\''");
        match self {
            Self::Json(body) => Some(format!(
                "curl -X POST {url} -H 'Content-Type: application/json' \\\n  -d '{}'",
                quoted(body)
            )),
            Self::Binary(body, zeros) => {
                let length = body.to_string().len();
                Some(format!(
                    "(printf %s '{}'; head -c {zeros} /dev/zero) |\n  curl -X POST {url} -H 'Inference-Header-Content-Length: {length}' \\\n  -H 'Content-Type: application/octet-stream' --data-binary @-",
                    quoted(body)
                ))
            }
            Self::None => None,
        }
    }
}

fn zero(dtype: DataType) -> Value {
    match dtype {
        DataType::Bool => json!(false),
        DataType::Bytes => json!(""),
        DataType::F16 | DataType::BF16 | DataType::F32 | DataType::F64 => json!(0.0),
        _ => json!(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(dtype: DataType, shape: &[i64]) -> ModelSignature {
        ModelSignature::new(vec![TensorSpec::new("it's", dtype, shape)], vec![])
    }

    #[test]
    fn examples_are_short_and_survive_a_shell() {
        let url = "http://h/v2/models/m/infer";
        for (dtype, shape, starts) in [
            (
                DataType::F32,
                &[-1, 2][..],
                r#"curl -X POST http://h/v2/models/m/infer -H 'Content-Type: application/json' \
  -d '{"inputs":[{"name":"it'\''s","shape":[1,2],"datatype":"FP32","data":[0.0,0.0]}]}'"#,
            ),
            (
                DataType::Bytes,
                &[1],
                r#"curl -X POST http://h/v2/models/m/infer -H 'Content-Type: application/json' \
  -d '{"inputs":[{"name":"it'\''s","shape":[1],"datatype":"BYTES","data":[""]}]}'"#,
            ),
            (
                DataType::F32,
                &[1, 3, 224, 224],
                r#"(printf %s '{"inputs":[{"name":"it'\''s","shape":[1,3,224,224],"datatype":"FP32","parameters":{"binary_data_size":602112}}]}'; head -c 602112 /dev/zero) |"#,
            ),
        ] {
            let command = RequestExample::of(&signature(dtype, shape)).command(url).unwrap_or_default();
            assert!(command.starts_with(starts), "{command}");
        }
        assert!(RequestExample::of(&signature(DataType::F32, &[i64::MAX, 9])).command(url).is_none());
    }
}
