//! Graphs by chance, always the same: whenever the walk says that rows are independent, calls joined give on
//! real back ends what each gives alone.

use std::collections::HashSet;

use super::{Arc, DataType, Graph, Is, Tensor, floats, number, numbers, prove};
use crate::backends::TractBackend;
use crate::example::{ExampleGenerator, ExampleKind};
use crate::suite::installed;
use crate::{BackendModel, InferenceBackend, ModelSettings, batch};
use eyot_core::config::BackendChoice;

const GRAPH_COUNT: usize = 400;
const NODE_COUNT: usize = 6;

/// The next of a sequence of numbers, always the same ones.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// One more node, whose output is of that name and of fractions. Many of them fit nothing.
fn grown(graph: Graph, dice: &mut Dice, values: &[String], out: &str) -> Graph {
    let value = |dice: &mut Dice| values[dice.below(values.len())].clone();
    let (a, b) = (value(dice), value(dice));
    let named = |what: &str| format!("{out}-{what}");
    let axis = dice.one(&[0_i64, 1, -1, 2, -2]);
    let (listed, at) = (numbers(&[axis]), [("axis", Is::Int(axis))]);
    let kept = [("axes", Is::Ints(vec![axis])), ("keepdims", Is::Int(dice.below(2) as i64))];
    let cast = |graph: Graph, from: &str| graph.with("Cast", from, out, &[("to", Is::Int(1))]);
    match dice.below(28) {
        0 => graph.node(dice.one(&["Neg", "Abs", "Relu", "Sigmoid", "Identity", "Tanh"]), &a, out),
        1..=3 => graph.node(dice.one(&["Add", "Mul", "Sub", "Max", "Min", "Mean"]), &format!("{a} {b}"), out),
        4 | 5 => {
            let shape = dice.one(&[&[][..], &[4], &[1, 4], &[2, 4], &[3, 1, 4], &[4, 1], &[1], &[3, 1]]);
            let w = named("w");
            graph.weight(&w, &floats(shape)).node(dice.one(&["Add", "Mul", "Sub"]), &format!("{a} {w}"), out)
        }
        6 | 7 => {
            let w = named("w");
            let graph =
                graph.weight(&w, &floats(dice.one(&[&[4, 4][..], &[4, 3], &[2, 4, 4], &[4], &[3, 4]])));
            let inputs = if dice.below(4) == 0 { format!("{w} {a}") } else { format!("{a} {w}") };
            graph.node("MatMul", &inputs, out)
        }
        8 => graph.node("MatMul", &format!("{a} {b}"), out),
        9 | 10 => graph.with(dice.one(&["ReduceMax", "ReduceMean", "ReduceMin", "ReduceL2"]), &a, out, &kept),
        11 => graph.with(dice.one(&["Softmax", "LogSoftmax", "LpNormalization"]), &a, out, &at),
        12 => cast(graph.with(dice.one(&["ArgMax", "ArgMin"]), &a, &named("i"), &at), &named("i")),
        13 => graph.weight(&named("i"), &number(axis)).node("CumSum", &format!("{a} {}", named("i")), out),
        14 => {
            let order = dice.one(&[&[1_i64, 0][..], &[0, 2, 1], &[1, 0, 2], &[2, 0, 1]]);
            graph.with("Transpose", &a, out, &[("perm", Is::Ints(order.to_vec()))])
        }
        15 | 16 => {
            let sizes: &[&[i64]] = &[
                &[-1, 4],
                &[0, -1],
                &[-1, 2, 2],
                &[2, -1],
                &[-1],
                &[1, -1, 4],
                &[0, 2, -1],
                &[-1, 1],
                &[-1, 8],
                &[-1, 2],
                &[4, -1],
            ];
            graph.weight(&named("s"), &numbers(dice.one(sizes))).node(
                "Reshape",
                &format!("{a} {}", named("s")),
                out,
            )
        }
        17 => graph.with("Concat", &format!("{a} {b}"), out, &at),
        18 => {
            let places = dice.one(&[&[0_i64][..], &[1, 0], &[0, 0, 1], &[-1]]);
            graph.weight(&named("p"), &numbers(places)).with(
                "Gather",
                &format!("{a} {}", named("p")),
                out,
                &at,
            )
        }
        19 => {
            let (from, to) = dice.one(&[(0_i64, i64::MAX), (0, 2), (1, i64::MAX), (-1, i64::MAX), (0, -1)]);
            let graph = graph.weight(&named("f"), &numbers(&[from])).weight(&named("t"), &numbers(&[to]));
            let inputs = format!("{a} {} {} {}", named("f"), named("t"), named("a"));
            graph.weight(&named("a"), &listed).node("Slice", &inputs, out)
        }
        20 => {
            let op = dice.one(&["Unsqueeze", "Squeeze"]);
            graph.weight(&named("a"), &listed).node(op, &format!("{a} {}", named("a")), out)
        }
        21 => counted(graph, dice, (&a, &b), out),
        22 => graph.node("Greater", &format!("{a} {b}"), &named("c")).node(
            "Where",
            &format!("{} {a} {b}", named("c")),
            out,
        ),
        23..=26 => further(graph, dice, (&a, &b), axis, out),
        _ => {
            let op = dice.one(&["Tile", "Expand"]);
            let times = dice.one(&[&[1_i64, 2][..], &[2, 1], &[1, 1, 2], &[2, 1, 1], &[1, 1]]);
            graph.weight(&named("n"), &numbers(times)).node(op, &format!("{a} {}", named("n")), out)
        }
    }
}

