//! Graphs by name, and whether their calls may be joined.

#![allow(clippy::unwrap_used)]

mod generated;
mod networks;

use std::sync::Arc;

use crate::graphs::{Graph, Is};
use crate::suite::fixture;
use crate::{DataType, Tensor, onnx};

fn prove(graph: &Graph) -> Result<(), String> {
    super::prove(&graph.model())
}

/// `x` of rows with four columns.
fn x() -> Graph {
    Graph::new().input("x", DataType::F32, "n 4")
}

fn floats(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|at| at as f32 / 8.0 - 1.0).collect();
    Tensor::of(shape.to_vec(), &values).unwrap()
}

fn numbers(values: &[i64]) -> Tensor {
    Tensor::of(vec![values.len()], values).unwrap()
}

fn number(value: i64) -> Tensor {
    Tensor::of(vec![], &[value]).unwrap()
}

fn y(graph: Graph) -> Graph {
    graph.output("y", DataType::F32, "n ?")
}

fn axis(axis: i64) -> [(&'static str, Is); 1] {
    [("axis", Is::Int(axis))]
}

/// The whole of the issue: a picture is scaled if any number of the batch is above one.
fn scaled_if_any_is_large() -> Graph {
    let one = Tensor::of(vec![], &[1_f32]).unwrap();
    let by = Tensor::of(vec![], &[255_f32]).unwrap();
    let graph = x().weight("one", &one).weight("by", &by);
    let graph = graph.with("ReduceMax", "x", "most", &[("keepdims", Is::Int(0))]);
    let graph = graph.node("Greater", "most one", "large").node("Div", "x by", "small");
    y(graph.node("Where", "large small x", "y"))
}

#[test]
fn graphs_of_rows_are_joined() {
    for (name, graph) in joined() {
        assert_eq!(prove(&graph), Ok(()), "{name}");
    }
}

fn joined() -> Vec<(&'static str, Graph)> {
    let w = |graph: Graph| graph.weight("w", &floats(&[4, 3])).weight("b", &floats(&[3]));
    let shaped = |graph: Graph| {
        let graph =
            graph.weight("first", &number(0)).weight("four", &numbers(&[4])).weight("axes", &numbers(&[0]));
        let graph = graph.node("Shape", "x", "shape").node("Gather", "shape first", "count");
        graph.node("Unsqueeze", "count axes", "counts").with("Concat", "counts four", "sizes", &axis(0))
    };
    vec![
        ("nothing", y(x().node("Identity", "x", "y"))),
        ("dense", y(w(x()).node("MatMul", "x w", "a").node("Add", "a b", "c").node("Relu", "c", "y"))),
        ("gemm", y(w(x()).node("Gemm", "x w b", "a").with("Softmax", "a", "y", &axis(1)))),
        ("softmax of old", y(x().opset(11).node("Softmax", "x", "y"))),
        ("argmax", y(x().with("ArgMax", "x", "a", &axis(1)).with("Cast", "a", "y", &[("to", Is::Int(1))]))),
        ("mask", {
            let graph = x().weight("no", &floats(&[1])).node("IsNaN", "x", "gone");
            y(graph.node("Where", "gone no x", "y"))
        }),
        ("sum of each row", {
            let graph = x().weight("axes", &numbers(&[1]));
            y(graph.node("ReduceSum", "x axes", "a").node("Div", "x a", "y"))
        }),
        (
            "reshape",
            y(x().weight("s", &numbers(&[-1, 2, 2])).node("Reshape", "x s", "a").node("Flatten", "a", "y")),
        ),
        ("reshape by shape", y(shaped(x()).node("Reshape", "x sizes", "y"))),
        ("expanded to the rows", {
            let graph = shaped(x()).weight("token", &floats(&[1, 4])).node("Expand", "token sizes", "a");
            y(graph.with("Concat", "a x", "y", &axis(1)))
        }),
        ("zeros for each row", {
            y(shaped(x()).node("ConstantOfShape", "sizes", "a").node("Add", "a x", "y"))
        }),
        ("there and back", {
            let graph = x().weight("w", &floats(&[3, 4])).node("Transpose", "x", "a");
            y(graph.node("MatMul", "w a", "b").node("Transpose", "b", "y"))
        }),
        ("columns", {
            let graph = x().weight("c", &numbers(&[0, 3]));
            y(graph.with("Gather", "x c", "a", &axis(1)).with("Split", "a", "y z", &axis(1)))
        }),
        ("a slice of all", {
            let graph = x().weight("from", &numbers(&[0, 1])).weight("to", &numbers(&[i64::MAX, 3]));
            y(graph.node("Slice", "x from to", "y"))
        }),
        ("what nobody wants", y(x().node("ReduceMax", "x", "most").node("Neg", "x", "y"))),
        ("dropout that does not train", y(x().node("Dropout", "x", "y"))),
        ("einsum", {
            let equation = [("equation", Is::Text("ij,jk->ik"))];
            y(x().weight("w", &floats(&[4, 3])).with("Einsum", "x w", "y", &equation))
        }),
        ("functions of the file", {
            let body = Graph::new().node("Neg", "a", "b").node("Relu", "b", "c");
            y(x().function("negative", &["a"], &["c"], &body).node("own:negative", "x", "y"))
        }),
        ("looked up", {
            let graph = Graph::new().input("x", DataType::I64, "n s").weight("table", &floats(&[9, 4]));
            let graph = graph.weight("axes", &numbers(&[1])).node("Gather", "table x", "a");
            y(graph.with("ReduceMean", "a", "y", &[("axes", Is::Ints(vec![1])), ("keepdims", Is::Int(0))]))
        }),
    ]
}

#[test]
fn what_is_no_matter_of_rows_is_not_joined_and_the_node_is_named() {
    for (name, graph, why) in apart() {
        let error = prove(&graph).expect_err(name);
        assert!(error.contains(why), "{name}: {error}");
    }
    let error = prove(&scaled_if_any_is_large()).unwrap_err();
    assert_eq!(error, "node 'node-0' (ReduceMax): it computes across rows");
}

fn apart() -> Vec<(&'static str, Graph, &'static str)> {
    [across(), shapes(), outside()].into_iter().flatten().collect()
}

/// Something is computed of several rows.
fn across() -> Vec<(&'static str, Graph, &'static str)> {
    let over = |op: &str, axis: i64| y(x().with(op, "x", "y", &[("axis", Is::Int(axis))]));
    vec![
        ("softmax", over("Softmax", 0), "(Softmax): it computes across rows"),
        ("softmax of old", over("Softmax", 0).opset(11), "(Softmax)"),
        ("softmax from behind", over("Softmax", -2), "(Softmax)"),
        ("normalized", over("LpNormalization", 0), "(LpNormalization)"),
        (
            "best of all",
            y(x().node("ArgMax", "x", "a").with("Cast", "a", "y", &[("to", Is::Int(1))])),
            "(ArgMax)",
        ),
        ("running sum", y(x().weight("a", &number(0)).node("CumSum", "x a", "y")), "(CumSum)"),
        (
            "batch norm that trains",
            {
                let one = |graph: Graph, name: &str| graph.weight(name, &floats(&[4]));
                let graph = one(one(one(one(x(), "s"), "b"), "m"), "v");
                y(graph.with("BatchNormalization", "x s b m v", "y m2 v2", &[("training_mode", Is::Int(1))]))
            },
            "told to train",
        ),
        (
            "each row with all",
            {
                let graph =
                    x().node("Transpose", "x", "t").node("MatMul", "x t", "a").weight("s", &numbers(&[1]));
                y(graph.node("ReduceMax", "a s", "y"))
            },
            "each row meets all the others",
        ),
        ("summed over rows", y(x().weight("w", &floats(&[3, 2])).node("MatMul", "w x", "y")), "across rows"),
        (
            "rows against columns",
            {
                let graph = Graph::new().input("x", DataType::F32, "n ?").node("Transpose", "x", "t");
                y(graph.node("Add", "x t", "y"))
            },
            "another axis",
        ),
        ("a weight each", y(x().weight("w", &floats(&[3, 4])).node("Add", "x w", "y")), "one each"),
        (
            "quantized by what is there",
            {
                let graph = x().node("DynamicQuantizeLinear", "x", "q s z");
                y(graph.node("DequantizeLinear", "q s z", "y"))
            },
            "(DynamicQuantizeLinear): what it does to rows is not known",
        ),
        (
            "the count of rows",
            {
                let graph = x().weight("f", &number(0)).node("Shape", "x", "s").node("Gather", "s f", "c");
                y(graph.with("Cast", "c", "n", &[("to", Is::Int(1))]).node("Div", "x n", "y"))
            },
            "computes with the number of rows",
        ),
        (
            "the size",
            {
                y(x()
                    .node("Size", "x", "s")
                    .with("Cast", "s", "n", &[("to", Is::Int(1))])
                    .node("Mul", "x n", "y"))
            },
            "computes with the number of rows",
        ),
        (
            "numbers of rows",
            {
                let graph = x().weight("f", &number(0)).weight("one", &number(1)).node("Shape", "x", "s");
                let graph = graph
                    .node("Gather", "s f", "c")
                    .node("Range", "f c one", "r")
                    .weight("a", &numbers(&[1]));
                y(graph.with("Cast", "r", "q", &[("to", Is::Int(1))]).node("Unsqueeze", "q a", "y"))
            },
            "(Range)",
        ),
        (
            "only the first so many columns",
            {
                let graph =
                    x().node("Shape", "x", "s").weight("from", &numbers(&[0])).weight("a", &numbers(&[1]));
                let graph = graph.weight("f", &numbers(&[0])).node("Gather", "s f", "c");
                y(graph.node("Slice", "x from c a", "y"))
            },
            "computes with the number of rows",
        ),
    ]
}

/// Rows are moved among each other, or lost.
fn shapes() -> Vec<(&'static str, Graph, &'static str)> {
    let by = |op: &str, values: &[i64]| y(x().weight("s", &numbers(values)).node(op, "x s", "y"));
    let ends = |from: i64, to: i64, step: i64| {
        let graph =
            x().weight("from", &numbers(&[from])).weight("to", &numbers(&[to])).weight("a", &numbers(&[0]));
        y(graph.weight("by", &numbers(&[step])).node("Slice", "x from to a by", "y"))
    };
    let folded = |sizes: &[i64]| by("Reshape", sizes);
    vec![
        ("pairs of rows", folded(&[-1, 8]), "sizes that it makes are not known"),
        ("rows last", folded(&[4, -1]), "it folds rows"),
        ("all in one", folded(&[-1]), "has not one row for each row"),
        ("turned", y(x().node("Transpose", "x", "y")), "has not one row for each row"),
        ("gone", y(x().node("Squeeze", "x", "y")), "depends on sizes"),
        ("reversed", ends(-1, i64::MIN, -1), "picks some of the rows"),
        ("the last", ends(-1, i64::MAX, 1), "picks some of the rows"),
        ("some", ends(0, 2, 1), "picks some of the rows"),
        ("every second", ends(0, i64::MAX, 2), "picks some of the rows"),
        ("the first", by("Gather", &[0]), "picks some of the rows"),
        ("twice", by("Tile", &[2, 1]), "repeats rows"),
        ("one more", by("Pad", &[1, 0, 0, 0]), "it adds rows"),
        ("behind itself", y(x().with("Concat", "x x", "y", &axis(0))), "puts rows behind others"),
        (
            "by what is in rows",
            {
                let graph = Graph::new().input("x", DataType::I64, "n").input("z", DataType::F32, "n 4");
                y(graph.node("Gather", "z x", "y"))
            },
            "picks rows by what is in rows",
        ),
        (
            "those that are not zero",
            {
                let graph = x().node("NonZero", "x", "a").node("Transpose", "a", "b");
                y(graph.with("Cast", "b", "y", &[("to", Is::Int(1))]))
            },
            "(NonZero)",
        ),
        ("each once", y(x().with("Unique", "x", "y", &axis(0))), "(Unique)"),
        ("split rows", y(x().with("Split", "x", "y z", &axis(0))), "splits rows"),
        (
            "a sum of rows beside",
            {
                let graph = x().with("ReduceSum", "x", "a", &[("keepdims", Is::Int(1))]);
                y(graph.node("Identity", "x", "y")).output("a", DataType::F32, "1 1")
            },
            "across rows",
        ),
    ]
}

/// What the file is like.
fn outside() -> Vec<(&'static str, Graph, &'static str)> {
    let branch =
        |op: &str| Is::Graph(Box::new(Graph::new().node(op, "x", "z").output("z", DataType::F32, "n 4")));
    vec![
        (
            "if",
            {
                let truth = Tensor::new(DataType::Bool, vec![], vec![1]).unwrap();
                let branches = [("then_branch", branch("Neg")), ("else_branch", branch("Abs"))];
                y(x().weight("c", &truth).with("If", "c", "y", &branches))
            },
            "(If): graphs inside of nodes",
        ),
        (
            "by chance",
            y(x().node("RandomNormalLike", "x", "a").node("Add", "x a", "y")),
            "(RandomNormalLike)",
        ),
        (
            "chance alone",
            {
                let shape = [("shape", Is::Ints(vec![1, 4]))];
                y(x().with("RandomUniform", "", "a", &shape).node("Add", "x a", "y"))
            },
            "(RandomUniform)",
        ),
        (
            "dropout that trains",
            {
                let truth = Tensor::new(DataType::Bool, vec![], vec![1]).unwrap();
                y(x().weight("t", &truth).node("Dropout", "x _ t", "y"))
            },
            "by chance",
        ),
        (
            "of nobody's",
            y(x().node("nowhere:Teleport", "x", "y")),
            "(nowhere:Teleport): what operators of this",
        ),
        (
            "a first dimension that is fixed",
            { y(Graph::new().input("x", DataType::F32, "1 4").node("Neg", "x", "y")) },
            "first dimension of input 'x' is fixed",
        ),
        (
            "one name for two things",
            { y(Graph::new().input("x", DataType::F32, "n n").node("Neg", "x", "y")) },
            "dimension 'n' is the number of rows and another size too",
        ),
        ("no shape", y(Graph::new().input("x", DataType::F32, "-").node("Neg", "x", "y")), "has no shape"),
        ("one number", y(Graph::new().input("x", DataType::F32, "").node("Neg", "x", "y")), "is fixed"),
        ("versions that are not known", y(x().node("Neg", "x", "y").opset(6)), "version 6"),
        (
            "an own meaning",
            {
                let body = Graph::new().node("Neg", "a", "b");
                let graph = x().function("Relu", &["a"], &["b"], &body).node("own:Relu", "x", "a");
                y(graph.node("ReduceMax", "a", "y"))
            },
            "(ReduceMax)",
        ),
    ]
}

#[test]
fn files_that_people_serve_are_joined() {
    let joins = [
        "add-fp32",
        "add-fp64",
        "add-int32",
        "add-int64",
        "chain",
        "dense",
        "digits",
        "heavy",
        "iris-forest",
        "pick",
        "rows",
    ];
    for name in joins {
        assert_eq!(super::prove(&onnx::parse(&fixture(name)).unwrap()), Ok(()), "{name}");
    }
    for name in ["center", "fails", "same-fp32", "two"] {
        super::prove(&onnx::parse(&fixture(name)).unwrap()).expect_err(name);
    }
}
