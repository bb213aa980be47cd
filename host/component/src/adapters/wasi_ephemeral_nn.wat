;; `wasi_ephemeral_nn`, the interface that programs of WASI preview 1 import (the witx of crate wasi-nn 0.6), in
;; terms of `wasi:nn@0.2.0-rc-2024-10-28`. What differs:
;;
;; - inputs are set by position and stay set, while `compute` takes them and takes them away: their bytes are
;;   kept here, and become tensors anew at each `compute`;
;; - outputs are read by position, and as bytes;
;; - an error is a number.
;;
;; It shares the memory of the module that it is linked to, and takes its own from that memory's end, as the
;; adapter of preview 1 does: one page for its state, more as inputs and outputs need it. An adapter has no data
;; segments and no table.
(module
  (import "env" "memory" (memory 0))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load"
    (func $nn_load (param $builders i32) (param $count i32) (param $encoding i32) (param $target i32) (param $answer i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name"
    (func $nn_load_by_name (param $name i32) (param $length i32) (param $answer i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[method]graph.init-execution-context"
    (func $nn_init (param $graph i32) (param $answer i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $nn_tensor (param $dims i32) (param $rank i32) (param $type i32) (param $data i32) (param $length i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.data"
    (func $nn_data (param $tensor i32) (param $answer i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[resource-drop]tensor" (func $nn_drop_tensor (param i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[method]graph-execution-context.compute"
    (func $nn_compute (param $context i32) (param $inputs i32) (param $count i32) (param $answer i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.code" (func $nn_code (param i32) (result i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[resource-drop]error" (func $nn_drop_error (param i32)))

  ;; The page of state, 0 until it is there. In it: 16 bytes for what the host answers, and from 64 on the heads
  ;; of lists of free blocks, by the power of two that is their size.
  (global $page (mut i32) (i32.const 0))
  ;; What of the last pages that were taken is free still.
  (global $next (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))
  ;; Where the next list that the host hands over goes, if it fits: a buffer of the program's.
  (global $buffer (mut i32) (i32.const 0))
  (global $capacity (mut i32) (i32.const 0))
  ;; Lists, each node with the next one at 0:
  ;; graphs and contexts that there are: handle at 4;
  (global $graphs (mut i32) (i32.const 0))
  (global $contexts (mut i32) (i32.const 0))
  ;; inputs that are set: context at 4, position at 8, type at 12, dimensions at 16, how many at 20, bytes at 24,
  ;; how many at 28;
  (global $inputs (mut i32) (i32.const 0))
  ;; outputs of the last `compute`: context at 4, position at 8, tensor at 12.
  (global $outputs (mut i32) (i32.const 0))

  (func (export "load")
    (param $builders i32) (param $count i32) (param $encoding i32) (param $target i32) (param $graph i32) (result i32)
    (call $begin)
    (if (i32.gt_u (local.get $encoding) (i32.const 5)) (then (return (i32.const 2))))
    ;; Autodetect comes after ggml, which the older interface does not have.
    (if (i32.eq (local.get $encoding) (i32.const 5)) (then (local.set $encoding (i32.const 6))))
    (if (i32.gt_u (local.get $target) (i32.const 3)) (then (return (i32.const 1))))
    ;; The crate's AUTO leaves it to the host.
    (if (i32.eq (local.get $target) (i32.const 3)) (then (local.set $target (i32.const 0))))
    (call $nn_load (local.get $builders) (local.get $count) (local.get $encoding) (local.get $target) (global.get $page))
    (call $graph_of_answer (local.get $graph)))

  (func (export "load_by_name") (param $name i32) (param $length i32) (param $graph i32) (result i32)
    (call $begin)
    (call $nn_load_by_name (local.get $name) (local.get $length) (global.get $page))
    (call $graph_of_answer (local.get $graph)))

  (func $graph_of_answer (param $graph i32) (result i32)
    (local $node i32)
    (if (i32.load8_u (global.get $page)) (then (return (call $refused))))
    (local.set $node (call $stored (local.get $graph)))
    (if (i32.eqz (local.get $node)) (then (return (i32.const 7))))
    (i32.store (local.get $node) (global.get $graphs))
    (global.set $graphs (local.get $node))
    (i32.const 0))

  ;; Hands the handle in the host's answer to the program, and keeps it: answers the node, 0 without memory.
  (func $stored (param $into i32) (result i32)
    (local $node i32)
    (i32.store (local.get $into) (i32.load offset=4 (global.get $page)))
    (local.set $node (call $take (i32.const 8)))
    (if (local.get $node)
      (then (i32.store offset=4 (local.get $node) (i32.load offset=4 (global.get $page)))))
    (local.get $node))

  (func (export "init_execution_context") (param $graph i32) (param $context i32) (result i32)
    (local $node i32)
    (call $begin)
    (if (i32.eqz (call $known (global.get $graphs) (local.get $graph))) (then (return (i32.const 1))))
    (call $nn_init (local.get $graph) (global.get $page))
    (if (i32.load8_u (global.get $page)) (then (return (call $refused))))
    (local.set $node (call $stored (local.get $context)))
    (if (i32.eqz (local.get $node)) (then (return (i32.const 7))))
    (i32.store (local.get $node) (global.get $contexts))
    (global.set $contexts (local.get $node))
    (i32.const 0))

  ;; The tensor: dimensions at 0, how many at 4, type at 8, bytes at 12, how many at 16.
  (func (export "set_input") (param $context i32) (param $position i32) (param $tensor i32) (result i32)
    (local $node i32) (local $type i32) (local $dims i32) (local $rank i32) (local $bytes i32) (local $length i32)
    (call $begin)
    (local.set $type (i32.load8_u offset=8 (local.get $tensor)))
    (local.set $rank (i32.load offset=4 (local.get $tensor)))
    (local.set $length (i32.load offset=16 (local.get $tensor)))
    ;; So many dimensions are a wrong pointer.
    (if (i32.or (i32.gt_u (local.get $type) (i32.const 5)) (i32.gt_u (local.get $rank) (i32.const 1024)))
      (then (return (i32.const 1))))
    (if (i32.eqz (call $known (global.get $contexts) (local.get $context))) (then (return (i32.const 1))))
    (local.set $node (call $input (local.get $context) (local.get $position)))
    (if (i32.eqz (local.get $node)) (then (return (i32.const 7))))
    (local.set $dims (call $copy (i32.load (local.get $tensor)) (i32.shl (local.get $rank) (i32.const 2))))
    (local.set $bytes (call $copy (i32.load offset=12 (local.get $tensor)) (local.get $length)))
    (if (i32.or (i32.eqz (local.get $dims)) (i32.eqz (local.get $bytes)))
      (then
        (call $give (local.get $dims) (i32.shl (local.get $rank) (i32.const 2)))
        (call $give (local.get $bytes) (local.get $length))
        (return (i32.const 7))))
    ;; bf16 stands between f64 and u8, and the older interface does not have it.
    (i32.store offset=12 (local.get $node) (i32.add (local.get $type) (i32.ge_u (local.get $type) (i32.const 3))))
    (i32.store offset=16 (local.get $node) (local.get $dims))
    (i32.store offset=20 (local.get $node) (local.get $rank))
    (i32.store offset=24 (local.get $node) (local.get $bytes))
    (i32.store offset=28 (local.get $node) (local.get $length))
    (i32.const 0))

  ;; The node of an input, made where there is none, without a tensor; 0 without memory.
  (func $input (param $context i32) (param $position i32) (result i32)
    (local $node i32)
    (local.set $node (call $find (global.get $inputs) (local.get $context) (local.get $position)))
    (if (local.get $node)
      (then
        (call $give (i32.load offset=16 (local.get $node)) (i32.shl (i32.load offset=20 (local.get $node)) (i32.const 2)))
        (call $give (i32.load offset=24 (local.get $node)) (i32.load offset=28 (local.get $node))))
      (else
        (local.set $node (call $take (i32.const 32)))
        (if (i32.eqz (local.get $node)) (then (return (i32.const 0))))
        (i32.store (local.get $node) (global.get $inputs))
        (global.set $inputs (local.get $node))
        (i32.store offset=4 (local.get $node) (local.get $context))
        (i32.store offset=8 (local.get $node) (local.get $position))
        (i32.store offset=12 (local.get $node) (i32.const 0))))
    (i64.store offset=16 (local.get $node) (i64.const 0))
    (i64.store offset=24 (local.get $node) (i64.const 0))
    (local.get $node))

  (func (export "compute") (param $context i32) (result i32)
    (local $count i32) (local $named i32) (local $list i32)
    (call $begin)
    (if (i32.eqz (call $known (global.get $contexts) (local.get $context))) (then (return (i32.const 1))))
    (local.set $count (call $inputs_of (local.get $context)))
    ;; For each input its name, as long as a number gets, after all of their entries: name, its length, tensor.
    (local.set $named (call $take (i32.mul (local.get $count) (i32.const 24))))
    (if (i32.eqz (local.get $named)) (then (return (i32.const 7))))
    (call $name_inputs (local.get $context) (local.get $named) (local.get $count))
    (call $nn_compute (local.get $context) (local.get $named) (local.get $count) (global.get $page))
    (call $give (local.get $named) (i32.mul (local.get $count) (i32.const 24)))
    (if (i32.load8_u (global.get $page)) (then (return (call $refused))))
    (local.set $list (i32.load offset=4 (global.get $page)))
    (local.set $count (i32.load offset=8 (global.get $page)))
    (call $forget_outputs (local.get $context))
    (if (i32.eqz (call $keep_outputs (local.get $context) (local.get $list) (local.get $count)))
      (then (return (i32.const 7))))
    (i32.const 0))

  (func $inputs_of (param $context i32) (result i32)
    (local $node i32) (local $count i32)
    (local.set $node (global.get $inputs))
    (loop $each
      (if (local.get $node)
        (then
          (local.set $count
            (i32.add (local.get $count) (i32.eq (i32.load offset=4 (local.get $node)) (local.get $context))))
          (local.set $node (i32.load (local.get $node)))
          (br $each))))
    (local.get $count))

  ;; Writes the entries of a context's inputs to $entry, each with a new tensor.
  (func $name_inputs (param $context i32) (param $entry i32) (param $count i32)
    (local $node i32) (local $name i32)
    (local.set $name (i32.add (local.get $entry) (i32.mul (local.get $count) (i32.const 12))))
    (local.set $node (global.get $inputs))
    (loop $each
      (if (i32.eqz (local.get $node)) (then (return)))
      (if (i32.eq (i32.load offset=4 (local.get $node)) (local.get $context))
        (then
          (i32.store (local.get $entry) (local.get $name))
          (i32.store offset=4 (local.get $entry) (call $digits (i32.load offset=8 (local.get $node)) (local.get $name)))
          (i32.store offset=8 (local.get $entry)
            (call $nn_tensor
              (i32.load offset=16 (local.get $node)) (i32.load offset=20 (local.get $node))
              (i32.load offset=12 (local.get $node))
              (i32.load offset=24 (local.get $node)) (i32.load offset=28 (local.get $node))))
          (local.set $entry (i32.add (local.get $entry) (i32.const 12)))
          (local.set $name (i32.add (local.get $name) (i32.const 12)))))
      (local.set $node (i32.load (local.get $node)))
      (br $each)))

  ;; Writes a number in decimals to $into; answers how many digits it has.
  (func $digits (param $number i32) (param $into i32) (result i32)
    (local $rest i32) (local $count i32) (local $at i32)
    (local.set $rest (local.get $number))
    (loop $each
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $each (local.tee $rest (i32.div_u (local.get $rest) (i32.const 10)))))
    (local.set $at (i32.add (local.get $into) (local.get $count)))
    (loop $each
      (i32.store8 (local.tee $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $each (i32.gt_u (local.get $at) (local.get $into))))
    (local.get $count))

  ;; Drops the outputs of a context's last `compute`.
  (func $forget_outputs (param $context i32)
    (local $before i32) (local $node i32) (local $after i32)
    (local.set $node (global.get $outputs))
    (loop $each
      (if (i32.eqz (local.get $node)) (then (return)))
      (local.set $after (i32.load (local.get $node)))
      (if (i32.eq (i32.load offset=4 (local.get $node)) (local.get $context))
        (then
          (if (local.get $before)
            (then (i32.store (local.get $before) (local.get $after)))
            (else (global.set $outputs (local.get $after))))
          (call $nn_drop_tensor (i32.load offset=12 (local.get $node)))
          (call $give (local.get $node) (i32.const 16)))
        (else (local.set $before (local.get $node))))
      (local.set $node (local.get $after))
      (br $each)))

  ;; Keeps the tensors of a list that the host answered, and gives its memory back: 0 without memory.
  (func $keep_outputs (param $context i32) (param $list i32) (param $count i32) (result i32)
    (local $position i32) (local $entry i32) (local $node i32) (local $kept i32)
    (local.set $kept (i32.const 1))
    (loop $each
      (if (i32.lt_u (local.get $position) (local.get $count))
        (then
          (local.set $entry (i32.add (local.get $list) (i32.mul (local.get $position) (i32.const 12))))
          (call $give (i32.load (local.get $entry)) (i32.load offset=4 (local.get $entry)))
          (local.set $node (call $take (i32.const 16)))
          (if (local.get $node)
            (then
              (i32.store (local.get $node) (global.get $outputs))
              (global.set $outputs (local.get $node))
              (i32.store offset=4 (local.get $node) (local.get $context))
              (i32.store offset=8 (local.get $node) (local.get $position))
              (i32.store offset=12 (local.get $node) (i32.load offset=8 (local.get $entry))))
            (else
              (call $nn_drop_tensor (i32.load offset=8 (local.get $entry)))
              (local.set $kept (i32.const 0))))
          (local.set $position (i32.add (local.get $position) (i32.const 1)))
          (br $each))))
    (call $give (local.get $list) (i32.mul (local.get $count) (i32.const 12)))
    (local.get $kept))

  (func (export "get_output")
    (param $context i32) (param $position i32) (param $buffer i32) (param $capacity i32) (param $written i32) (result i32)
    (local $node i32) (local $bytes i32) (local $length i32)
    (call $begin)
    (local.set $node (call $find (global.get $outputs) (local.get $context) (local.get $position)))
    (if (i32.or (i32.eqz (local.get $node)) (i32.eqz (local.get $buffer))) (then (return (i32.const 1))))
    (global.set $buffer (local.get $buffer))
    (global.set $capacity (local.get $capacity))
    (call $nn_data (i32.load offset=12 (local.get $node)) (global.get $page))
    (global.set $buffer (i32.const 0))
    (local.set $bytes (i32.load (global.get $page)))
    (local.set $length (i32.load offset=4 (global.get $page)))
    (if (i32.ne (local.get $bytes) (local.get $buffer)) (then (call $give (local.get $bytes) (local.get $length))))
    (if (i32.gt_u (local.get $length) (local.get $capacity)) (then (return (i32.const 7))))
    (i32.store (local.get $written) (local.get $length))
    (i32.const 0))

  ;; Where the host puts what it answers with.
  (func (export "cabi_import_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
    (local $into i32)
    ;; Lists and strings of a known length are never moved.
    (if (local.get $old) (then (unreachable)))
    (if (i32.and (i32.ne (global.get $buffer) (i32.const 0)) (i32.le_u (local.get $size) (global.get $capacity)))
      (then (return (global.get $buffer))))
    (local.set $into (call $take (local.get $size)))
    (if (i32.eqz (local.get $into)) (then (unreachable)))
    (local.get $into))

  ;; The error in the host's answer as a number of the older interface.
  (func $refused (result i32)
    (local $error i32) (local $code i32)
    (local.set $error (i32.load offset=4 (global.get $page)))
    (local.set $code (call $nn_code (local.get $error)))
    (call $nn_drop_error (local.get $error))
    (block $runtime
      (block $not_found
        (block $too_large
          (block $unsupported
            (block $encoding
              (block $argument
                (br_table $argument $encoding $runtime $runtime $unsupported $too_large $not_found $not_found $runtime
                  (local.get $code)))
              (return (i32.const 1)))
            (return (i32.const 2)))
          (return (i32.const 6)))
        (return (i32.const 7)))
      ;; Also what was not granted: for the program it is not there.
      (return (i32.const 8)))
    (i32.const 5))

  (func $known (param $node i32) (param $handle i32) (result i32)
    (loop $each
      (if (i32.eqz (local.get $node)) (then (return (i32.const 0))))
      (if (i32.eq (i32.load offset=4 (local.get $node)) (local.get $handle)) (then (return (i32.const 1))))
      (local.set $node (i32.load (local.get $node)))
      (br $each))
    (unreachable))

  ;; The node of a list for a context and a position, or 0.
  (func $find (param $node i32) (param $context i32) (param $position i32) (result i32)
    (loop $each
      (if (i32.eqz (local.get $node)) (then (return (i32.const 0))))
      (if (i32.and (i32.eq (i32.load offset=4 (local.get $node)) (local.get $context))
                   (i32.eq (i32.load offset=8 (local.get $node)) (local.get $position)))
        (then (return (local.get $node))))
      (local.set $node (i32.load (local.get $node)))
      (br $each))
    (unreachable))

  ;; Takes the page of state when the program first calls.
  (func $begin
    (local $pages i32)
    (if (i32.eqz (global.get $page))
      (then
        (local.set $pages (memory.grow (i32.const 1)))
        (if (i32.eq (local.get $pages) (i32.const -1)) (then (unreachable)))
        (global.set $page (i32.shl (local.get $pages) (i32.const 16)))
        (global.set $next (i32.add (global.get $page) (i32.const 256)))
        (global.set $end (i32.add (global.get $page) (i32.const 65536))))))

  ;; Copies bytes of the program's: the copy, or 0 without memory.
  (func $copy (param $from i32) (param $length i32) (result i32)
    (local $into i32)
    (local.set $into (call $take (local.get $length)))
    (if (local.get $into) (then (memory.copy (local.get $into) (local.get $from) (local.get $length))))
    (local.get $into))

  ;; The power of two, from 4 on, that a block of so many bytes takes; 32 for none.
  (func $class (param $size i32) (result i32)
    (if (i32.le_u (local.get $size) (i32.const 16)) (then (return (i32.const 4))))
    (i32.sub (i32.const 32) (i32.clz (i32.sub (local.get $size) (i32.const 1)))))

  ;; A block of at least so many bytes, or 0 without memory.
  (func $take (param $size i32) (result i32)
    (local $class i32) (local $head i32) (local $block i32)
    (local.set $class (call $class (local.get $size)))
    (if (i32.gt_u (local.get $class) (i32.const 30)) (then (return (i32.const 0))))
    (local.set $head (i32.add (global.get $page) (i32.add (i32.const 64) (i32.shl (local.get $class) (i32.const 2)))))
    (local.set $block (i32.load (local.get $head)))
    (if (local.get $block)
      (then
        (i32.store (local.get $head) (i32.load (local.get $block)))
        (return (local.get $block))))
    (local.set $size (i32.shl (i32.const 1) (local.get $class)))
    (if (i32.gt_u (local.get $size) (i32.sub (global.get $end) (global.get $next)))
      (then (if (i32.eqz (call $more (local.get $size))) (then (return (i32.const 0))))))
    (local.set $block (global.get $next))
    (global.set $next (i32.add (local.get $block) (local.get $size)))
    (local.get $block))

  ;; Takes pages for so many bytes: 0 where there are none.
  (func $more (param $size i32) (result i32)
    (local $pages i32) (local $at i32)
    (local.set $pages (i32.shr_u (i32.add (local.get $size) (i32.const 65535)) (i32.const 16)))
    (local.set $at (memory.grow (local.get $pages)))
    (if (i32.eq (local.get $at) (i32.const -1)) (then (return (i32.const 0))))
    (local.set $at (i32.shl (local.get $at) (i32.const 16)))
    (if (i32.ne (local.get $at) (global.get $end)) (then (global.set $next (local.get $at))))
    (global.set $end (i32.add (local.get $at) (i32.shl (local.get $pages) (i32.const 16))))
    (i32.const 1))

  ;; Gives a block back that was taken for so many bytes, if it is one.
  (func $give (param $block i32) (param $size i32)
    (local $head i32)
    (if (i32.eqz (local.get $block)) (then (return)))
    (local.set $head
      (i32.add (global.get $page) (i32.add (i32.const 64) (i32.shl (call $class (local.get $size)) (i32.const 2)))))
    (i32.store (local.get $block) (i32.load (local.get $head)))
    (i32.store (local.get $head) (local.get $block)))
)
