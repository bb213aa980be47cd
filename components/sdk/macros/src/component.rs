//! `#[component]`: the world of a module, and what joins the two.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned as _;

use crate::types::{Type, argument, generated_record, kebab};

struct Record {
    name: syn::Ident,
    fields: Vec<(syn::Ident, Type)>,
}

struct Function {
    name: syn::Ident,
    docs: Vec<String>,
    params: Vec<(syn::Ident, Type)>,
    output: Option<Type>,
    /// Whether it answers a `Result`.
    fallible: bool,
    /// Whether it is an `async fn`, and then one for those that call it too.
    asynchronous: bool,
}

pub(crate) fn expand(module: &syn::ItemMod) -> syn::Result<TokenStream> {
    let Some((_, items)) = &module.content else {
        return Err(syn::Error::new(
            module.span(),
            "the module must have its content here: `mod steps { … }`",
        ));
    };
    let structs: Vec<_> = items.iter().filter_map(public_struct).collect();
    let names: Vec<_> = structs.iter().map(|item| item.ident.clone()).collect();
    let records = structs.into_iter().map(|item| record(item, &names)).collect::<syn::Result<Vec<_>>>()?;
    let functions = items
        .iter()
        .filter_map(public_function)
        .map(|item| function(item, &names))
        .collect::<syn::Result<Vec<_>>>()?;
    if functions.is_empty() {
        return Err(syn::Error::new(module.span(), "a component exports at least one function: `pub fn …`"));
    }
    let inner = &module.ident;
    let generated = crate::generate(&world(inner, &records, &functions), &["types", "artifacts"]);
    let conversions = records.iter().map(|record| conversions(record, inner));
    let exports = functions.iter().map(|function| export(function, inner));
    let docs = documents(inner, &functions);
    let (length, docs) = (docs.len(), proc_macro2::Literal::byte_string(docs.as_bytes()));
    let bindings = format_ident!("__eyot_{}", inner);
    let exported = format_ident!("{}", inner);
    Ok(quote! {
        #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
        #module

        // Names of exports are none that a linker of another target takes; on it the module is there to
        // be tested.
        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        #[allow(non_snake_case, unused, clippy::all)]
        mod #bindings {
            use super::#inner;
            #generated
            use exports::eyot::component::#exported::*;
            #(#conversions)*
            struct Component;
            impl Guest for Component { #(#exports)* }
            export!(Component);
            // A custom section of the module, where the host reads what its users are shown.
            #[used]
            #[unsafe(link_section = "eyot-docs")]
            static DOCS: [u8; #length] = *#docs;
        }
    })
}

fn public_struct(item: &syn::Item) -> Option<&syn::ItemStruct> {
    match item {
        syn::Item::Struct(item) if matches!(item.vis, syn::Visibility::Public(_)) => Some(item),
        _ => None,
    }
}

fn public_function(item: &syn::Item) -> Option<&syn::ItemFn> {
    match item {
        syn::Item::Fn(item) if matches!(item.vis, syn::Visibility::Public(_)) => Some(item),
        _ => None,
    }
}

fn record(item: &syn::ItemStruct, names: &[syn::Ident]) -> syn::Result<Record> {
    let syn::Fields::Named(fields) = &item.fields else {
        return Err(syn::Error::new(item.span(), "a public struct becomes a record: its fields need names"));
    };
    let field = |field: &syn::Field| {
        let name =
            field.ident.clone().ok_or_else(|| syn::Error::new(field.span(), "a field needs a name"))?;
        if !matches!(field.vis, syn::Visibility::Public(_)) {
            return Err(syn::Error::new(field.span(), "every field of a record is public"));
        }
        Ok((name, Type::of(&field.ty, names)?))
    };
    let fields = fields.named.iter().map(field).collect::<syn::Result<_>>()?;
    Ok(Record { name: item.ident.clone(), fields })
}

fn function(item: &syn::ItemFn, names: &[syn::Ident]) -> syn::Result<Function> {
    let param = |input: &syn::FnArg| match input {
        syn::FnArg::Typed(input) => match &*input.pat {
            syn::Pat::Ident(name) => Ok((name.ident.clone(), Type::of(&input.ty, names)?)),
            other => Err(syn::Error::new(other.span(), "a parameter needs a name")),
        },
        syn::FnArg::Receiver(receiver) => {
            Err(syn::Error::new(receiver.span(), "a component's function has no self"))
        }
    };
    let params = item.sig.inputs.iter().map(param).collect::<syn::Result<_>>()?;
    let (output, fallible) = match &item.sig.output {
        syn::ReturnType::Default => (None, false),
        syn::ReturnType::Type(_, ty) => output(ty, names)?,
    };
    let docs = item.attrs.iter().filter_map(doc).collect();
    let asynchronous = item.sig.asyncness.is_some();
    Ok(Function { name: item.sig.ident.clone(), docs, params, output, fallible, asynchronous })
}

fn output(ty: &syn::Type, names: &[syn::Ident]) -> syn::Result<(Option<Type>, bool)> {
    let unit = |ty: &syn::Type| matches!(ty, syn::Type::Tuple(tuple) if tuple.elems.is_empty());
    let some = |ty: &syn::Type| if unit(ty) { Ok(None) } else { Type::of(ty, names).map(Some) };
    if let syn::Type::Path(path) = ty
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && let Some(ok) = argument(last)
    {
        return Ok((some(ok)?, true));
    }
    Ok((some(ty)?, false))
}

fn doc(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(meta) = &attribute.meta else { return None };
    match &meta.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) if meta.path.is_ident("doc") => {
            Some(text.value())
        }
        _ => None,
    }
}

