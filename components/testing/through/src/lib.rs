//! A handler that hands its inputs to the model that is granted to it as `model`, and the model's outputs
//! back: what a component costs that does nothing itself. It is whatever its model is.

#![cfg(target_arch = "wasm32")]

use std::cell::OnceCell;

wit_bindgen::generate!({ path: "../../../wit", world: "eyot:ml/model-handler", generate_all });

use exports::eyot::ml::handler::Guest;
use eyot::ml::models::Model;
use eyot::ml::types::{Error, Signature, Tensor};

struct Through;

thread_local! {
    /// Opened once an instance.
    static MODEL: OnceCell<Model> = const { OnceCell::new() };
}

fn with_model<T>(work: impl FnOnce(&Model) -> T) -> Result<T, Error> {
    MODEL.with(|cell| {
        if cell.get().is_none() {
            let _ = cell.set(Model::open("model")?);
        }
        cell.get().map(work).ok_or_else(|| Error::Internal("the model is gone".to_owned()))
    })
}

impl Guest for Through {
    fn describe() -> Signature {
        match with_model(Model::signature) {
            Ok(signature) => signature,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn predict(inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        with_model(|model| model.infer(&inputs))?
    }
}

export!(Through);