/// What networks are made of.
fn further(graph: Graph, dice: &mut Dice, (a, b): (&str, &str), axis: i64, out: &str) -> Graph {
    let named = |what: &str| format!("{out}-{what}");
    let (w, at) = (named("w"), [("axis", Is::Int(axis))]);
    let cast = |graph: Graph, from: &str| graph.with("Cast", from, out, &[("to", Is::Int(1))]);
    match dice.below(16) {
        0 => {
            let sizes = dice.one(&[&[3, 2, 1][..], &[4, 2, 2], &[2, 4, 1], &[2, 1, 1]]);
            graph.weight(&w, &floats(sizes)).node("Conv", &format!("{a} {w}"), out)
        }
        1 => {
            graph.with(dice.one(&["MaxPool", "AveragePool"]), a, out, &[("kernel_shape", Is::Ints(vec![2]))])
        }
        2 => graph.node(dice.one(&["GlobalAveragePool", "GlobalMaxPool"]), a, out),
        3 => graph.weight(&w, &floats(dice.one(&[&[4][..], &[2]]))).with(
            "LayerNormalization",
            &format!("{a} {w}"),
            out,
            &at,
        ),
        4 => {
            let graph = graph.weight(&w, &floats(&[2]));
            graph.node("InstanceNormalization", &format!("{a} {w} {w}"), out)
        }
        5 => {
            let count = dice.one(&[4_usize, 2]);
            let ones = Tensor::of(vec![count], &vec![0.5_f32; count]).unwrap();
            graph.weight(&w, &ones).node("BatchNormalization", &format!("{a} {w} {w} {w} {w}"), out)
        }
        6 => graph.with("Flatten", a, out, &at),
        7 => {
            let turned =
                [("transA", Is::Int(dice.below(2) as i64)), ("transB", Is::Int(dice.below(2) as i64))];
            let other = if dice.below(3) == 0 { b.to_owned() } else { w.clone() };
            let graph = graph.weight(&w, &floats(&[4, 4]));
            graph.with("Gemm", &format!("{a} {other}"), out, &turned)
        }
        8 => {
            let (k, i) = (named("k"), named("i"));
            graph.weight(&k, &numbers(&[1])).with("TopK", &format!("{a} {k}"), &format!("{out} {i}"), &at)
        }
        9 => {
            let i = named("i");
            let places = graph.with("ArgMax", a, &i, &[("axis", Is::Int(axis)), ("keepdims", Is::Int(1))]);
            places.with("GatherElements", &format!("{b} {i}"), out, &at)
        }
        10 => {
            let (i, table) = (named("i"), floats(&[4, 3]));
            let graph = graph.with("ArgMin", a, &i, &[("axis", Is::Int(axis)), ("keepdims", Is::Int(0))]);
            graph.weight(&w, &table).node("Gather", &format!("{w} {i}"), out)
        }
        11 => {
            let pads = dice.one(&[&[0_i64, 1, 0, 0][..], &[1, 0, 0, 0], &[0, 0, 1, 0, 0, 0]]);
            graph.weight(&w, &numbers(pads)).node("Pad", &format!("{a} {w}"), out)
        }
        12 => graph.with("Split", a, &format!("{out} {}", named("rest")), &at),
        13 => {
            let (i, depth) = (named("i"), named("d"));
            let graph = graph.with("ArgMax", a, &i, &[("axis", Is::Int(axis)), ("keepdims", Is::Int(0))]);
            let values = Tensor::of(vec![2], &[0_f32, 1.]).unwrap();
            let graph = graph.weight(&depth, &number(4)).weight(&w, &values);
            graph.with("OneHot", &format!("{i} {depth} {w}"), out, &at)
        }
        14 => {
            let equation = dice.one(&["ij,jk->ik", "ij,ij->i", "ij,kj->ik", "ij->ji", "ij,jk->k", "ij->j"]);
            let other = if dice.below(2) == 0 { b.to_owned() } else { w.clone() };
            let inputs = if equation.contains(',') { format!("{a} {other}") } else { a.to_owned() };
            graph.weight(&w, &floats(&[4, 4])).with(
                "Einsum",
                &inputs,
                out,
                &[("equation", Is::Text(equation))],
            )
        }
        _ => cast(graph.node("NonZero", a, &named("z")), &named("z")),
    }
}

