//! What a model gives is the caller's own: it stays as it is when the inputs are gone, and whatever runs
//! next. Graphs of which an output can be an input in the same place, on every back end.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use eyot_core::ErrorKind;

use crate::graphs::{Graph, Is};
use crate::suite::{back_ends, installed};
use crate::{BackendModel, DataType, InferenceBackend, ModelSettings, Tensor};
use eyot_core::config::BackendChoice;

/// More than a back end copies anyway, and more than an allocator keeps for itself.
const COLUMNS: usize = 64 << 10;

fn x() -> Graph {
    Graph::new().input("x", DataType::F32, "n 65536")
}

fn y(graph: Graph) -> Graph {
    graph.output("y", DataType::F32, "n ?")
}

fn numbers(values: &[i64]) -> Tensor {
    Tensor::of(vec![values.len()], values).unwrap()
}

fn truth() -> Tensor {
    Tensor::new(DataType::Bool, vec![], vec![1]).unwrap()
}

fn branch(op: &str) -> Is {
    Is::Graph(Box::new(Graph::new().node(op, "x", "inside").output("inside", DataType::F32, "n 65536")))
}

/// Each gives back the numbers that it was given, in every output.
fn graphs() -> Vec<(&'static str, Graph)> {
    let unchanged = Graph::new()
        .input("turn", DataType::I64, "")
        .input("going", DataType::Bool, "")
        .input("before", DataType::F32, "n 65536")
        .node("Identity", "going", "on")
        .node("Identity", "before", "after")
        .output("on", DataType::Bool, "")
        .output("after", DataType::F32, "n 65536");
    let looped = |turns: i64| {
        let turns = Tensor::of(vec![], &[turns]).unwrap();
        let graph = x().weight("turns", &turns).weight("true", &truth());
        y(graph.with("Loop", "turns true x", "y", &[("body", Is::Graph(Box::new(unchanged.clone())))]))
    };
    let by_shape = |op: &str, shape: &[i64]| y(x().weight("s", &numbers(shape)).node(op, "x s", "y"));
    let two = x().node("Identity", "x", "y").output("x", DataType::F32, "n 65536");
    vec![
        ("pass-through", x().output("x", DataType::F32, "n 65536")),
        ("pass-through beside a sum", {
            let zero = Tensor::of(vec![1], &[0_f32]).unwrap();
            y(x().weight("zero", &zero).node("Add", "x zero", "y")).output("x", DataType::F32, "n 65536")
        }),
        ("twice", two.output("y", DataType::F32, "n 65536")),
        ("identity", y(x().node("Identity", "x", "y"))),
        ("identities", y(x().node("Identity", "x", "a").node("Identity", "a", "y"))),
        ("reshape", by_shape("Reshape", &[-1, 256])),
        ("flatten", y(x().with("Flatten", "x", "y", &[("axis", Is::Int(1))]))),
        ("there and back", {
            let graph = x().weight("s", &numbers(&[1])).node("Unsqueeze", "x s", "a");
            y(graph.node("Squeeze", "a s", "y"))
        }),
        ("cast", y(x().with("Cast", "x", "y", &[("to", Is::Int(1))]))),
        ("dropout", y(x().node("Dropout", "x", "y"))),
        ("expand", by_shape("Expand", &[1, 1])),
        ("slice", {
            let graph = x().weight("from", &numbers(&[0])).weight("to", &numbers(&[i64::MAX]));
            y(graph.weight("axis", &numbers(&[1])).node("Slice", "x from to axis", "y"))
        }),
        ("concat of one", y(x().with("Concat", "x", "y", &[("axis", Is::Int(0))]))),
        ("split in one", y(x().with("Split", "x", "y", &[("axis", Is::Int(0))]))),
        ("sum of one", y(x().node("Sum", "x", "y"))),
        ("if", {
            let branches = [("then_branch", branch("Identity")), ("else_branch", branch("Neg"))];
            y(x().weight("true", &truth()).with("If", "true", "y", &branches))
        }),
        ("loop of no turn", looped(0)),
        ("loop", looped(3)),
        ("sequence", {
            let graph = x().weight("first", &Tensor::of(vec![], &[0_i64]).unwrap());
            y(graph.node("SequenceConstruct", "x", "all").node("SequenceAt", "all first", "y"))
        }),
        ("optional", y(x().node("Optional", "x", "maybe").node("OptionalGetElement", "maybe", "y"))),
    ]
}

fn given(client: usize, round: usize) -> Tensor {
    let values: Vec<f32> =
        (0..COLUMNS).map(|at| (client * 1000 + round) as f32 + at as f32 / 65536.0).collect();
    Tensor::of(vec![1, COLUMNS], &values).unwrap()
}

/// One client of a model: looks at each answer once its question is gone and the next was asked.
fn ask(model: &dyn BackendModel, client: usize, name: &str) {
    let mut last: Option<(usize, Vec<Tensor>)> = None;
    for round in 0..12 {
        let question = given(client, round);
        let answer =
            model.run(std::slice::from_ref(&question)).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        drop(question);
        // Where the question lay, something else lies now.
        black_box((0..4).map(|byte| vec![byte; 4 * COLUMNS]).collect::<Vec<Vec<u8>>>());
        for (round, answer) in last.replace((round, answer)).into_iter().chain(last.clone()) {
            for output in answer {
                let first = output.to_vec::<f32>().map(|all| all[0]);
                let right = output.bytes() == given(client, round).bytes();
                assert!(right, "{name}: client {client} got {first:?} in round {round}");
            }
        }
    }
}

fn on(backend: &dyn InferenceBackend, refused: &[&str]) {
    for (name, graph) in graphs() {
        let model: Arc<dyn BackendModel> = match backend.load(&graph.bytes(), ModelSettings::default()) {
            Ok(model) => model.into(),
            Err(error) => {
                assert!(refused.contains(&name), "{} does not take '{name}': {error:?}", backend.name());
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error:?}");
                continue;
            }
        };
        std::thread::scope(|scope| {
            for client in 0..2 {
                let model = &model;
                scope.spawn(move || ask(&**model, client, name));
            }
        });
    }
}

#[test]
fn an_answer_is_no_place_in_the_question() {
    for backend in back_ends() {
        let tract = backend.name() == "tract";
        let unknown = ["loop of no turn", "loop", "sequence", "optional", "if"];
        on(&*backend, if tract { &unknown } else { &[] });
    }
}

/// Where nothing is left but to hand an input on, it is refused: the library looks for the output where another
/// request's input lies.
#[test]
fn nor_is_it_on_openvino() {
    if let Some(backend) = installed(BackendChoice::Openvino) {
        let all: Vec<&str> = graphs().iter().map(|(name, _)| *name).collect();
        on(&*backend, &all);
        let passed = backend.load(&graphs()[0].1.bytes(), ModelSettings::default()).err().unwrap();
        assert!(passed.chain().contains("output 'x' is an input as it is"), "{passed:?}");
    }
}
