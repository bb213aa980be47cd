//! A program of preview 1 on the crate wasi-nn, which checks its host from inside: it ends with 0, or says what
//! does not hold. `/in/model` is a model `y = x + 1` over `[n, 2]`.

#[cfg(target_family = "wasm")]
mod checks {
    use wasi_nn::{ExecutionTarget, Graph, GraphBuilder, GraphEncoding, GraphExecutionContext, TensorType};

    type Outcome<T = ()> = Result<T, String>;

    const MODEL: &str = "/in/model";

    pub(crate) fn run() -> Outcome {
        let graph = onnx().build_from_files([MODEL]).map_err(|error| format!("loading {MODEL}: {error}"))?;
        answers(&graph)?;
        stays_set(&graph)?;
        contexts_are_apart(&graph)?;
        memory_is_used_again(&graph)?;
        refuses(&graph)
    }

    fn onnx() -> GraphBuilder {
        GraphBuilder::new(GraphEncoding::Onnx, ExecutionTarget::CPU)
    }

    fn context(graph: &Graph) -> Outcome<GraphExecutionContext<'_>> {
        graph.init_execution_context().map_err(|error| format!("a context: {error}"))
    }

    fn set(context: &mut GraphExecutionContext<'_>, values: &[f32]) -> Outcome {
        context
            .set_input(0, TensorType::F32, &[values.len() / 2, 2], values)
            .map_err(|error| error.to_string())
    }

    /// Computes, and compares the output.
    fn expect(what: &str, context: &mut GraphExecutionContext<'_>, expected: &[f32]) -> Outcome {
        context.compute().map_err(|error| format!("{what}: {error}"))?;
        let mut found = vec![0_f32; expected.len() + 3];
        let bytes = context.get_output(0, &mut found).map_err(|error| format!("{what}: {error}"))?;
        let whole = bytes == size_of_val(expected) && found[..expected.len()] == *expected;
        // What lies behind the output in the program's buffer is the program's.
        let behind = found[expected.len()..].iter().all(|value| *value == 0.0);
        if whole && behind {
            Ok(())
        } else {
            Err(format!("{what}: {bytes} bytes, {found:?} for {expected:?}"))
        }
    }

    fn answers(graph: &Graph) -> Outcome {
        let mut context = context(graph)?;
        for rows in [1, 3, 2] {
            let values: Vec<f32> = (0..2 * rows).map(|value| value as f32).collect();
            set(&mut context, &values)?;
            let expected: Vec<f32> = values.iter().map(|value| value + 1.0).collect();
            expect(&format!("{rows} rows"), &mut context, &expected)?;
        }
        Ok(())
    }

    fn stays_set(graph: &Graph) -> Outcome {
        let mut context = context(graph)?;
        let mut values = vec![41.0, 1.5];
        set(&mut context, &values)?;
        // The tensor was handed over: what becomes of the program's own memory is nothing to it.
        values.fill(7.0);
        expect("an input once set", &mut context, &[42.0, 2.5])?;
        expect("the same input again", &mut context, &[42.0, 2.5])
    }

    fn contexts_are_apart(graph: &Graph) -> Outcome {
        let (mut one, mut two) = (context(graph)?, context(graph)?);
        set(&mut one, &[1.0, 2.0])?;
        set(&mut two, &[3.0, 4.0, 5.0, 6.0])?;
        expect("one of two contexts", &mut one, &[2.0, 3.0])?;
        expect("the other context", &mut two, &[4.0, 5.0, 6.0, 7.0])?;
        expect("the first context again", &mut one, &[2.0, 3.0])
    }

    fn memory_is_used_again(graph: &Graph) -> Outcome {
        let mut context = context(graph)?;
        let values = vec![1.0_f32; 100_000];
        let expected = vec![2.0_f32; values.len()];
        let mut pages = 0;
        for round in 0..20 {
            set(&mut context, &values)?;
            expect("a large input", &mut context, &expected)?;
            let now = core::arch::wasm32::memory_size::<0>();
            if round == 3 {
                pages = now;
            }
            if round > 3 && now != pages {
                return Err(format!("memory grows from {pages} pages to {now} by round {round}"));
            }
        }
        Ok(())
    }

    fn refuses(graph: &Graph) -> Outcome {
        let mut small = [0_f32; 1];
        let mut context = context(graph)?;
        let early = context.get_output(0, &mut small);
        set(&mut context, &[1.0, 2.0])?;
        context.compute().map_err(|error| error.to_string())?;
        let (short, beyond) = (context.get_output(0, &mut small), context.get_output(7, &mut small));
        let none = context.get_output::<f32>(0, &mut []);
        context.set_input(0, TensorType::I32, &[1, 2], [1, 2]).map_err(|error| error.to_string())?;
        let other_type = context.compute();
        context.set_input(0, TensorType::F32, &[3, 2], [1.0_f32]).map_err(|error| error.to_string())?;
        let other_length = context.compute();
        let openvino = GraphBuilder::new(GraphEncoding::Openvino, ExecutionTarget::CPU);
        for (what, refused, says) in [
            ("an output before there is one", early.err(), "invalid argument"),
            ("a buffer that is too small", short.err(), "Too Large"),
            ("no buffer", none.err(), "Too Large"),
            ("an output that there is not", beyond.err(), "invalid argument"),
            ("a tensor of another type", other_type.err(), "invalid argument"),
            ("fewer bytes than the shape says", other_length.err(), "invalid argument"),
            ("a name that was not granted", onnx().build_from_cache("none").err(), "Not Found"),
            ("bytes that are no model", onnx().build_from_bytes([b"no model"]).err(), "invalid argument"),
            ("no bytes", onnx().build_from_bytes([b""; 0]).err(), "invalid argument"),
            ("another encoding", openvino.build_from_bytes([b"<xml/>"]).err(), "Invalid Encoding"),
        ] {
            let said = refused.map(|error| error.to_string());
            if !said.as_ref().is_some_and(|said| said.contains(says)) {
                return Err(format!("{what}: {said:?} for {says}"));
            }
        }
        // A context that refused is as good as before.
        set(&mut context, &[1.0, 2.0])?;
        expect("after all that", &mut context, &[2.0, 3.0])
    }
}

#[cfg(target_family = "wasm")]
fn main() -> std::process::ExitCode {
    match checks::run() {
        Ok(()) => std::fs::write("/out/outcome", "pass\n")
            .map_or(std::process::ExitCode::FAILURE, |()| std::process::ExitCode::SUCCESS),
        Err(why) => {
            eprintln!("{why}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_family = "wasm"))]
fn main() {}