/// With the sizes of a value.
fn counted(graph: Graph, dice: &mut Dice, (a, b): (&str, &str), out: &str) -> Graph {
    let named = |what: &str| format!("{out}-{what}");
    let graph = graph.node("Shape", a, &named("s")).weight(&named("f"), &numbers(&[0]));
    let graph = graph.node("Gather", &format!("{} {}", named("s"), named("f")), &named("n"));
    match dice.below(5) {
        0 => graph.node("Reshape", &format!("{b} {}", named("s")), out),
        1 => graph.node("Expand", &format!("{b} {}", named("s")), out),
        2 => {
            let graph = graph.weight(&named("r"), &numbers(&[-1]));
            let list = format!("{} {}", named("n"), named("r"));
            let graph = graph.with("Concat", &list, &named("t"), &[("axis", Is::Int(0))]);
            graph.node("Reshape", &format!("{b} {}", named("t")), out)
        }
        3 => {
            let graph = graph.with("Cast", &named("n"), &named("c"), &[("to", Is::Int(1))]);
            graph.node("Div", &format!("{b} {}", named("c")), out)
        }
        _ => graph.node("ConstantOfShape", &named("s"), &named("z")).node(
            "Add",
            &format!("{b} {}", named("z")),
            out,
        ),
    }
}

fn start() -> Graph {
    Graph::new().input("x", DataType::F32, "n 4").input("z", DataType::F32, "n 2 2")
}

fn example(examples: &mut ExampleGenerator, rows: usize, kind: ExampleKind) -> Vec<Tensor> {
    let mut all = Vec::new();
    let signature = crate::onnx::signature(&start().output("x", DataType::F32, "n 4").model()).unwrap();
    all.extend(examples.inputs(&signature, rows, 1, kind).unwrap());
    all
}