/// The world: what the host reads off the component. The functions stand in an interface, since the
/// linker's name of a function of the world itself is its bare name: one called `write` or `exit` would
/// take the place of libc's.
fn world(module: &syn::Ident, records: &[Record], functions: &[Function]) -> String {
    let module = kebab(&module.to_string());
    let mut text = format!(
        "package eyot:component;\ninterface {module} {{\n  use eyot:ml/artifacts@0.1.0.{{artifact}};\n"
    );
    let list = |fields: &[(syn::Ident, Type)]| {
        let field = |(name, ty): &(syn::Ident, Type)| format!("{}: {}", kebab(&name.to_string()), ty.wit());
        fields.iter().map(field).collect::<Vec<_>>().join(", ")
    };
    for record in records {
        text.push_str(&format!(
            "  record {} {{ {} }}\n",
            crate::types::record(&record.name),
            list(&record.fields)
        ));
    }
    for function in functions {
        for line in &function.docs {
            text.push_str(&format!("  ///{line}\n"));
        }
        let result = match (&function.output, function.fallible) {
            (None, false) => String::new(),
            (Some(ty), false) => format!(" -> {}", ty.wit()),
            (None, true) => " -> result<_, string>".to_owned(),
            (Some(ty), true) => format!(" -> result<{}, string>", ty.wit()),
        };
        let name = kebab(&function.name.to_string());
        let func = if function.asynchronous { "async func" } else { "func" };
        text.push_str(&format!("  {name}: {func}({}){result};\n", list(&function.params)));
    }
    text.push_str(&format!("}}\nworld component {{\n  export {module};\n}}\n"));
    text
}

/// What the functions' own comments say, as JSON by the exports' full names.
fn documents(module: &syn::Ident, functions: &[Function]) -> String {
    let name = |ident: &syn::Ident| kebab(&ident.to_string()).trim_start_matches('%').to_owned();
    let module = name(module);
    let documented = functions.iter().filter(|function| !function.docs.is_empty());
    let entry = |function: &Function| {
        let lines: Vec<&str> =
            function.docs.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let export = format!("eyot:component/{module}#{}", name(&function.name));
        format!("{}:{{\"text\":{}}}", quoted(&export), quoted(&lines.join("\n")))
    };
    format!("{{{}}}", documented.map(entry).collect::<Vec<_>>().join(","))
}

