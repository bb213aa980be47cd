//! Networks as exporters write them.

use super::{Graph, Is, axis, floats, number, numbers, prove};
use crate::{DataType, Tensor};

/// As PyTorch writes a picture's way: convolutions that are normalised and bounded, one number a channel, and
/// the flat shape computed of the shape itself.
fn pictures() -> Graph {
    let (zero, six) = (Tensor::of(vec![], &[0_f32]).unwrap(), Tensor::of(vec![], &[6_f32]).unwrap());
    let mut graph =
        Graph::new().input("x", DataType::F32, "batch 3 32 32").weight("zero", &zero).weight("six", &six);
    graph = graph.weight("w", &floats(&[8, 3, 3, 3])).weight("d", &floats(&[8, 1, 3, 3]));
    for name in ["s", "b", "m", "v"] {
        graph = graph.weight(name, &floats(&[8]));
    }
    let conv = |group: i64| {
        vec![
            ("kernel_shape", Is::Ints(vec![3, 3])),
            ("pads", Is::Ints(vec![1, 1, 1, 1])),
            ("strides", Is::Ints(vec![2, 2])),
            ("group", Is::Int(group)),
        ]
    };
    graph = graph.with("Conv", "x w", "c1", &conv(1)).node("BatchNormalization", "c1 s b m v", "n1");
    graph =
        graph.node("Clip", "n1 zero six", "r1").with("Conv", "r1 d", "c2", &conv(8)).node("Relu", "c2", "r2");
    let window = [("kernel_shape", Is::Ints(vec![2, 2])), ("strides", Is::Ints(vec![2, 2]))];
    graph = graph.with("MaxPool", "r2", "p", &window).node("GlobalAveragePool", "p", "g");
    graph = graph.weight("first", &number(0)).weight("axes", &numbers(&[0])).weight("rest", &numbers(&[-1]));
    graph = graph.node("Shape", "g", "shape").node("Gather", "shape first", "count");
    graph = graph.node("Unsqueeze", "count axes", "counts").with("Concat", "counts rest", "flat", &axis(0));
    graph = graph.node("Reshape", "g flat", "f").weight("e", &floats(&[10, 8])).weight("o", &floats(&[10]));
    graph.with("Gemm", "f e o", "y", &[("transB", Is::Int(1))]).output("y", DataType::F32, "batch 10")
}

/// As PyTorch writes attention over texts: every shape is computed of shapes, a mask is spread, heads are split
/// and put together again.
fn texts(mask: &str) -> Graph {
    let mut graph =
        Graph::new().input("ids", DataType::I64, "batch length").input("mask", DataType::I64, mask);
    graph = graph
        .weight("table", &floats(&[50, 8]))
        .weight("places", &floats(&[64, 8]))
        .weight("q", &floats(&[8, 8]));
    graph = graph.weight("scale", &floats(&[8])).weight("first", &number(0)).weight("second", &number(1));
    graph =
        graph.weight("axes", &numbers(&[0])).weight("heads", &numbers(&[2])).weight("head", &numbers(&[4]));
    graph = graph.weight("all", &numbers(&[8])).weight("from", &numbers(&[0])).weight("rows", &numbers(&[0]));
    graph = graph.weight("broad", &numbers(&[1, 2])).weight("low", &Tensor::of(vec![], &[-1e4_f32]).unwrap());
    graph = graph.node("Shape", "ids", "shape").node("Gather", "shape first", "count").node(
        "Gather",
        "shape second",
        "length",
    );
    graph = graph.node("Unsqueeze", "count axes", "counts").node("Unsqueeze", "length axes", "lengths");
    graph = graph.node("Slice", "places from lengths rows", "here").node("Gather", "table ids", "words");
    graph = graph.node("Add", "words here", "h").node("LayerNormalization", "h scale", "normed");
    graph = graph.with("Concat", "counts lengths heads head", "split", &axis(0));
    graph = graph.with("Concat", "counts lengths all", "whole", &axis(0));
    let order = |order: &[i64]| [("perm", Is::Ints(order.to_vec()))];
    for part in ["q", "k", "v"] {
        let (wide, apart) = (format!("{part}1"), format!("{part}2"));
        graph = graph.node("MatMul", "normed q", &wide).node("Reshape", &format!("{wide} split"), &apart);
        let turned = if part == "k" { order(&[0, 2, 3, 1]) } else { order(&[0, 2, 1, 3]) };
        graph = graph.with("Transpose", &apart, &format!("{part}3"), &turned);
    }
    graph = graph.with("Cast", "mask", "m1", &[("to", Is::Int(1))]).node("Unsqueeze", "m1 broad", "m2");
    graph = graph.node("Mul", "m2 low", "m3").node("MatMul", "q3 k3", "s1").node("Add", "s1 m3", "s2");
    graph = graph.with("Softmax", "s2", "s3", &axis(-1)).node("MatMul", "s3 v3", "a1");
    graph = graph.with("Transpose", "a1", "a2", &order(&[0, 2, 1, 3])).node("Reshape", "a2 whole", "a3");
    graph = graph.node("Erf", "a3", "a4").node("Mul", "a3 a4", "a5").node("Add", "a5 normed", "a6");
    graph.with("Gather", "a6 first", "y", &axis(1)).output("y", DataType::F32, "batch 8")
}

/// A network that reads step by step, whose first state is made for as many rows as there are.
fn sequences(turned: bool) -> Graph {
    let mut graph = Graph::new().input("x", DataType::F32, "batch steps 4").weight("w", &floats(&[1, 24, 4]));
    graph =
        graph.weight("r", &floats(&[1, 24, 6])).weight("one", &numbers(&[1])).weight("six", &numbers(&[6]));
    graph = graph.weight("f", &numbers(&[0])).node("Shape", "x", "s").node("Gather", "s f", "n");
    graph = graph.with("Concat", "one n six", "sizes", &axis(0)).node("ConstantOfShape", "sizes", "h");
    let input = if turned { "t" } else { "x" };
    graph = graph.with("Transpose", "x", "t", &[("perm", Is::Ints(vec![1, 0, 2]))]);
    graph = graph.with("LSTM", &format!("{input} w r _ _ h h"), "all last", &[("hidden_size", Is::Int(6))]);
    graph.weight("z", &numbers(&[0])).node("Squeeze", "last z", "y").output("y", DataType::F32, "batch 6")
}

#[test]
fn networks_are_joined() {
    assert_eq!(prove(&pictures()), Ok(()));
    assert_eq!(prove(&texts("batch length")), Ok(()));
    assert_eq!(prove(&texts("batch another")), Ok(()), "of another length it fails, whoever asks");
    assert_eq!(prove(&sequences(true)), Ok(()));
}

#[test]
fn networks_are_not_joined_where_a_dimension_is_not_that_of_rows() {
    let turned = prove(&texts("length batch")).unwrap_err();
    assert!(turned.contains("dimension 'batch' is the number of rows and another size too"), "{turned}");
    let steps = prove(&sequences(false)).unwrap_err();
    assert!(steps.contains("(LSTM): its rows are not those of the inputs"), "{steps}");
}