/// A graph of nodes that fit each other, found by running it; and a model of it.
fn generated(backend: &dyn InferenceBackend, dice: &mut Dice) -> Option<(Graph, Box<dyn BackendModel>)> {
    let question = example(&mut ExampleGenerator::new(3), 3, ExampleKind::Plain);
    let (mut graph, mut found) = (start(), None);
    let mut values = vec!["x".to_owned(), "z".to_owned()];
    for attempt in 0..4 * NODE_COUNT {
        let out = format!("v{attempt}");
        let candidate = grown(graph.clone(), dice, &values, &out);
        let whole = alone(candidate.clone().output(&out, DataType::F32, "-"));
        let Ok(model) = backend.load(&whole.bytes(), ModelSettings::default()) else { continue };
        if model.run(&question).is_err() {
            continue;
        }
        // Later ones are made of the latest rather than of the first.
        values.extend([out.clone(), out]);
        graph = candidate;
        found = Some((whole, model));
        if values.len() > 2 * NODE_COUNT {
            break;
        }
    }
    found
}

/// Without nodes that the outputs do not need, which run too, and may fail.
fn alone(mut graph: Graph) -> Graph {
    let mut needed: HashSet<String> = graph.proto.output.iter().map(|output| output.name.clone()).collect();
    let mut nodes = std::mem::take(&mut graph.proto.node);
    nodes.reverse();
    nodes.retain(|node| {
        let is_needed = node.output.iter().any(|name| needed.contains(name));
        if is_needed {
            needed.extend(node.input.iter().cloned());
        }
        is_needed
    });
    nodes.reverse();
    graph.proto.node = nodes;
    graph
}

/// Whether calls joined give what each gives alone; `None` where one of them does not run.
fn batched_as_alone(model: &dyn BackendModel, one: &[Tensor], other: &[Tensor]) -> Option<bool> {
    let alone = [model.run(one).ok()?, model.run(other).ok()?];
    let Ok(joined) = model.run(&batch::join(&[one, other]).unwrap()) else { return Some(false) };
    let rows = [batch::rows(one).unwrap(), batch::rows(other).unwrap()];
    let Some(parts) = batch::split(&joined, &rows) else { return Some(false) };
    Some(parts.iter().zip(&alone).all(|(part, alone)| batch::same(part, alone)))
}

/// Every pair of calls on which both run by themselves.
fn tried(model: &dyn BackendModel) -> Vec<bool> {
    let mut examples = ExampleGenerator::new(11);
    let mut all = Vec::new();
    for (one, other) in [(1, 1), (1, 2), (3, 1), (2, 4), (1, 7)] {
        for kind in [ExampleKind::Plain, ExampleKind::Wide] {
            let (one, other) =
                (example(&mut examples, one, kind), example(&mut examples, other, ExampleKind::Plain));
            all.extend(batched_as_alone(model, &one, &other));
            all.extend(batched_as_alone(model, &other, &one));
            all.extend(batched_as_alone(model, &one, &one));
        }
    }
    all
}

#[test]
fn what_is_proved_holds_on_real_back_ends() {
    let Some(backend) = installed(BackendChoice::Onnxruntime) else { return };
    let mut dice = Dice(14);
    let (mut proved, mut dependent, mut on_tract) = (0, 0, 0);
    for number in 0..GRAPH_COUNT {
        let Some((graph, model)) = generated(&*backend, &mut dice) else { continue };
        let ops: Vec<_> = graph.proto.node.iter().map(|node| node.op_type.as_str()).collect();
        let proof = prove(&graph);
        let held = tried(&*model);
        if proof.is_err() {
            dependent += usize::from(held.contains(&false));
            continue;
        }
        assert!(!held.contains(&false), "graph {number} {ops:?} {:?}", graph.proto.node);
        proved += usize::from(!held.is_empty());
        let tract: Arc<dyn InferenceBackend> = Arc::new(TractBackend);
        if let Ok(model) = tract.load(&graph.bytes(), ModelSettings::default()) {
            let held = tried(&*model);
            assert!(!held.contains(&false), "tract: graph {number} {ops:?} {:?}", graph.proto.node);
            on_tract += usize::from(!held.is_empty());
        }
    }
    // Else it would show nothing.
    assert!(
        proved > 60 && dependent > 60 && on_tract > 30,
        "{proved} proved, {dependent} dependent, {on_tract} on tract"
    );
}
