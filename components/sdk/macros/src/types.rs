//! Rust types as WIT types, and values between the two.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned as _;

/// A type that can cross.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    /// A scalar or text: the same on both sides.
    Same(&'static str),
    Artifact,
    /// A struct of the module.
    Record(syn::Ident),
    List(Box<Type>),
    Option(Box<Type>),
    Tuple(Vec<Type>),
}

const SAME: &[(&str, &str)] = &[
    ("bool", "bool"),
    ("u8", "u8"),
    ("u16", "u16"),
    ("u32", "u32"),
    ("u64", "u64"),
    ("i8", "s8"),
    ("i16", "s16"),
    ("i32", "s32"),
    ("i64", "s64"),
    ("f32", "f32"),
    ("f64", "f64"),
    ("char", "char"),
    ("String", "string"),
];

impl Type {
    /// Reads a Rust type; `records` are the structs of the module.
    pub(crate) fn of(ty: &syn::Type, records: &[syn::Ident]) -> syn::Result<Type> {
        let cannot = || {
            let text = quote!(#ty).to_string().replace(' ', "");
            let known = "scalars, String, Artifact, Vec, Option, tuples, and public structs of this module";
            syn::Error::new(
                ty.span(),
                format!("`{text}` cannot cross a component's boundary; what can: {known}"),
            )
        };
        match ty {
            syn::Type::Tuple(tuple) if !tuple.elems.is_empty() => {
                let types = tuple.elems.iter().map(|ty| Type::of(ty, records)).collect::<syn::Result<_>>()?;
                Ok(Type::Tuple(types))
            }
            syn::Type::Path(path) => {
                let last = path.path.segments.last().ok_or_else(cannot)?;
                let name = last.ident.to_string();
                if let Some((_, wit)) = SAME.iter().find(|(rust, _)| *rust == name) {
                    return Ok(Type::Same(wit));
                }
                match (name.as_str(), argument(last)) {
                    ("Artifact", None) => Ok(Type::Artifact),
                    ("Vec", Some(item)) => Ok(Type::List(Box::new(Type::of(item, records)?))),
                    ("Option", Some(item)) => Ok(Type::Option(Box::new(Type::of(item, records)?))),
                    (_, None) if records.contains(&last.ident) => Ok(Type::Record(last.ident.clone())),
                    _ => Err(cannot()),
                }
            }
            _ => Err(cannot()),
        }
    }

    /// The WIT type.
    pub(crate) fn wit(&self) -> String {
        match self {
            Type::Same(wit) => (*wit).to_owned(),
            Type::Artifact => "artifact".to_owned(),
            Type::Record(name) => record(name),
            Type::List(item) => format!("list<{}>", item.wit()),
            Type::Option(item) => format!("option<{}>", item.wit()),
            Type::Tuple(types) => {
                format!("tuple<{}>", types.iter().map(Type::wit).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn is_same(&self) -> bool {
        match self {
            Type::Same(_) => true,
            Type::List(item) | Type::Option(item) => item.is_same(),
            Type::Tuple(types) => types.iter().all(Type::is_same),
            Type::Artifact | Type::Record(_) => false,
        }
    }

    /// The expression for a value on its way into the module.
    pub(crate) fn to_rust(&self, value: &TokenStream) -> TokenStream {
        match self {
            _ if self.is_same() => value.clone(),
            Type::Artifact => quote!(::eyot_guest::Artifact::from(#value)),
            Type::Record(name) => {
                let convert = format_ident!("into_{}", name);
                quote!(#convert(#value))
            }
            other => other.inside(value, Type::to_rust),
        }
    }

    /// The expression for a value on its way out.
    pub(crate) fn to_wit(&self, value: &TokenStream) -> TokenStream {
        match self {
            _ if self.is_same() => value.clone(),
            Type::Artifact => quote!(::eyot_guest::Artifact::into_inner(#value)),
            Type::Record(name) => {
                let convert = format_ident!("from_{}", name);
                quote!(#convert(#value))
            }
            other => other.inside(value, Type::to_wit),
        }
    }

    fn inside(&self, value: &TokenStream, convert: fn(&Type, &TokenStream) -> TokenStream) -> TokenStream {
        match self {
            Type::List(item) => {
                let converted = convert(item, &quote!(item));
                quote!((#value).into_iter().map(|item| #converted).collect::<::std::vec::Vec<_>>())
            }
            Type::Option(item) => {
                let converted = convert(item, &quote!(item));
                quote!((#value).map(|item| #converted))
            }
            Type::Tuple(types) => {
                let names: Vec<_> = (0..types.len()).map(|index| format_ident!("item{index}")).collect();
                let converted = types.iter().zip(&names).map(|(ty, name)| convert(ty, &quote!(#name)));
                quote!({ let (#(#names,)*) = #value; (#(#converted,)*) })
            }
            _ => value.clone(),
        }
    }
}

/// The only type argument of a path segment.
pub(crate) fn argument(segment: &syn::PathSegment) -> Option<&syn::Type> {
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first() {
        Some(syn::GenericArgument::Type(ty)) => Some(ty),
        _ => None,
    }
}

/// The WIT name of a record. Types and functions of an interface share their names, and a struct is
/// often called as the function that gives it.
pub(crate) fn record(name: &syn::Ident) -> String {
    format!("{}-record", kebab(&name.to_string()))
}

/// What wit-bindgen calls that record.
pub(crate) fn generated_record(name: &syn::Ident) -> syn::Ident {
    format_ident!("{}Record", name)
}

/// `test_fraction` and `TestFraction` are `test-fraction` in WIT. The `%` lets keywords be names.
pub(crate) fn kebab(name: &str) -> String {
    let mut text = String::from("%");
    for letter in name.trim_start_matches("r#").chars() {
        match letter {
            '_' => text.push('-'),
            upper if upper.is_uppercase() => {
                if text.len() > 1 && !text.ends_with('-') {
                    text.push('-');
                }
                text.extend(upper.to_lowercase());
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_one_form_in_wit() {
        let records = [format_ident!("Split")];
        for (rust, wit) in [
            ("u64", "u64"),
            ("i16", "s16"),
            ("String", "string"),
            ("Artifact", "artifact"),
            ("eyot_guest::Artifact", "artifact"),
            ("Vec<Option<(u8, String)>>", "list<option<tuple<u8, string>>>"),
            ("Split", "%split-record"),
        ] {
            let ty = syn::parse_str(rust).unwrap();
            assert_eq!(Type::of(&ty, &records).unwrap().wit(), wit);
        }
        for rust in ["&str", "usize", "HashMap<String, u8>", "Other", "()", "[u8; 3]", "impl Read"] {
            let ty = syn::parse_str(rust).unwrap();
            let error = Type::of(&ty, &records).unwrap_err().to_string();
            assert!(error.contains("cannot cross"), "{rust}: {error}");
        }
    }

    #[test]
    fn names_are_kebab_case() {
        for (rust, wit) in [
            ("test_fraction", "%test-fraction"),
            ("Ingested", "%ingested"),
            ("TwoWords", "%two-words"),
            ("r#type", "%type"),
        ] {
            assert_eq!(kebab(rust), wit);
        }
    }
}