/// A text as JSON holds it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Functions between a struct of the module and the generated record of the same name.
fn conversions(record: &Record, inner: &syn::Ident) -> TokenStream {
    let name = &record.name;
    let (into, from) = (format_ident!("into_{}", name), format_ident!("from_{}", name));
    let fields: Vec<_> = record.fields.iter().map(|(field, _)| field).collect();
    let inwards = record.fields.iter().map(|(field, ty)| ty.to_rust(&quote!(value.#field)));
    let outwards = record.fields.iter().map(|(field, ty)| ty.to_wit(&quote!(value.#field)));
    let generated = generated_record(name);
    quote! {
        fn #into(value: #generated) -> #inner::#name { #inner::#name { #(#fields: #inwards,)* } }
        fn #from(value: #inner::#name) -> #generated { #generated { #(#fields: #outwards,)* } }
    }
}

fn export(function: &Function, inner: &syn::Ident) -> TokenStream {
    let name = &function.name;
    let params: Vec<_> = function.params.iter().map(|(param, _)| param).collect();
    let types = function.params.iter().map(|(_, ty)| rust_type(ty));
    let arguments = function.params.iter().map(|(param, ty)| ty.to_rust(&quote!(#param)));
    let (head, wait) = match function.asynchronous {
        true => (quote!(async fn), quote!(.await)),
        false => (quote!(fn), quote!()),
    };
    let call = quote!(#inner::#name(#(#arguments),*)#wait);
    let ok = function.output.as_ref().map_or_else(|| quote!(()), rust_type);
    let converted =
        |value: TokenStream| function.output.as_ref().map_or_else(|| value.clone(), |ty| ty.to_wit(&value));
    if function.fallible {
        let value = converted(quote!(value));
        return quote! {
            #head #name(#(#params: #types),*) -> ::std::result::Result<#ok, ::std::string::String> {
                #call.map(|value| #value).map_err(|error| ::std::string::ToString::to_string(&error))
            }
        };
    }
    let value = converted(call);
    quote! { #head #name(#(#params: #types),*) -> #ok { #value } }
}

/// The type that wit-bindgen gives a value.
fn rust_type(ty: &Type) -> TokenStream {
    match ty {
        Type::Same(wit) => {
            let name = match *wit {
                "string" => return quote!(::std::string::String),
                "s8" => "i8",
                "s16" => "i16",
                "s32" => "i32",
                "s64" => "i64",
                other => other,
            };
            let name = format_ident!("{}", name);
            quote!(#name)
        }
        Type::Artifact => quote!(Artifact),
        Type::Record(name) => {
            let name = generated_record(name);
            quote!(#name)
        }
        Type::List(item) => {
            let item = rust_type(item);
            quote!(::std::vec::Vec<#item>)
        }
        Type::Option(item) => {
            let item = rust_type(item);
            quote!(::std::option::Option<#item>)
        }
        Type::Tuple(types) => {
            let types = types.iter().map(rust_type);
            quote!((#(#types,)*))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_a_world() {
        let module: syn::ItemMod = syn::parse_quote! {
            mod steps {
                pub struct Parts { pub train: Artifact, pub rows: Vec<u32> }
                /// Cuts rows in two.
                pub fn split(rows: Artifact, test_fraction: f64) -> Result<Parts> { unreachable!() }
                pub fn note(text: String) -> Result<()> { unreachable!() }
                pub fn add(a: i32) -> i32 { a }
                pub async fn wait(a: i32) -> Result<i32> { Ok(a) }
                fn private() {}
            }
        };
        let items = &module.content.as_ref().unwrap().1;
        let names = [format_ident!("Parts")];
        let records: Vec<_> =
            items.iter().filter_map(public_struct).map(|item| record(item, &names).unwrap()).collect();
        let functions: Vec<_> =
            items.iter().filter_map(public_function).map(|item| function(item, &names).unwrap()).collect();
        let expected = "package eyot:component;
interface %steps {
  use eyot:ml/artifacts@0.1.0.{artifact};
  record %parts-record { %train: artifact, %rows: list<u32> }
  /// Cuts rows in two.
  %split: func(%rows: artifact, %test-fraction: f64) -> result<%parts-record, string>;
  %note: func(%text: string) -> result<_, string>;
  %add: func(%a: s32) -> s32;
  %wait: async func(%a: s32) -> result<s32, string>;
}
world component {
  export %steps;
}
";
        assert_eq!(world(&module.ident, &records, &functions), expected);
        let documented = r#"{"eyot:component/steps#split":{"text":"Cuts rows in two."}}"#;
        assert_eq!(documents(&module.ident, &functions), documented);
        assert_eq!(quoted("a\"b\\c\nd\u{1}é"), r#""a\"b\\c\nd\u0001é""#);
    }

    #[test]
    fn what_cannot_be_exported_is_said() {
        for (module, says) in [
            (
                quote!(
                    mod m {
                        fn private() {}
                    }
                ),
                "at least one function",
            ),
            (
                quote!(
                    mod m {
                        pub fn f(text: &str) {}
                    }
                ),
                "`&str` cannot cross",
            ),
            (
                quote!(
                    mod m {
                        pub struct S(u8);
                        pub fn f() {}
                    }
                ),
                "fields need names",
            ),
            (
                quote!(
                    mod m {
                        pub struct S {
                            a: u8,
                        }
                        pub fn f() {}
                    }
                ),
                "every field of a record is public",
            ),
        ] {
            let module: syn::ItemMod = syn::parse2(module).unwrap();
            let error = expand(&module).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
