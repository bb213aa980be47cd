//! A page about a deployment for people: inputs, outputs, and a request to paste.

use std::fmt::Write as _;

use eyot_core::Result;
use eyot_nn::TensorSpec;

use crate::protocol::metadata;
use crate::protocol::openapi::{self, RequestExample};
use crate::serving::endpoint::DeploymentEntry;

/// The page's style, which comes from this server like the page.
pub(crate) const STYLE_SHEET: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 small { font-weight: normal; opacity: .7; }
table { border-collapse: collapse; width: 100%; }
h1, p, code, td { overflow-wrap: anywhere; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
textarea { width: 100%; box-sizing: border-box; font: .9rem ui-monospace, monospace; }
output:empty::before { content: \"The answer comes here.\"; opacity: .6; }
pre { padding: 1rem; border: 1px solid #8884; border-radius: .4rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
";

/// The page of a version, or of whatever serves.
pub(crate) fn page(endpoint: &DeploymentEntry, version: Option<&str>, origin: &str) -> Result<String> {
    let live = endpoint.shown(version)?;
    let signature = live.predictor()?.signature();
    let (name, path) = (endpoint.name.as_str(), openapi::path(endpoint.name.as_str(), version));
    let mut page = String::with_capacity(4096);
    // Writing into a string cannot fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{0}</title>\n<link rel=\"stylesheet\" href=\"/v2/docs.css\">\n<h1>{0} <small>revision {1}</small></h1>\n\
         <p>Predictions over the <a href=\"{2}/openapi.json\">Open Inference Protocol</a>: <code>POST {2}/infer</code>, \
         or gRPC on the same port.</p>\n",
        escape(name),
        escape(&live.version),
        escape(&path),
    );
    table(&mut page, "Inputs", signature.all_inputs());
    table(&mut page, "Outputs", signature.outputs.iter());
    page.push_str("<h2>A request</h2>\n");
    match RequestExample::of(signature).command(&format!("{origin}{path}/infer")) {
        Some(command) => {
            let _ = writeln!(
                page,
                "<p>Dimensions that may vary are 1, and every element is zero or empty.</p>\n<pre>{}</pre>",
                escape(&command)
            );
        }
        None => page.push_str("<p>The model's inputs are too large for one.</p>\n"),
    }
    page.push_str("<h2>Made of</h2>\n<table>\n");
    for (name, value) in metadata::properties(&live) {
        let _ = writeln!(page, "<tr><td>{}<td><code>{}</code>", escape(&name), escape(&value));
    }
    page.push_str("</table>\n</html>\n");
    Ok(page)
}

fn table<'a>(page: &mut String, title: &str, specs: impl Iterator<Item = &'a TensorSpec>) {
    let _ = writeln!(page, "<h2>{title}</h2>\n<table>\n<tr><th>Name<th>Type<th>Shape");
    for spec in specs {
        let dims: Vec<String> =
            spec.shape.iter().map(|dim| if *dim < 0 { "any".to_owned() } else { dim.to_string() }).collect();
        let _ = writeln!(
            page,
            "<tr><td><code>{}</code>{}<td>{}<td>{}",
            escape(&spec.name),
            optional(spec),
            spec.dtype,
            if spec.any_shape { "any".to_owned() } else { dims.join(" × ") }
        );
    }
    page.push_str("</table>\n");
}

/// What is said of an input that may be left out.
fn optional(spec: &TensorSpec) -> String {
    match (spec.is_optional(), spec.default_value()) {
        (false, _) => String::new(),
        (true, None) => " (optional)".to_owned(),
        (true, Some(default)) => format!(" (optional; <code>{}</code> without it)", escape(default)),
    }
}

/// Text as HTML holds it. Names of tensors are whatever a model's author liked.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}
