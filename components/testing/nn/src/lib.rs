//! wasi:nn as published, checked from inside of a guest. The model is y = x + 1 over FP32 [n, 2].

#[eyot_guest::component]
mod steps {
    use eyot_guest::{Artifact, Result};

    /// Answers `pass`, or what does not hold.
    pub fn conformance(model: Artifact) -> Result<String> {
        let bytes = model.bytes()?;
        for check in crate::checks::ALL {
            check(&bytes)?;
        }
        Ok("pass".to_owned())
    }
}

mod checks {
    use eyot_guest::bindings::wasi::nn::errors::ErrorCode;
    use eyot_guest::bindings::wasi::nn::graph::{ExecutionTarget, Graph, GraphEncoding, load, load_by_name};
    use eyot_guest::bindings::wasi::nn::tensor::{Tensor, TensorType};

    type Check = fn(&[u8]) -> Result<(), String>;

    pub const ALL: &[Check] = &[infers, repeats, keeps_tensors, refuses_inputs, refuses_models];

    fn graph(model: &[u8]) -> Result<Graph, String> {
        load(&[model.to_vec()], GraphEncoding::Onnx, ExecutionTarget::Cpu)
            .map_err(|error| format!("load: {}", error.data()))
    }

    fn tensor(dimensions: &[u32], values: &[f32]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new(dimensions, TensorType::Fp32, &data)
    }

    fn expect(what: &str, holds: bool) -> Result<(), String> {
        if holds { Ok(()) } else { Err(format!("does not hold: {what}")) }
    }

    fn infers(model: &[u8]) -> Result<(), String> {
        let context = graph(model)?.init_execution_context().map_err(|error| error.data())?;
        let outputs = context
            .compute(vec![("x".to_owned(), tensor(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))])
            .map_err(|error| error.data())?;
        let [(name, y)] = outputs.as_slice() else { return Err("there is not one output".to_owned()) };
        let values: Vec<f32> = y
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        expect("the output is named y", name == "y")?;
        expect("its dimensions are those of x", y.dimensions() == [2, 2] && y.ty() == TensorType::Fp32)?;
        expect("it is x + 1", values == [2.0, 3.0, 4.0, 5.0])
    }

    fn repeats(model: &[u8]) -> Result<(), String> {
        let context = graph(model)?.init_execution_context().map_err(|error| error.data())?;
        for rows in [1_u32, 3, 7] {
            let x = tensor(&[rows, 2], &vec![0.5; 2 * rows as usize]);
            // A number names the input at that position.
            let outputs = context.compute(vec![("0".to_owned(), x)]).map_err(|error| error.data())?;
            expect(
                "each call has its own size",
                outputs.len() == 1 && outputs[0].1.dimensions() == [rows, 2],
            )?;
        }
        Ok(())
    }

    fn keeps_tensors(_: &[u8]) -> Result<(), String> {
        for ty in [
            TensorType::Fp16,
            TensorType::Fp32,
            TensorType::Fp64,
            TensorType::Bf16,
            TensorType::U8,
            TensorType::I32,
            TensorType::I64,
        ] {
            let tensor = Tensor::new(&[0, 5], ty, &[]);
            expect("a tensor keeps type and dimensions", tensor.ty() == ty && tensor.dimensions() == [0, 5])?;
        }
        expect(
            "a tensor gives back its bytes",
            tensor(&[2], &[1.0, 2.0]).data() == [0, 0, 128, 63, 0, 0, 0, 64],
        )
    }

    fn refuses_inputs(model: &[u8]) -> Result<(), String> {
        let context = graph(model)?.init_execution_context().map_err(|error| error.data())?;
        let wrong: [(&str, Tensor); 4] = [
            ("z", tensor(&[1, 2], &[1.0, 2.0])),
            ("x", tensor(&[1, 3], &[1.0, 2.0, 3.0])),
            ("x", tensor(&[2, 2], &[1.0])),
            ("x", Tensor::new(&[1, 2], TensorType::I32, &[0; 8])),
        ];
        for (name, tensor) in wrong {
            let refused = context.compute(vec![(name.to_owned(), tensor)]);
            let code = refused.err().map(|error| error.code());
            expect("a wrong input is an invalid argument", code == Some(ErrorCode::InvalidArgument))?;
        }
        let nothing = context.compute(vec![]).err().map(|error| error.code());
        expect("a missing input is an invalid argument", nothing == Some(ErrorCode::InvalidArgument))
    }

    fn refuses_models(model: &[u8]) -> Result<(), String> {
        let code = |bytes: &[u8], encoding, target| {
            load(&[bytes.to_vec()], encoding, target).err().map(|error| error.code())
        };
        let (onnx, cpu) = (GraphEncoding::Onnx, ExecutionTarget::Cpu);
        expect(
            "garbage is an invalid argument",
            code(b"garbage", onnx, cpu) == Some(ErrorCode::InvalidArgument),
        )?;
        expect(
            "a GPU that is not there is unsupported",
            code(model, onnx, ExecutionTarget::Gpu) == Some(ErrorCode::UnsupportedOperation),
        )?;
        expect(
            "another encoding is invalid",
            code(model, GraphEncoding::Tensorflow, cpu) == Some(ErrorCode::InvalidEncoding),
        )?;
        let named = load_by_name("somebody-elses").err().map(|error| error.code());
        expect("a model that was not granted is not found", named == Some(ErrorCode::NotFound))
    }
}
