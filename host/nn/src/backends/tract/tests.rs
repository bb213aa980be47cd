#![allow(clippy::unwrap_used)]

use super::*;
use crate::graphs::{Graph, Is};

/// One tree of three nodes: up to 0.5 in the second column it is one leaf, else the other.
struct Tree {
    op: &'static str,
    yes: Vec<i64>,
    nodes: Vec<i64>,
    classes: Vec<i64>,
    weights: Vec<f32>,
    column: i64,
    transform: &'static str,
}

fn tree() -> Tree {
    Tree {
        op: "ai.onnx.ml:TreeEnsembleClassifier",
        yes: vec![1, 0, 0],
        nodes: vec![0, 1, 2],
        classes: vec![0, 0],
        weights: vec![0.25, 0.75],
        column: 1,
        transform: "NONE",
    }
}

fn loaded(tree: &Tree) -> Result<Box<dyn BackendModel>> {
    let attributes = [
        ("nodes_treeids", Is::Ints(vec![0; 3])),
        ("nodes_nodeids", Is::Ints(tree.nodes.clone())),
        ("nodes_featureids", Is::Ints(vec![tree.column, 0, 0])),
        ("nodes_values", Is::Floats(vec![0.5, 0.0, 0.0])),
        ("nodes_modes", Is::Texts(vec!["BRANCH_LEQ", "LEAF", "LEAF"])),
        ("nodes_truenodeids", Is::Ints(tree.yes.clone())),
        ("nodes_falsenodeids", Is::Ints(vec![2, 0, 0])),
        ("class_treeids", Is::Ints(vec![0; 2])),
        ("class_nodeids", Is::Ints(vec![1, 2])),
        ("class_ids", Is::Ints(tree.classes.clone())),
        ("class_weights", Is::Floats(tree.weights.clone())),
        ("classlabels_int64s", Is::Ints(vec![7, 9])),
        ("post_transform", Is::Text(tree.transform)),
    ];
    let graph = Graph::new().input("x", DataType::F32, "n 2").with(tree.op, "x", "label scores", &attributes);
    let graph = graph.output("label", DataType::I64, "n").output("scores", DataType::F32, "n 2");
    TractBackend.load(&graph.bytes(), ModelSettings::default())
}

#[test]
fn two_classes_are_told_apart_by_one_score() {
    let rows = Tensor::of(vec![3, 2], &[9_f32, 0.5, 9.0, 0.6, 9.0, f32::NAN]).unwrap();
    for (weights, transform, scores) in [
        (vec![0.25, 0.75], "NONE", [0.75, 0.25, 0.25, 0.75, 0.25, 0.75]),
        (vec![-2.0, 1.0], "NONE", [2.0, -2.0, -1.0, 1.0, -1.0, 1.0]),
        (vec![-2.0, 1.0], "LOGISTIC", [0.880_797, 0.119_203, 0.268_941, 0.731_059, 0.268_941, 0.731_059]),
    ] {
        let answer =
            loaded(&Tree { weights, transform, ..tree() }).unwrap().run(std::slice::from_ref(&rows)).unwrap();
        assert_eq!(answer[0].to_vec::<i64>().unwrap(), [7, 9, 9], "{transform}");
        let found = answer[1].to_vec::<f32>().unwrap();
        assert!(
            found.iter().zip(scores).all(|(found, right)| (found - right).abs() < 1e-6),
            "{found:?} {scores:?}"
        );
    }
}

#[test]
fn trees_that_are_none_are_refused() {
    for (name, tree) in [
        ("a circle", Tree { yes: vec![0, 0, 0], ..tree() }),
        ("two ways to one", Tree { yes: vec![2, 0, 0], ..tree() }),
        ("a way to nowhere", Tree { yes: vec![5, 0, 0], ..tree() }),
        ("one number for two", Tree { nodes: vec![0, 1, 1], ..tree() }),
        ("a class that is not there", Tree { classes: vec![0, 1 << 40], ..tree() }),
        ("a class below zero", Tree { classes: vec![0, -1], ..tree() }),
        ("fewer classes than leaves", Tree { classes: vec![0], ..tree() }),
        ("a column below zero", Tree { column: -1, ..tree() }),
        ("an end that is not known", Tree { transform: "PROBIT", ..tree() }),
    ] {
        let error = loaded(&tree).err().unwrap_or_else(|| panic!("{name} is taken"));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error:?}");
        assert!(error.chain().contains("TreeEnsembleClassifier"), "{name}: {error:?}");
        assert_eq!(error.hint_text(), Some("eyot backend install onnxruntime"), "{name}");
    }
    // What a file says of the columns is not known before a row is there.
    let beyond = loaded(&Tree { column: 40, ..tree() });
    let row = Tensor::of(vec![1, 2], &[0_f32; 2]).unwrap();
    let error = beyond.and_then(|model| model.run(&[row])).unwrap_err();
    assert!(error.chain().contains("look at 41 columns"), "{error:?}");
}

#[test]
fn operators_that_tract_has_not_are_named() {
    let x = || Graph::new().input("x", DataType::F32, "n 2");
    let graphs = [
        (x().node("ai.onnx.ml:Scaler", "x", "y"), "has no operator ai.onnx.ml:Scaler"),
        (x().node("own:Relu", "x", "y"), "has no operator own:Relu"),
        (
            x().node("Teleport", "x", "a").node("nowhere:Beam", "a", "y"),
            "has no operator Teleport, nowhere:Beam",
        ),
    ];
    for (graph, says) in graphs {
        let error = TractBackend
            .load(&graph.output("y", DataType::F32, "n 2").bytes(), ModelSettings::default())
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.chain().ends_with(says), "{error:?}");
        assert_eq!(error.hint_text(), Some("eyot backend install onnxruntime"));
    }
    // One that it has for other numbers.
    let wide =
        Graph::new().input("x", DataType::F64, "n").node("Sigmoid", "x", "y").output("y", DataType::F64, "n");
    let error = TractBackend.load(&wide.bytes(), ModelSettings::default()).err().unwrap();
    assert!(
        error.kind() == ErrorKind::Unsupported && error.chain().contains("Sigmoid does not support F64"),
        "{error:?}"
    );
}

#[test]
fn outputs_are_of_the_types_that_the_file_says() {
    let shape = Tensor::of(vec![1], &[2_i64]).unwrap();
    let graph = |of: DataType| {
        let graph = Graph::new().input("x", DataType::F32, "n 2").weight("shape", &shape);
        graph.node("ConstantOfShape", "shape", "zeros").node("Add", "x zeros", "y").output("y", of, "n 2")
    };
    let model = TractBackend.load(&graph(DataType::F32).bytes(), ModelSettings::default()).unwrap();
    let x = Tensor::of(vec![1, 2], &[1_f32, 2.]).unwrap();
    assert_eq!(model.run(std::slice::from_ref(&x)).unwrap(), [x]);
    let error = TractBackend.load(&graph(DataType::F64).bytes(), ModelSettings::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
}
