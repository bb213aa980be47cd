//! Which rule an operator falls under.

use super::value::GraphValue;
use super::{
    NodeCall, ProofResult, elementwise, layout, linear, numbers, reduction, selection, tables, windows,
};

/// Operators whose result is a function of what they take, whatever that is: of what is shared comes what is
/// shared. Those that draw by chance are not among them.
const DETERMINISTIC: &[&str] = &[
    "BitCast",
    "BlackmanWindow",
    "CenterCropPad",
    "Col2Im",
    "Compress",
    "DFT",
    "Det",
    "DynamicQuantizeLinear",
    "EyeLike",
    "GridSample",
    "HammingWindow",
    "HannWindow",
    "MaxUnpool",
    "MelWeightMatrix",
    "NonMaxSuppression",
    "NonZero",
    "Range",
    "ReverseSequence",
    "STFT",
    "ScatterND",
    "StringNormalizer",
    "TfIdfVectorizer",
    "Unique",
    "Upsample",
];

/// What each output has to do with rows.
pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let (domain, op) = (call.node.domain.as_str(), call.node.op_type.as_str());
    let found = match domain {
        "" | "ai.onnx" => standard(call, op),
        "ai.onnx.ml" => tables::outputs(call, op),
        "com.microsoft" => elementwise::of_microsoft(call, op),
        _ => return Err("what operators of this domain do to rows is not known".to_owned()),
    };
    let all_shared = call.given().all(GraphValue::is_shared);
    let unknown = || vec![GraphValue::unknown(); call.node.output.len()];
    match found {
        Ok(Some(outputs)) => Ok(outputs),
        Ok(None) if all_shared && domain != "com.microsoft" && DETERMINISTIC.contains(&op) => Ok(unknown()),
        Ok(None) => Err("what it does to rows is not known".to_owned()),
        // A rule that was not made for what is shared; only a dropout may do something else each time.
        Err(_) if all_shared && op != "Dropout" => Ok(unknown()),
        Err(why) => Err(why),
    }
}

fn standard<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    if let Some(value) = numbers::outputs(call, op)? {
        return Ok(Some(vec![value]));
    }
    if let Some(value) = elementwise::outputs(call, op)? {
        return Ok(Some(vec![value]));
    }
    for rules in [reduction::outputs, layout::outputs, selection::outputs, linear::outputs, windows::outputs]
    {
        if let Some(outputs) = rules(call, op)? {
            return Ok(Some(outputs));
        }
    }
    Ok(None)
}
