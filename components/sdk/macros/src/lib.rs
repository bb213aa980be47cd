//! `#[component]` and `#[handler]` of `eyot-guest`.

mod component;
mod handler;
mod types;

use proc_macro::TokenStream;
use quote::quote;

/// Exports every public function of a module as a function of the component. See `eyot_guest`.
#[proc_macro_attribute]
pub fn component(_: TokenStream, item: TokenStream) -> TokenStream {
    let module = syn::parse_macro_input!(item as syn::ItemMod);
    finish(component::expand(&module))
}

/// Exports a function as the component's handler. See `eyot_guest`.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = syn::parse_macro_input!(arguments as handler::Arguments);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    finish(handler::expand(&arguments, &function))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(|error| error.into_compile_error()).into()
}

/// The call of `generate!` for a world. Contracts that the SDK has bindings for are taken from it, so
/// that a component has one type of artifact and not two.
fn generate(world: &str, interfaces: &[&str]) -> proc_macro2::TokenStream {
    let contracts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../wit");
    let shared = interfaces.iter().map(|interface| {
        let module = quote::format_ident!("{}", interface.replace('-', "_"));
        let name = format!("eyot:ml/{interface}@0.1.0");
        quote!(#name: ::eyot_guest::bindings::eyot::ml::#module)
    });
    quote! {
        ::eyot_guest::wit_bindgen::generate!({
            inline: #world,
            path: #contracts,
            runtime_path: "::eyot_guest::wit_bindgen::rt",
            with: { #(#shared),* },
        });
    }
}
