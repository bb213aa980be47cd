//! `#[handler]`: a function as the exports of the world `model-handler`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{LitStr, Token};

/// `inputs("x: FP32[-1, 4]"), outputs("y: INT64[-1]")`.
pub(crate) struct Arguments {
    inputs: Vec<Spec>,
    outputs: Vec<Spec>,
}

#[derive(Debug, PartialEq)]
struct Spec {
    name: String,
    dtype: &'static str,
    shape: Vec<i64>,
}

/// Names of the Open Inference Protocol, and the cases of `eyot:ml/types.dtype`.
const TYPES: &[(&str, &str)] = &[
    ("BOOL", "Boolean"),
    ("UINT8", "Uint8"),
    ("UINT16", "Uint16"),
    ("UINT32", "Uint32"),
    ("UINT64", "Uint64"),
    ("INT8", "Int8"),
    ("INT16", "Int16"),
    ("INT32", "Int32"),
    ("INT64", "Int64"),
    ("FP16", "Fp16"),
    ("BF16", "Bf16"),
    ("FP32", "Fp32"),
    ("FP64", "Fp64"),
    ("BYTES", "Bytes"),
];

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Self { inputs: Vec::new(), outputs: Vec::new() };
        while !input.is_empty() {
            let which: syn::Ident = input.parse()?;
            let content;
            syn::parenthesized!(content in input);
            let specs = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
            let specs = specs.iter().map(spec).collect::<syn::Result<Vec<_>>>()?;
            match which.to_string().as_str() {
                "inputs" => arguments.inputs = specs,
                "outputs" => arguments.outputs = specs,
                other => {
                    return Err(syn::Error::new(
                        which.span(),
                        format!("`{other}` is neither inputs nor outputs"),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

fn spec(text: &LitStr) -> syn::Result<Spec> {
    let wrong = |why: &str| syn::Error::new(text.span(), format!("{why}: write \"name: FP32[-1, 4]\""));
    let value = text.value();
    let (name, rest) = value.split_once(':').ok_or_else(|| wrong("a tensor has a name and a type"))?;
    let (dtype, shape) = rest.trim().split_once('[').ok_or_else(|| wrong("a tensor has a shape"))?;
    let known = TYPES.iter().find(|(known, _)| *known == dtype.trim());
    let (_, dtype) = known.ok_or_else(|| wrong(&format!("`{}` is no type of a tensor", dtype.trim())))?;
    let shape = shape.trim_end().strip_suffix(']').ok_or_else(|| wrong("the shape does not end"))?;
    let dims = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let shape = dims.map(|dim| {
        dim.parse::<i64>()
            .ok()
            .filter(|dim| *dim >= -1)
            .ok_or_else(|| wrong("a dimension is a number, or -1"))
    });
    Ok(Spec { name: name.trim().to_owned(), dtype, shape: shape.collect::<syn::Result<_>>()? })
}

pub(crate) fn expand(arguments: &Arguments, function: &syn::ItemFn) -> syn::Result<TokenStream> {
    if arguments.outputs.is_empty() {
        return Err(syn::Error::new(
            function.sig.ident.span(),
            "a handler has at least one output: outputs(\"y: FP32[-1]\")",
        ));
    }
    let asynchronous = function.sig.asyncness.is_some();
    let (world, exported, head, wait, interfaces) = match asynchronous {
        true => (
            "model-handler-async",
            quote!(handler_async),
            quote!(async fn),
            quote!(.await),
            &["types", "artifacts", "models", "models-async"][..],
        ),
        false => {
            ("model-handler", quote!(handler), quote!(fn), quote!(), &["types", "artifacts", "models"][..])
        }
    };
    let generated = crate::generate(
        &format!("package eyot:component;\nworld component {{\n  include eyot:ml/{world}@0.1.0;\n}}\n"),
        interfaces,
    );
    let specs = |specs: &[Spec]| {
        let specs = specs.iter().map(|spec| {
            let (name, shape) = (&spec.name, &spec.shape);
            let dtype = quote::format_ident!("{}", spec.dtype);
            quote!(types::TensorSpec { name: #name.into(), dtype: types::Dtype::#dtype, shape: vec![#(#shape),*] })
        });
        quote!(vec![#(#specs),*])
    };
    let (inputs, outputs) = (specs(&arguments.inputs), specs(&arguments.outputs));
    let name = &function.sig.ident;
    Ok(quote! {
        #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
        #function

        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        #[allow(unused, clippy::all)]
        mod __eyot_handler {
            use ::eyot_guest::bindings::eyot::ml::types;
            #generated
            struct Component;
            impl exports::eyot::ml::#exported::Guest for Component {
                fn describe() -> types::Signature {
                    types::Signature { inputs: #inputs, outputs: #outputs }
                }

                #head predict(inputs: Vec<types::Tensor>) -> Result<Vec<types::Tensor>, types::Error> {
                    let inputs = inputs.into_iter().map(::eyot_guest::Tensor::from).collect();
                    let outputs = super::#name(inputs)#wait.map_err(types::Error::from)?;
                    Ok(outputs.into_iter().map(types::Tensor::from).collect())
                }
            }
            export!(Component);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read() {
        let arguments: Arguments = syn::parse_str(
            r#"inputs("image: UINT8[-1, 32,32]"), outputs("digit: INT64[-1]", "scale: FP32[]")"#,
        )
        .unwrap();
        assert_eq!(
            arguments.inputs,
            [Spec { name: "image".into(), dtype: "Uint8", shape: vec![-1, 32, 32] }]
        );
        assert_eq!(arguments.outputs[1], Spec { name: "scale".into(), dtype: "Fp32", shape: vec![] });
        for (text, says) in [
            (r#"inputs("x")"#, "a name and a type"),
            (r#"inputs("x: FP32")"#, "a tensor has a shape"),
            (r#"inputs("x: float[1]")"#, "`float` is no type"),
            (r#"inputs("x: FP32[-2]")"#, "a dimension is a number"),
            (r#"results("x: FP32[1]")"#, "neither inputs nor outputs"),
        ] {
            let error = syn::parse_str::<Arguments>(text).err().unwrap().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
