use wit_component::DecodedWasm;

/// What the interfaces of a component or a WIT package in binary form are.
///
/// Fails with what is wrong. wit-component's decoder makes room for as much as a section says that it has before it looks
/// whether that is there; so the sizes are walked first.
pub(crate) fn decode(wasm: &[u8]) -> Result<DecodedWasm, String> {
    for part in wasmparser::Parser::new(0).parse_all(wasm) {
        part.map_err(|error| error.to_string())?;
    }
    wit_component::decode(wasm).map_err(|error| format!("{error:#}"))
}
