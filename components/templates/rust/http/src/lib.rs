use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{Method, Request, Response, StatusCode};
use spin_sdk::http_service;

/// The mean of the numbers in `{"values": […]}`.
fn mean(body: &[u8]) -> Result<f64, String> {
    let body: serde_json::Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let values = body["values"].as_array().ok_or("values is no list")?;
    let numbers = values.iter().map(|value| value.as_f64().ok_or("values holds more than numbers"));
    let numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
    match numbers.len() {
        0 => Err("values is empty".to_owned()),
        count => Ok(numbers.iter().sum::<f64>() / count as f64),
    }
}

fn answer(status: StatusCode, content_type: &str, body: String) -> anyhow::Result<Response<String>> {
    Ok(Response::builder().status(status).header("content-type", content_type).body(body)?)
}

#[http_service]
async fn handle(request: Request) -> anyhow::Result<Response<String>> {
    if request.method() != Method::POST {
        let text = "POST {\"values\": [1, 2, 3]} and get their mean\n";
        return answer(StatusCode::OK, "text/plain", text.to_owned());
    }
    match mean(&request.into_body().bytes().await?) {
        Ok(mean) => {
            answer(StatusCode::OK, "application/json", serde_json::json!({ "mean": mean }).to_string())
        }
        Err(problem) => answer(StatusCode::BAD_REQUEST, "text/plain", format!("{problem}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::mean;

    #[test]
    fn only_numbers_have_a_mean() {
        assert_eq!(mean(br#"{"values": [1, 2, 6]}"#), Ok(3.0));
        assert!(mean(br#"{"values": "many"}"#).is_err());
    }
}
