//! A page about a deployment's functions, on which they can be tried.

use std::fmt::Write as _;

use eyot_engine::JsonFunctions;

use super::openapi::{self, DeploymentUrl};
use crate::http::docs::escape;
use crate::serving::endpoint::ServingRevision;

/// A name that no deployment has, below which the page's own files are.
pub(super) const PAGE_FOLDER: &str = "-";

/// Sends what stands in a form's field and shows the answer.
pub(super) const PAGE_SCRIPT: &str = r#"for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const output = form.querySelector("output");
    output.textContent = "…";
    try {
      const answer = await fetch(form.getAttribute("action"), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: form.elements.body.value,
      });
      output.textContent = `${answer.status} ${answer.statusText}\n${await answer.text()}`;
    } catch (error) {
      output.textContent = String(error);
    }
  });
}
"#;

pub(super) fn page(place: &DeploymentUrl<'_>, live: &ServingRevision, functions: &JsonFunctions) -> String {
    let mut page = String::with_capacity(4096);
    // Writing into a string cannot fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{0}</title>\n<link rel=\"stylesheet\" href=\"/v2/docs.css\">\n<h1>{0} <small>revision {1}</small></h1>\n\
         <p>Functions over JSON, as the component declares them: <a href=\"{2}/openapi.json\">OpenAPI</a>.</p>\n",
        escape(place.name),
        escape(&live.version),
        escape(place.base),
    );
    for (name, function) in openapi::names(functions) {
        let path = format!("{}/{name}", place.base);
        let example = serde_json::to_string_pretty(&openapi::example(function)).unwrap_or_default();
        let _ = writeln!(
            page,
            "<h2>{}</h2>\n<p><code>{}{}</code></p>",
            escape(&name),
            escape(&name),
            escape(&openapi::signature(function))
        );
        if let Some(docs) = &function.docs {
            let _ = writeln!(page, "<p>{}</p>", escape(&docs.text));
        }
        let rows = example.lines().count().max(3);
        let _ = writeln!(
            page,
            "<form action=\"{0}\">\n<label>Arguments<br><textarea name=\"body\" rows=\"{rows}\" spellcheck=\"false\">{1}</textarea></label>\n\
             <p><button>POST {0}</button></p>\n<pre><output></output></pre>\n</form>",
            escape(&path),
            escape(&example)
        );
        let compact = openapi::example(function).to_string().replace('\'', r"'\''");
        let _ = writeln!(
            page,
            "<details><summary>From a shell</summary><pre>{}</pre></details>",
            escape(&format!("curl -X POST {}{path} -d '{compact}'", place.origin))
        );
    }
    page.push_str("<script src=\"/fn/-/try.js\"></script>\n</html>\n");
    page
}
